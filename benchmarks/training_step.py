"""Seconds a step and peak memory of whole training loops, side by side; the arms are in benchmarks/loops.py.

    pip install -c constraints.txt -e ".[benchmark]"
    python benchmarks/training_step.py                         # 256 pixels, 16 channels: about 3 minutes
    python benchmarks/training_step.py --size 512
    python benchmarks/training_step.py --base 64 --images 8 --arms "plain|unet_exp|bare, same"

Each arm is a process; in each round every arm trains an epoch, one after the other, so that a slow hour of
the machine meets all of them. Prints medians, and medians of the ratios within a round.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.loops import write_images

ARMS = ["plain", "lecture", "Lightning", "MONAI", "unet_exp", "bare, same", "Lightning, same", "MONAI, same"]


class Arm:
    """A process that trains an epoch when it is told to."""

    def __init__(self, name: str, options: argparse.Namespace, data: Path) -> None:
        self.name = name
        command = [
            sys.executable,
            str(HERE / "loops.py"),
            "--arm",
            name,
            "--data",
            str(data),
            "--base",
            str(options.base),
            "--size",
            str(options.size),
            "--batch",
            str(options.batch),
        ]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def told(self, word: str, key: str) -> float:
        """What the arm answers to a word; other lines that it prints are passed over."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{") and key in line:
                return float(json.loads(line)[key])
        sys.exit(f"the arm {self.name} ended; run it by hand: python benchmarks/loops.py --help")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=int, default=16, help="channels of the first level")
    parser.add_argument("--size", type=int, default=256, help="of the crops, cut from images of 512 pixels")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--arms", default="|".join(ARMS), help="some of the arms, with | between")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names, steps = options.arms.split("|"), -(-options.images // options.batch)
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), options.images + 1, 512)
        arms = [Arm(name, options, Path(folder)) for name in names]
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for number in range(options.rounds + 1):
            for arm in arms:
                found = arm.told("epoch", "seconds") / steps
                if number:  # the first warms up
                    seconds[arm.name].append(found)
            print(f"\rround {number} of {options.rounds}", end="", file=sys.stderr, flush=True)
        memory = {arm.name: arm.told("end", "peak_mib") for arm in arms}
    print(file=sys.stderr)
    own = seconds["unet_exp"]
    rows = {
        name: {
            "seconds_per_step": statistics.median(values),
            "unet_exp_is_faster": statistics.median(v / o for v, o in zip(values, own, strict=True)),
            "peak_mib": memory[name],
        }
        for name, values in seconds.items()
    }
    print(f"{options.size} pixels, {options.base} channels, batch {options.batch}, {steps} steps an epoch")
    print("| loop | s a step | unet_exp is faster by | peak MiB |\n|---|---|---|---|")
    for name, row in rows.items():
        numbers = f"{row['seconds_per_step']:.3f} | {row['unet_exp_is_faster']:.2f} | {row['peak_mib']:.0f}"
        print(f"| {name} | {numbers} |")
    if options.json:
        setting = {key: value for key, value in vars(options).items() if key != "json"}
        options.json.write_text(
            json.dumps({"options": setting, "rows": rows, "seconds": seconds}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
