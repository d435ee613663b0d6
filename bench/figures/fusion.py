"""AdapterDrop's Figures 4 and 5 (Rücklé et al. 2021): AdapterFusion with fusion left out of the n lowest layers, and with
all but the K members pruned that it attends to most.

    python bench/figures/fusion.py --adaptkit target/release/adaptkit --model DIR --data DIR --results DIR \\
        --targets rte,cola,mrpc --max-train-rows sst2=10000 --seeds 0,1,2

Trains an adapter for each member task, and for each target task a fusion of all, plain and robust. Can be stopped at any
time and started again: what ended is in RESULTS/MODEL and is not repeated, and a training that was interrupted goes on
from its checkpoint. All targets of a seed come before the next seed. At the end, and with --draw-only at once, the
tables and the pictures of what is there are RESULTS/MODEL-fusion.md, RESULTS/MODEL-dropped.svg and
RESULTS/MODEL-pruned.svg.
"""
import json
import pathlib
import statistics
import subprocess
import sys

import lines
from adapterdrop import SCORES, cell, flags, in_pieces, machine, names, save

FILES = ("--validation-fraction", "0.1")
# Where a member's rows are, beside --data, and how they are read.
MEMBERS = {
    **{task: ("--task", task) for task in ("rte", "mrpc", "cola", "stsb", "sst2")},
    "sms_spam": ("--train-file", "SMS_SPAM/SMSSpamCollection", "--no-header", "--input-format", "tsv",
                 "--label-column", "1", "--text-column", "2", *FILES),
    "disasters": ("--train-file", "CF_DISASTERS/socialmedia-disaster-tweets-DFE.csv", "--encoding", "latin-1",
                  "--text-column", "text", "--label-column", "choose_one", "--drop-label", "Can't Decide", *FILES),
    "corporate_messaging": ("--train-file", "CF_CORPORATE_MESSAGING/Corporate-messaging-DFE.csv", "--encoding", "latin-1",
                            "--text-column", "text", "--label-column", "category", *FILES),
}
TARGETS = ("rte", "cola", "mrpc")
STYLES = {"single-task adapter": ("#888888", "2 3"), "fusion": ("#1f5fa8", "none"), "robust fusion": ("#c25a12", "7 4")}


def command(arguments, verb, *rest):
    words = [arguments.adaptkit, verb, "--model", arguments.model, "--threads", str(arguments.threads),
             "--precision", arguments.precision, "--json", "--quiet", *rest]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def rows(arguments, task):
    words = list(MEMBERS[task])
    if words[0] == "--task":
        return [*words, "--data", arguments.data]
    words[1] = str(pathlib.Path(arguments.data) / words[1])
    return words


def limit(arguments, task):
    limits = arguments.max_train_rows
    return ["--max-train-samples", str(limits[task])] if task in limits else []


def train(arguments, folder, seed, epochs, learning_rate, verb, *rest):
    """A training whose directory stays, and its results."""
    if not (folder / "all_results.json").exists():
        print(f"{arguments.results}: {folder.name}", file=sys.stderr, flush=True)
        command(arguments, verb, *rest, "--seed", str(seed), "--epochs", str(epochs), "--learning-rate", str(learning_rate),
                "--batch-size", str(arguments.batch_size), "--early-stopping-patience", "3", "--resume",
                "--output-dir", str(folder))
    return json.loads((folder / "all_results.json").read_text())


def adapter(arguments, results, task, seed):
    folder = results / f"seed-{seed}" / task
    trained = train(arguments, folder, seed, arguments.epochs, arguments.learning_rate, "train", *rows(arguments, task),
                    *limit(arguments, task), "--reduction-factor", str(arguments.reduction_factor))
    return folder, trained


def target(arguments, results, task, seed):
    """The target's own adapter and both fusions, with a seed's head and attention; the members are of the first seed."""
    metric = f"eval_{SCORES[task][1]}"
    first = arguments.seeds[0]
    members = [str(results / f"seed-{first}" / member) for member in arguments.members]
    for training in ("plain", "robust"):
        path = results / f"{task}-seed{seed}-{training}.json"
        if path.exists():
            continue
        _, single = adapter(arguments, results, task, seed)
        folder = results / "fusions" / f"{task}-seed{seed}-{training}"
        fused = train(arguments, folder, seed, arguments.fusion_epochs, arguments.fusion_learning_rate, "fuse",
                      *rows(arguments, task), *limit(arguments, task),
                      *(word for member in members for word in ("--adapter", member)),
                      *(["--adapterdrop", "robust"] if training == "robust" else []))
        dropped = command(arguments, "eval", *rows(arguments, task), "--adapter", str(folder),
                          "--adapterdrop", "sweep")["eval_adapterdrop"]
        pruned = command(arguments, "prune", *rows(arguments, task), *limit(arguments, task), "--fusion", str(folder),
                         "--sweep")["prune_sweep"] if training == "plain" else []
        save(path, {
            "task": task, "seed": seed, "training": training, "metric": SCORES[task][1], "members": arguments.members,
            "single_task": round(single[metric], 5), "fusion": round(fused[metric], 5),
            # The last number drops the fusion from every layer; the paper's figure ends before.
            "dropped": {str(point["dropped_layers"]): round(point[metric], 5) for point in dropped[:-1]},
            "pruned": {str(point["keep"]): [round(point[metric], 5), round(point["eval_samples_per_second"], 1)]
                       for point in pruned},
            "best_epoch": fused["best_epoch"], "train_runtime": round(fused["train_runtime"], 1),
            "settings": {name: getattr(arguments, name) for name in (
                "epochs", "learning_rate", "fusion_epochs", "fusion_learning_rate", "batch_size", "reduction_factor")},
            "precision": arguments.precision, "machine": machine(),
        })


