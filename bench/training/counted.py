"""Puts what AdapterDrop costs by the count of layers beside what it takes, for training steps and many tasks.

    python bench/training/counted.py --adaptkit target/release/adaptkit --model bert-base --drop 5 --drop 9 --tasks 8
    python bench/training/counted.py --adaptkit target/release/adaptkit --model DIR --shared 1 --tasks 2 --tasks 4

F and B, a layer's cost forward and backward, are measured in the same run: F by the bare encoder's forward pass beside
each case; B, with what adapters cost in both directions, by what a training step with the adapter in all layers takes
beyond that. With n of L layers dropped, the count is then

    a training step              L F + (L - n) B
    the same with a warm cache   (L - n) (F + B)
    k tasks on a text            (n + s) F + k (L - n - s) F

where of the last layer a quarter counts, since nobody reads its other tokens than the first; of the lowest layer
with an adapter no B, since back-propagation ends at its end; and s is the share of that layer which lies before the
adapter, all of it but for Houlsby's: tasks share it too. All runs of a round are made before the next round begins;
medians count. With --shared, the gain of k tasks for each layer that they share is printed, n = 0 over n, as the
paper's Table 2 has it (4.3, 6.6, 7.8 and 8.4 % for 2, 4, 8 and 16 tasks).
"""
import argparse
import json
import statistics
import subprocess


def bench(arguments, drop, cache="none", tasks=None):
    command = [arguments.adaptkit, "bench", "--model", arguments.model, "--batch", str(arguments.batch)]
    command += ["--length", str(arguments.length), "--precision", arguments.precision, "--json", "--quiet"]
    command += ["--adapter", arguments.adapter, "--repeats", str(arguments.repeats), "--cache", cache]
    command += ["--adapterdrop", str(drop) if drop else "none"]
    command += ["--tasks", str(tasks)] if tasks else []
    command += ["--threads", str(arguments.threads)] if arguments.threads else []
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def forward_layers(layers, first):
    """Layers from `first` on, the last a quarter."""
    return max(layers - first - 0.75, 0.0)


def backward_layers(layers, drop, adapter):
    """What back-propagation goes through above the lowest end with an adapter. Houlsby's lowest one lies before the
    feed-forward, two thirds of a layer's products."""
    below = 2 / 3 if adapter in ("houlsby", "double_seq_bn") else 0.0
    return max(layers - drop - 1.75, 0.0) + below


def task_layers(layers, drop, adapter, tasks):
    """What tasks share, and what each has for itself."""
    own = forward_layers(layers, drop + 1)
    if adapter in ("houlsby", "double_seq_bn"):
        own += 2 / 3 * (1.0 if drop + 1 < layers else 0.25)
    return forward_layers(layers, 0) - own + tasks * own


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("adaptkit", "model"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--drop", action="append", type=int, default=[])
    parser.add_argument("--tasks", action="append", type=int, default=[])
    parser.add_argument("--shared", action="append", type=int, default=[])
    parser.add_argument("--adapter", default="pfeiffer")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cases = [(0, "none", None)]
    for drop in arguments.drop:
        cases += [(drop, cache, None) for cache in ("none", "warm")]
        cases += [(drop, "none", tasks) for tasks in arguments.tasks]
    cases += [(drop, "none", tasks) for drop in [0, *arguments.shared] for tasks in arguments.tasks if arguments.shared]
    cases = list(dict.fromkeys(cases))
    rounds = []
    for _ in range(arguments.rounds):
        rounds.append({case: bench(arguments, *case) for case in cases})
    whole = rounds[0][0, "none", None]
    layers = whole["layers"]
    machine = whole["machine"]
    print(f"{machine['cpu']}, {whole['threads']} threads, {whole['instructions']}, {whole['precision']}")
    print(f"{arguments.model}, {arguments.batch} rows of {arguments.length} tokens, {arguments.adapter}\n")

    def middle(values):
        return statistics.median(values)

    def of_layer(took):
        return took["forward_s"] / layers

    def back(round_):
        """B over F, of a round."""
        base = round_[0, "none", None]
        beyond = base["train_step_s"] - forward_layers(layers, 0) * of_layer(base)
        return beyond / backward_layers(layers, 0, arguments.adapter) / of_layer(base)

    f, b = (middle(value(r) for r in rounds) for value in (lambda r: of_layer(r[0, "none", None]), back))
    print(f"F {1e3 * f:.2f} ms, B {1e3 * f * b:.2f} ms")
    print(f"{'':<32} {'counted':>9} {'measured':>9} {'measured/counted':>17}")

    def line(name, counted, measured):
        ratio = middle(m / c for m, c in zip(measured, counted))
        print(f"{name:<32} {middle(counted):>8.4f}s {middle(measured):>8.4f}s {ratio:>17.3f}", flush=True)

    for drop, cache, tasks in cases[1:]:
        counted, measured = [], []
        for round_ in rounds:
            took = round_[drop, cache, tasks]
            f, b = of_layer(took), back(round_) * of_layer(took)
            if tasks:
                counted.append(task_layers(layers, drop, arguments.adapter, tasks) * f)
                measured.append(took["tasks_s"])
            else:
                forward = forward_layers(layers, drop if cache == "warm" else 0)
                counted.append(forward * f + backward_layers(layers, drop, arguments.adapter) * b)
                measured.append(took["train_step_s"])
        what = f"{tasks} tasks" if tasks else f"step, {'warm cache' if cache == 'warm' else 'no cache'}"
        line(f"n = {drop}: {what}", counted, measured)

    for tasks in arguments.tasks:
        for drop in arguments.shared:
            gain = middle(r[0, "none", tasks]["tasks_s"] / r[drop, "none", tasks]["tasks_s"] - 1 for r in rounds)
            alone = middle(r[drop, "none", tasks]["one_by_one_s"] / r[drop, "none", tasks]["tasks_s"] for r in rounds)
            print(f"{tasks} tasks share {drop}: {100 * gain / drop:.1f} % a layer; {alone:.2f} x as fast as one by one")


if __name__ == "__main__":
    main()
