"""What a run depends on outside its config: code, packages, machine. Standard library only."""

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from unet_exp.errors import CheckpointError
from unet_exp.messages import typed_command
from unet_exp.rundir import atomic, layout

MOST_PATCH = 1_000_000  # bytes of the uncommitted change that are kept
CODE = Path(__file__).resolve().parents[2]
PACKAGES = (
    "unet_exp",
    "torch",
    "numpy",
    "hydra-core",
    "omegaconf",
    "tensorboard",
    "scipy",
    "pillow",
    "tifffile",
    "matplotlib",
    "safetensors",
    "tqdm",
)
VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
)


def describe(run_dir: Path, device: str, threads: int, **facts: Any) -> dict[str, Any]:
    """The environment of one start, JSON-ready; an uncommitted change of the code becomes a patch in run_dir.

    facts: what only torch knows (determinism flags, chip).
    """
    return {
        "start_dir": os.getcwd(),
        "command": typed_command(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "code_sha256": code_sha256(),
        "git": git_state(run_dir),
        "device": device,
        "cpu": cpu_name(),
        "threads": threads,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        **facts,
    }


def write_environment(run_dir: Path, environment: dict[str, Any]) -> None:
    """environment.json of the first start; later starts of the same run are added as "restarts"."""
    path = run_dir / layout.ENVIRONMENT
    if path.exists():
        first = atomic.read_json(path)
        environment = {**first, "restarts": [*first.get("restarts", []), environment]}
    atomic.write_json(path, environment)


def code_sha256() -> str:
    """One hash of run.py and every module of the package, names included."""
    digest = hashlib.sha256()
    for path in [CODE / "run.py", *sorted((CODE / "unet_exp").rglob("*.py"))]:
        digest.update(path.relative_to(CODE).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def git_state(run_dir: Path) -> dict[str, Any] | None:
    """Commit of the code, and the file with what was changed since; None outside a git checkout.

    `git apply` takes the patch, unless "patch_cut" says that it was larger than a megabyte.
    """
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    patch = _git("diff", "--binary", "HEAD") or b""
    state: dict[str, Any] = {"commit": commit.decode().strip(), "patch": None}
    if patch:
        name = f"code_{hashlib.sha256(patch).hexdigest()[:8]}.patch"
        if not (run_dir / name).exists():
            atomic.write_bytes(run_dir / name, patch[:MOST_PATCH])
        state |= {"patch": name, "patch_cut": len(patch) > MOST_PATCH}
    untracked = _git("ls-files", "--others", "--exclude-standard", "--", "run.py", "unet_exp", "conf") or b""
    return state | {"untracked": untracked.decode(errors="replace").splitlines()[:50]}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two environments and could change a result, one short line each."""
    lines = []
    if old.get("code_sha256") != new["code_sha256"]:
        commits = [str((side.get("git") or {}).get("commit", "unknown"))[:10] for side in (old, new)]
        patches = [(side.get("git") or {}).get("patch") for side in (old, new)]
        shown = [c + (f" with {p}" if p else "") for c, p in zip(commits, patches, strict=True)]
        lines.append(f"code: commit {shown[0]} -> {shown[1]}")
    for name in ("python", "platform", "cpu", "device", "threads"):
        if old.get(name) != new.get(name):
            lines.append(f"{name}: {old.get(name)} -> {new.get(name)}")
    for name in ("determinism", "chip", "variables", "packages"):
        before = old.get(name, {})
        after = new.get(name, {})
        lines += [
            f"{name.removesuffix('s')} {key}: {before.get(key)} -> {after.get(key)}"
            for key in {**before, **after}
            if before.get(key) != after.get(key) and key != "unet_exp"
        ]
    return lines


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.split(":", 1)[1].strip() for line in file if "model name" in line), "")
    except OSError:
        return platform.processor()


def _git(*arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(CODE), *arguments], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def environment_changes(run_dir: Path, environment: dict[str, Any]) -> list[str]:
    """What differs from the environment of a run's last start: code, packages, machine, decoded data."""
    if not (run_dir / layout.ENVIRONMENT).exists():
        return []
    old = starts(run_dir)[-1]
    lines = differences(old, environment)
    for split in ("train", "val"):
        before, after = (side.get("data", {}).get(split, {}).get("sha256") for side in (old, environment))
        if before != after:
            lines.append(f"data: the {split} images and labels, once decoded, are not the same")
    return lines


def starts(run_dir: Path) -> list[dict[str, Any]]:
    """What environment.json says of the first start and of each later one. Raises CheckpointError."""
    path = run_dir / layout.ENVIRONMENT
    environment = atomic.read_json(path)
    try:
        recorded = [environment, *environment.get("restarts", [])]
        kinds = {"start_dir": str, "epochs": int, "from_epoch": int}
        right = all(isinstance(start[key], kind) for start in recorded for key, kind in kinds.items())
        if right and all(isinstance(start.get("given", {}), dict) for start in recorded):
            return recorded
    except (AttributeError, KeyError, TypeError):
        pass
    raise CheckpointError(f"{path} is not the description of a run", do="remove it; it is written again")
