"""TIFF: the images of a file, and one of them as an array that is read by window.

tifffile reads the tags, imagecodecs decodes the pixels. What can't be read exactly is refused.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
from PIL import Image

Window = tuple[slice, slice]
REDUCED = 1
MASK = 4
WHITE_IS_ZERO = 0
PALETTE = 3
INKS = 5
YCBCR = 6
LAB = (8, 9, 10)
JPEG = (6, 7)
NOT_OF_PIXELS = (1, 5, 8, 32946, 32773, 34925, 50000)  # no compression, or one that knows bytes only


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


@dataclass(frozen=True)
class Layout:
    """What the tags of a page say of its values. segment: height and width of a tile or strip."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    segment: tuple[int, int]
    compression: int
    photometric: int
    bits: int
    planes: bool
    orientation: int
    palette: np.ndarray | None
    alpha: bool
    plain_bits: bool  # one bit, as numpy has it


def layout(page: tifffile.TiffPage) -> Layout:
    """The layout of a page. Raises ValueError for one that is not supported."""
    refuse_unsupported(page)
    colours = page.colormap
    if colours is not None and colours.dtype == np.uint16:  # of 16 bits, by the standard; of 8 in some files
        colours = colours // 256 if colours.max(initial=0) > 255 else colours
    rows = min(page.rowsperstrip or page.imagelength, page.imagelength)
    return Layout(
        shape=(page.imagelength, page.imagewidth, page.samplesperpixel),
        dtype=np.dtype(page.dtype),
        segment=(page.tilelength, page.tilewidth) if page.is_tiled else (rows, page.imagewidth),
        compression=int(page.compression),
        photometric=int(page.photometric),
        bits=int(page.bitspersample),
        planes=page.samplesperpixel > 1 and page.planarconfig == 2,
        orientation=int(page.tags.valueof(274) or 1),
        palette=None if colours is None else np.ascontiguousarray(colours.T.astype(np.uint8)),
        alpha=any(int(kind) in (1, 2) for kind in page.extrasamples[-1:]),
        plain_bits=page.bitspersample == 1 and str(page.software).startswith("tifffile"),
    )


def refuse_unsupported(page: tifffile.TiffPage) -> None:
    if page.imagedepth != 1:
        raise ValueError("it holds a volume in one page; save it as a stack of pages")
    if page.dtype is None or isinstance(page.bitspersample, tuple):
        raise ValueError(
            f"its channels have {page.bitspersample} bits of format {page.sampleformat}: not supported"
        )
    formats = page.tags.valueof(339)
    if isinstance(formats, tuple) and len(set(formats)) > 1:
        raise ValueError(f"its channels are of several kinds (SampleFormat {formats})")
    codec = name_of(page)
    if page.photometric in LAB:
        raise ValueError(f"its colours are CIELab ({codec}), which is not supported; save it as RGB")
    if page.photometric == YCBCR and page.compression not in JPEG:
        if page.compression not in NOT_OF_PIXELS:
            raise ValueError(f"its colours are YCbCr ({codec}); save it as RGB")
        if tuple(page.tags.valueof(530) or (2, 2)) != (1, 1):
            raise ValueError("its colours are YCbCr of a lower resolution; save it as RGB")


def name_of(page: tifffile.TiffPage) -> str:
    """The compression, such as JPEG2000."""
    return str(getattr(page.compression, "name", f"compression {page.compression}"))


class TiffWindows:
    """The stored values of a page, H x W x C: array[rows, columns] decodes only the segments it touches.

    Made while its file is open; it opens the file again for each window.
    """

    def __init__(self, path: Path, page: tifffile.TiffPage, values: Layout) -> None:
        self.path = path
        self.shape = values.shape
        self.dtype = values.dtype
        self.segment = values.segment
        self.num_planes = self.shape[2] if values.planes else 1
        self.nodata = page.nodata
        self.segments = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        self.codec = name_of(page)
        self.decode = page.decode
        self.tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        self.tables = self.tables if values.compression in JPEG else {}

    def __getitem__(self, window: Window) -> np.ndarray:
        (top, bottom, _), (left, right, _) = (
            part.indices(size) for part, size in zip(window, self.shape[:2], strict=True)
        )
        height, width = self.segment
        down = -(-self.shape[0] // height)
        across = -(-self.shape[1] // width)
        shape = (max(bottom - top, 0), max(right - left, 0), self.shape[2])
        out = np.full(shape, self.nodata, self.dtype)
        numbers = itertools.product(
            range(self.num_planes),
            range(top // height, -(-bottom // height)),
            range(left // width, -(-right // width)),
        )
        with open(self.path, "rb") as file:
            for plane, row, column in numbers:
                piece = self.read(file, (plane * down + row) * across + column)
                if piece is None:
                    continue
                y = row * height - top  # where the piece lies in the window
                x = column * width - left
                inside = out[max(y, 0) : y + piece.shape[0], max(x, 0) : x + piece.shape[1]]
                channels = slice(None) if self.num_planes == 1 else slice(plane, plane + 1)
                piece = piece[max(-y, 0) :, max(-x, 0) :]
                inside[..., channels] = piece[: inside.shape[0], : inside.shape[1]]
        return out

    def read(self, file: BinaryIO, index: int) -> np.ndarray | None:
        """The values of a tile or strip, h x w x C; None for one that was never written, which is background.

        Raises ValueError.
        """
        offset, count = self.segments[index]
        if not count:
            return None
        file.seek(offset)
        data = file.read(count)
        if len(data) < count:
            raise ValueError("it ends before its pixels do")
        try:
            segment: Any = self.decode(data, index, **self.tables)[0]
            return np.asarray(segment[0])
        except Exception as error:  # each codec raises its own
            raise ValueError(f"its pixels ({self.codec}) can't be decoded: {error}") from error


def open_page(path: Path, number: int) -> tuple["np.ndarray | TiffWindows", Layout]:
    """Image `number` of a TIFF as stored, H x W x C, memory-mapped if possible, and its layout."""
    images = pages(path)
    with tifffile.TiffFile(path) as file:
        page = file.pages[images.directories[number]].aspage()
        values = layout(page)
        if images.offsets is None and not (values.bits in (8, 16, 32, 64) and page.is_memmappable):
            return TiffWindows(path, page, values), values
        height, width, channels = values.shape
        shape = (channels, height, width) if values.planes else values.shape
        dtype = values.dtype.newbyteorder(">" if file.byteorder == ">" else "<")
        offset = page.dataoffsets[0] if images.offsets is None else images.offsets[number]
        mapped: np.ndarray = np.memmap(path, dtype, "r", offset, shape)
        return np.moveaxis(mapped, 0, -1) if values.planes else mapped, values


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
    if page.photometric == YCBCR and page.compression not in JPEG:
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
