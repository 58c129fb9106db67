"""What a process knows of the run that it trains: its directory, where it comes from, how it ended."""

import contextlib
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_exp.rundir import atomic, layout
from unet_exp.rundir.lock import directories_made, lock, unlock
from unet_exp.rundir.tables import Recorded


class RunDirectory:
    """The directory that a run writes: its lock, its status, and its end if it never began.

    made: the directories that this process made for it, outermost first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handle: int | None = None
        self.made: list[Path] = layout.missing_directories(path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def checkpoints(self) -> Path:
        return self.path / layout.CHECKPOINTS

    def lock(self) -> None:
        """Make it and lock it, as often as the same process likes. Raises CheckpointError."""
        if self.handle is None:
            atomic.make_directory(self.path)
            self.handle = lock(self.path, [path.absolute() for path in self.made])
            self.made = directories_made(self.handle)

    def unlock(self) -> None:
        if self.handle is not None:
            unlock(self.handle)
            self.handle = None

    def remove_leftovers(self) -> None:
        """Temporary files of writes that were cut off. Call while holding the lock."""
        for folder in (self.path, self.checkpoints):
            for path in folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)

    def status(self) -> dict[str, Any]:
        return layout.read_status(self.path)

    def write_status(self, state: str, **facts: Any) -> None:
        layout.write_status(self.path, state, **facts)

    def remove_unstarted(self) -> None:
        """Remove the directory of a run that never trained, and its new parents if nothing else is in them.

        A directory that was there before this process stays as it is.
        """
        if self.path.absolute() not in self.made or os.path.exists(self.path / layout.STATUS):
            return
        shutil.rmtree(self.path, ignore_errors=True)
        for parent in [path for path in self.made[::-1] if path != self.path.absolute()]:
            with contextlib.suppress(OSError):  # in use by others, or never made
                parent.rmdir()


@dataclass(frozen=True)
class Origin:
    """Where a run comes from: path is the run that is continued (resumes), or that this one starts again.

    replay: the rows that every step has to meet, until_epoch: how far, for task=reproduce.
    """

    path: Path | None = None
    resumes: bool = False
    replay: Recorded | None = None
    until_epoch: int | None = None


@dataclass(frozen=True)
class Outcome:
    """state: finished, pruned or interrupted. best: of the monitored metric. signal: that interrupted it."""

    state: str
    best: float = math.nan
    signal: int = 0

    @property
    def exit_code(self) -> int:
        return 128 + self.signal if self.state == "interrupted" else 0
