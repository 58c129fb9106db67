"""Transforms of samples: each takes (sample, rng) and draws only from that rng.

A sample is a dict: "input" float32 H x W x C (values in [0, 1] until Normalization), "label" float32
H x W x 1 (class indices), perhaps "weight" float32 H x W x 1 (of each pixel in the loss); other keys pass.
ToTensor makes them C x H x W tensors. The rng is a function of (seed, epoch, index), so neither workers nor
a restart change what is drawn.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from unet_exp.config import components
from unet_exp.config.schema import IGNORE
from unet_exp.errors import DataError
from unet_exp.sizes import output_size

Sample = dict[str, Any]
Transform = Callable[[Sample, np.random.Generator], Sample]
Window = tuple[slice, slice]
Points = dict[int, np.ndarray]  # class index: rows and columns of some of its pixels
Then = Callable[[Sample], Sample]
MAPS = (
    "input",
    "label",
    "weight",
    "objects",
)  # what lies on top of each other in a sample


class Compose:
    """Transforms one after another."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


class Normalization(components.NormalizationConfig):
    """input becomes (input - mean) / std; the label stays. Values in [0, 1], mean and std 0.5: [-1, 1].

    mean, std: a number, or one for each channel; "image" for those of each whole image, which the sample
    brings with it under "mean" and "std" (an image of one value is only shifted).
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        mean = sample["mean"] if self.mean == "image" else self.mean
        std = sample["std"] if self.std == "image" else self.std
        return {**sample, "input": normalized(sample["input"], mean, std)}


def normalized(image: np.ndarray, mean: Any, std: Any) -> np.ndarray:
    """(image - mean) / std in float32; mean and std: numbers, or one for each channel of H x W x C."""
    shift = np.asarray(mean, np.float32)
    scale = np.asarray(std, np.float32)
    return np.asarray((image - shift) / np.where(scale == 0, np.float32(1), scale))


class RandomFlip(components.RandomFlipConfig):
    """Left-right and up-down, each with probability 1/2. up_down=false: left-right alone."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for axis in (1, 0) if self.up_down else (1,):
            if rng.random() < 0.5:
                sample = _all(sample, lambda array, axis=axis: np.flip(array, axis))
        return sample


class RandomRotate90:
    """0, 1, 2 or 3 quarter turns; an oblong image turns by 0 or 2, so that its size stays."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        turns = int(rng.integers(4))
        height, width = sample["input"].shape[:2]
        if height != width:
            turns -= turns % 2
        return _all(sample, lambda array: np.rot90(array, turns))


class Crop:
    """A patch of an image; which one, `draw` says before the image is read."""

    foreground: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        label = sample["label"][..., 0]
        classes = np.setdiff1d(label, (0, IGNORE)) if self.foreground else ()
        points = {int(index): np.argwhere(label == index) for index in classes}
        window, then = self.draw(label.shape, rng, points)
        return then(_all(sample, lambda array: array[window]))

    def draw(self, shape: Sequence[int], rng: np.random.Generator, points: Points) -> tuple[Window, Then]:
        """The window of an image of this height and width, and what makes the patch of it."""
        raise NotImplementedError

    def of_foreground(self, rng: np.random.Generator, points: Points) -> tuple[int, int] | None:
        """Row and column of a pixel of a class other than 0 for the share `foreground` of the crops."""
        if not (self.foreground and rng.random() < self.foreground and points):
            return None
        of_class = points[sorted(points)[int(rng.integers(len(points)))]]
        row, column = of_class[int(rng.integers(len(of_class)))]
        return int(row), int(column)


class RandomCrop(Crop, components.RandomCropConfig):
    """A square of `size` pixels at a random place. Raises DataError for an image smaller than that.

    foreground: share of crops that are placed around a pixel of a class other than 0, the classes of the
    image equally often (Isensee et al., 2021, doi 10.1038/s41592-020-01008-z, take one third).
    """

    def draw(self, shape: Sequence[int], rng: np.random.Generator, points: Points) -> tuple[Window, Then]:
        height, width = shape[:2]
        if min(height, width) < self.size:
            raise too_large(self.size, 0, height, width)
        pixel = self.of_foreground(rng, points)
        if pixel is not None:
            top = min(max(pixel[0] - int(rng.integers(self.size)), 0), height - self.size)
            left = min(max(pixel[1] - int(rng.integers(self.size)), 0), width - self.size)
        else:
            top = int(rng.integers(height - self.size + 1))
            left = int(rng.integers(width - self.size + 1))
        return (slice(top, top + self.size), slice(left, left + self.size)), lambda sample: sample


class MirrorBorder(components.MirrorBorderConfig):
    """The image continued by mirroring, so that a network without padding answers for all of it.

    Both sides grow evenly to the smallest size that a U-Net of this depth with valid padding takes and that
    leaves at least the image: 512 becomes 700, whose logits are 516. Labels outside the image are ignored,
    weights there are 0.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sides = []
        for length in sample["input"].shape[:2]:
            size = length
            while (output_size(size, self.depth, "valid") or 0) < length:
                size += 1
            sides.append(((size - length) // 2, (size - length + 1) // 2))
        outside = {"label": IGNORE, "weight": 0, "objects": 0}
        padded = {"input": np.pad(sample["input"], (*sides, (0, 0)), mode="reflect")}
        for key in outside.keys() & sample.keys():
            padded[key] = np.pad(sample[key], (*sides, (0, 0)), constant_values=outside[key])
        return sample | padded


def too_large(size: int, margin: int, height: int, width: int) -> DataError:
    """margin: pixels by which the crop may hang over the image on each side."""
    beside = f" and the {margin} pixels around it" * bool(margin)
    return DataError(
        f"a crop of {size} pixels does not fit into an image of {height} x {width}{beside}",
        do=f"set transform.train.crop.size to at most {min(height, width) + 2 * margin}, of a size that the "
        "network takes (it names them)",
    )


class ToTensor:
    """H x W x C arrays to C x H x W float32 tensors."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return _all(sample, to_tensor)


def to_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array.transpose(2, 0, 1), dtype=np.float32, order="C"))


def _all(sample: Sample, change: Callable[..., Any]) -> Sample:
    """The same change for image, label and weight map, which have to stay on top of each other."""
    return sample | {key: change(sample[key]) for key in MAPS if key in sample}
