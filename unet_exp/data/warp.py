"""One geometric map for image, label and weight map: drawn, composed, and resampled once."""

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from unet_exp.config import components
from unet_exp.data.transforms import MAPS, Crop, Points, RandomCrop, Sample, Then, Window, too_large

CUBIC = -0.75  # of Keys' convolution (1981, doi 10.1109/TASSP.1981.1163711), as torch and OpenCV have it


class RandomWarp(Crop, components.RandomWarpConfig):
    """Elastic deformation, rotation, scale, shear, shift, flips and quarter turns of a square patch.

    The map goes from each pixel of the patch to a place in the stored image, mirrored at the image's
    borders; the image is interpolated once, the label takes the nearest pixel's class.

    size: height and width of the patch, None for those of the image. elastic: standard deviation in pixels
    of the displacements of grid x grid points, between which they are interpolated bicubically (Ronneberger
    et al., 2015: 10 pixels, 3 x 3). rotation, shear: largest angle in degrees, either way. scale: smallest
    and largest magnification, drawn evenly in its logarithm. shift: largest in pixels. flip: left-right and,
    unless up_down is false, up-down, each every other time. turn: quarter turns (half turns of an oblong
    image). probability: of each of elastic, rotation, scale and shear. margin: pixels at the sides of the
    patch that are only context (of a network without padding), so the patch may hang over the image by as
    much. foreground: as RandomCrop; such a patch is not shifted. interpolation of the image: bicubic,
    bilinear.
    """

    def draw(self, shape: Sequence[int], rng: np.random.Generator, points: Points) -> tuple[Window, Then]:
        height, width = shape[:2]
        size = (height, width)
        if self.size is not None:
            size = (self.size, self.size)
            if min(height, width) < self.size - 2 * self.margin:
                raise too_large(self.size, self.margin, height, width)
        (top, left), pixel = self.place((height, width), size, rng, points)
        shift = rng.uniform(-self.shift, self.shift, 2) if self.shift else np.zeros(2)
        matrix, exact = self.matrix(rng, size[0] == size[1])
        waves = None
        if self.elastic and rng.random() < self.probability:
            waves = rng.normal(0.0, self.elastic, (2, self.grid, self.grid)).astype(np.float32)
        middle = np.array([top + (size[0] - 1) / 2, left + (size[1] - 1) / 2])
        # A chosen pixel keeps its place in the patch; what is turned and scaled is the rest around it.
        middle = middle + shift if pixel is None else pixel - matrix @ (pixel - middle)
        rows, columns = coordinates(size, matrix, middle, waves)
        rows, columns = mirrored(rows, height), mirrored(columns, width)
        spare = 0 if exact and waves is None and not self.shift else 2  # neighbours of the interpolation
        window = around(rows, height, spare), around(columns, width, spare)
        rows, columns = rows - window[0].start, columns - window[1].start

        def warp(sample: Sample) -> Sample:
            maps = {key: sample[key] for key in MAPS if key in sample}
            return sample | {k: resample(m, rows, columns, self.how(k, spare)) for k, m in maps.items()}

        return window, warp

    def how(self, key: str, spare: int) -> str:
        if key in ("label", "objects") or not spare:
            return "nearest"
        return self.interpolation if key == "input" else "bilinear"

    def matrix(self, rng: np.random.Generator, square: bool) -> tuple[np.ndarray, bool]:
        """2 x 2, from offsets in the patch (down, right) to those in the image; only flips and turns?"""
        matrix = np.eye(2)
        exact = True
        for largest, make in ((self.rotation, rotation), (self.shear, shear)):
            if largest and rng.random() < self.probability:
                matrix, exact = make(np.deg2rad(rng.uniform(-largest, largest))) @ matrix, False
        low, high = self.scale
        if (low, high) != (1.0, 1.0) and rng.random() < self.probability:
            matrix, exact = matrix / np.exp(rng.uniform(np.log(low), np.log(high))), False
        if self.turn:
            turns = int(rng.integers(4))
            matrix = matrix @ np.rint(rotation(np.pi / 2 * (turns if square else turns - turns % 2)))
        if self.flip:
            sides = 1.0 - 2.0 * rng.integers(2, size=2)
            matrix = matrix @ np.diag(sides if self.up_down else [1.0, sides[1]])
        return matrix, exact

    def place(
        self, shape: tuple[int, int], size: tuple[int, int], rng: np.random.Generator, points: Points
    ) -> tuple[tuple[int, int], np.ndarray | None]:
        """Top and left of the patch before it is warped; row and column of the pixel it was chosen for."""
        pixel = self.of_foreground(rng, points)
        starts = []
        for axis in (0, 1):
            lowest, highest = sorted((-self.margin, shape[axis] - size[axis] + self.margin))
            if pixel is None:
                starts.append(int(rng.integers(lowest, highest + 1)))
            else:
                inner = size[axis] - 2 * self.margin
                start = pixel[axis] - self.margin - int(rng.integers(max(1, inner)))
                starts.append(min(max(start, lowest), highest))
        return (starts[0], starts[1]), None if pixel is None else np.array(pixel)


