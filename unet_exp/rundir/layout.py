"""A run directory: file names, lock, status, and writing files whole. Standard library only."""

import contextlib
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any, ClassVar

from unet_exp.errors import CheckpointError
from unet_exp.rundir.atomic import read_json, write_json

log = logging.getLogger(__name__)
SAVED_CONFIG = ".hydra/config.yaml"
RESOLVED_CONFIG = "config_resolved.yaml"
ENVIRONMENT = "environment.json"
STATUS = "status.json"
METRICS = "metrics.csv"
TIMING = "timing.csv"
STEPS = "steps.csv"
FINGERPRINT = "data_fingerprint.json"
SPLIT = "split.csv"
LOCK = ".lock"
TRIAL = "trial.json"
THRESHOLD = "threshold.json"
LOG = "run.log"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
PLOTS = "plots"


class _ThisProcess:
    """What this process knows of the run it is about to start."""

    new_dirs: ClassVar[list[Path]] = []
    resuming: ClassVar[bool] = False
    composed: ClassVar[bool] = False
    command: ClassVar[list[str]] = []
    locks: ClassVar[dict[Path, int]] = {}


def remember_command(argv: list[str]) -> None:
    """The command line as the user typed it, before it is made ready for Hydra."""
    _ThisProcess.command = list(argv)


def command() -> list[str]:
    return _ThisProcess.command


def composed() -> None:
    """Say that Hydra accepted the command line; what fails later is not a matter of its grammar."""
    _ThisProcess.composed = True


def is_composed() -> bool:
    return _ThisProcess.composed


def resume_here() -> None:
    """Say that this process continues a run, so that its directory may hold checkpoints."""
    _ThisProcess.resuming = True


def is_resuming() -> bool:
    return _ThisProcess.resuming


def remember_start(run_dir: Path) -> None:
    """Note which directories do not exist yet, so that a run that never began can remove them."""
    _ThisProcess.new_dirs = missing_directories(run_dir)


def missing_directories(path: Path) -> list[Path]:
    """What mkdir would have to make, outermost first."""
    path, missing = path.absolute(), []
    while not os.path.exists(path):
        missing.append(path)
        path = path.parent
    return missing[::-1]


def remove_unstarted(run_dir: Path | None = None) -> None:
    """Remove the directory of a run that never trained, and its new parents if nothing else is in them.

    run_dir: by default the one that this process started in. A directory that was there before this process
    stays as it is.
    """
    new = _ThisProcess.new_dirs
    run_dir = new[-1] if run_dir is None and new else run_dir
    if run_dir is None or run_dir.absolute() not in new or os.path.exists(run_dir / STATUS):
        return
    shutil.rmtree(run_dir, ignore_errors=True)
    for parent in [path for path in new[::-1] if path != run_dir.absolute()]:
        with contextlib.suppress(OSError):  # in use by others, or never made
            parent.rmdir()


def is_run(path: Path) -> bool:
    return (path / SAVED_CONFIG).is_file()


def has_checkpoints(path: Path) -> bool:
    return any((path / CHECKPOINTS).glob("*.pt"))


def has_started(path: Path) -> bool:
    """Whether a run trained here, however it ended."""
    return (path / STATUS).exists() or has_checkpoints(path)


def write_status(run_dir: Path, state: str, **facts: Any) -> None:
    """status.json: running, finished, interrupted or failed, and what is known so far."""
    write_json(run_dir / STATUS, {"state": state, **facts, "time": time.strftime("%Y-%m-%dT%H:%M:%S")})


def read_status(run_dir: Path) -> dict[str, Any]:
    """The last status.json, empty where training never began; {"state": "unknown"} for a damaged one."""
    if not (run_dir / STATUS).exists():
        return {}
    try:
        return dict(read_json(run_dir / STATUS))
    except (CheckpointError, TypeError, ValueError):
        return {"state": "unknown"}


def set_state(run_dir: Path, state: str) -> None:
    """Change the state of status.json and keep its facts."""
    facts = {key: value for key, value in read_status(run_dir).items() if key not in ("state", "time")}
    write_status(run_dir, state, **facts)
