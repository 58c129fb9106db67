"""Label maps and files that several tests use."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from unet_exp.config.schema import DataConfig, SplitConfig

Array = npt.NDArray[Any]


def save(path: Path, array: Array, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, array, **options)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array, **options)
    else:
        Image.fromarray(array).save(path, **options)
    return path


def random(seed: int, shape: tuple[int, ...] = (12, 10), most: int = 256) -> Array:
    return np.random.default_rng(seed).integers(most, size=shape, dtype=np.uint8)


def data(root: Path, **values: Any) -> DataConfig:
    split = SplitConfig(**values.pop("split", {"mode": "blocks", "train": "rest", "val": 0}))
    return DataConfig(**{"kind": "image_folder", "root": str(root), "split": split, **values})
