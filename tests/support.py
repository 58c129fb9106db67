"""What tests of several rooms share: files made, tables read."""

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from PIL import Image
from torch import nn

from unet_exp.config.components import COMPONENTS

Array = npt.NDArray[Any]
S = 32


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def table(run_dir: Path) -> tuple[bytes, ...]:
    names = ("metrics.csv", "steps.csv", "images.csv", "validations.csv")
    return tuple((run_dir / name).read_bytes() for name in names)


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    saved = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    return {f"{part}.{name}": tensor for part in ("model", "ema") for name, tensor in saved[part].items()}


def rows(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def state(job: Path) -> dict[str, Any]:
    return dict(json.loads((job / "status.json").read_text()))


def save(path: Path, array: Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix
    if suffix == ".npy":
        np.save(path, array)
    elif suffix == ".npz":
        np.savez(path, array)
    elif suffix == ".tif" and array.ndim == 3 and array.shape[-1] < 9:
        kind: Any = "rgb" if array.shape[-1] == 3 else "minisblack"
        tifffile.imwrite(path, array, photometric=kind, planarconfig="contig")
    elif suffix == ".tif":
        tifffile.imwrite(path, array, photometric="minisblack")
    else:
        Image.fromarray(array).save(path)
    return path


def blobs(seed: int, classes: int = 2) -> Array:
    """Class indices in squares of 8 pixels."""
    coarse = np.random.default_rng(seed).integers(classes, size=(S // 8, S // 8), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8), np.uint8))


def picture(label: Array, seed: int, channels: int = 1) -> Array:
    """uint8 whose brightness follows the label."""
    noise = np.random.default_rng(seed).normal(0, 12, (*label.shape, channels))
    image = np.clip(30 + 45.0 * label[..., None] + noise, 0, 255).astype(np.uint8)
    return image[..., 0] if channels == 1 else image


def by_default(kind: Callable[..., nn.Module], **changes: Any) -> nn.Module:
    """A loss with the defaults of the schema, but for the arguments given."""
    schema = COMPONENTS[f"unet_exp.losses.{kind.__name__}"]
    defaults = {field.name: field.default for field in dataclasses.fields(schema) if field.name != "_target_"}
    return kind(**defaults | changes)
