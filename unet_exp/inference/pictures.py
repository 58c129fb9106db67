"""Pictures of predictions, written by rows, so that their size does not count."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from unet_exp.config.label_map import Colour
from unet_exp.data.formats import Source, read_window, row_blocks, to_unit
from unet_exp.data.stats import display_range
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.work_files import written_whole

TIFF_TILE = 512
RED = (230, 60, 40)
Rows = Callable[[slice], np.ndarray]


def save_picture(
    folder: Path, name: str, shape: tuple[int, ...], rows: Rows, large: bool, photograph: bool = False
) -> None:
    """NAME.png, or NAME.tif for a large one, uint8, from rows(slice); whole or not at all."""
    with written_whole(folder / f"{name}{'.tif' if large else '.png'}") as path:
        if large:
            colour = "rgb" if len(shape) == 3 else "minisblack"
            tifffile.imwrite(
                path,
                tiles_of(shape, rows),
                shape=shape,
                dtype=np.uint8,
                photometric=colour,
                compression="zlib",
                tile=(TIFF_TILE, TIFF_TILE),
                bigtiff=True,
            )
        else:
            whole = np.empty(shape, np.uint8)
            for top in range(0, shape[0], TIFF_TILE):
                part = slice(top, min(top + TIFF_TILE, shape[0]))
                whole[part] = rows(part)
            path.write_bytes(png_of(whole, photograph))


def png_of(picture: np.ndarray, photograph: bool) -> bytes:
    """A PNG of uint8 H x W or H x W x 3, encoded quickly.

    Masks: run lengths of unfiltered values take a tenth of the time of Pillow's default. Photographs: level 1
    takes a quarter. Neither file is larger than the default's.
    """
    if photograph:
        return bytes(imagecodecs.png_encode(picture, level=1))
    png = imagecodecs.PNG
    return bytes(imagecodecs.png_encode(picture, level=1, strategy=png.STRATEGY.RLE, filter=png.FILTER.NO))


def tiles_of(shape: tuple[int, ...], rows: Rows) -> Iterator[np.ndarray]:
    """The tiles of a TIFF, row by row; those at the right and bottom are filled up with 0."""
    for top in range(0, shape[0], TIFF_TILE):
        band = rows(slice(top, min(top + TIFF_TILE, shape[0])))
        for left in range(0, shape[1], TIFF_TILE):
            piece = band[:, left : left + TIFF_TILE]
            tile = np.zeros((TIFF_TILE, TIFF_TILE, *shape[2:]), np.uint8)
            tile[: piece.shape[0], : piece.shape[1]] = piece
            yield tile


def visible_rows(mask: np.ndarray, predictor: Predictor) -> tuple[tuple[int, ...], Rows]:
    """Shape and rows of the mask in the palette's colours: grey for black and white, else H x W x 3."""
    colours = np.array(predictor.palette, np.uint8)
    if (colours == colours[:, :1]).all():
        colours = colours[:, 0]
    return (*mask.shape, *colours.shape[1:]), lambda part: np.asarray(colours[mask[part]])


def overlay_rows(
    image: Source, mask: np.ndarray, colours: Sequence[Colour], path: Path, numbered: bool = False
) -> tuple[tuple[int, ...], Rows]:
    """Shape and rows of the image in grey, H x W x 3, with the borders of classes or objects in colour.

    mask: H x W, class indices, or where numbered object numbers. colours: of each, used again beyond them.
    """
    grey = (grey_rows(image, window[0], path) for window in row_blocks(image.shape, 1 << 22))
    ranges = [(float(rows.min()), float(rows.max())) for rows in grey]
    low, high = display_range(min(pair[0] for pair in ranges), max(pair[1] for pair in ranges))
    table = np.array(colours if len(colours) > 2 else [RED, RED], np.uint8)

    def rows(part: slice) -> np.ndarray:
        grey = (grey_rows(image, part, path) - low) * np.float32(255 / max(high - low, 1e-9))
        shown = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        above = max(part.start - 1, 0)  # a row more at both ends, to see a border there
        here = np.asarray(mask[above : part.stop + 1])
        inner = slice(part.start - above, part.stop - above)
        border = (outlines if numbered else borders)(here)[inner]
        shown[border] = table[here[inner][border] % len(table)]
        return shown

    return (*mask.shape, 3), rows


def borders(classes: np.ndarray) -> np.ndarray:
    """bool H x W: the pixels that differ from the one above or to the left."""
    border = np.zeros(classes.shape, bool)
    border[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    border[1:] |= classes[1:] != classes[:-1]
    return border


def outlines(numbers: np.ndarray) -> np.ndarray:
    """bool H x W: the pixels of objects that differ from one of their four neighbours."""
    border = borders(numbers) | borders(numbers[::-1, ::-1])[::-1, ::-1]
    return np.asarray(border & (numbers > 0))


def grey_rows(image: Source, part: slice, path: Path) -> np.ndarray:
    rows = to_unit(read_window(image, (part, slice(None)), path))
    return np.asarray(rows[..., : 3 if rows.shape[2] >= 3 else 1].mean(2, dtype=np.float32))