def with_reach(crop: Crop, reach: int) -> tuple[Crop, int]:
    """The crop with `reach` more pixels on each side, for targets that depend on their neighbourhood.

    And how many it has: none where the patch is as large as the image.
    """
    if isinstance(crop, RandomCrop):
        still = {"elastic": 0.0, "rotation": 0.0, "flip": False, "turn": False}
        crop = RandomWarp(crop.size, foreground=crop.foreground, **still)  # type: ignore[arg-type]
    assert isinstance(crop, RandomWarp)
    if crop.size is None:
        return crop, 0
    return dataclasses.replace(crop, size=crop.size + 2 * reach, margin=crop.margin + reach), reach


def rotation(angle: float) -> np.ndarray:
    """The 2 x 2 matrix of an angle in radians."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def shear(angle: float) -> np.ndarray:
    """The 2 x 2 matrix that moves rows sideways by the tangent of an angle in radians."""
    return np.array([[1.0, 0.0], [np.tan(angle), 1.0]])


def coordinates(
    size: tuple[int, int], matrix: np.ndarray, middle: Sequence[float] | np.ndarray, waves: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns in the image, float32 H x W each, of the pixels of a patch around `middle`."""
    down, right = (np.arange(length, dtype=np.float64) - (length - 1) / 2 for length in size)
    axes = []
    for axis in (0, 1):
        start = matrix[axis, 0] * down + middle[axis]
        step = matrix[axis, 1] * right
        values = start.astype(np.float32)[:, None] + step.astype(np.float32)[None, :]
        if waves is not None:
            values += displacements(waves[axis], size)
        axes.append(values)
    return axes[0], axes[1]


def displacements(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32 H x W: a grid of values, its corners on the patch's corners, interpolated bicubically.

    Sums in a fixed order rather than a matrix product, whose rounding may depend on the number of threads.
    """
    across = cubic_weights(points.shape[1], size[1])
    down = cubic_weights(points.shape[0], size[0])
    lines = [sum(value * weights for value, weights in zip(row, across, strict=True)) for row in points]
    total = np.zeros(size, np.float32)
    for weights, line in zip(down, lines, strict=True):
        total += weights[:, None] * np.asarray(line)[None, :]
    return total


@lru_cache(maxsize=64)
def cubic_weights(points: int, length: int) -> tuple[np.ndarray, ...]:
    """How much each of `points` values counts at each of `length` places between the first and the last."""
    place = np.linspace(0.0, points - 1.0, length)
    left = np.floor(place).astype(int)
    weights = np.zeros((points, length))
    for tap in range(-1, 3):
        far = np.abs(place - left - tap)
        near = ((CUBIC + 2) * far - (CUBIC + 3)) * far**2 + 1
        wide = CUBIC * (((far - 5) * far + 8) * far - 4)
        weight = np.where(far <= 1, near, np.where(far < 2, wide, 0.0))
        np.add.at(weights, (np.clip(left + tap, 0, points - 1), np.arange(length)), weight)
    return tuple(weights.astype(np.float32))


def mirrored(place: np.ndarray, length: int) -> np.ndarray:
    """Places brought back into 0..length - 1 by reflection at the first and last pixel."""
    last = np.float32(length - 1)
    if length == 1:
        return np.zeros_like(place)
    while place.min() < 0 or place.max() > last:
        place = np.asarray(last - np.abs(last - np.abs(place)))
    return place


def around(place: np.ndarray, length: int, spare: int) -> slice:
    """The pixels of one axis that these places lie between, and `spare` more on each side."""
    first = int(np.floor(place.min()))
    last = int(np.ceil(place.max()))
    return slice(max(first - spare, 0), min(last + spare, length - 1) + 1)


def resample(array: np.ndarray, rows: np.ndarray, columns: np.ndarray, how: str) -> np.ndarray:
    """float32 h x w x C at the places given: float32 H x W x C. how: nearest, bilinear or bicubic."""
    if how == "nearest":
        places = (rows + np.float32(0.5)).astype(np.int32) * array.shape[1]
        places += (columns + np.float32(0.5)).astype(np.int32)
        return np.asarray(array.reshape(-1, array.shape[2]).take(places, axis=0))
    height, width = array.shape[:2]
    grid = np.stack(
        [columns * np.float32(2 / max(width - 1, 1)) - 1, rows * np.float32(2 / max(height - 1, 1)) - 1], -1
    )
    image = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))[None]
    values = F.grid_sample(
        image, torch.from_numpy(grid)[None], mode=how, padding_mode="border", align_corners=True
    )
    # A cubic may overshoot beside an edge.
    return values[0].permute(1, 2, 0).numpy().clip(array.min((0, 1)), array.max((0, 1)))
