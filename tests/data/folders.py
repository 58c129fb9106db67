"""Folders of images and labels, written and loaded for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from unet_exp.config.label_map import label_map
from unet_exp.config.schema import DataConfig, SplitConfig
from unet_exp.data.datasets import SegmentationDataset
from unet_exp.data.samples import Samples, load_samples
from unet_exp.data.splits import Splits, find_splits
from unet_exp.data.transforms import Compose

Array = npt.NDArray[Any]


H, W = 6, 5


def grey(seed: int = 0, shape: tuple[int, ...] = (H, W)) -> Array:
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def mask(seed: int = 0, shape: tuple[int, int] = (H, W)) -> Array:
    """Zeros and ones, both there."""
    values = np.random.default_rng(seed + 100).integers(2, size=shape, dtype=np.uint8)
    values[0, 0], values[0, 1] = 0, 1
    return values


def save(path: Path, array: Array, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array, **options)
    else:
        Image.fromarray(array).save(path, **options)


def config(root: Path, kind: str = "image_folder", cache: str = "auto", **split: Any) -> DataConfig:
    return DataConfig(kind=kind, root=str(root), cache=cache, split=SplitConfig(**split))


def pair(root: Path, name: str, seed: int = 0) -> None:
    save(root / "images" / f"{name}.png", grey(seed))
    save(root / "labels" / f"{name}.png", mask(seed) * 255)


def folder_of(root: Path, count: int) -> Path:
    for i in range(count):
        pair(root, f"{i:02d}", i)
    return root


def names(splits: Splits) -> dict[str, list[str]]:
    return {part: [item.name for item in items] for part, items in splits.items()}


def load_all(data: DataConfig) -> Samples:
    """Every sample of the set, as the training part."""
    data.split = SplitConfig(mode="blocks", train="rest", val=0, test=0)
    items = find_splits(data)["train"]
    return load_samples(
        items, "train", data.cache, data.cache_limit_mb, label_map(data), cache_dir=data.cache_dir
    )


def plain(samples: Samples, index: int = 0) -> tuple[Array, Array]:
    sample = SegmentationDataset(samples, Compose([]), seed=0)[0, index]
    assert sample["index"] == index
    for key in ("input", "label"):
        assert sample[key].dtype == np.float32
    return sample["input"], sample["label"]
