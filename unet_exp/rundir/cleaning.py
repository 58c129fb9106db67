"""What of the runs below a folder can be removed: nothing that is locked, can go on, or is referred to."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from unet_exp.errors import CheckpointError
from unet_exp.rundir import layout, lock
from unet_exp.rundir.found import walk_runs
from unet_exp.rundir.sweep_directory import DONE, RECORD

NUMBERED = re.compile(r"epoch_\d+\.pt")


@dataclass(frozen=True)
class Removal:
    """path: a run directory, or a checkpoint. run: its run. reason: why it can go. size: in bytes."""

    path: Path
    run: Path
    reason: str
    size: int


def proposals(root: Path) -> list[Removal]:
    """What can be removed below a folder, in the order of the paths. Links are not followed."""
    runs = list(walk_runs(root))
    mentioned = references(runs)
    return [
        removal
        for run in runs
        for removal in of_run(run)
        if not refers_into(mentioned, removal.path, run) and not is_locked(run)
    ]


def of_run(run: Path) -> Iterator[Removal]:
    """What of one run can go: all of it if it failed before its first checkpoint or was pruned; the numbered
    checkpoints of one that finished."""
    status = layout.read_status(run)
    state = status.get("state")
    if state == "failed" and not layout.has_checkpoints(run):
        yield Removal(run, run, "failed before its first checkpoint", size_of(run))
    elif state == "pruned":
        yield Removal(run, run, "pruned by a search", size_of(run))
    elif state in DONE:
        for path in sorted((run / layout.CHECKPOINTS).glob("epoch_*.pt")):
            if NUMBERED.fullmatch(path.name) and not path.is_symlink():
                yield Removal(path, run, "numbered checkpoint of a finished run", path.stat().st_size)


def references(runs: Iterable[Path]) -> dict[Path, set[Path]]:
    """Every path that a run's files name and that exists, and the runs that name it."""
    mentioned: dict[Path, set[Path]] = {}
    for run in runs:
        for name in (layout.SAVED_CONFIG, layout.RESOLVED_CONFIG, layout.ENVIRONMENT):
            with suppress(OSError):
                text = (run / name).read_text(encoding="utf-8", errors="replace")
                for word in re.findall(r"[^\s\"',\[\]{}=]*/[^\s\"',\[\]{}=]+", text):
                    for folder in ("", *start_dirs(text)):
                        path = Path(os.path.abspath(os.path.join(folder, word)))
                        mentioned.setdefault(path, set()).add(run)
    return mentioned


def start_dirs(text: str) -> list[str]:
    """The folders from which a run was started, by its environment.json."""
    return re.findall(r"\"start_dir\": \"([^\"]+)\"", text)


def refers_into(mentioned: dict[Path, set[Path]], path: Path, run: Path) -> bool:
    """Whether another run names this path or something in it."""
    target = Path(os.path.abspath(path))
    return any((named == target or target in named.parents) and by - {run} for named, by in mentioned.items())


def is_locked(run: Path) -> bool:
    """Whether a process writes this run, or the sweep that it is a job of."""
    folders = [run, run.parent] if (run / RECORD).exists() else [run]
    for folder in folders:
        try:
            lock.unlock(lock.lock(folder))
        except CheckpointError:
            return True
    return False


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder; links count nothing."""
    return sum(
        entry.stat(follow_symlinks=False).st_size
        for directory, _, _ in os.walk(folder)
        for entry in os.scandir(directory)
        if entry.is_file(follow_symlinks=False)
    )


def remove(removal: Removal) -> bool:
    """Remove it while holding its run's lock; False where another process has that by now.

    A link in a directory is removed, what it leads to is not.
    """
    if removal.path.is_symlink():
        return False
    try:
        handle = lock.lock(removal.run)
    except CheckpointError:
        return False
    try:
        if removal.path == removal.run:
            shutil.rmtree(removal.path)
        else:
            removal.path.unlink(missing_ok=True)
    finally:
        lock.unlock(handle)
    return True
