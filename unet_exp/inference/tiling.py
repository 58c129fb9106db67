"""Images of any size through a network, tile by tile, in memory bounded by one row of tiles.

Networks with valid padding: the overlap-tile strategy of Ronneberger, Fischer and Brox (2015,
arXiv:1505.04597, Fig. 2). Networks with same padding: overlapping tiles blended by Gaussian weights, as
Isensee et al. (2021, nnU-Net, doi:10.1038/s41592-020-01008-z), after cutting off what a tile's border spoils.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from unet_exp.errors import ConfigError, ModelError
from unet_exp.inference.samples import NUM_FORMS
from unet_exp.inference.tiles import Piece, Tiling

Network = Callable[[Tensor], Tensor]
Read = Callable[[slice, slice], np.ndarray]
Write = Callable[[int, np.ndarray], None]


@torch.inference_mode()
def predict_tiles(
    networks: Sequence[Network],
    read: Read,
    size: tuple[int, int],
    write: Write,
    tiling: Tiling,
    *,
    batch: int,
    tta: bool = False,
    symmetries: str = "all",
    progress: Callable[[int], None] | None = None,
) -> None:
    """Probabilities of an image of size (H, W) that is never held as a whole.

    networks: each takes tiles N x C x h x w, float32 on the CPU, which it must not change, and gives
    probabilities N x K x (h - 2 margin) x (w - 2 margin), on any device. The result is their mean.
    read(rows, columns): that window of the image, h x w x C float32, normalised; slices inside the image.
    write(top, rows): takes finished rows from `top` on, K x h x W float32, each row once and in order; the
    array is never written to again. Sums over K are 1 but for rounding. A thread calls read for the next row
    of tiles while the networks compute one, and another calls write for the last.
    batch: most tiles in a forward pass. tta: mean over the symmetries of the data (data.symmetries: all eight
    of a square, or left_right), tile by tile.
    progress(n): n more tiles are done, of tiling.count(size).

    Beyond its border the image continues as in UNet, the last pixel repeated, up to a multiple; with a margin
    it is mirrored without repeating the last pixel, as often as needed. Memory: twice the input
    of a row of tiles, twice its output, and what the networks take for a batch.
    Raises ModelError for an output that does not fit the tiles, ConfigError for other numbers.
    """
    if batch < 1 or not networks or min(size) < 1:
        raise ConfigError(
            f"{len(networks)} networks, batches of {batch} tiles, an image of {size[0]} x {size[1]}",
            allowed="at least one of each",
        )
    height, rows = tiling.cut_axis(size[0])
    width, columns = tiling.cut_axis(size[1])
    forms = symmetries if tta else "none"
    across = np.arange(columns[0].start, columns[-1].start + width)

    def band_of(row: Piece) -> np.ndarray:
        down = np.arange(row.start, row.start + height)
        return read_continued(read, down, across, size, tiling.margin > 0)

    unfinished: Tensor | None = None  # the rows that the row of tiles below adds to
    written: Future[None] | None = None
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        band = reader.submit(band_of, rows[0])
        for row, below in zip(rows, [*rows[1:], None], strict=True):
            tiles = batches_of(band.result(), columns, width, batch)
            if below is not None:
                band = reader.submit(band_of, below)
            sums = sum_of_row(networks, tiles, row, size[1], tiling.margin, unfinished, forms, progress)
            last = row.place.stop if below is None else below.place.start
            num_finished = last - row.place.start
            if written is not None:
                written.result()
            written = writer.submit(write, row.place.start, sums[:, :num_finished].cpu().numpy())
            unfinished = sums[:, num_finished:]
        assert written is not None
        written.result()


def batches_of(
    band: np.ndarray, columns: list[Piece], width: int, batch: int
) -> Iterator[tuple[list[Piece], Tensor]]:
    """The tiles of a row, cut from its input h x w x C: their places, and N x C x h x width, N <= batch.

    Each batch is written over the one before.
    """
    tiles = np.empty((min(batch, len(columns)), band.shape[2], band.shape[0], width), np.float32)
    for first in range(0, len(columns), batch):
        places = columns[first : first + batch]
        for slot, place in enumerate(places):
            left = place.start - columns[0].start
            tiles[slot] = band[:, left : left + width].transpose(2, 0, 1)
        yield places, torch.from_numpy(tiles[: len(places)])


def sum_of_row(
    networks: Sequence[Network],
    batches: Iterator[tuple[list[Piece], Tensor]],
    row: Piece,
    width: int,
    margin: int,
    unfinished: Tensor | None,
    forms: str,
    progress: Callable[[int], None] | None,
) -> Tensor:
    """K x h x width: the shares of a row of tiles in the mean, added to what the row before has left."""
    share_of_output = 1 / (len(networks) * NUM_FORMS[forms])
    sums: Tensor | None = None
    for places, tiles in batches:
        for output in outputs(networks, tiles, forms):
            if sums is None:
                sums = start_sums(output, len(row.share), width, unfinished)
            sides = (side - 2 * margin for side in tiles.shape[2:])
            check_output(output, (len(places), len(sums), *sides))
            for column, probabilities in zip(places, output, strict=True):
                share = row.share.to(output.device)[:, None] * column.share.to(output.device)
                kept = probabilities[:, row.kept, column.kept]
                sums[:, :, column.place].addcmul_(kept, share, value=share_of_output)
        if progress is not None:
            progress(len(places))
    assert sums is not None
    return sums


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


def outputs(networks: Sequence[Network], tiles: Tensor, forms: str) -> Iterator[Tensor]:
    """Each network's probabilities of each of these forms of the tiles, turned back."""

    def turn(x: Tensor, quarters: int) -> Tensor:
        return torch.rot90(x, quarters, (2, 3)) if quarters else x  # rot90 copies even then

    for network in networks:
        for quarters in range(4 if forms == "all" else 1):
            turned = turn(tiles, quarters)
            yield turn(network(turned), -quarters)
            if forms != "none":
                yield turn(network(turned.flip(3)).flip(3), -quarters)


def start_sums(output: Tensor, height: int, width: int, rest: Tensor | None) -> Tensor:
    """Zeros K x height x width on the output's device; the top rows are `rest`."""
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
