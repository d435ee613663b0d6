"""Times `adaptkit predict` of one short text, the process's start included, and prints the median.

    python bench/forward/one_text.py --adaptkit target/release/adaptkit --model MODEL_DIR --adapter ADAPTER_DIR
"""
import argparse
import statistics
import subprocess
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("adaptkit", "model", "adapter"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    command = [arguments.adaptkit, "predict", "--model", arguments.model, "--adapter", arguments.adapter]
    times = []
    for _ in range(arguments.rounds + 1):
        start = time.perf_counter()
        subprocess.run(command, input="one short text\n", text=True, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    # The first brings the files into the page cache.
    times = sorted(times[1:])
    print(f"median {statistics.median(times):.3f} s, {times[0]:.3f} to {times[-1]:.3f} s in {len(times)} runs")


if __name__ == "__main__":
    main()
