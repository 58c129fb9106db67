"""A job of a sweep: a run directory with its frozen config, and a process of its own. No Hydra, no torch."""

import contextlib
import csv
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from unet_exp.errors import CheckpointError
from unet_exp.rundir import atomic, layout, lock, signals

RECORD = "job.json"
JOB_LOG = "job.log"
SWEEP_CSV = "sweep.csv"
SWEEP_PNG = "sweep.png"
RUN_PY = Path(__file__).resolve().parents[2] / "run.py"
POINT = "point"  # the axis of points that have names
DONE = ("finished", "pruned")  # not run again by the same command
GRACE = 60.0  # seconds that a job has to save and leave after it was asked to stop


@dataclass(frozen=True)
class Job:
    """name: its folder in the sweep. overrides: what the sweep set. monitor, mode, epochs: of its config."""

    directory: Path
    overrides: dict[str, str]
    monitor: str
    mode: str
    epochs: int
    axes: list[str] = field(default_factory=list)  # the keys whose values the sweep goes through

    @property
    def name(self) -> str:
        return self.directory.name

    def record(self) -> dict[str, Any]:
        """What job.json holds."""
        return {
            "overrides": self.overrides,
            "axes": self.axes,
            "monitor": self.monitor,
            "mode": self.mode,
            "epochs": self.epochs,
        }


def read_jobs(sweep_dir: Path) -> list[Job]:
    """All jobs of a sweep, by name, numbers in it by size. Raises CheckpointError for a damaged job.json."""
    jobs = []
    for path in sorted(sweep_dir.glob(f"*/{RECORD}"), key=lambda path: by_number(path.parent.name)):
        try:
            jobs.append(Job(directory=path.parent, **atomic.read_json(path)))
        except TypeError as error:
            raise CheckpointError(f"{path} is not the record of a job", do="remove it; run again") from error
    return jobs


def by_number(name: str) -> list[tuple[float, str]]:
    """A sort key for words with numbers in them: seed-9 before seed-10, lr-1e-05 before lr-0.001."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", name)
    return [(float(part), "") if at % 2 else (-math.inf, part) for at, part in enumerate(parts)]


@dataclass(frozen=True)
class Progress:
    """state: waiting, running, finished, pruned, interrupted or failed. best: of the monitored metric."""

    state: str
    epoch: int
    best: float | None
    best_epoch: int
    seconds: float
    reason: str
    scores: dict[str, float] = field(default_factory=dict)  # of the end: trainer.choose_threshold


def progress(job: Job) -> Progress:
    """How far a job is, from its status.json and, while it runs, from its metrics.csv."""
    status = layout.read_status(job.directory)
    state = str(status.get("state", "waiting"))
    reason = str(status.get("error", ""))
    if state in DONE:
        best = status.get("best_metric")
        return Progress(
            state,
            int(status["epoch"]),
            best,
            int(status["best_epoch"]),
            float(status["seconds"]),
            reason,
            status.get("scores", {}),
        )
    scores = validations(job)
    found = [pair for pair in scores if not math.isnan(pair[1])]
    best_epoch, best = (min if job.mode == "min" else max)(
        found, key=lambda pair: (pair[1], -pair[0] if job.mode == "max" else pair[0]), default=(0, None)
    )
    seconds = sum(float(row["seconds"]) for row in table(job.directory / layout.TIMING))
    return Progress(state, scores[-1][0] if scores else 0, best, best_epoch, seconds, reason)


def validations(job: Job) -> list[tuple[int, float]]:
    """(epoch, monitored metric) of each validation so far."""
    rows = table(job.directory / layout.METRICS)
    return [(int(row["epoch"]), float(row[job.monitor])) for row in rows if row["split"] == "val"]


def table(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


def begin(directory: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start the job's process; what it prints goes to its job.log, and it stops by itself if we die."""
    with open(directory / JOB_LOG, "ab") as output:
        return subprocess.Popen(
            [sys.executable, str(RUN_PY), "--job", str(directory)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )


def conclude(directory: Path, code: int, reason: str = "") -> str:
    """The state of a job whose process ended with this code; writes what the process could not say itself.

    reason: why it was killed, if it was by us.
    """
    status = layout.read_status(directory)
    state = status.get("state", "waiting")
    if code == 0 and state in DONE:
        return str(state)
    stopped = code in [128 + number for number in signals.STOPPING]
    if stopped and not reason:
        return str(state)
    if state == "failed" and code == 1 and not reason:
        return "failed"
    if not reason:
        reason = f"killed by {signal_name(-code)}" if code < 0 else f"its process ended with exit code {code}"
        reason += " (out of memory?)" if -code == signal.SIGKILL else ""
    facts = {key: value for key, value in status.items() if key not in ("state", "time", "error")}
    layout.write_status(directory, "failed", **facts, error=reason)
    return "failed"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def is_held(directory: Path) -> bool:
    """Whether another process still writes this job, such as one whose sweep was killed just now."""
    try:
        lock.unlock(lock.lock(directory))
    except CheckpointError:
        return True
    return False


def wait_until_free(directory: Path) -> None:
    """Raises CheckpointError if another process still has the job after the time it takes to save."""
    started = time.monotonic()
    while is_held(directory):
        if time.monotonic() - started > GRACE:
            lock.unlock(lock.lock(directory))
            return
        time.sleep(0.2)


def run_here(directory: Path) -> str:
    """Run one job and wait for it, for launchers that bring us to another machine; returns its state.

    SIGTERM and SIGUSR2 (a cluster that takes its machine back) reach the job, which saves and leaves; then
    they have their usual effect here, such as submitit's new submission.
    """
    if layout.read_status(directory).get("state") in DONE:
        return str(layout.read_status(directory)["state"])
    wait_until_free(directory)
    process = begin(directory, {})
    noted: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)

    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, forward) for number in signals.STOPPING} if here else {}
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        if process.stdin is not None:
            process.stdin.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    state = conclude(directory, code)
    if noted:
        signal.raise_signal(noted[0])
    return state


def stop_with_parent() -> None:
    """In a job's process: when whoever started it is gone, stop as by SIGTERM, which saves everything."""

    def watch() -> None:
        while os.read(0, 1):  # nothing is ever written; the end of the pipe is the end of the parent
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
