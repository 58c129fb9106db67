"""The lock of a run directory."""

import contextlib
import logging
import os
import platform
import sys
from pathlib import Path

from unet_exp.errors import CheckpointError
from unet_exp.rundir.atomic import cannot_write
from unet_exp.rundir.layout import CHECKPOINTS, LOCK, _ThisProcess


def lock(run_dir: Path) -> None:
    """Let no other process write this directory until unlock() or the end of this one.

    The lock is the operating system's (POSIX record lock on .lock): it is gone with a dead process,
    is not inherited by the processes that load samples, and holds across machines on NFS.
    Raises CheckpointError naming the process that has it.
    """
    path = run_dir.absolute() / LOCK
    if path in _ThisProcess.locks:
        return
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        _lock_file(handle)
    except (BlockingIOError, PermissionError) as error:
        holder = os.read(handle, 500).decode(errors="replace").strip() or "another process"
        os.close(handle)
        raise CheckpointError(
            f"{run_dir} is being written by {holder}",
            do="wait until it ends, or stop it; another run needs another directory: hydra.run.dir=DIR",
        ) from error
    except OSError as error:
        log.warning("%s can't be locked (%s): start no second process in it", run_dir, error.strerror)
    with contextlib.suppress(OSError):  # a full disk; who holds the lock is only for the message
        os.truncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {platform.node()}\n".encode())
    _ThisProcess.locks[path] = handle


def unlock(run_dir: Path) -> None:
    """Let others write again. The file stays: taking it away would let two processes lock two files."""
    handle = _ThisProcess.locks.pop(run_dir.absolute() / LOCK, None)
    if handle is not None:
        os.close(handle)


def _lock_file(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, 1 << 30, os.SEEK_SET)  # a byte far behind the text, which others may read
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_leftovers(run_dir: Path) -> None:
    """Temporary files of writes that were cut off. Call while holding the lock."""
    for folder in (run_dir, run_dir / CHECKPOINTS):
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


log = logging.getLogger("unet_exp")
