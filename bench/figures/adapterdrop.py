"""AdapterDrop's Figure 2 (Rücklé et al. 2021): scores over the number of dropped layers n, for an adapter trained as
usual, one trained robustly, and one trained for each n.

    python bench/figures/adapterdrop.py --adaptkit target/release/adaptkit --model DIR --data GLUE_DIR --results DIR \\
        --tasks cola,mrpc,stsb,sst2 --max-train-rows sst2=10000 --seeds 0,1,2 --dropped 1,3,5

Can be stopped at any time and started again: a training that ended has left RESULTS/MODEL/*.json and is not repeated,
one that was interrupted goes on from its checkpoint, and all share what is kept of the layers below their adapters in
RESULTS/prefixes. All tasks of a seed come before the next seed. At the end, and with --draw-only at once, the table and
the picture of what is there are RESULTS/MODEL.md and RESULTS/MODEL.svg.
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys

import lines

INTERRUPTED = "interrupted; the same command goes on from here"

STYLES = {"standard": ("#888888", "2 3"), "robust": ("#1f5fa8", "none"), "specialised": ("#c25a12", "7 4")}

# What the paper scores a task by.
SCORES = {
    "cola": ("CoLA", "matthews_correlation", "Matthews correlation"),
    "mrpc": ("MRPC", "accuracy", "accuracy"),
    "stsb": ("STS-B", "spearmanr", "Spearman correlation"),
    "sst2": ("SST-2", "accuracy", "accuracy"),
    "rte": ("RTE", "accuracy", "accuracy"),
    "qnli": ("QNLI", "accuracy", "accuracy"),
    "mnli": ("MNLI", "accuracy", "accuracy"),
    "qqp": ("QQP", "accuracy", "accuracy"),
}


def machine():
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} cores"


def command(arguments, verb, task, *rest):
    words = [arguments.adaptkit, verb, "--model", arguments.model, "--task", task, "--data", arguments.data]
    words += ["--threads", str(arguments.threads), "--json", "--quiet", *rest]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def settings(arguments, task):
    return {
        "epochs": arguments.epochs,
        "learning_rate": arguments.learning_rate,
        "batch_size": arguments.batch_size,
        "reduction_factor": arguments.reduction_factor,
        "max_train_rows": arguments.max_train_rows.get(task),
    }


def save(path, result):
    """A reader of a half-written file cannot exist."""
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(result) + "\n")
    unfinished.replace(path)


def run(arguments, results, task, seed, drop):
    """Trains with `drop`, none, robust or a number, and writes the scores beside the numbers of dropped layers."""
    name = f"{task}-seed{seed}-{drop}"
    path, folder = results / f"{name}.json", results / "unfinished" / name
    chosen = settings(arguments, task)
    if path.exists():
        there = json.loads(path.read_text())["settings"]
        if there != chosen:
            sys.exit(f"{path} was made with {there}, not {chosen}: give --results another directory, or remove it")
        return
    print(f"{results.name}: {name}", file=sys.stderr, flush=True)
    if not (folder / "all_results.json").exists():
        command(arguments, "train", task, "--adapterdrop", drop, "--seed", str(seed), "--epochs", str(arguments.epochs),
                "--learning-rate", str(arguments.learning_rate), "--batch-size", str(arguments.batch_size),
                "--reduction-factor", str(arguments.reduction_factor), "--precision", arguments.precision,
                *(["--max-train-samples", str(chosen["max_train_rows"])] if chosen["max_train_rows"] else []),
                *([] if drop == "none" else ["--cache-dir", str(results.parent / "prefixes")]),
                "--resume", "--output-dir", str(folder))
    trained = json.loads((folder / "all_results.json").read_text())
    metric = f"eval_{SCORES[task][1]}"
    if drop.isdigit():
        scores = {drop: trained[metric]}
    else:
        sweep = command(arguments, "eval", task, "--adapter", str(folder), "--adapterdrop", "sweep",
                        "--precision", arguments.precision)["eval_adapterdrop"]
        # The last number drops the adapter from every layer; the paper's figure ends before.
        scores = {str(point["dropped_layers"]): point[metric] for point in sweep[:-1]}
    result = {"task": task, "seed": seed, "adapterdrop": drop, "metric": SCORES[task][1],
              "scores": {n: round(score, 5) for n, score in scores.items()}, "best_epoch": trained["best_epoch"],
              "train_samples": trained["train_samples"], "train_runtime": round(trained["train_runtime"], 1),
              "settings": chosen, "precision": arguments.precision, "machine": machine()}
    save(path, result)
    shutil.rmtree(folder)


def collected(results):
    """For each task and training, the seeds' scores by number of dropped layers."""
    found = {}
    for path in sorted(results.glob("*.json")):
        result = json.loads(path.read_text())
        name = "specialised" if result["adapterdrop"].isdigit() else {"none": "standard"}.get(result["adapterdrop"], "robust")
        scores = found.setdefault(result["task"], {}).setdefault(name, {})
        for n, score in result["scores"].items():
            scores.setdefault(int(n), []).append(score)
    return found


