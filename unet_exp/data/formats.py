"""Files to arrays. Pillow reads png, jpg and bmp, tifffile tif, numpy npy and npz; nothing is unpickled.

What lies uncompressed in a TIFF or npy file is mapped, not read, and compressed TIFF is decoded tile by tile,
so that a window of an image larger than memory costs no more than the window.
"""

import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from unet_exp.errors import DataError

TIFF, NUMPY = (".tif", ".tiff"), (".npy", ".npz")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", *TIFF, *NUMPY)
PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
OWN_CODECS = (1, 8, 32773, 32946)  # none, deflate, PackBits, old deflate: tifffile needs no other package
MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # what Pillow takes for a decompression bomb
Window = tuple[slice, slice]
WHOLE: Window = (slice(None), slice(None))


class TiffWindows:
    """A compressed TIFF page, H x W x C: array[rows, columns] decodes only the tiles or strips it touches."""

    def __init__(self, path: Path, page: tifffile.TiffPage, number: int) -> None:
        self.path, self.number = path, number
        self.shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
        self.dtype = np.dtype(page.dtype)
        self.segment = (page.tilelength, page.tilewidth) if page.is_tiled else (
            page.rowsperstrip, page.imagewidth)  # fmt: skip

    def __getitem__(self, window: Window) -> np.ndarray:
        (top, bottom, _), (left, right, _) = (
            part.indices(size) for part, size in zip(window, self.shape[:2], strict=True)
        )
        out = np.zeros((bottom - top, right - left, self.shape[2]), self.dtype)
        height, width = self.segment
        across = -(-self.shape[1] // width)
        with tifffile.TiffFile(self.path) as file:
            page = file.pages[self.number].aspage()
            for row in range(top // height, -(-bottom // height)):
                for column in range(left // width, -(-right // width)):
                    index = row * across + column
                    file.filehandle.seek(page.dataoffsets[index])
                    data = file.filehandle.read(page.databytecounts[index])
                    piece = page.decode(data, index)[0]
                    if piece is None:  # a segment that was never written is background
                        continue
                    y, x = row * height, column * width
                    rows = slice(max(top, y), min(bottom, y + piece.shape[1], self.shape[0]))
                    columns = slice(max(left, x), min(right, x + piece.shape[2], self.shape[1]))
                    out[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = (
                        piece[0, rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
                    )
        return out


Source = np.ndarray | TiffWindows  # H x W x C: has shape and dtype, and gives array[rows, columns]


def read_array(path: Path, page: int | None = None, label: bool = False) -> np.ndarray:
    """The file as a viewer shows it, H x W x C (C = 1 for grey), uint8, uint16 or float.

    page: of a TIFF stack. label: keep the indices of a palette image and the 0 and 1 of a one-bit image
    instead of their colours.
    Raises DataError naming a file that can't be read.
    """
    return read_window(open_array(path, page, label), WHOLE, path)


def read_window(source: Source, window: Window, path: Path | str) -> np.ndarray:
    """A window of an opened file, in memory. Raises DataError naming the file."""
    try:
        array = np.array(source[window])
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    except Exception as error:
        raise unreadable(path, error) from error


def open_array(path: Path, page: int | None = None, label: bool = False) -> Source:
    """As read_array, but what can be read by window is not read yet. Raises DataError."""
    suffix = path.suffix.lower()
    try:
        if suffix in TIFF:
            array = _open_tiff(path, page, label)
        elif suffix == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        elif suffix == ".npz":
            array = _read_npz(path, label)
        else:
            array = _read_with_pillow(path, None, label)
    except Exception as error:  # decoders raise whatever they like on a broken file
        raise unreadable(path, error) from error
    if isinstance(array, np.ndarray) and array.ndim == 2:
        array = array[..., np.newaxis]
    shape = tuple(array.shape)
    if len(shape) != 3 or 0 in shape or (shape[0] <= 8 and shape[2] > 32):
        first = " (are the channels in front?)" if len(shape) == 3 and 0 not in shape else ""
        raise DataError(
            f"{path} holds an array of shape {shape}{first}",
            allowed="height x width, or height x width x channels",
        )
    if isinstance(array, np.ndarray) and array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(1 if label else 255)
    dtype = array.dtype.newbyteorder("=")
    if not label and dtype not in (np.uint8, np.uint16) and dtype.kind != "f":
        raise DataError(
            f"{path} holds {dtype} values, whose white is unknown",
            allowed="uint8 (white is 255), uint16 (white is 65535), floats (taken as they are)",
            do="save it as one of these",
        )
    return array


def unreadable(path: Path | str, error: Exception) -> DataError:
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    else:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{path} can't be read: {reason}", do="open it in a viewer; copy or export it again")


def _too_large(pixels: int) -> None:
    if pixels > MOST_PIXELS:
        raise ValueError(
            f"{pixels / 1e6:.0f} megapixels in one compressed piece, more than {MOST_PIXELS / 1e6:.0f}; "
            "save it as TIFF without compression or in tiles, which is read by window"
        )


def _read_with_pillow(path: Path, page: int | None, label: bool) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # twice as many pixels are refused
        with Image.open(path, formats=PILLOW_FORMATS) as image:
            if page is not None:
                image.seek(page)
            elif getattr(image, "n_frames", 1) > 1:
                raise ValueError("it is animated; save one picture per file")
            _too_large(image.width * image.height)
            if image.mode == "P" and not label:
                return np.asarray(image.convert("RGB"))
            return np.asarray(image.convert("RGB") if image.mode in ("CMYK", "YCbCr") else image)


def _read_npz(path: Path, label: bool) -> np.ndarray:
    """The only array of an archive, or the one of the right name."""
    with zipfile.ZipFile(path) as archive:
        sizes = {item.filename.removesuffix(".npy"): item.file_size for item in archive.infolist()}
    wanted = "label" if label else "image"
    name = next(iter(sizes)) if len(sizes) == 1 else wanted
    if name not in sizes:
        raise ValueError(f"it holds the arrays {', '.join(sizes)}; one is needed, or one named {wanted}")
    _too_large(sizes[name] // 4)
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays[name])


def _open_tiff(path: Path, page: int | None, label: bool) -> Source:
    with tifffile.TiffFile(path) as file:
        if page is None and len(file.pages) > 1:
            raise ValueError(f"it has {len(file.pages)} pages; give image and label as many each")
        number = page or 0
        tiff_page = file.pages[number].aspage()
        pixels = tiff_page.imagelength * tiff_page.imagewidth
        if tiff_page.compression not in OWN_CODECS:
            return _read_with_pillow(path, page, label)  # the others need a package of their own
        inverted = tiff_page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        plain = tiff_page.bitspersample in (8, 16, 32, 64) and not inverted
        if plain and tiff_page.is_memmappable:
            mapped: np.ndarray = tifffile.memmap(path, page=number, mode="r")
            return _channels_last(mapped, tiff_page)
        separate = tiff_page.samplesperpixel > 1 and tiff_page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        segment = tiff_page.chunks[0] * tiff_page.chunks[1] if len(tiff_page.chunks) > 1 else pixels
        if plain and not separate and pixels > MOST_PIXELS >= segment:
            return TiffWindows(path, tiff_page, number)
        _too_large(pixels)
        array: np.ndarray = tiff_page.asarray()
        # Files of one bit are left alone: what numpy users save as True carries this tag by accident.
        if inverted and array.dtype != bool:
            array = np.iinfo(array.dtype).max - array
        return _channels_last(array, tiff_page)


def _channels_last(array: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    """H x W x C also of a page that stores one plane after another."""
    separate = page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    return np.moveaxis(array, 0, -1) if separate and array.ndim == 3 else array


def count_pages(path: Path) -> int:
    """Pages of a TIFF stack. Raises DataError if it can't be read."""
    try:
        with tifffile.TiffFile(path) as file:
            return len(file.pages)
    except Exception as error:
        raise unreadable(path, error) from error


def row_blocks(shape: tuple[int, ...], most: int = 1 << 24) -> Iterator[Window]:
    """Windows of whole rows that follow each other, of about `most` values each."""
    step = max(1, most // max(1, int(np.prod(shape[1:]))))
    for top in range(0, shape[0], step):
        yield slice(top, min(top + step, shape[0])), slice(None)


def to_unit(image: np.ndarray) -> np.ndarray:
    """float32 in [0, 1]: uint8 is divided by 255, uint16 by 65535; floats are taken as they are."""
    if image.dtype in (np.uint8, np.uint16):
        return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    return image.astype(np.float32)


def as_shown(array: Any) -> str:
    """'512 x 384, 3 channels, uint8'."""
    height, width, channels = array.shape
    return f"{height} x {width}, {channels} channel{'s' * (channels != 1)}, {array.dtype}"
