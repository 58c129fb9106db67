"""Checkpoints: the only place that calls torch.save and torch.load.

A checkpoint holds tensors and plain containers only, so that it loads with weights_only=True:
format, model, ema, optimizer, scheduler, scaler, state, rng, config (YAML text).
torch writes a zip archive; its comment field takes the sha256 of all bytes before it, so that one file
carries its own checksum and any torch.load still reads it.
"""

import hashlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from unet_exp import runs
from unet_exp.errors import CheckpointError
from unet_exp.training.state import State

log = logging.getLogger(__name__)
FORMAT = 2
LAST, BEST, WEIGHTS = "last.pt", "best.pt", "best.safetensors"
MARK = b"sha256:"
COMMENT = len(MARK) + 64


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints/ folder of one run. keep: how many epoch_NNNN.pt stay, 0 for all."""

    folder: Path
    config: str
    keep: int

    def save(self, contents: dict[str, Any], state: State, best: bool, numbered: bool) -> None:
        """Write last.pt, and on demand best.pt (with best.safetensors) and epoch_NNNN.pt.

        last.pt is written last: what it says of the best epoch is on disk by then.
        Raises CheckpointError when the disk or the directory refuses; the older files are whole then.
        """
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, "config": self.config, "state": state.state_dict(), **contents}, buffer)
        content = with_checksum(buffer.getvalue())
        if best:
            runs.write_bytes(self.folder / WEIGHTS, safetensors.torch.save(weights_of(contents)))
            runs.write_bytes(self.folder / BEST, content)
        if numbered:
            runs.write_bytes(self.folder / f"epoch_{state.epoch:04d}.pt", content)
            for old in self.old_epochs():
                old.unlink(missing_ok=True)
        runs.write_bytes(self.folder / LAST, content)

    def old_epochs(self) -> list[Path]:
        numbered = sorted(self.folder.glob("epoch_*.pt"))
        return numbered[: -self.keep] if self.keep else []


def weights_of(contents: dict[str, Any]) -> dict[str, Tensor]:
    """The weights that are validated: the moving average where there is one."""
    weights: dict[str, Tensor] = contents["ema"] or contents["model"]
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def weights_sha256(contents: dict[str, Any]) -> str:
    """One hash of the network's weights and buffers and of their moving average, names included."""
    digest = hashlib.sha256()
    for part in ("model", "ema"):
        for name, tensor in (contents[part] or {}).items():
            digest.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def with_checksum(archive: bytes) -> bytes:
    """A zip archive without comment, with the sha256 of itself as its comment."""
    comment = MARK + hashlib.sha256(archive).hexdigest().encode()
    return archive[:-2] + len(comment).to_bytes(2, "little") + comment


def read_verified(path: Path) -> bytes:
    """The bytes of a checkpoint. Raises CheckpointError for one that is missing or not as it was written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is not there") from error
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}") from error
    archive = content[: -COMMENT - 2] + b"\0\0"
    if content[-COMMENT:-64] != MARK:
        raise CheckpointError(
            f"{path} is cut off, or is no checkpoint of this version: its checksum is missing"
        )
    if with_checksum(archive) != content:
        raise CheckpointError(f"{path} is damaged: its bytes do not give its checksum")
    return content


def load(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU. Raises CheckpointError for a missing, damaged or foreign file."""
    content = read_verified(path)
    try:
        contents = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        known = contents["format"]
    except Exception as error:  # what is no checkpoint raises whatever its bytes happen to mean
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} can't be read as a checkpoint: {reason}") from error
    if known != FORMAT:
        raise CheckpointError(f"{path} has format {known}", allowed=f"format {FORMAT}")
    return dict(contents)


def load_newest(folder: Path) -> tuple[dict[str, Any], Path] | None:
    """The newest checkpoint that is whole, and its path; None where there is none at all.

    One line is logged for each that was skipped. Raises CheckpointError when all are damaged.
    """
    paths = sorted(folder.glob("*.pt"))
    if not paths:
        return None
    problems, whole = [], []
    for path in [folder / LAST, *(path for path in paths if path.name != LAST)]:
        try:
            contents = load(path)
            whole.append((State.from_dict(contents["state"]).step, contents, path))
        except (CheckpointError, KeyError, TypeError) as error:
            problems.append(error.what if isinstance(error, CheckpointError) else f"{path} has no state")
        if whole and path.name == LAST:
            break
    if not whole:
        raise CheckpointError(
            "\n".join(["no checkpoint of this run can be used", *(f"  {problem}" for problem in problems)]),
            do="start it anew: python run.py from_run=RUN_DIR",
        )
    step, contents, path = max(whole, key=lambda found: found[0])
    for problem in problems:
        log.warning("%s; skipped", problem)
    if problems:
        log.warning("going on from %s, after update %d", path.name, step)
    return contents, path


def set_damaged_best_aside(folder: Path, best_epoch: int) -> None:
    """Say in one line that best.pt is gone or damaged, and take a damaged one out of the way."""
    path = folder / BEST
    if not best_epoch:
        return
    try:
        read_verified(path)
    except CheckpointError as error:
        log.warning(
            "%s; the weights of epoch %d are lost, a better epoch will write it", error.what, best_epoch
        )
        if path.exists():
            path.replace(path.with_suffix(".damaged"))


def load_weights(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Put weights into a network. Raises CheckpointError listing the keys that do not fit."""
    have = model.state_dict()
    lines = [
        f"  {what}: {', '.join(keys[:6])}{f' and {len(keys) - 6} more' if len(keys) > 6 else ''}"
        for what, keys in (
            ("missing", [key for key in have if key not in weights]),
            ("not of this model", [key for key in weights if key not in have]),
            (
                "other shape",
                [
                    f"{key} {tuple(weights[key].shape)} instead of {tuple(have[key].shape)}"
                    for key in have
                    if key in weights and weights[key].shape != have[key].shape
                ],
            ),
        )
        if keys
    ]
    if lines:
        raise CheckpointError(
            "\n".join([f"{path} is of another model", *lines]),
            do="use the model settings of that run: its .hydra/config.yaml has them",
        )
    model.load_state_dict(weights)