def cell(scores):
    if not scores:
        return ""
    mean = 100 * statistics.mean(scores)
    return f"{mean:.1f}" if len(scores) == 1 else f"{mean:.1f} ± {100 * statistics.stdev(scores):.1f}"


def table(found, tasks):
    most = max(n for trainings in found.values() for scores in trainings.values() for n in scores)
    numbers = list(range(most + 1))
    rows = ["| task | training | seeds | " + " | ".join(f"n = {n}" for n in numbers) + " |"]
    rows.append("|" + "---|" * (3 + len(numbers)))
    for task in tasks:
        for training in ("standard", "robust", "specialised"):
            scores = found.get(task, {}).get(training)
            if scores is None:
                continue
            # Dropping nothing is what the standard adapter was trained for.
            scores = {0: found[task].get("standard", {}).get(0, []), **scores} if training == "specialised" else scores
            seeds = sorted({len(of_n) for of_n in scores.values() if of_n})
            seeds = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
            title = f"{SCORES[task][0]}, {SCORES[task][2]}"
            rows.append(f"| {title} | {training} | {seeds} | " + " | ".join(cell(scores.get(n, [])) for n in numbers) + " |")
    return "\n".join(rows) + "\n"


def draw(arguments, results):
    found = collected(results)
    tasks = [task for task in SCORES if task in found]
    if not tasks:
        sys.exit(f"there is no result in {results} yet")
    results.with_suffix(".md").write_text(table(found, tasks))
    panels = []
    for task in tasks:
        trainings = found[task]
        drawn = {name: {n: [100 * s for s in of_n] for n, of_n in trainings[name].items()} for name in trainings}
        if "specialised" in drawn and "standard" in drawn:
            drawn["specialised"][0] = drawn["standard"][0]
        panels.append((f"{SCORES[task][0]}: {SCORES[task][2]}, × 100", drawn))
    title = f"{results.name}: scores without the adapters of the n lowest layers"
    results.with_suffix(".svg").write_text(lines.svg(title, "dropped layers n", panels, STYLES))
    print(f"{results.with_suffix('.md')}\n{results.with_suffix('.svg')}")


def numbers(words):
    return [int(word) for word in words.split(",")]


def row_limits(words):
    return {task: int(rows) for task, rows in (entry.split("=") for entry in words.split(","))}


def names(known):
    """Reads a list of names that are all known."""
    def of(words):
        for task in words.split(","):
            if task not in known:
                raise argparse.ArgumentTypeError(f"no task {task}; there are {', '.join(known)}")
        return words.split(",")
    return of


def flags(description, data, epochs):
    """The flags that every figure has."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    for name, words in (("adaptkit", "the binary"), ("model", "the base's directory, whose name the results bear"),
                        ("data", data), ("results", "where results and unfinished runs are kept")):
        parser.add_argument(f"--{name}", required=True, help=words)
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2], metavar="N,…")
    parser.add_argument("--max-train-rows", type=row_limits, default={}, metavar="TASK=N,…", help="train on a task's first N rows")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--reduction-factor", type=float, default=16)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--draw-only", action="store_true", help="train nothing: tables and pictures of what is there")
    return parser


def in_pieces(main):
    """Runs `main`, which can be stopped at any time."""
    try:
        main()
    except subprocess.CalledProcessError as failed:
        # The shell's codes of Ctrl-C and SIGTERM.
        interrupted = failed.returncode in (130, 143)
        sys.exit(INTERRUPTED if interrupted else f"adaptkit {failed.cmd[1]} ended with {failed.returncode}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def main():
    parser = flags(__doc__, "the folder of GLUE's folders", epochs=4)
    parser.add_argument("--tasks", type=names(SCORES), default=["cola", "mrpc", "stsb", "sst2"], metavar="NAME,…")
    parser.add_argument("--dropped", type=numbers, default=[1, 3, 5], metavar="N,…", help="numbers to train specialised adapters for")
    arguments = parser.parse_args()
    results = pathlib.Path(arguments.results) / pathlib.Path(arguments.model).resolve().name
    if not arguments.draw_only:
        results.mkdir(parents=True, exist_ok=True)
        for seed in arguments.seeds:
            for task in arguments.tasks:
                for drop in ["none", "robust", *map(str, arguments.dropped)]:
                    run(arguments, results, task, seed, drop)
    draw(arguments, results)


if __name__ == "__main__":
    in_pieces(main)
