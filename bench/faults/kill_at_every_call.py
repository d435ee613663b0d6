"""Kills commands at every system call that changes a file, and looks at what is left.

    python bench/faults/kill_at_every_call.py --adaptkit target/debug/adaptkit --model goldens/bert/model

Needs strace and nothing of Python beside its own library. For each command: it runs once under strace, to
count its calls; then once for each call of each kind, killed (SIGKILL) at that call. After each kill
  - the output is absent, the earlier one, or the new one, and whole;
  - the same command with --resume (where it has that, else --overwrite) ends with code 0, and its output has
    the bytes of a run that was left alone;
  - nothing is left beside it but hidden .adaptkit-….partial entries.
Prints a line for each command, and every trial that failed; the exit code is their number, 99 at most.
"""
import argparse, collections, hashlib, os, pathlib, re, shutil, subprocess, sys, tempfile

CALLS = ("rename renameat renameat2 link linkat symlink unlink unlinkat rmdir mkdir mkdirat fsync fdatasync "
         "ftruncate fallocate write pwrite64 flock utimensat chmod fchmod").split()
# What differs between runs that made the same: times, and the memory that they took.
TIMED = re.compile(rb'"(\w*(?:runtime|second|memory)\w*)": ?[^,}\n]+')

def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--adaptkit", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--commands", help="only these, with commas")
    return parser.parse_args()

def digest(path):
    """A digest of a file or directory, times aside; None if there is none. Cards quote times, too."""
    if path.is_file():
        return hashlib.sha256(TIMED.sub(rb'"\1"', path.read_bytes())).hexdigest()
    if not path.is_dir():
        return None
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != "README.md")
    return hashlib.sha256("".join(f"{p.relative_to(path)} {digest(p)}\n" for p in files).encode()).hexdigest()

class Trials:
    def __init__(self, options):
        self.binary, self.model = (str(pathlib.Path(p).resolve()) for p in (options.adaptkit, options.model))
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="adaptkit-kills-"))
        self.failures = 0
        rows = [f"message {i} of the test,{['spam', 'ham'][i * i % 3 % 2]}\n" for i in range(40)]
        (self.home / "rows.csv").write_text("text,label\n" + "".join(rows))
        (self.home / "in.txt").write_text("one\ntwo\nthree\n")

    def run(self, words, *strace):
        command = [*strace, self.binary, *words, "--quiet", "--threads", "1"]
        return subprocess.run(command, cwd=self.home, capture_output=True,
                              env=dict(os.environ, ADAPTKIT_CACHE=str(self.home / "cache")))

    def must(self, words):
        ended = self.run(words)
        assert ended.returncode == 0, (words, ended.stderr.decode())

    def counts(self, words):
        """The most calls of each kind that one thread makes: strace counts by threads."""
        log = self.home / "calls.log"
        ended = self.run(words, "strace", "-f", "-o", str(log), "-e", "trace=" + ",".join(CALLS))
        assert ended.returncode == 0, ended.stderr.decode()
        made = collections.Counter(re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.M))
        log.unlink()
        most = collections.Counter()
        for (_, call), count in made.items():
            most[call] = max(most[call], count)
        return most

    def command(self, name, words, again, output, prepare=lambda: None):
        """Kills `words` everywhere; `again` is what must end well afterwards, with the bytes of a run left alone."""
        place = self.home / output
        def reset():
            for entry in [place, self.home / f"{output}.checkpoint", *self.home.glob(".adaptkit-*"), self.home / "states"]:
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
            prepare()
        reset()
        earlier = digest(place)
        counts = self.counts(words)
        whole = digest(place)
        killed = ended_before = 0
        for call, most in sorted(counts.items()):
            for number in range(1, most + 1):
                reset()
                inject = f"inject={call}:signal=KILL:when={number}"
                first = self.run(words, "strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject)
                killed += first.returncode != 0
                ended_before += first.returncode == 0
                found = digest(place)
                second = self.run(again)
                left = sorted(p.name for p in self.home.iterdir() if p.name.startswith(output) and p != place)
                problem = None
                if found not in (earlier, whole):
                    problem = "the output is neither the earlier nor the new one"
                elif second.returncode != 0:
                    problem = f"code {second.returncode}: {second.stderr.decode().strip()}"
                elif digest(place) != whole:
                    problem = "afterwards it has other bytes"
                elif left:
                    problem = f"left: {left}"
                if problem:
                    self.failures += 1
                    print(f"  {name}, {call} {number}: {problem}", flush=True)
        kinds = ", ".join(f"{call} {most}" for call, most in sorted(counts.items()))
        print(f"{name}: {killed} kills, {ended_before} ended before; calls: {kinds}", flush=True)

def main():
    options = arguments()
    trials = Trials(options)
    train = ["train", "--model", trials.model, "--train-file", "rows.csv", "--max-length", "20", "--epochs", "2",
             "--batch-size", "8", "--save-steps", "2", "--logging-steps", "2"]
    into = lambda output, *more: [*train, "--output-dir", output, *more]
    trials.must(into("one"))
    trials.must(into("two", "--seed", "1"))
    fuse = ["fuse", "--model", trials.model, "--train-file", "rows.csv", "--max-length", "20", "--epochs", "1",
            "--batch-size", "8", "--save-steps", "2", "--adapter", "one", "--adapter", "two"]
    trials.must([*fuse, "--output-dir", "three"])
    earlier = lambda: shutil.copytree(trials.home / "two", trials.home / "out")
    checkpoint = trials.home / "out.checkpoint"
    def begun():
        inject = ["-e", "trace=rename", "-e", "inject=rename:signal=KILL:when=2"]
        trials.run(into("out"), "strace", "-f", "-o", "/dev/null", *inject)
        assert (checkpoint / "checkpoint.safetensors").exists()
    predict = ["predict", "--model", trials.model, "--adapter", "one", "--input", "in.txt", "--output", "out"]
    prune = ["prune", "--model", trials.model, "--fusion", "three", "--keep", "1", "--train-file", "rows.csv",
             "--retrain-epochs", "1", "--output-dir", "out"]
    merge = ["merge", "--adapter", "one", "--adapter", "two", "--output-dir", "out"]
    quickstart = ["quickstart", "--model", trials.model, "--epochs", "1", "--output-dir", "out"]
    cached = ["--adapterdrop", "1", "--cache-dir", "states"]
    commands = {
        "train": (into("out"), into("out", "--resume")),
        "train --overwrite": (into("out", "--overwrite"), into("out", "--overwrite", "--resume"), earlier),
        "train --resume": (into("out", "--resume"), into("out", "--resume"), begun),
        "train --overwrite over a checkpoint": (
            into("out", "--overwrite"), into("out", "--overwrite", "--resume"), begun),
        "train --cache-dir": (into("out", *cached), into("out", *cached, "--resume")),
        "fuse": ([*fuse, "--output-dir", "out"], [*fuse, "--output-dir", "out", "--resume"]),
        "prune --retrain-epochs": (prune, [*prune, "--overwrite"]),
        "merge": (merge, [*merge, "--overwrite"]),
        "predict --output": (predict, predict, lambda: (trials.home / "out").write_text("earlier\n")),
        "quickstart": (quickstart, [*quickstart, "--overwrite"]),
    }
    wanted = options.commands.split(",") if options.commands else list(commands)
    for name in wanted:
        words, again, *prepare = commands[name]
        trials.command(name, words, again, "out", *prepare)
    shutil.rmtree(trials.home)
    print("failures:", trials.failures)
    sys.exit(min(trials.failures, 99))

main()
