"""How an image of any size is cut into tiles: where they start, and which of their pixels are used."""

import math
from dataclasses import dataclass
from itertools import count, pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unet_exp.errors import ConfigError, ModelError
from unet_exp.sizes import nearest_sizes, output_size


class Piece(NamedTuple):
    """One tile along one axis: its first pixel, which of its output pixels go where, and their shares."""

    start: int  # in the image, of the tile's input; negative where it begins outside
    kept: slice  # of the tile's output
    place: slice  # in the image
    share: Tensor  # float32; over all tiles they sum to 1 at every pixel


def receptive_radius(depth: int, upsample: str = "bilinear", padding: str = "same", stride: int = 1) -> int:
    """How many pixels of a U-Net's output beside a tile's border depend on what lies beyond that border.

    For two 3x3 convolutions a level, 2x2 pooling and transposed (2x2) or bilinear upsampling, and a border at
    a multiple of stride * 2**depth. Farther inside, the tile's output is the whole image's. Depth 4: 94
    transposed, 109 bilinear. With valid padding, counted from the output's border: 0 and 15.
    """
    convolutions = 2 if padding == "same" else 0
    neighbour = 1 if upsample == "bilinear" else 0
    radius = convolutions
    for _ in range(depth):
        radius = math.ceil(radius / 2) + convolutions
    for _ in range(depth):
        radius = 2 * radius + neighbour + convolutions
    return stride * radius


def unet_margin(depth: int, padding: str) -> int:
    """Pixels that a U-Net's output lacks of its input on each side: 0 with same padding, 92 at depth 4."""
    fitting = nearest_sizes(0, depth, padding)[-1]
    return (fitting - (output_size(fitting, depth, padding) or 0)) // 2


def tile_starts(size: int, tile: int, overlap: float, multiple: int) -> list[int]:
    """Where tiles of `tile` pixels start so that they cover 0 to `size`, in steps as equal as can be.

    All are multiples of `multiple`; the first is 0, the last the lowest that reaches `size`. Neighbours have
    at least the share `overlap` (0 <= overlap < 1) of a tile in common, where a step of `multiple` allows.
    tile >= multiple, or there would be gaps.
    """
    step = max(1, int(tile * (1 - overlap) + 1e-6) // multiple)
    last = max(0, math.ceil((size - tile) / multiple))
    steps = math.ceil(last / step)
    return [number * last // max(1, steps) * multiple for number in range(steps + 1)]


@dataclass(frozen=True)
class Tiling:
    """How images are cut. All numbers are pixels but `overlap`.

    tile: side of a tile as the network gets it; less for a smaller image. overlap: least share of a tile that
    neighbours have in common (unused with a margin: there they agree). margin: what the network's output
    lacks on each side (unet_margin). multiple: 2**depth; tiles start on the grid of the pooling.
    halo: output beside a tile's border that is not used, except (without a margin) at the image's border.
    With receptive_radius the result is the whole image's at once, but for rounding (convolutions of another
    size sum in another order), unless a network sees farther, as instance and group normalisation do. With 0,
    tiles of same padding are blended only.
    Raises ModelError for a tile that the network can't take, ConfigError for numbers that can't be.
    """

    tile: int
    overlap: float
    margin: int
    multiple: int
    halo: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"tiles that overlap by {self.overlap} of a tile", allowed="from 0 to below 1")
        if self.multiple < 1 or self.multiple & (self.multiple - 1) or self.margin < 0 or self.halo < 0:
            raise ConfigError(
                f"multiple {self.multiple}, margin {self.margin}, halo {self.halo}",
                allowed="a power of 2, and two of at least 0",
            )
        if not self.fits(self.tile):
            raise self.misfit()

    def fits(self, side: int) -> bool:
        """Whether the network takes a tile of this side, and enough of its output is used."""
        used = side - 2 * self.unused
        return used >= self.multiple and self.network_takes(side)

    def network_takes(self, side: int) -> bool:
        padding = "valid" if self.margin else "same"
        return output_size(side, self.multiple.bit_length() - 1, padding) is not None

    def misfit(self) -> ConfigError | ModelError:
        """The error for a tile that does not fit, with the nearest that do."""
        near = [side for side in range(self.tile - 1, 0, -1) if self.fits(side)][:1]
        near.append(next(side for side in count(max(1, self.tile + 1)) if self.fits(side)))
        allowed = f"instead of {self.tile}: {' or '.join(map(str, near))}"
        if not self.network_takes(self.tile):
            depth = self.multiple.bit_length() - 1
            padding = "valid" if self.margin else "same"
            return ModelError(
                f"tiles of {self.tile} do not fit depth {depth} with {padding} padding", allowed
            )
        border = self.margin + self.halo
        return ConfigError(
            f"of tiles of {self.tile}, borders of {border} on both sides leave too little", allowed
        )

    @property
    def unused(self) -> int:
        """Pixels of a tile that its used output lacks on each side, where the tile ends inside the image."""
        if not self.margin:
            return self.halo
        # Also at the image's border: the halo is widened to keep tiles on the grid of the pooling.
        return self.margin + math.ceil(self.halo / self.multiple) * self.multiple

    def count(self, size: tuple[int, int]) -> int:
        """How many tiles an image of this height and width is cut into."""
        return math.prod(len(self.cut_axis(length)[1]) for length in size)

    def cut_axis(self, size: int) -> tuple[int, list[Piece]]:
        """How long the tiles along one axis are (no longer than the image needs), and the tiles."""
        length, ranges = self.ranges(size)
        weights = []
        total = np.zeros(size)
        for start, first, last in ranges:
            # A standard deviation of an eighth of the tile, as Isensee et al.
            away = (np.arange(first, last) - start - (length - 1) / 2) / (length / 8)
            weights.append(np.ones(last - first) if self.margin else np.exp(-(away**2) / 2))
            total[first:last] += weights[-1]
        pieces = []
        for (start, first, last), weight in zip(ranges, weights, strict=True):
            # Tiles form a grid, so products of the rows' and the columns' shares sum to 1 as well.
            share = torch.from_numpy((weight / total[first:last]).astype(np.float32))
            kept = slice(first - start - self.margin, last - start - self.margin)
            pieces.append(Piece(start, kept, slice(first, last), share))
        return length, pieces

    def ranges(self, size: int) -> tuple[int, list[tuple[int, int, int]]]:
        """The length of tiles along one axis; of each where its input starts, and its used output."""
        if self.margin:
            used = self.tile - 2 * self.unused
            used -= max(0, used - size) // self.multiple * self.multiple
            starts = tile_starts(size, used, 0.0, self.multiple)
            # Tiles are equal wherever two have a pixel, so each is taken from one.
            ranges = [(first - self.unused, first, last) for first, last in pairwise([*starts, size])]
            return used + 2 * self.unused, ranges
        length = min(self.tile, math.ceil(size / self.multiple) * self.multiple)
        ranges = []
        for start in tile_starts(size, length, max(self.overlap, 2 * self.halo / self.tile), self.multiple):
            stop = start + length
            ranges.append(
                (start, start + self.halo if start else 0, stop - self.halo if stop < size else size)
            )
        return length, ranges
