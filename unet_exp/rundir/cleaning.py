"""What of the runs below a folder can be removed: nothing that is locked, can go on, or is referred to."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from unet_exp.errors import CheckpointError
from unet_exp.rundir import layout, lock
from unet_exp.rundir.found import walk_runs
from unet_exp.rundir.sweep_directory import RECORD

NUMBERED = re.compile(r"epoch_\d+\.pt")
RUN_FOLDERS = ("outputs", "multirun")  # where runs usually are
WORD = re.compile(r"[^\s\"',\[\]{}=]+")  # of a command or a list of paths
YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C; it reads JSON as well


@dataclass(frozen=True)
class Removal:
    """path: a run directory, or a checkpoint. run: its run. reason: why it can go. size: in bytes."""

    path: Path
    run: Path
    reason: str
    size: int


def proposals(root: Path) -> list[Removal]:
    """What can be removed below a folder, in the order of the paths. Links are not followed."""
    found = [removal for run in walk_runs(root) for removal in of_run(run)]
    if not found:
        return []
    runs = dict.fromkeys(Path(os.path.abspath(run)) for place in places(root) for run in walk_runs(place))
    mentioned = references(runs)
    return [
        removal
        for removal in found
        if not refers_into(mentioned, removal.path, removal.run) and not is_locked(removal.run)
    ]


def places(root: Path) -> list[Path]:
    """The folder itself, and where other runs may be that name something in it: outputs and multirun of the
    working directory and beside or above the folder."""
    whole = Path(os.path.abspath(root))
    beside = [folder / name for folder in (Path.cwd(), whole, *whole.parents[:3]) for name in RUN_FOLDERS]
    return [whole, *(place for place in dict.fromkeys(beside) if place != whole and place.is_dir())]


def of_run(run: Path) -> Iterator[Removal]:
    """What of one run can go: all of it if it failed before its first checkpoint or was pruned; the numbered
    checkpoints of one that finished."""
    status = layout.read_status(run)
    state = status.get("state")
    if state == "failed" and not layout.has_checkpoints(run):
        yield Removal(run, run, "failed before its first checkpoint", size_of(run))
    elif state == "pruned":
        yield Removal(run, run, "pruned by a search", size_of(run))
    elif state == "finished":
        for path in sorted((run / layout.CHECKPOINTS).glob("epoch_*.pt")):
            if NUMBERED.fullmatch(path.name) and not path.is_symlink():
                yield Removal(path, run, "numbered checkpoint of a finished run", path.stat().st_size)


def references(runs: Iterable[Path]) -> dict[Path, set[Path]]:
    """Every path that a run's files name, and the runs that name it.

    A relative path is taken from here and from where that run was started, each time. What can't be read
    names nothing.
    """
    mentioned: dict[Path, set[Path]] = {}
    for run in tqdm(runs, desc="looking for what is in use", delay=1.0, leave=False, disable=None):
        contents = [
            loaded(run / name) for name in (layout.SAVED_CONFIG, layout.RESOLVED_CONFIG, layout.ENVIRONMENT)
        ]
        folders = {"", *start_dirs(contents[-1])}
        for text in (text for content in contents for text in strings(content)):
            for name in {text, text.partition("=")[2], *WORD.findall(text)} - {""}:
                for folder in folders:
                    path = Path(os.path.realpath(os.path.join(folder, name)))
                    mentioned.setdefault(path, set()).add(run)
    return mentioned


def start_dirs(environment: Any) -> list[str]:
    """The folders from which a run was started, by the content of its environment.json."""
    if not isinstance(environment, dict):
        return []
    starts = [environment, *(environment.get("restarts") or [])]
    return [str(start["start_dir"]) for start in starts if isinstance(start, dict) and "start_dir" in start]


def loaded(path: Path) -> Any:
    """The content of a YAML or JSON file; None where it can't be read."""
    try:
        return yaml.load(path.read_text(encoding="utf-8", errors="replace"), YAML)
    except (OSError, yaml.YAMLError):
        return None


def strings(content: Any) -> Iterator[str]:
    """Every string in a tree that may be a path: it has a slash."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for one in content:
            yield from strings(one)
    elif isinstance(content, str) and "/" in content:
        yield content


def refers_into(mentioned: dict[Path, set[Path]], path: Path, run: Path) -> bool:
    """Whether another run names this path or something in it."""
    target = Path(os.path.realpath(path))
    own = {Path(os.path.abspath(run))}
    return any((named == target or target in named.parents) and by - own for named, by in mentioned.items())


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
