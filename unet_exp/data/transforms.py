"""Transforms of samples: each takes (sample, rng) and draws only from that rng.

A sample is a dict: "input" float32 H x W x C (values in [0, 1] until Normalization), "label" float32
H x W x 1 (class indices), other keys pass through. ToTensor makes both C x H x W tensors. The rng is a
function of (seed, epoch, index), so neither workers nor a restart change what is drawn.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from unet_exp.errors import DataError

Sample = dict[str, Any]
Transform = Callable[[Sample, np.random.Generator], Sample]


class Compose:
    """Transforms one after another."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


class Normalization:
    """input becomes (input - mean) / std; the label stays. Values in [0, 1], mean and std 0.5: [-1, 1]."""

    def __init__(self, mean: float = 0.5, std: float = 0.5) -> None:
        self.mean, self.std = np.float32(mean), np.float32(std)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return {**sample, "input": (sample["input"] - self.mean) / self.std}


class RandomFlip:
    """Left-right and up-down, each with probability 1/2."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for axis in (1, 0):
            if rng.random() < 0.5:
                sample = _both(sample, lambda array, axis=axis: np.flip(array, axis))
        return sample


class RandomRotate90:
    """0, 1, 2 or 3 quarter turns; an oblong image turns by 0 or 2, so that its size stays."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        turns = int(rng.integers(4))
        height, width = sample["input"].shape[:2]
        if height != width:
            turns -= turns % 2
        return _both(sample, lambda array: np.rot90(array, turns))


class RandomCrop:
    """A square of `size` pixels at a random place. Raises DataError for an image smaller than that."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = sample["input"].shape[:2]
        if min(height, width) < self.size:
            raise DataError(
                f"a crop of {self.size} pixels does not fit into an image of {height} x {width}",
                do=f"set transform.train.crop.size to at most {min(height, width)}",
            )
        top = int(rng.integers(height - self.size + 1))
        left = int(rng.integers(width - self.size + 1))
        return _both(sample, lambda array: array[top : top + self.size, left : left + self.size])


class ToTensor:
    """H x W x C arrays to C x H x W float32 tensors."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return _both(sample, to_tensor)


def to_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array.transpose(2, 0, 1), dtype=np.float32, order="C"))


def _both(sample: Sample, change: Callable[..., Any]) -> Sample:
    """The same change for image and label, which have to stay on top of each other."""
    return {**sample, "input": change(sample["input"]), "label": change(sample["label"])}
