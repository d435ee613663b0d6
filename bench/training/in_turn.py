"""Trains with the Python `adapters` library and with Adaptkit in turn, and prints the ratios of their medians.

The peer is a script that takes --model, --data, --task, --epochs, --batch, --lr, --threads (and --bf16) and prints
JSON lines with "train_s" for each epoch and "peak_rss_mb" at the end.

    python bench/training/in_turn.py --peer SCRIPT --adaptkit target/release/adaptkit --model DIR --data GLUE_DIR \
        --task cola=CoLA --task rte=RTE --rounds 3
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile


def peer(arguments, task, folder):
    command = [sys.executable, arguments.peer, "--model", arguments.model, "--data", f"{arguments.data}/{folder}"]
    command += ["--task", task.replace("-", ""), "--epochs", "1", "--batch", "32", "--lr", "1e-3", "--threads", str(arguments.threads)]
    command += ["--bf16"] if arguments.peer_bf16 else []
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    return rows[0]["train_s"], rows[-1]["peak_rss_mb"]


def ours(arguments, task):
    with tempfile.TemporaryDirectory() as folder:
        command = [arguments.adaptkit, "train", "--model", arguments.model, "--task", task, "--data", arguments.data]
        command += ["--epochs", "1", "--batch-size", "32", "--learning-rate", "1e-3", "--max-length", "128"]
        command += ["--precision", arguments.precision, "--threads", str(arguments.threads)]
        command += ["--output-dir", f"{folder}/adapter", "--json", "--quiet"]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result["train_runtime"], result["peak_memory_mb"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("peer", "adaptkit", "model", "data"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--task", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--peer-bf16", action="store_true")
    arguments = parser.parse_args()
    for entry in arguments.task:
        task, folder = entry.split("=")
        theirs, mine = [], []
        for _ in range(arguments.rounds):
            mine.append(ours(arguments, task))
            theirs.append(peer(arguments, task, folder))
        (our_times, our_memory), (their_times, their_memory) = zip(*mine), zip(*theirs)
        show = lambda times: ", ".join(f"{t:.1f}" for t in times)
        ratio = statistics.median(their_times) / statistics.median(our_times)
        print(f"{task}: ours {show(our_times)} s, peer {show(their_times)} s, ratio of medians {ratio:.2f}; memory "
              f"{max(our_memory):.0f} of {max(their_memory):.0f} MB, {max(our_memory) / max(their_memory):.2f}", flush=True)


if __name__ == "__main__":
    main()
