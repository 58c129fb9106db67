"""A run directory: file names, lock, status, and writing files whole. Standard library only."""

import contextlib
import json
import logging
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from unet_exp.errors import CheckpointError

log = logging.getLogger(__name__)
SAVED_CONFIG = ".hydra/config.yaml"
RESOLVED_CONFIG = "config_resolved.yaml"
ENVIRONMENT = "environment.json"
STATUS = "status.json"
METRICS = "metrics.csv"
TIMING = "timing.csv"
STEPS = "steps.csv"
FINGERPRINT = "data_fingerprint.json"
SPLIT = "split.csv"
LOCK = ".lock"
TRIAL = "trial.json"
THRESHOLD = "threshold.json"
LOG = "run.log"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
PLOTS = "plots"


class _ThisProcess:
    """What this process knows of the run it is about to start."""

    new_dirs: ClassVar[list[Path]] = []
    resuming: ClassVar[bool] = False
    composed: ClassVar[bool] = False
    command: ClassVar[list[str]] = []
    locks: ClassVar[dict[Path, int]] = {}


def remember_command(argv: list[str]) -> None:
    """The command line as the user typed it, before it is made ready for Hydra."""
    _ThisProcess.command = list(argv)


def command() -> list[str]:
    return _ThisProcess.command


def composed() -> None:
    """Say that Hydra accepted the command line; what fails later is not a matter of its grammar."""
    _ThisProcess.composed = True


def is_composed() -> bool:
    return _ThisProcess.composed


def resume_here() -> None:
    """Say that this process continues a run, so that its directory may hold checkpoints."""
    _ThisProcess.resuming = True


def is_resuming() -> bool:
    return _ThisProcess.resuming


def remember_start(run_dir: Path) -> None:
    """Note which directories do not exist yet, so that a run that never began can remove them."""
    _ThisProcess.new_dirs = missing_directories(run_dir)


def missing_directories(path: Path) -> list[Path]:
    """What mkdir would have to make, outermost first."""
    path, missing = path.absolute(), []
    while not os.path.exists(path):
        missing.append(path)
        path = path.parent
    return missing[::-1]


def remove_unstarted(run_dir: Path | None = None) -> None:
    """Remove the directory of a run that never trained, and its new parents if nothing else is in them.

    run_dir: by default the one that this process started in. A directory that was there before this process
    stays as it is.
    """
    new = _ThisProcess.new_dirs
    run_dir = new[-1] if run_dir is None and new else run_dir
    if run_dir is None or run_dir.absolute() not in new or os.path.exists(run_dir / STATUS):
        return
    shutil.rmtree(run_dir, ignore_errors=True)
    for parent in [path for path in new[::-1] if path != run_dir.absolute()]:
        with contextlib.suppress(OSError):  # in use by others, or never made
            parent.rmdir()


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


def is_run(path: Path) -> bool:
    return (path / SAVED_CONFIG).is_file()


def has_checkpoints(path: Path) -> bool:
    return any((path / CHECKPOINTS).glob("*.pt"))


def has_started(path: Path) -> bool:
    """Whether a run trained here, however it ended."""
    return (path / STATUS).exists() or has_checkpoints(path)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or leave the old one: temporary file beside it, flushed to disk, renamed.

    A path whose name is no UTF-8 is written with \\udc.., which JSON and YAML read back.
    Raises CheckpointError when the disk or the directory refuses.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """As write_text."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{path} could not be written: {error.strerror or error}",
        do="free space or fix the directory; what was saved before is still whole",
    )


def sync_directory(path: Path) -> None:
    """Make a rename durable; Windows can't open directories and needs none of it."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Raises CheckpointError for a file that is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} can't be read: {error}", do="remove it; it is written again"
        ) from error


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


def make_directory(path: Path) -> None:
    """Raises CheckpointError when the disk or a file in the way refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
