"""A small run from the start of its process to the end, and the way to the first update; side by side.

    pip install -c constraints.txt -e ".[benchmark]"
    python benchmarks/small_run.py                  # about 3 minutes on two cores

Eight PNG files of 64x64, two epochs in batches of 4. unet_exp (python run.py) also reads a ninth image to
validate, writes tables and draws two pictures, which the others (benchmarks/loops.py) do not. The default run
is python run.py on the drawn membranes: its time against that of its training steps and its start-up.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUN = HERE.parent / "run.py"
sys.path.insert(0, str(HERE.parent))

from benchmarks.loops import own_settings, write_images

PLAIN = "unet_exp, no pictures"
ARMS = ["unet_exp", PLAIN, "lecture", "Lightning", "MONAI", "plain", "bare, same"]


def timed(command: list[str]) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return time.perf_counter() - started


def first_step(arm: str, arguments: list[str]) -> float:
    """Seconds from the start of the process to the end of the first update."""
    command = [
        sys.executable,
        str(HERE / "loops.py"),
        "--arm",
        "run.py" if arm in ("unet_exp", PLAIN) else arm,
    ]
    done = subprocess.run(
        [*command, *arguments, "--epochs", "1", "--began", str(time.time())], capture_output=True, text=True
    )
    told = [line for line in done.stdout.splitlines() if "first_step" in line]
    if not told:
        sys.exit(f"the arm {arm} ended early\n{done.stderr}")
    return float(json.loads(told[0])["first_step"])


def medians(found: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    own = found["unet_exp"]
    return {
        name: {
            "seconds": statistics.median(values),
            "of_unet_exp": statistics.median(v / o for v, o in zip(values, own, strict=True)),
        }
        for name, values in found.items()
    }


def default_run(folder: Path, repeats: int) -> dict[str, float]:
    """python run.py: all of it, the time of its training steps (timing.csv), and a run of one update."""
    whole, loop, start = [], [], []
    for number in range(repeats):
        run_dir = folder / f"default{number}"
        whole.append(timed([sys.executable, str(RUN), f"hydra.run.dir={run_dir}"]))
        with open(run_dir / "timing.csv", newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
        loop.append(sum(float(row["seconds"]) for row in rows))
        start.append(
            timed(
                [
                    sys.executable,
                    str(RUN),
                    "epochs=1",
                    "trainer.limit_train_batches=1",
                    "trainer.limit_val_batches=1",
                    f"hydra.run.dir={folder}/start{number}",
                ]
            )
        )
    return {
        "seconds": statistics.median(whole),
        "in_steps": statistics.median(loop),
        "one_update": statistics.median(start),
        "ratio": statistics.median(
            total / (steps + one) for total, steps, one in zip(whole, loop, start, strict=True)
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--skip-default", action="store_true", help="not the default run (a minute)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {
        "whole": {name: [] for name in ARMS},
        "first update": {name: [] for name in ARMS},
    }
    composed: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "data", 9, 64)
        arguments = ["--data", str(folder / "data"), "--size", "64"]
        settings = own_settings(argparse.Namespace(data=folder / "data", batch=4, base=16, size=64))
        for number in range(options.repeats):
            for arm in ARMS:
                loops = [sys.executable, str(HERE / "loops.py"), "--arm", arm, *arguments, "--epochs", "2"]
                own = [sys.executable, str(RUN), *settings, "epochs=2", f"hydra.run.dir={folder}/{number}"]
                if arm == PLAIN:
                    own = [*own, "trainer.plots=false", f"hydra.run.dir={folder}/{number}plain"]
                found["whole"][arm].append(timed(own if arm in ("unet_exp", PLAIN) else loops))
                found["first update"][arm].append(first_step(arm, arguments))
            composed.append(timed([sys.executable, str(RUN), "--cfg", "job"]))
            print(f"\rround {number + 1} of {options.repeats}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        default = {} if options.skip_default else default_run(folder, min(options.repeats, 3))
    tables = {name: medians(times) for name, times in found.items()}
    print("| program | whole run, s | unet_exp = 1 | to the first update, s | unet_exp = 1 |")
    print("|---|---|---|---|---|")
    for arm in ARMS:
        rows = [tables[name][arm] for name in tables]
        cells = [f"{row['seconds']:.2f} | {row['of_unet_exp']:.2f}" for row in rows]
        print(f"| {arm} | {' | '.join(cells)} |")
    print(f"python run.py --cfg job: {statistics.median(composed):.2f} s")
    if default:
        told = (f"{default[key]:.1f} s" for key in ("seconds", "in_steps", "one_update"))
        print("python run.py: {}, in its training steps {}; a run of one update: {}".format(*told))
        print(f"ratio of the whole run to the sum of the other two: {default['ratio']:.3f}")
    if options.json:
        everything = {"tables": tables, "cfg_job": statistics.median(composed), "default_run": default}
        options.json.write_text(json.dumps(everything | {"seconds": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
