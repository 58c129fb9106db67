"""Checkpoints: the only place that calls torch.save and torch.load.

A checkpoint holds tensors and plain containers only, so that it loads with weights_only=True:
format, model, ema, optimizer, scheduler, scaler, state, rng, config (YAML text).
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from unet_exp import runs
from unet_exp.errors import CheckpointError
from unet_exp.training.state import State

FORMAT = 1
LAST, BEST, WEIGHTS = "last.pt", "best.pt", "best.safetensors"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints/ folder of one run. keep: how many epoch_NNNN.pt stay, 0 for all."""

    folder: Path
    config: str
    keep: int

    def save(self, contents: dict[str, Any], state: State, best: bool, numbered: bool) -> None:
        """Write last.pt, and on demand best.pt (with best.safetensors) and epoch_NNNN.pt.

        last.pt is written last: what it says of the best epoch is on disk by then.
        """
        runs.make_directory(self.folder)
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, "config": self.config, "state": state.state_dict(), **contents}, buffer)
        content = buffer.getvalue()
        if best:
            runs.write_bytes(self.folder / WEIGHTS, safetensors.torch.save(weights_of(contents)))
            runs.write_bytes(self.folder / BEST, content)
        if numbered:
            runs.write_bytes(self.folder / f"epoch_{state.epoch:04d}.pt", content)
            for old in self.old_epochs():
                old.unlink()
        runs.write_bytes(self.folder / LAST, content)

    def old_epochs(self) -> list[Path]:
        numbered = sorted(self.folder.glob("epoch_*.pt"))
        return numbered[: -self.keep] if self.keep else []


def weights_of(contents: dict[str, Any]) -> dict[str, Tensor]:
    """The weights that are validated: the moving average where there is one."""
    weights: dict[str, Tensor] = contents["ema"] or contents["model"]
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def load(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU. Raises CheckpointError for a missing, damaged or foreign file."""
    if not path.is_file():
        raise CheckpointError(
            f"{path} is not there", do="the run may have ended before its first checkpoint; start it anew"
        )
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
        known = contents["format"]
    except Exception as error:  # a damaged file raises whatever its bytes happen to mean
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} can't be read as a checkpoint: {reason}",
            do="an older one may be whole: copy checkpoints/epoch_NNNN.pt or best.pt over last.pt",
        ) from error
    if known != FORMAT:
        raise CheckpointError(f"{path} has format {known}", allowed=f"format {FORMAT}")
    return dict(contents)


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
