"""TIFF: the images of a file, and one of them as an array that is read by window."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from PIL import Image

from unet_exp.data.tiff_codecs import INKS, PALETTE, WHITE_IS_ZERO, YCBCR, Layout, decoder, layout

Window = tuple[slice, slice]
REDUCED = 1
MASK = 4


@dataclass(frozen=True)
class Pages:
    """For each image its directory, and the offset of its pixels if one directory stands for several."""

    directories: list[int]
    offsets: list[int] | None = None

    def __len__(self) -> int:
        return len(self.directories)


def pages(path: Path) -> Pages:
    """The images of a TIFF, without smaller copies (overviews, thumbnails) and transparency masks.

    A directory that stands for a whole stack (ImageJ above 4 GB) counts as its slices.
    """
    stat = path.stat()
    return _pages(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _pages(path: Path, _changed: int, _size: int) -> Pages:
    with tifffile.TiffFile(path) as file:
        if not len(file.pages):
            raise ValueError("it holds no picture")
        first = file.pages[0].aspage()
        count = len(file.pages)
        if count == 1:
            return _stack(file, first)
        if file.is_svs:  # a slide: the thumbnail and the levels after it are not marked as such
            return Pages([0])
        kinds = [(page.shape, _kind(page)) for page in (one.aspage() for one in file.pages)]
        full = [number for number, (_, kind) in enumerate(kinds) if not kind & (REDUCED | MASK)]
        full = full or [number for number, (_, kind) in enumerate(kinds) if not kind & MASK] or [0]
        return Pages(full[:1] if _pyramid([kinds[number][0] for number in full]) else full)


def _kind(page: tifffile.TiffPage) -> int:
    """NewSubfileType, also for a file with the older SubfileType (2: reduced)."""
    old = page.tags.valueof(255)
    return REDUCED if old == 2 else int(page.tags.valueof(254) or 0)


def _pyramid(shapes: list[tuple[int, ...]]) -> bool:
    """Whether each page is half (a quarter, an eighth ...) of the one before in both directions."""
    for before, after in pairwise(shapes):
        scale = round(before[0] / max(after[0], 1))
        halved = scale >= 2 and scale & (scale - 1) == 0
        if not halved or any(abs(b / scale - a) > 1 for b, a in zip(before[:2], after[:2], strict=True)):
            return False
    return len(shapes) > 1


def _stack(file: tifffile.TiffFile, page: tifffile.TiffPage) -> Pages:
    """Slices stored one after another behind a single directory. Raises ValueError if they are not."""
    try:
        series = file.series[0]
        count = int(np.prod(series.shape, dtype=np.int64)) // max(page.size, 1)
    except Exception:  # a description that is no description
        return Pages([0])
    said = int((file.imagej_metadata or {}).get("images", 1)) if file.is_imagej else count
    count = max(count, said)
    if count <= 1:
        return Pages([0])
    if not page.is_contiguous or page.compression != 1:
        raise ValueError(f"its metadata name {count} images, but it lists one; save the stack again")
    start = page.dataoffsets[0]
    step = page.nbytes
    if start + count * step > file.filehandle.size:
        raise ValueError(f"its metadata name {count} images, but it is too short for them")
    return Pages([0] * count, [start + number * step for number in range(count)])


class TiffWindows:
    """The stored values of a page, H x W x C: array[rows, columns] decodes only the segments it touches."""

    def __init__(self, page: Layout) -> None:
        self.page = page
        self.shape = page.shape
        self.dtype = page.dtype
        self.segment = page.segment
        self.decode = decoder(page)

    def __getitem__(self, window: Window) -> np.ndarray:
        (top, bottom, _), (left, right, _) = (
            part.indices(size) for part, size in zip(window, self.shape[:2], strict=True)
        )
        page = self.page
        (height, width) = self.segment
        out = np.full((max(bottom - top, 0), max(right - left, 0), self.shape[2]), page.nodata, self.dtype)
        down = -(-self.shape[0] // height)
        across = -(-self.shape[1] // width)
        with open(page.path, "rb") as file:
            for plane in range(self.shape[2] if page.planes else 1):
                channels = slice(plane, plane + 1) if page.planes else slice(None)
                needed = range(top // height, -(-bottom // height))
                at_once = max(len(needed), 1) if page.together else 1
                for row in needed[::at_once]:
                    for column in range(left // width, -(-right // width)):
                        index = (plane * down + row) * across + column
                        if not page.counts[index]:  # a segment that was never written is background
                            continue
                        y = row * height
                        x = column * width
                        lines = height * at_once if page.tiled else min(height * at_once, self.shape[0] - y)
                        strips = [
                            read_segment(file, page, number) for number in range(index, index + at_once)
                        ]
                        piece = self.decode(strips, index, lines)
                        rows = slice(max(top, y), min(bottom, y + piece.shape[0]))
                        columns = slice(max(left, x), min(right, x + piece.shape[1]))
                        out[
                            rows.start - top : rows.stop - top,
                            columns.start - left : columns.stop - left,
                            channels,
                        ] = piece[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
        return out


def read_segment(file: BinaryIO, page: Layout, index: int) -> bytes:
    file.seek(page.offsets[index])
    data = file.read(page.counts[index])
    if len(data) < page.counts[index]:
        raise ValueError("it ends before its pixels do")
    return data


def open_page(path: Path, number: int) -> tuple["np.ndarray | TiffWindows", Layout]:
    """Image `number` of a TIFF as stored, H x W x C, memory-mapped if possible, and its layout."""
    there = pages(path)
    with tifffile.TiffFile(path) as file:
        page = file.pages[there.directories[number]].aspage()
        found = layout(path, page)
        if there.offsets is not None or (found.bits in (8, 16, 32, 64) and page.is_memmappable):
            height, width, channels = found.shape
            shape = (channels, height, width) if found.planes else found.shape
            dtype = found.stored_dtype
            offset = page.dataoffsets[0] if there.offsets is None else there.offsets[number]
            mapped: np.ndarray = np.memmap(path, dtype, "r", offset, shape)
            return np.moveaxis(mapped, 0, -1) if found.planes else mapped, found
    return TiffWindows(found), found


def as_shown(page: Layout, label: bool) -> tuple[Callable[[np.ndarray], np.ndarray] | None, int]:
    """A function from stored values h x w x C to the grey or RGB that a viewer shows, and its channels.

    None if both are the same. label: palette indices and values of few bits stay as they are.
    Raises ValueError if the value of white is unknown.
    """
    samples = page.shape[2]
    most = 2**page.bits - 1
    spread = 1 < page.bits < 8 and not label
    if page.photometric == PALETTE:
        if label:
            return None, samples
        if page.palette is None or samples != 1:
            raise ValueError("its tags name a palette, but it holds none")
        colours = page.palette
        return lambda array: colours[array[..., 0]], 3
    if page.photometric == WHITE_IS_ZERO and not page.plain_bits:
        if page.dtype.kind not in "bu":
            raise ValueError(f"its tags say that white is zero, which has no meaning for {page.dtype} values")
        if page.dtype == bool:
            return np.logical_not, samples
        if spread:
            return lambda array: spread_bits(most - array, most), samples
        return lambda array: page.dtype.type(most) - array, samples
    if page.photometric == INKS and samples == 4 and not page.alpha:
        return cmyk_to_rgb, 3
    if page.photometric == YCBCR and page.compression not in (6, 7):
        if page.dtype != np.uint8 or samples != 3:
            raise ValueError(f"its colours are YCbCr of {page.dtype}, {samples} channels; save it as RGB")
        return lambda array: np.asarray(Image.fromarray(array, "YCbCr").convert("RGB")), 3
    return (lambda array: spread_bits(array, most), samples) if spread else (None, samples)


def spread_bits(array: np.ndarray, most: int) -> np.ndarray:
    """Scale values 0 to most, of less than 8 bits, to 0 to 255."""
    return np.asarray((array.astype(np.uint16) * 255 + most // 2) // most, np.uint8)


def cmyk_to_rgb(array: np.ndarray) -> np.ndarray:
    """(1 - ink) (1 - black) for each ink, as Pillow converts."""
    if array.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(array), "CMYK").convert("RGB"))
    if array.dtype != np.uint16:
        raise ValueError(f"its colours are CMYK of {array.dtype}; save it as RGB")
    inks = 1 - array.astype(np.float64) / 65535
    return np.rint(inks[..., :3] * inks[..., 3:] * 65535).astype(np.uint16)
