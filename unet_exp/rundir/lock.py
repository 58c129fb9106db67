"""The lock of a directory: only one process writes in it."""

import contextlib
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from unet_exp.errors import CheckpointError
from unet_exp.rundir.atomic import cannot_write
from unet_exp.rundir.layout import LOCK

log = logging.getLogger("unet_exp")


def lock(directory: Path, made: Sequence[Path] = ()) -> int:
    """Let no other process write this directory until unlock() or the end of this one; returns the handle.

    The lock is the operating system's (POSIX record lock on .lock): it is gone with a dead process, is not
    inherited by the processes that load samples, and holds across machines on NFS. A process that has it gets
    it once more; closing either handle gives it up. made: directories that this process made for it, noted in
    the file. Raises CheckpointError naming the process that has it.
    """
    path = directory / LOCK
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        _lock_file(handle)
    except (BlockingIOError, PermissionError) as error:
        if holder(handle) == this_process():  # Windows locks handles, not processes
            return handle
        name = holder(handle) or "another process"
        os.close(handle)
        raise CheckpointError(
            f"{directory} is being written by {name}",
            do="wait until it ends, or stop it; another run needs another directory: hydra.run.dir=DIR",
        ) from error
    except OSError as error:
        log.warning("%s can't be locked (%s): start no second process in it", directory, error.strerror)
    if holder(handle) != this_process():
        with contextlib.suppress(OSError):  # a full disk; the text is only for messages and tidying
            os.truncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(
                handle, "\n".join([this_process(), *map(str, made), ""]).encode(errors="surrogateescape")
            )
    return handle


def unlock(handle: int) -> None:
    """Let others write again. The file stays: taking it away would let two processes lock two files."""
    os.close(handle)


def this_process() -> str:
    return f"process {os.getpid()} on {platform.node()}"


def holder(handle: int) -> str:
    """The process that wrote the file last, by its first line."""
    return (lines(handle) or [""])[0]


def directories_made(handle: int) -> list[Path]:
    """What the holder made for its run, outermost first."""
    return [Path(line) for line in lines(handle)[1:]]


def lines(handle: int) -> list[str]:
    # Read through the handle: closing any other one of this file would give up the lock (POSIX).
    os.lseek(handle, 0, os.SEEK_SET)
    return os.read(handle, 100_000).decode(errors="surrogateescape").splitlines()


def _lock_file(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, 1 << 30, os.SEEK_SET)  # a byte far behind the text, which others may read
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
