"""A run directory: its file names, status and provenance. Standard library only."""

import json
import os
import platform
import shutil
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from unet_exp import __version__
from unet_exp.errors import CheckpointError

MOST_DIFF = 100_000  # characters of the uncommitted change that are kept
SAVED_CONFIG = ".hydra/config.yaml"
RESOLVED_CONFIG = "config_resolved.yaml"
ENVIRONMENT = "environment.json"
STATUS = "status.json"
METRICS = "metrics.csv"
LOG = "run.log"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
PLOTS = "plots"
PACKAGES = ("unet_exp", "torch", "numpy", "hydra-core", "omegaconf", "tensorboard", "scikit-image",
            "scipy", "pillow", "tifffile", "matplotlib", "safetensors", "tqdm")  # fmt: skip


class _ThisProcess:
    """What this process knows of the run it is about to start."""

    new_dirs: ClassVar[list[Path]] = []
    resuming: ClassVar[bool] = False
    composed: ClassVar[bool] = False
    command: ClassVar[list[str]] = []


def remember_command(argv: list[str]) -> None:
    """The command line as the user typed it, before it is made ready for Hydra."""
    _ThisProcess.command = list(argv)


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


def try_directory(path: Path) -> None:
    """Make a directory and take it away again. Raises OSError if that can't be done."""
    made: list[Path] = []
    try:
        for directory in missing_directories(path):
            directory.mkdir()
            made.append(directory)
    finally:
        for directory in made[::-1]:
            directory.rmdir()


def remove_unstarted(run_dir: Path) -> None:
    """Remove the directory of a run that never trained, and its new parents if nothing else is in them.

    A directory that was there before this process stays as it is.
    """
    new = _ThisProcess.new_dirs
    if run_dir.absolute() not in new or (run_dir / STATUS).exists():
        return
    shutil.rmtree(run_dir, ignore_errors=True)
    for parent in [path for path in new[::-1] if path != run_dir.absolute()]:
        try:
            parent.rmdir()
        except OSError:
            return


def is_run(path: Path) -> bool:
    return (path / SAVED_CONFIG).is_file()


def has_checkpoints(path: Path) -> bool:
    return any((path / CHECKPOINTS).glob("*.pt"))


def has_started(path: Path) -> bool:
    """Whether a run trained here, however it ended."""
    return (path / STATUS).exists() or has_checkpoints(path)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or leave the old one: temporary file beside it, flushed to disk, renamed.

    Raises CheckpointError when the disk or the directory refuses.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
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
        temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


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
    return json.loads(path.read_text(encoding="utf-8"))


def write_status(run_dir: Path, state: str, **facts: Any) -> None:
    """status.json: running, finished, interrupted or failed, and what is known so far."""
    write_json(run_dir / STATUS, {"state": state, **facts, "time": time.strftime("%Y-%m-%dT%H:%M:%S")})


def read_status(run_dir: Path) -> dict[str, Any]:
    """The last status.json, empty where training never began."""
    return dict(read_json(run_dir / STATUS)) if (run_dir / STATUS).exists() else {}


def set_state(run_dir: Path, state: str) -> None:
    """Change the state of status.json and keep its facts."""
    facts = {key: value for key, value in read_status(run_dir).items() if key not in ("state", "time")}
    write_status(run_dir, state, **facts)


def write_environment(run_dir: Path, environment: dict[str, Any]) -> None:
    """environment.json of the first start; later starts of the same run are added as "restarts"."""
    path = run_dir / ENVIRONMENT
    if path.exists():
        first = read_json(path)
        environment = {**first, "restarts": [*first.get("restarts", []), environment]}
    write_json(path, environment)


def describe_environment(device: str, threads: int) -> dict[str, Any]:
    """What a run depends on outside its config: program versions, code, machine and start directory."""
    return {
        "start_dir": os.getcwd(),
        "command": _ThisProcess.command,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git": git_state(Path(__file__).resolve().parent),
        "device": device,
        "cpu": _cpu_name(),
        "threads": threads,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return __version__ if package == "unet_exp" else None


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.split(":", 1)[1].strip() for line in file if "model name" in line), "")
    except OSError:
        return platform.processor()


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the code and what was changed since; None outside a git checkout."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    diff = _git(folder, "diff", "HEAD") or ""
    return {"commit": commit, "diff": diff[:MOST_DIFF], "diff_cut": len(diff) > MOST_DIFF}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def make_directory(path: Path) -> None:
    """Raises CheckpointError when the disk or a file in the way refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
