"""The decoded arrays of a split as one file in the user's cache folder, mapped by all that train on it.

The file is named by the content of the arrays, so other runs, jobs and machines find it whatever the paths.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from unet_exp.data.stats import Facts
from unet_exp.errors import CheckpointError
from unet_exp.rundir.lock import lock, unlock
from unet_exp.rundir.store import key_of, make_room

log = logging.getLogger("unet_exp")
ALIGNED = 16  # bytes
POLL = 0.5  # seconds between two looks at what another process writes
Pair = tuple[Any, Any]
Read = AbstractContextManager[Iterator[tuple[int, Future[Pair]]]]


def mapped_pairs(
    root: Path, split: str, facts: Sequence[Facts], contents: Sequence[str], label_type: str, read: Read
) -> list[Pair] | None:
    """Image and label of each sample, mapped; None, with a line that says why, where there is no room.

    contents: a text for each that is another one for other arrays. label_type: numpy's, uint8 or int32. read:
    each index with a future of its arrays. The first process that wants the file writes it; others wait.
    """
    places, size = layout_of(facts, label_type)
    name = key_of([label_type, *contents]).hex()
    folder = root / "arrays" / name
    path = folder / "arrays.bin"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not is_whole(path, size):
            handle = locked(folder, split)
            try:
                if not is_whole(path, size):
                    make_room(root, size)
                    write_arrays(path, split, places, read)
            finally:
                unlock(handle)
        os.utime(path)  # where room is needed, what nobody used for longest goes first
        whole = np.asarray(np.memmap(path, np.uint8, "r"))
    except OSError as error:
        log.warning(
            "%s is not kept decoded in %s, so it is read each time: %s", split, root, error.strerror or error
        )
        return None
    return [(image.of(whole), label.of(whole)) for image, label in places]


@dataclass(frozen=True)
class Place:
    """Where an array lies in the file."""

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def stop(self) -> int:
        return self.start + int(np.prod(self.shape)) * self.dtype.itemsize

    def of(self, whole: np.ndarray) -> np.ndarray:
        return whole[self.start : self.stop].view(self.dtype).reshape(self.shape)


def layout_of(facts: Sequence[Facts], label_type: str) -> tuple[list[tuple[Place, Place]], int]:
    """The places of each image and label, and the size of the file."""
    places = []
    end = 0
    for one in facts:
        image = Place(end, one.shape, np.dtype(one.dtype).newbyteorder("="))
        label = Place(aligned(image.stop), (*one.shape[:2], 1), np.dtype(label_type))
        places.append((image, label))
        end = aligned(label.stop)
    return places, end


def aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def is_whole(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def locked(folder: Path, split: str) -> int:
    """The lock of the folder, waited for."""
    waits = False
    while True:
        try:
            return lock(folder)
        except CheckpointError:
            if not waits:
                log.info("%s is being decoded by another process; waiting for it", split)
            waits = True
            time.sleep(POLL)


def write_arrays(path: Path, split: str, places: list[tuple[Place, Place]], read: Read) -> None:
    for left in path.parent.glob("*.tmp"):  # by a process that was killed
        left.unlink(missing_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file, read as results:
            options: dict[str, Any] = {"delay": 1.0, "leave": False, "disable": None, "ncols": 79}
            for index, future in tqdm(results, f"decoding {split}", len(places), **options):
                for place, array in zip(places[index], future.result(), strict=True):
                    file.seek(place.start)
                    file.write(np.ascontiguousarray(array, place.dtype).data)
            file.truncate(aligned(file.tell()))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
