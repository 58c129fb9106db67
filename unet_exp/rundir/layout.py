"""The files of a run directory, and what its status says. Standard library only."""

import os
import time
from pathlib import Path
from typing import Any

from unet_exp.errors import CheckpointError
from unet_exp.rundir.atomic import read_json, write_json

SAVED_CONFIG = ".hydra/config.yaml"
RESOLVED_CONFIG = "config_resolved.yaml"
ENVIRONMENT = "environment.json"
STATUS = "status.json"
METRICS = "metrics.csv"
TIMING = "timing.csv"
STEPS = "steps.csv"
FINGERPRINT = "data_fingerprint.json"
SPLIT = "split.csv"
IMAGES = "images.csv"  # scores of each validation image in the best epoch
FOLDS = "folds.json"  # of a sweep over folds: its runs as one predictor
VALIDATIONS = "validations.csv"  # trainer.monitor of each validation image, a line for each validation
LOCK = ".lock"
JOB = "job.json"  # of a job of a sweep
TRIAL = "trial.json"
THRESHOLD = "threshold.json"
OBJECTS = "objects.json"
LOG = "run.log"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
PLOTS = "plots"
EXAMPLE = "example.png"
REPORT = "report.html"  # of a run, a sweep or a comparison


def missing_directories(path: Path) -> list[Path]:
    """What mkdir would have to make, outermost first."""
    path = path.absolute()
    missing = []
    while not os.path.exists(path):
        missing.append(path)
        path = path.parent
    return missing[::-1]


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
