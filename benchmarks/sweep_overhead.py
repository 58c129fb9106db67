"""What a sweep costs beside the bare commands: python benchmarks/sweep_overhead.py

Eight jobs of a few seconds each, one and two at a time: as `python run.py seed=N` from here, and as a sweep.
In turns, REPEATS times; medians and their ratio.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RUN = [sys.executable, str(Path(__file__).resolve().parents[1] / "run.py")]
JOB = ["threads=1", "data.size=64", "data.split.train=16", "model.base_channels=8", "model.depth=3"]


def bare(jobs: int, at_once: int, epochs: int, folder: Path) -> None:
    def one(seed: int) -> None:
        own = [f"seed={seed}", f"hydra.run.dir={seed}", f"epochs={epochs}"]
        subprocess.run([*RUN, *JOB, *own], cwd=folder, check=True, stdout=subprocess.DEVNULL)

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, range(jobs)))


def sweep(jobs: int, at_once: int, epochs: int, folder: Path) -> None:
    own = [f"seed=range({jobs})", f"n_jobs={at_once}", f"epochs={epochs}"]
    subprocess.run([*RUN, "-m", *JOB, *own], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def seconds(what: Callable[[int, int, int, Path], None], jobs: int, at_once: int, epochs: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        what(jobs, at_once, epochs, Path(folder))
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| at a time | bare, s | sweep, s | sweep / bare |\n|---|---|---|---|")
    for at_once in (1, 2):
        times: dict[str, list[float]] = {"bare": [], "sweep": []}
        for _ in range(options.repeats):
            for name, what in (("bare", bare), ("sweep", sweep)):
                times[name].append(seconds(what, options.jobs, at_once, options.epochs))
        middle = {name: statistics.median(values) for name, values in times.items()}
        ratio = statistics.median(b / a for a, b in zip(times["bare"], times["sweep"], strict=True))
        print(f"| {at_once} | {middle['bare']:.1f} | {middle['sweep']:.1f} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    main()
