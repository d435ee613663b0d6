"""Times training steps with AdapterDrop, with and without a warm prefix cache, beside what the layers' products count.

    python bench/training/truncated.py --adaptkit target/release/adaptkit --model DIR --layers 12 --drop 0 --drop 5 --drop 9

Rows are full (16 of 128 tokens) unless --task and --data name real ones. A step's time is the median of those after the
first epoch. Each number of dropped layers is run without a cache and with one in memory, in turn.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile


def rows(folder):
    with open(f"{folder}/rows.csv", "w") as file:
        file.write("text,label\n")
        for i in range(32):
            file.write(" ".join(f"word{i * j % 97}" for j in range(120)) + f",{'ab'[i % 2]}\n")
    return ["--train-file", f"{folder}/rows.csv", "--validation-file", f"{folder}/rows.csv", "--batch-size", "16"]


def steps(arguments, drop, cache):
    """The times of the steps after the first epoch."""
    with tempfile.TemporaryDirectory() as folder:
        data = ["--task", arguments.task, "--data", arguments.data] if arguments.task else rows(folder)
        command = [arguments.adaptkit, "train", "--model", arguments.model, *data, "--max-length", "128"]
        command += ["--epochs", str(arguments.epochs), "--threads", str(arguments.threads), "--precision", arguments.precision]
        command += ["--adapterdrop", drop, "--cache-budget", "4GB" if cache else "0", "--logging-steps", "1", "--quiet"]
        if arguments.max_train_samples:
            command += ["--max-train-samples", str(arguments.max_train_samples)]
        subprocess.run([*command, "--output-dir", f"{folder}/adapter"], check=True, stdout=subprocess.DEVNULL)
        with open(f"{folder}/adapter/metrics.jsonl") as file:
            lines = [json.loads(line) for line in file]
        with open(f"{folder}/adapter/all_results.json") as file:
            rows_an_epoch = json.load(file)["train_samples"]
    taken, epochs, elapsed = [], 0, 0.0
    for line in lines:
        if "eval_loss" in line:
            epochs += 1
            continue
        now = line["epoch"] * rows_an_epoch / line["rows_per_second"]
        if epochs > 0:
            taken.append(now - elapsed)
        elapsed = now
    return taken


def count(layers, drop, warm):
    """Products of a step in units of d*d a token: 12 a layer, 3 in the last, whose other tokens nobody reads; back from
    the last layer as many, into the lowest layer with an adapter none."""
    cost = [12] * (layers - 1) + [3]
    return sum(cost[drop:] if warm else cost) + sum(cost[drop + 1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("adaptkit", "model"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--drop", action="append", required=True)
    parser.add_argument("--task")
    parser.add_argument("--data")
    parser.add_argument("--max-train-samples", type=int)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", default="f32")
    arguments = parser.parse_args()
    cases = [(drop, cache) for drop in ["0", *arguments.drop] for cache in (False, True) if drop != "0" or not cache]
    times = {case: [] for case in cases}
    for _ in range(arguments.rounds):
        for drop, cache in cases:
            taken = steps(arguments, drop, cache)
            # Real rows' steps differ; an epoch's mean is what counts.
            times[drop, cache].append(statistics.mean(taken) if arguments.task else statistics.median(taken))
    layers, whole = arguments.layers, times["0", False]
    for (drop, cache), taken in times.items():
        # Rounds differ more than the runs of one.
        share = statistics.median(t / w for t, w in zip(taken, whole))
        line = f"drop {drop:>6} {'warm cache' if cache else 'no cache':>10}: {', '.join(f'{t:.3f}' for t in taken)} s"
        line += f"; median of ratios {share:.3f}, {1 / share:.2f} x"
        if drop.isdigit():
            line += f"; counted {count(layers, int(drop), cache) / count(layers, 0, False):.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
