"""Images of any size through a network, tile by tile, in memory bounded by one row of tiles.

Networks with valid padding: the overlap-tile strategy of Ronneberger, Fischer and Brox (2015,
arXiv:1505.04597, Fig. 2). Networks with same padding: overlapping tiles blended by Gaussian weights, as
Isensee et al. (2021, nnU-Net, doi:10.1038/s41592-020-01008-z), after cutting off what a tile's border spoils.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unet_exp.errors import ConfigError, ModelError
from unet_exp.sizes import nearest_sizes, output_size

Network = Callable[[Tensor], Tensor]
Read = Callable[[slice, slice], np.ndarray]


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


def count_tiles(
    size: tuple[int, int], *, tile: int, overlap: float, margin: int, multiple: int, halo: int
) -> int:
    """How many tiles predict_tiles cuts an image of that height and width into."""
    check_tile(tile, overlap, margin, multiple, halo)
    return math.prod(len(cut_axis(length, tile, overlap, margin, multiple, halo)[1]) for length in size)


@torch.inference_mode()
def predict_tiles(
    networks: Sequence[Network],
    read: Read,
    size: tuple[int, int],
    write: Callable[[int, np.ndarray], None],
    *,
    tile: int,
    overlap: float,
    margin: int,
    multiple: int,
    halo: int,
    batch: int,
    tta: bool = False,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Probabilities of an image of size (H, W) that is never held as a whole.

    networks: each takes tiles N x C x h x w, float32 on the CPU, which it must not change, and gives
    probabilities N x K x (h - 2 margin) x (w - 2 margin), on any device. The result is their mean.
    read(rows, columns): that window of the image, h x w x C float32, normalised; slices inside the image.
    write(top, rows): takes finished rows from `top` on, K x h x W float32, each row once and in order; the
    array is never written to again. Sums over K are 1 but for rounding.
    tile: side of a tile in pixels, as a network gets it; less for a smaller image. overlap: least share of a
    tile that neighbours have in common (unused with a margin: there they agree). margin: pixels that the
    output lacks on each side (unet_margin). multiple: 2**depth; tiles start on the grid of the pooling.
    halo: output pixels beside a tile's border that are not used, except (without a margin) at the image's.
    With receptive_radius the result is the whole image's at once, but for rounding (convolutions of another
    size sum in another order), unless a network sees farther, as instance and group normalisation do. With 0,
    tiles of same padding are blended only.
    batch: most tiles in a forward pass. tta: mean over the eight symmetries of a square, tile by tile.
    progress(n): n more tiles are done, of count_tiles.

    Beyond its border the image continues as in UNet, the last pixel repeated, up to a multiple; with a margin
    it is mirrored without repeating the last pixel, as often as needed. Memory: the input of a row of tiles,
    twice its output, and what the networks take for a batch.
    Raises ModelError for a tile or an output that does not fit, ConfigError for other numbers.
    """
    check_tile(tile, overlap, margin, multiple, halo)
    if batch < 1 or not networks or min(size) < 1:
        raise ConfigError(
            f"{len(networks)} networks, batches of {batch} tiles, an image of {size[0]} x {size[1]}",
            allowed="at least one of each",
        )
    height, rows = cut_axis(size[0], tile, overlap, margin, multiple, halo)
    width, columns = cut_axis(size[1], tile, overlap, margin, multiple, halo)
    part_of_mean = 1 / (len(networks) * (8 if tta else 1))
    across = np.arange(columns[0].start, columns[-1].start + width)
    tiles: np.ndarray | None = None
    rest: Tensor | None = None
    for row, below in zip(rows, [*rows[1:], None], strict=True):
        band = read_continued(read, np.arange(row.start, row.start + height), across, size, margin > 0)
        if tiles is None:
            tiles = np.empty((min(batch, len(columns)), band.shape[2], height, width), np.float32)
        sums: Tensor | None = None
        for first in range(0, len(columns), batch):
            now = columns[first : first + batch]
            for slot, column in enumerate(now):
                left = column.start - columns[0].start
                tiles[slot] = band[:, left : left + width].transpose(2, 0, 1)
            for output in outputs(networks, torch.from_numpy(tiles[: len(now)]), tta):
                if sums is None:
                    sums = start_sums(output, len(row.share), size[1], rest)
                check_output(output, (len(now), len(sums), height - 2 * margin, width - 2 * margin))
                for column, probabilities in zip(now, output, strict=True):
                    share = row.share.to(output.device)[:, None] * column.share.to(output.device)
                    kept = probabilities[:, row.kept, column.kept]
                    sums[:, :, column.place].addcmul_(kept, share, value=part_of_mean)
            if progress is not None:
                progress(len(now))
        assert sums is not None
        done = (row.place.stop if below is None else below.place.start) - row.place.start
        write(row.place.start, sums[:, :done].cpu().numpy())
        rest = sums[:, done:]


