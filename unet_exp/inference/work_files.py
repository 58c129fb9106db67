"""Files of a prediction that is under way: whole under their names at the end, or gone."""

import errno
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import tifffile

from unet_exp.rundir import atomic

LEFT_BEHIND = 3600.0  # seconds after which an unfinished file belongs to no process any more
UNFINISHED = ".tmp"
numbers = itertools.count()


def unfinished_path(folder: Path) -> Path:
    """A name in this folder that no other file has, of this process or another."""
    return folder / f".{os.getpid()}.{next(numbers)}{UNFINISHED}"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Another path in the same folder, to be written inside; then it becomes `path`, or is removed."""
    atomic.make_directory(path.parent)
    temporary = unfinished_path(path.parent)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(OSError):  # it is `path` by now
            temporary.unlink()


@contextmanager
def gone_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class WorkArray:
    """`array`, zeros H x W: in memory, or in a file that lasts until remove()."""

    def __init__(self, folder: Path, size: tuple[int, int], dtype: type[np.generic], in_file: bool) -> None:
        self.path = unfinished_path(folder) if in_file else None
        if self.path is None:
            self.array = np.zeros(size, dtype)
        else:
            with gone_on_failure(self.path):
                self.array = np.memmap(self.path, dtype, "w+", shape=size)
                reserve(self.path)

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


class ProbabilityMaps:
    """folder/NAME.tif, written by rows: of two classes the second's, of more a page each.

    kind: float32, or uint16 (times 65535).
    """

    def __init__(self, folder: Path, num_classes: int, size: tuple[int, int], kind: str) -> None:
        atomic.make_directory(folder)
        self.two = num_classes == 2
        self.kind = kind
        self.temporary = unfinished_path(folder)
        shape = size if self.two else (num_classes, *size)
        with gone_on_failure(self.temporary):
            self.array = tifffile.memmap(self.temporary, shape=shape, dtype=kind, photometric="minisblack")
            reserve(self.temporary)

    def write(self, top: int, rows: np.ndarray) -> None:
        """rows: probabilities K x h x W from row `top` on."""
        values = rows[1] if self.two else rows
        scaled = np.rint(values * 65535) if self.kind == "uint16" else values
        self.array[..., top : top + rows.shape[1], :] = scaled
        self.array.flush()

    def finish(self, name: str) -> None:
        del self.array
        os.replace(self.temporary, self.temporary.with_name(f"{name}.tif"))

    def remove(self) -> None:
        """What is not finished."""
        self.temporary.unlink(missing_ok=True)


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Remove the unfinished files of killed processes, once they are an hour old."""
    for folder in folders:
        for path in (*folder.glob(f".*{UNFINISHED}"), *folder.glob(".*.mask")):
            with suppress(OSError):  # another process has finished it meanwhile
                if time.time() - path.stat().st_mtime > LEFT_BEHIND:
                    path.unlink()


def reserve(path: Path) -> None:
    """Reserve the disk space of a file now: a write to a mapped file on a full disk kills the process."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, max(1, os.fstat(file.fileno()).st_size))
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that can't
                    raise
