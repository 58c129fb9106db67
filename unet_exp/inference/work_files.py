"""Files of a prediction that is under way: whole under their names at the end, or gone."""

import errno
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import tifffile

from unet_exp.rundir import atomic

LEFT_BEHIND = 3600.0  # seconds after which an unfinished file belongs to no process any more


def work_file(folder: Path, size: tuple[int, int], large: bool) -> np.ndarray:
    """uint8 of this height and width: in memory, or in a file that lasts as long as it is needed."""
    if not large:
        return np.zeros(size, np.uint8)
    path = folder / f".{os.getpid()}.mask"
    array: np.ndarray = np.memmap(path, np.uint8, "w+", shape=size)
    reserve(path)
    return array


class ProbabilityMaps:
    """folder/NAME.tif, written by rows: of two classes the second's, of more a page each.

    kind: float32, or uint16 (times 65535).
    """

    def __init__(self, folder: Path, num_classes: int, size: tuple[int, int], kind: str) -> None:
        atomic.make_directory(folder)
        self.two = num_classes == 2
        self.kind = kind
        self.temporary = folder / f".{os.getpid()}.tmp"
        shape = size if self.two else (num_classes, *size)
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


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Remove unfinished files of this process, and those of killed ones once they are an hour old."""
    for folder in folders:
        for path in (*folder.glob(".*.tmp"), *folder.glob(".*.mask")):
            with suppress(OSError):  # another process has finished it meanwhile
                is_ours = path.name.startswith(f".{os.getpid()}.")
                if is_ours or time.time() - path.stat().st_mtime > LEFT_BEHIND:
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