def predict_array(
    networks: Sequence[Network],
    image: np.ndarray,
    *,
    tile: int,
    overlap: float,
    margin: int,
    multiple: int,
    halo: int,
    batch: int,
    tta: bool = False,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Normalised float32 image H x W x C to probabilities K x H x W, float32; the rest as predict_tiles."""
    size = (image.shape[0], image.shape[1])
    result = np.empty(0, np.float32)

    def write(top: int, rows: np.ndarray) -> None:
        nonlocal result
        if top == 0:
            result = np.empty((len(rows), *size), np.float32)
        result[:, top : top + rows.shape[1]] = rows

    predict_tiles(
        networks,
        lambda rows, columns: image[rows, columns],
        size,
        write,
        tile=tile,
        overlap=overlap,
        margin=margin,
        multiple=multiple,
        halo=halo,
        batch=batch,
        tta=tta,
        progress=progress,
    )
    return result


def check_tile(tile: int, overlap: float, margin: int, multiple: int, halo: int) -> None:
    """Raises ModelError for a tile that the network can't take, ConfigError for numbers that can't be."""
    if not 0 <= overlap < 1:
        raise ConfigError(f"tiles that overlap by {overlap} of a tile", allowed="from 0 to below 1")
    if multiple < 1 or multiple & (multiple - 1) or margin < 0 or halo < 0:
        raise ConfigError(
            f"multiple {multiple}, margin {margin}, halo {halo}",
            allowed="a power of 2, and two of at least 0",
        )
    depth = multiple.bit_length() - 1
    padding = "valid" if margin else "same"

    def fits(side: int) -> bool:
        used = side - 2 * unused(margin, multiple, halo)
        return used >= multiple and output_size(side, depth, padding) is not None

    if fits(tile):
        return
    near = [side for side in range(tile - 1, 0, -1) if fits(side)][:1]
    near.append(next(side for side in count(max(1, tile + 1)) if fits(side)))
    allowed = f"instead of {tile}: {' or '.join(map(str, near))}"
    if output_size(tile, depth, padding) is None:
        raise ModelError(f"tiles of {tile} do not fit depth {depth} with {padding} padding", allowed)
    raise ConfigError(
        f"of tiles of {tile}, borders of {margin + halo} on both sides leave too little", allowed
    )


def unused(margin: int, multiple: int, halo: int) -> int:
    """Pixels of a tile that its used output lacks on each side, where the tile ends inside the image."""
    # With a margin also at the image's border: the halo is widened to keep tiles on the grid of the pooling.
    return margin + math.ceil(halo / multiple) * multiple if margin else halo


def cut_axis(
    size: int, tile: int, overlap: float, margin: int, multiple: int, halo: int
) -> tuple[int, list[Piece]]:
    """How long the tiles along one axis are (no longer than the image needs), and the tiles."""
    edge = unused(margin, multiple, halo)
    ranges: list[tuple[int, int, int]] = []  # first pixel of the input, first and last + 1 of the used output
    if margin:
        used = tile - 2 * edge
        used -= max(0, used - size) // multiple * multiple
        length = used + 2 * edge
        starts = tile_starts(size, used, 0.0, multiple)
        # Tiles are equal wherever two have a pixel, so each is taken from one.
        ranges = [(here - edge, here, below) for here, below in zip(starts, [*starts[1:], size], strict=True)]
    else:
        length = min(tile, math.ceil(size / multiple) * multiple)
        for start in tile_starts(size, length, max(overlap, 2 * halo / tile), multiple):
            stop = start + length
            ranges.append((start, start + halo if start else 0, stop - halo if stop < size else size))
    weights = []
    total = np.zeros(size)
    for start, first, last in ranges:
        # A standard deviation of an eighth of the tile, as Isensee et al.
        away = (np.arange(first, last) - start - (length - 1) / 2) / (length / 8)
        weights.append(np.ones(last - first) if margin else np.exp(-(away**2) / 2))
        total[first:last] += weights[-1]
    pieces = []
    for (start, first, last), weight in zip(ranges, weights, strict=True):
        # Tiles form a grid, so products of the rows' and the columns' shares sum to 1 as well.
        share = torch.from_numpy((weight / total[first:last]).astype(np.float32))
        kept = slice(first - start - margin, last - start - margin)
        pieces.append(Piece(start, kept, slice(first, last), share))
    return length, pieces


def read_continued(
    read: Read, rows: np.ndarray, columns: np.ndarray, size: tuple[int, int], mirror: bool
) -> np.ndarray:
    """The window of these row and column numbers, h x w x C; numbers outside the image continue it."""
    inside: list[np.ndarray] = []
    for numbers, length in zip((rows, columns), size, strict=True):
        if mirror:
            # There and back without repeating the ends, as numpy's "reflect".
            period = max(1, 2 * length - 2)
            away = np.abs(numbers) % period
            inside.append(np.minimum(away, period - away))
        else:
            inside.append(np.clip(numbers, 0, length - 1))
    tops = [int(numbers.min()) for numbers in inside]
    window = read(*(slice(top, int(numbers.max()) + 1) for top, numbers in zip(tops, inside, strict=True)))
    for axis, (top, numbers) in enumerate(zip(tops, inside, strict=True)):
        if not np.array_equal(numbers - top, np.arange(window.shape[axis])):
            window = window.take(numbers - top, axis)
    return window


def outputs(networks: Sequence[Network], tiles: Tensor, tta: bool) -> Iterator[Tensor]:
    """Each network's probabilities of the tiles; with tta of each of their eight symmetries, turned back."""

    def turn(x: Tensor, quarters: int) -> Tensor:
        return torch.rot90(x, quarters, (2, 3)) if quarters else x  # rot90 copies even then

    for network in networks:
        for quarters in range(4 if tta else 1):
            turned = turn(tiles, quarters)
            yield turn(network(turned), -quarters)
            if tta:
                yield turn(network(turned.flip(3)).flip(3), -quarters)


def start_sums(output: Tensor, height: int, width: int, rest: Tensor | None) -> Tensor:
    """Zeros K x height x width on the output's device; in the top rows what the row of tiles before left."""
    sums = output.new_zeros((output.shape[1], height, width), dtype=torch.float32)
    if rest is not None:
        sums[:, : rest.shape[1]] = rest
    return sums


def check_output(output: Tensor, expected: tuple[int, ...]) -> None:
    if output.shape != expected:
        raise ModelError(
            f"a network gave an array of shape {tuple(output.shape)}",
            allowed=f"tiles x classes x height x width: {expected}",
            do="use networks of the same classes, and their margin",
        )
