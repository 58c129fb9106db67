"""How long a sweep of many jobs takes before its first job, and again when all have ended.

    python benchmarks/large_sweep.py                          # 1,000 jobs, under a minute
    python benchmarks/large_sweep.py --beside OTHER_CHECKOUT  # the same with another version, in turns

"planned": from the command to the line that counts the jobs, all composed, checked and written; then it is
killed. "again": the same command where each job has the files of one that was trained, results included.
"""

import argparse
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = [
    "data.size=32",
    "data.split.train=6",
    "data.split.val=12",
    "model.depth=2",
    "model.base_channels=4",
    "epochs=2",
    "threads=1",
    "trainer.report=false",
    "trainer.plots=false",
]
OF_A_JOB = ("status.json", "*.csv", "environment.json", "data_fingerprint.json", "config_resolved.yaml")


def command(checkout: Path, folder: str, *axes: str) -> list[str]:
    return [sys.executable, str(checkout / "run.py"), "-m", *TINY, *axes, f"sweep_dir={folder}"]


def planned(checkout: Path, start: Path, axes: list[str]) -> float:
    shutil.rmtree(start / "many", ignore_errors=True)
    began = time.perf_counter()
    process = subprocess.Popen(command(checkout, "many", *axes), cwd=start, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if " jobs in " in line:
            break
    took = time.perf_counter() - began
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2)  # a job that had begun stops by itself
    return took


def again(checkout: Path, start: Path, axes: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command(checkout, "many", *axes), cwd=start, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def end_all(checkout: Path, start: Path) -> None:
    """Give each job the files of one that was trained."""
    one = command(checkout, "one", "lr=1e-3", "seed=0")
    subprocess.run(one, cwd=start, check=True, stdout=subprocess.DEVNULL)
    (done,) = (path.parent for path in start.glob("one/*/job.json"))
    for record in start.glob("many/*/job.json"):
        for pattern in OF_A_JOB:
            for path in done.glob(pattern):
                shutil.copy(path, record.parent)
        shutil.copytree(done / "checkpoints", record.parent / "checkpoints", dirs_exist_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1000, help="a multiple of five")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--beside", type=Path, help="the root of another checkout")
    options = parser.parse_args()
    axes = ["lr=1e-3,2e-3,3e-3,4e-3,5e-3", f"seed=range({options.jobs // 5})"]
    checkouts = {"this": ROOT} | ({"other": options.beside.resolve()} if options.beside else {})
    print("| checkout | planned, s | again, s |\n|---|---|---|")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repeats):
            for name, checkout in checkouts.items():
                start = Path(folder, name)
                start.mkdir(exist_ok=True)
                took = planned(checkout, start, axes)
                end_all(checkout, start)
                times[name].append((took, again(checkout, start, axes)))
    for name, pairs in times.items():
        first, second = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"| {name} | {first:.1f} | {second:.1f} |", flush=True)


if __name__ == "__main__":
    main()
