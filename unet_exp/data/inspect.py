"""What one look at a sample tells: its size, its statistics, its classes. Read by rows, never as a whole."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp.data.formats import Source, read_window, row_blocks, to_unit
from unet_exp.data.items import DrawnItem, Item
from unet_exp.errors import DataError
from unet_exp.schema import IGNORE

MOST_POINTS = 500  # of each class, remembered from each block of rows
Points = dict[int, np.ndarray]  # class index -> int64 N x 2, row and column of some of its pixels


@dataclass(frozen=True)
class Facts:
    """shape H x W x C; low, high: stored values; mean, std: float64 per channel in the unit of to_unit.

    pixels: of each class index 0..255 (255: ignored). image_sha256, label_sha256: of the decoded values.
    points: where the classes other than 0 are.
    """

    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float
    mean: np.ndarray
    std: np.ndarray
    pixels: np.ndarray
    image_sha256: str
    label_sha256: str
    points: Points


def look_at(image: Source, label: Any, item: Item | DrawnItem) -> Facts:
    """Facts of an opened sample; label[rows, columns] gives class indices. Raises DataError."""
    path = item.image if isinstance(item, Item) else Path(item.name)
    low, high = np.inf, -np.inf
    sums, squares = np.zeros(image.shape[2]), np.zeros(image.shape[2])
    pixels = np.zeros(256, np.int64)
    hashes = (
        hashlib.sha256(f"{image.dtype.kind}{image.dtype.itemsize} {image.shape}".encode()),
        hashlib.sha256(),
    )
    points: dict[int, list[np.ndarray]] = {}
    for window in row_blocks(image.shape):
        block = read_window(image, window, path)
        if not np.isfinite(block).all():
            page = "" if getattr(item, "page", None) is None else f" page {item.page}"  # type: ignore[union-attr]
            raise DataError(f"{path}{page} holds values that are not numbers", do="repair the file")
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        unit = to_unit(block).astype(np.float64)
        sums += unit.sum((0, 1))
        squares += (unit**2).sum((0, 1))
        indices = np.ascontiguousarray(label[window][..., 0])
        pixels += np.bincount(indices.ravel(), minlength=256)
        hashes[0].update(block.tobytes())
        hashes[1].update(indices.tobytes())
        for index in np.flatnonzero(np.bincount(indices.ravel(), minlength=256)[1:IGNORE]) + 1:
            there = np.flatnonzero(indices == index)
            some = there[np.linspace(0, len(there) - 1, min(len(there), MOST_POINTS)).astype(np.int64)]
            rows, columns = np.divmod(some, indices.shape[1])
            points.setdefault(int(index), []).append(np.stack([rows + window[0].start, columns], axis=1))
    count = image.shape[0] * image.shape[1]
    mean = sums / count
    return Facts(
        shape=tuple(image.shape), dtype=str(image.dtype), low=low, high=high, mean=mean,
        std=np.sqrt(np.maximum(squares / count - mean**2, 0)), pixels=pixels,
        image_sha256=hashes[0].hexdigest(), label_sha256=hashes[1].hexdigest(),
        points={index: np.concatenate(some) for index, some in points.items()},
    )  # fmt: skip


def mean_and_std(facts: list[Facts]) -> tuple[np.ndarray, np.ndarray]:
    """float64 per channel over all pixels of several images."""
    weights = np.array([float(fact.shape[0] * fact.shape[1]) for fact in facts])[:, None]
    means, stds = np.stack([fact.mean for fact in facts]), np.stack([fact.std for fact in facts])
    mean = (weights * means).sum(0) / weights.sum()
    variance = (weights * (stds**2 + means**2)).sum(0) / weights.sum() - mean**2
    return mean, np.sqrt(np.maximum(variance, 0))
