"""Runs by what somebody types: directories, patterns, and sweeps, which stand for their jobs."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from unet_exp.errors import CheckpointError, ConfigError
from unet_exp.messages import counted, shown_path
from unet_exp.rundir import layout
from unet_exp.rundir.sweep_directory import RECORD, by_number

WHERE = "python run.py task=list shows the runs below outputs, with root=multirun those of sweeps"


def find_runs(texts: Sequence[str]) -> list[Path]:
    """Each run once, in the order given; numbers in names by size.

    Raises ConfigError for what finds nothing, CheckpointError for a directory that is no run and no sweep.
    """
    return list(dict.fromkeys(run for path in places_of(texts) for run in runs_of(path)))


def places_of(texts: Sequence[str]) -> list[Path]:
    """The directories that these texts name, patterns expanded. Raises ConfigError for what finds nothing."""
    found: list[Path] = []
    for text in texts:
        pattern = os.path.expanduser(text.strip())
        exists = os.path.exists(pattern)
        matches = [pattern] if exists or not glob.has_magic(pattern) else glob.glob(pattern)
        paths = [Path(match) for match in sorted(matches, key=by_number) if exists or os.path.isdir(match)]
        if not paths:
            raise ConfigError(f"{text} finds no directory", do=WHERE)
        found += paths
    return found


def runs_of(path: Path) -> list[Path]:
    """The run itself, or the finished jobs of a sweep. Raises CheckpointError for neither."""
    if layout.is_run(path):
        return [path]
    jobs = sorted(path.glob(f"*/{RECORD}"), key=lambda record: by_number(record.parent.name))
    if not jobs:
        raise CheckpointError(
            f"{path} is no run and no sweep (the folder {'is there' if path.is_dir() else 'is not there'})",
            allowed="a directory such as outputs/DATE/TIME or multirun/lr_batch",
            do=WHERE,
        )
    finished = [job.parent for job in jobs if layout.read_status(job.parent).get("state") == "finished"]
    if not finished:
        raise CheckpointError(f"none of the jobs of {path} has finished", do="the same command continues it")
    return finished


def unfinished_lines(texts: Sequence[str], runs: Sequence[Path]) -> list[str]:
    """A line for each run that has not finished, and for each sweep of which jobs are left out by that."""
    lines = []
    for run in runs:
        status = layout.read_status(run)
        state = status.get("state", "waiting")
        if state != "finished":
            lines.append(f"warning: {shown_path(run)} is {state}: its scores are those so far")
    for path in places_of(texts):
        jobs = [] if layout.is_run(path) else [record.parent for record in path.glob(f"*/{RECORD}")]
        missing = sum(layout.read_status(job).get("state") != "finished" for job in jobs)
        if missing:
            number = f"{missing} of {counted(len(jobs), 'job')}"
            lines.append(f"warning: {shown_path(path)}: {number} left out, not finished")
    return lines


def walk_runs(root: Path) -> Iterator[Path]:
    """Every run below a folder, by name; links are not followed, runs within runs not looked for."""
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False) or entry.name.startswith("."):
            continue
        path = Path(entry.path)
        if layout.is_run(path):
            yield path
        else:
            yield from walk_runs(path)
