"""A job of a sweep: a run directory with its frozen config, and a process of its own. No Hydra, no torch."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from unet_exp.errors import CheckpointError
from unet_exp.messages import RUN_PY
from unet_exp.rundir import layout, lock, signals
from unet_exp.rundir.sweep_directory import DONE, JOB_LOG
from unet_exp.sweeps.warm import ForkedJob, warm_process

Process = subprocess.Popen[bytes] | ForkedJob


def begin(directory: Path, environment: dict[str, str]) -> Process:
    """Start the job's process; what it prints goes to its job.log, and it stops by itself if we die."""
    with open(directory / JOB_LOG, "ab") as output:
        warm = warm_process()
        forked = warm.begin(output, directory, environment) if warm is not None else None
        return forked or subprocess.Popen(
            [sys.executable, str(RUN_PY), "--job", str(directory)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )


def can_begin() -> bool:
    """Not while the process that forks jobs still imports what they need."""
    warm = warm_process()
    return warm is None or not warm.is_importing()


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


def stop_with_parent() -> None:
    """In a job's process: when whoever started it is gone, stop as by SIGTERM, which saves everything."""

    def watch() -> None:
        while os.read(0, 1):  # nothing is ever written; the end of the pipe is the end of the parent
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
