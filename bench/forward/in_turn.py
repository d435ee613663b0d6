"""Measures Adaptkit and its peers in turn on the same rows, several times, and prints the ratios of their medians.

    python bench/forward/in_turn.py --adaptkit target/release/adaptkit --model bert-base --batch 16 --length 128 \
        --ours f32 --ours int8 --peer torch:f32 --peer torch:bf16 --peer onnxruntime:int8 --rounds 3
    python bench/forward/in_turn.py --adaptkit target/release/adaptkit --model MODEL_DIR --input rte/dev.tsv \
        --columns sentence1 sentence2 --ours f32 --peer torch:f32

    python bench/forward/in_turn.py --adaptkit target/release/adaptkit --model MODEL_DIR --ours f32 --peer torch:f32 \
        --train --adapterdrop 9 --cache warm --results step-9.jsonl --rounds 1

    cargo build --release --manifest-path bench/candle/Cargo.toml
    python bench/forward/in_turn.py --adaptkit target/release/adaptkit --model bert-base --ours f32 --peer candle:f32

    python bench/forward/in_turn.py --adaptkit target/release/adaptkit --model bert-base --fusion 8 --train --rounds 3 \
        --ours f32 --ours bf16 --peer torch:f32 --peer torch:bf16

A ratio is the peer's time over ours: above 1 we are faster. `--train` measures training steps too, `--tasks K` K adapters
on every row, `--fusion N` a fusion of N adapters beside one, `--adapterdrop` with the adapter left out of the lowest layers. With `--results`, what is measured is added
to a file and all of it counts: rounds can be run one at a time.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

PEER = os.path.join(os.path.dirname(__file__), "peer.py")
CANDLE = os.path.join(os.path.dirname(__file__), "../candle/target/release/candle-peer")


def measured(command):
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(run.stdout.splitlines()[-1])
    fusion = found.pop("fusion", None)
    if fusion:
        found |= {"fusion_s": fusion["logits_s"], "fusion_train_step_s": fusion["train_step_s"]}
        for name in ("logits_ratio", "train_step_ratio"):
            found |= {name: fusion[name], f"counted_{name}": fusion[f"counted_{name}"]}
    return found


def rows(arguments, ours):
    if not arguments.input:
        return ["--batch", str(arguments.batch), "--length", str(arguments.length)]
    flags = ["--batch", str(arguments.batch), "--input", arguments.input]
    if not ours:
        return flags + ["--columns", *arguments.columns] + ["--unsorted"] * arguments.unsorted
    flags += ["--text-column", arguments.columns[0]]
    return flags + (["--text-pair-column", arguments.columns[1]] if len(arguments.columns) > 1 else [])


def command_of(arguments, name):
    own, _, dtype = name.rpartition(":")
    common = ["--model", arguments.model, "--threads", str(arguments.threads), "--repeats", str(arguments.repeats)]
    common += ["--adapterdrop", arguments.adapterdrop] if arguments.adapterdrop else []
    common += ["--tasks", str(arguments.tasks)] if arguments.tasks else []
    common += ["--fusion", str(arguments.fusion)] if arguments.fusion else []
    if not own:
        common += ["--cache", arguments.cache] if arguments.cache else []
        instructions = ["--instructions", arguments.instructions] if arguments.instructions else []
        return [arguments.adaptkit, "bench", "--precision", dtype, "--json", "--quiet", *common, *rows(arguments, True), *instructions]
    if own == "candle":
        if arguments.input:
            sys.exit("candle is measured on full rows only: leave out --input or --peer candle:f32")
        return ["env", f"RAYON_NUM_THREADS={arguments.threads}", CANDLE, arguments.model, str(arguments.batch), str(arguments.length), str(arguments.repeats)]
    command = [sys.executable, PEER, "--system", own, "--dtype", dtype, *common, *rows(arguments, False)]
    command += ["--exports", arguments.exports] if arguments.exports else []
    return command + (["--train"] if arguments.train and own == "torch" else [])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adaptkit", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--ours", action="append", required=True, metavar="PRECISION")
    parser.add_argument("--peer", action="append", default=[], metavar="SYSTEM:DTYPE")
    parser.add_argument("--instructions", help="ours: instead of the fastest")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--input")
    parser.add_argument("--columns", nargs="+", default=["text"])
    parser.add_argument("--unsorted", action="store_true", help="peers take the rows in the file's order")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--adapterdrop", metavar="none|N|robust")
    parser.add_argument("--cache", metavar="none|warm", help="ours")
    parser.add_argument("--tasks", type=int)
    parser.add_argument("--fusion", type=int, metavar="MEMBERS")
    parser.add_argument("--results", help="a file of JSON lines to add to, and to count all of")
    parser.add_argument("--exports", help="a directory for the peers' ONNX files, which are made once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    results = {name: [] for name in arguments.ours + arguments.peer}
    if arguments.results and os.path.exists(arguments.results):
        with open(arguments.results) as file:
            for name, found in map(json.loads, file):
                results.setdefault(name, []).append(found)
    for _ in range(arguments.rounds):
        for name in arguments.ours + arguments.peer:
            found = measured(command_of(arguments, name))
            results[name].append(found)
            if arguments.results:
                with open(arguments.results, "a") as file:
                    print(json.dumps([name, found]), file=file)
    median = lambda name, what: statistics.median(round[what] for round in results[name])
    whats = ["forward_s"] + ["train_step_s"] * arguments.train + ["tasks_s", "one_by_one_s"] * bool(arguments.tasks)
    if arguments.fusion:
        whats += ["logits_s", "fusion_s"] + ["fusion_train_step_s"] * arguments.train
    for what in whats:
        for name, rounds in results.items():
            if not rounds or what not in rounds[0]:
                continue
            times = ", ".join(f"{round[what]:.4f}" for round in rounds)
            # Tasks one by one are what one pass for all of them is to be compared with.
            ours = "tasks_s" if what == "one_by_one_s" else what
            ratios = [f"{median(name, what) / median(own, ours):.2f} × {own}" for own in arguments.ours]
            memory = max(round.get("peak_rss_mb") or 0 for round in rounds)
            ratios = f"; {', '.join(ratios)}" if name in arguments.peer else ""
            print(f"{what} {name}: {times} s, median {median(name, what):.4f}{ratios}; {memory:.0f} MB", flush=True)
    for name, rounds in results.items() if arguments.fusion else ():
        # Of one adapter's speed: within a run, since all of its passes met the same neighbours.
        for one, fused in [("logits_s", "fusion_s"), ("train_step_s", "fusion_train_step_s")]:
            ratios = [round[one] / round[fused] for round in rounds if one in round and fused in round]
            if ratios:
                counted = rounds[0].get(f"counted_{one[:-2]}_ratio")
                counted = f", counted {counted:.2f}" if counted else ""
                print(f"{fused} {name}: {statistics.median(ratios):.2f} of one adapter's speed{counted}", flush=True)


if __name__ == "__main__":
    main()