def collected(results):
    return [json.loads(path.read_text()) for path in sorted(results.glob("*-seed*-*.json"))]


def of_task(found, task, training):
    return [result for result in found if (result["task"], result["training"]) == (task, training)]


def over(results, part):
    """The seeds' values of `part` by the number they are for."""
    values = {}
    for result in results:
        for number, value in result[part].items():
            values.setdefault(int(number), []).append(value)
    return values


def dropped_table(found, tasks):
    numbers_ = sorted({int(n) for result in found for n in result["dropped"]})
    table = ["| task | what | seeds | " + " | ".join(f"n = {n}" for n in numbers_) + " |", "|" + "---|" * (3 + len(numbers_))]
    for task in tasks:
        title = f"{SCORES[task][0]}, {SCORES[task][2]}"
        plain = of_task(found, task, "plain")
        single = [result["single_task"] for result in plain]
        table.append(f"| {title} | the task's own adapter | {len(single)} | {cell(single)} |" + " |" * (len(numbers_) - 1))
        for training in ("plain", "robust"):
            scores = over(of_task(found, task, training), "dropped")
            cells = " | ".join(cell(scores.get(n, [])) for n in numbers_)
            table.append(f"| {title} | fusion, {training} | {len(of_task(found, task, training))} | {cells} |")
    return "\n".join(table) + "\n"


def pruned_table(found, tasks):
    kept = sorted({int(k) for result in found for k in result["pruned"]}, reverse=True)
    table = ["| task | what | " + " | ".join(f"K = {k}" for k in kept) + " |", "|" + "---|" * (2 + len(kept))]
    for task in tasks:
        values = over(of_task(found, task, "plain"), "pruned")
        title = f"{SCORES[task][0]}, {SCORES[task][2]}"
        table.append(f"| {title} | score | " + " | ".join(cell([s for s, _ in values.get(k, [])]) for k in kept) + " |")
        speed = {k: statistics.median(speed for _, speed in values[k]) for k in values}
        cells = " | ".join(f"{speed[k] / speed[kept[0]]:.2f}" if k in speed and kept[0] in speed else "" for k in kept)
        table.append(f"| {title} | speed beside all members | {cells} |")
    return "\n".join(table) + "\n"


def draw(arguments, results):
    found = collected(results)
    tasks = [task for task in TARGETS if of_task(found, task, "plain")]
    if not tasks:
        sys.exit(f"there is no result in {results} yet")
    beside = results.parent
    results_of = lambda kind: beside / f"{results.name}-{kind}"
    table = results_of("fusion").with_suffix(".md")
    table.write_text(dropped_table(found, tasks) + "\n" + pruned_table(found, tasks))
    times = lambda values: {n: [100 * value for value in of_n] for n, of_n in values.items()}
    dropped, pruned = [], []
    for task in tasks:
        title = f"{SCORES[task][0]}: {SCORES[task][2]}, × 100"
        plain, robust = of_task(found, task, "plain"), of_task(found, task, "robust")
        scores = over(plain, "dropped")
        single = [result["single_task"] for result in plain]
        series = {"single-task adapter": times({n: single for n in scores}), "fusion": times(scores)}
        if robust:
            series["robust fusion"] = times(over(robust, "dropped"))
        dropped.append((title, series))
        kept = {k: [score for score, _ in of_k] for k, of_k in over(plain, "pruned").items()}
        pruned.append((title, {"single-task adapter": times({k: single for k in kept}), "fusion": times(kept)}))
    pictures = [(results_of("dropped"), "scores without fusion in the n lowest layers", "dropped layers n", dropped),
                (results_of("pruned"), "scores with the K members that are attended to most", "kept members K", pruned)]
    for path, title, across, panels in pictures:
        path.with_suffix(".svg").write_text(lines.svg(f"{results.name}: {title}", across, panels, STYLES))
        print(path.with_suffix(".svg"))
    print(table)


def main():
    parser = flags(__doc__, "the folder of the tasks' folders", epochs=10)
    parser.add_argument("--members", type=names(MEMBERS), default=list(MEMBERS), metavar="NAME,…")
    parser.add_argument("--targets", type=names(TARGETS), default=list(TARGETS), metavar="NAME,…")
    parser.add_argument("--fusion-epochs", type=int, default=10)
    parser.add_argument("--fusion-learning-rate", type=float, default=5e-4)
    arguments = parser.parse_args()
    results = pathlib.Path(arguments.results) / pathlib.Path(arguments.model).resolve().name
    if not arguments.draw_only:
        results.mkdir(parents=True, exist_ok=True)
        for task in arguments.members:
            adapter(arguments, results, task, arguments.seeds[0])
        for seed in arguments.seeds:
            for task in arguments.targets:
                target(arguments, results, task, seed)
    draw(arguments, results)


if __name__ == "__main__":
    in_pieces(main)
