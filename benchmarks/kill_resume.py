"""Kill runs at random moments, resume them, and compare what they end with to a run that was left alone.

    python benchmarks/kill_resume.py                  # 6 runs, 11 SIGKILLs each, some 12 minutes on two cores
    python benchmarks/kill_resume.py --signal TERM    # the same with SIGTERM: every stop saves to the step

Prints a table, writes JSON with --json FILE, and exits with 1 if one byte or one weight differs, if a restart
fails, or if a restart goes on from anything older than the newest checkpoint on disk.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

RUN_PY = Path(__file__).resolve().parents[1] / "run.py"
SLOW_DISK = Path(__file__).resolve().with_name("slow_disk.py")
TINY = [
    "data.size=32",
    "data.split.train=8",
    "data.split.val=3",
    "data.split.test=0",
    "batch_size=2",
    "model.depth=2",
    "model.base_channels=4",
    "threads=1",
    "model.dropout=0.2",
    "trainer.ema_decay=0.9",
    "trainer.save_every=5",
    "trainer.checkpoint_every_steps=3",
    "trainer.log_every=0",
    "trainer.images_every=0",
    "hydra.run.dir=run",
]
# Workers, and what else a run is made of: number format, optimizer, schedule, accumulation.
KINDS = [
    ["num_workers=0", "trainer.precision=fp32", "optimizer=adamw", "scheduler=onecycle"],
    ["num_workers=2", "trainer.precision=bf16", "optimizer=adam", "scheduler=cosine"],
    ["num_workers=0", "trainer.precision=bf16", "optimizer=sgd", "scheduler=poly", "trainer.accumulate=2"],
    ["num_workers=2", "trainer.precision=fp32", "optimizer=adamw", "scheduler=plateau", "data.cache=none"],
]


def start(folder: Path, arguments: list[str], slow: float) -> "subprocess.Popen[str]":
    program = [sys.executable, *([str(SLOW_DISK)] if slow else []), str(RUN_PY), *arguments]
    log = open(folder / "printed.txt", "w")  # noqa: SIM115
    environment = {**os.environ, "SLOW_DISK": str(slow)}
    return subprocess.Popen(program, cwd=folder, stdout=log, stderr=log, text=True, env=environment)


def newest_step(folder: Path) -> int:
    """Updates in the newest checkpoint that is whole on disk."""
    last = folder / "run" / "checkpoints" / "last.pt"
    return int(torch.load(last, weights_only=True)["state"]["step"]) if last.exists() else 0


def kill_once(
    folder: Path, arguments: list[str], number: signal.Signals, options: Any, rng: random.Random
) -> str:
    """Start or resume, kill at a random moment of training (now and then before it); says where it fell."""
    status = folder / "run" / "status.json"
    before = status.stat().st_mtime_ns if status.exists() else 0
    process = start(folder, arguments, options.slow)
    if rng.random() < 0.15:
        time.sleep(rng.uniform(0.05, 4.0))
    else:
        while process.poll() is None and not (status.exists() and status.stat().st_mtime_ns != before):
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, options.seconds))
    process.send_signal(number)
    code = process.wait()
    if code == 0:
        return "after the end"
    wanted = (-number,) if number == signal.SIGKILL else (128 + number, -number)
    if code not in wanted:
        sys.exit(f"a restart failed with {code}:\n{(folder / 'printed.txt').read_text()}")
    if not status.exists() or status.stat().st_mtime_ns == before:
        return "before training"
    return "inside a save" if list((folder / "run").rglob(".*.tmp")) else "in training"


def resumed_from(folder: Path) -> int | None:
    """The update after which the last start went on, if it came to say so."""
    found = re.search(r"continuing after update (\d+)", (folder / "printed.txt").read_text())
    return int(found[1]) if found else None


def difference(one: Path, other: Path) -> str:
    """What differs between two finished runs, empty if nothing does."""
    for name in ("metrics.csv", "steps.csv", "images.csv", "validations.csv"):
        if (one / name).read_bytes() != (other / name).read_bytes():
            return name
    for name in ("last.pt", "best.pt"):
        left, right = (torch.load(run / "checkpoints" / name, weights_only=True) for run in (one, other))
        for part in ("model", "ema", "optimizer", "scheduler", "scaler", "rng"):
            if not equal(left[part], right[part]):
                return f"{part} in {name}"
    if (one / "checkpoints" / "best.safetensors").read_bytes() != (
        other / "checkpoints" / "best.safetensors"
    ).read_bytes():
        return "best.safetensors"
    return ""


def equal(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(equal, left, right))
    return bool(left == right)


def one_run(folder: Path, index: int, options: Any, rng: random.Random) -> dict[str, Any]:
    """A run left alone and one that is killed again and again; the row of the table."""
    kind = [*TINY, *KINDS[index % len(KINDS)], f"epochs={options.epochs}", f"seed={index}"]
    kind.append(f"trainer.devices={options.devices}")
    alone, killed = folder / f"alone{index}", folder / f"killed{index}"
    for path in (alone, killed):
        path.mkdir()
    if code := start(alone, kind, 0.0).wait():
        sys.exit(f"the run left alone failed with {code}:\n{(alone / 'printed.txt').read_text()}")
    number = signal.Signals[f"SIG{options.signal}"]
    places: Counter[str] = Counter()
    arguments, before = kind, 0
    while places.total() < options.kills:
        place = kill_once(killed, arguments, number, options, rng)
        if resumed_from(killed) not in (None, before):
            sys.exit(f"went on from update {resumed_from(killed)}, but the checkpoint on disk had {before}")
        places[place] += 1
        if place == "after the end":
            break
        if (killed / "run" / ".hydra" / "config.yaml").exists():
            arguments = ["resume=run"]
        step = newest_step(killed)
        if step < before:
            sys.exit(f"the checkpoint on disk went from update {before} back to {step}")
        before = step
    if code := start(killed, arguments, 0.0).wait():
        sys.exit(f"the last restart failed with {code}:\n{(killed / 'printed.txt').read_text()}")
    found = difference(alone / "run", killed / "run")
    kills = places.total() - places["after the end"]
    return {
        "settings": " ".join(KINDS[index % len(KINDS)]),
        "kills": kills,
        **places,
        "at update": before,
        "result": found or "equal",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--kills", type=int, default=11, help="for each run")
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--signal", choices=["KILL", "TERM", "INT"], default="KILL")
    parser.add_argument("--slow", type=float, default=0.02, help="seconds of each flush and rename")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="latest moment of a kill after training began"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed + options.first)
    places = ["before training", "in training", "inside a save", "after the end"]
    print(f"| settings | SIG{options.signal}s | {' | '.join(places[:3])} | at update | result |")
    print("|---|---|---|---|---|---|---|", flush=True)
    rows = []
    with tempfile.TemporaryDirectory(prefix="kill_resume_") as folder:
        for index in range(options.first, options.first + options.runs):
            row = one_run(Path(folder), index, options, rng)
            rows.append(row)
            counts = " | ".join(str(row.get(place, 0)) for place in places[:3])
            print(
                f"| {row['settings']} | {row['kills']} | {counts} | {row['at update']} | {row['result']} |",
                flush=True,
            )
    print(f"{sum(row['kills'] for row in rows)} kills")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    sys.exit(any(row["result"] != "equal" for row in rows))


if __name__ == "__main__":
    main()
