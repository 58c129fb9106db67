"""Files to arrays. Pillow reads png, jpg and bmp, tifffile and imagecodecs tif and png of 16 bits, numpy npy
and npz; nothing is unpickled.

What lies uncompressed in a TIFF or npy file is mapped, not read, and compressed TIFF is decoded tile by tile,
so that a window of an image larger than memory costs no more than the window.
"""

import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from unet_exp.data import png, tiff
from unet_exp.data.tiff import TiffWindows, Window
from unet_exp.errors import DataError, first_line
from unet_exp.messages import counted

TIFF = (".tif", ".tiff")
NUMPY = (".npy", ".npz")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", *TIFF, *NUMPY)
PILLOW_FORMATS = ("PNG", "JPEG", "BMP")  # and MPO, which is a JPEG
OTHERS = ("GIF", "WEBP", "AVIF", "JPEG2000", "ICO", "PPM", "TGA", "PSD", "DDS")  # known by sight, not read
MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # what Pillow takes for a decompression bomb
WHOLE: Window = (slice(None), slice(None))
ORIENTATION = 0x0112  # the tag of EXIF and TIFF


class View:
    """A source with orientation and values converted, H x W x C: array[rows, columns] reads its window only.

    shown: stored values h x w x c to those of the view. orientation: of EXIF, 1 to 8.
    """

    def __init__(
        self, source: "Source", orientation: int = 1, shown: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> None:
        self.source = source
        self.orientation = orientation
        self.shown = shown
        height, width, channels = source.shape
        example = np.zeros((1, 1, channels), source.dtype.newbyteorder("="))
        example = example if shown is None else shown(example)
        size = (width, height) if orientation >= 5 else (height, width)
        self.dtype: np.dtype[Any] = example.dtype
        self.shape: tuple[int, int, int] = (*size, example.shape[2])

    def __getitem__(self, window: Window) -> np.ndarray:
        rows, columns = (range(size)[part] for part, size in zip(window, self.shape[:2], strict=True))
        if self.orientation in (3, 4, 7, 8):
            rows = range(self.shape[0])[::-1][rows.start : rows.stop][::-1]
        if self.orientation in (2, 3, 6, 7):
            columns = range(self.shape[1])[::-1][columns.start : columns.stop][::-1]
        stored = (columns, rows) if self.orientation >= 5 else (rows, columns)
        part = np.asarray(self.source[tuple(slice(one.start, one.stop) for one in stored)])  # type: ignore[index]
        if self.shown is not None:
            part = self.shown(part.astype(part.dtype.newbyteorder("="), copy=False))
        return turned(part, self.orientation)


Source = np.ndarray | TiffWindows | View  # H x W x C: has shape and dtype, and gives array[rows, columns]


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """An array H x W (x C) as it is shown, a view of the same memory. orientation: the EXIF value, 1 to 8."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array[:, ::-1] if orientation in (2, 3, 6, 7) else array


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
    array: Source
    try:
        if suffix == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        elif suffix == ".npz":
            array = _read_npz(path, label)
        elif is_tiff(path):
            array = _open_tiff(path, page, label)
        else:
            array = _read_with_pillow(path, label)
    except Exception as error:  # decoders raise whatever they like on a broken file
        raise unreadable(path, error) from error
    if isinstance(array, np.ndarray) and array.ndim == 2:
        array = array[..., np.newaxis]
    refuse_other_arrays(path, array, label)
    if array.dtype == bool:
        white = np.uint8(1 if label else 255)
        if isinstance(array, np.ndarray):
            return array.astype(np.uint8) * white
        return View(array, shown=lambda part: part.astype(np.uint8) * white)
    return array


def refuse_other_arrays(path: Path, array: Source, label: bool) -> None:
    """Raises DataError for shapes and types of values that are no image, or no label."""
    shape = tuple(array.shape)
    if len(shape) != 3 or 0 in shape or (shape[0] <= 8 and shape[2] > 32):
        first = " (are the channels in front?)" if len(shape) == 3 and 0 not in shape else ""
        raise DataError(
            f"{path} holds an array of shape {shape}{first}",
            allowed="height x width, or height x width x channels",
        )
    dtype = array.dtype.newbyteorder("=")
    if label and dtype.kind not in "buif":
        raise DataError(
            f"{path} holds {dtype} values", allowed="numbers of the classes", do="save it as uint8"
        )
    if not label and dtype not in (np.uint8, np.uint16) and dtype.kind not in "bf":
        raise DataError(
            f"{path} holds {dtype} values, whose white is unknown",
            allowed="uint8 (white is 255), uint16 (white is 65535), floats (taken as they are)",
            do="save it as one of these",
        )


def unreadable(path: Path | str, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or first_line(error)
    return DataError(f"{path} can't be read: {reason}", do="open it in a viewer; copy or export it again")


def _too_large(pixels: int) -> None:
    if pixels > MOST_PIXELS:
        raise ValueError(
            f"{pixels / 1e6:.0f} megapixels in one compressed piece, more than {MOST_PIXELS / 1e6:.0f}; "
            "save it as TIFF without compression or in tiles, which is read by window"
        )


def is_tiff(path: Path) -> bool:
    """Whether the content is TIFF: Pillow would read one with another extension, but not all it holds."""
    with open(path, "rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _read_with_pillow(path: Path, label: bool) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large images are refused below; incomplete EXIF is harmless
        try:
            image = Image.open(path, formats=PILLOW_FORMATS)
        except UnidentifiedImageError as error:
            raise ValueError(
                f"its content is {true_format(path)}, not what its name says; save it as png"
            ) from error
        with image:
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
                raise ValueError("it is animated; save one picture per file")
            _too_large(image.width * image.height)
            if image.format == "PNG" and png.has_wide_colours(path):
                if label:
                    raise ValueError("labels with several channels need 8 bits each; save it as grey")
                return turned(imagecodecs.png_decode(path.read_bytes()), orientation_of(image))
            image.load()  # of an MPO, a photograph and its previews: the photograph
            turn = orientation_of(image)
            if (image.mode == "P" and not label) or image.mode in ("CMYK", "YCbCr"):
                return turned(np.asarray(image.convert("RGB")), turn)
            return turned(np.asarray(image), turn)


def orientation_of(image: Image.Image) -> int:
    try:
        number = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing
        return 1
    return number if number in range(1, 9) else 1


def orientation(path: Path, page: int | None = None) -> int:
    """The EXIF or TIFF orientation, 1 to 8; all but 1 are turned upright on reading. Raises DataError."""
    try:
        if path.suffix.lower() in NUMPY:
            return 1
        if is_tiff(path):
            return tiff.open_page(path, page or 0)[1].orientation
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=PILLOW_FORMATS) as image:
                if image.format == "BMP" or (image.format == "PNG" and not png.has_notes(path)):
                    return 1
                return orientation_of(image)
    except Exception as error:
        raise unreadable(path, error) from error


def true_format(path: Path) -> str:
    """'GIF' for a format that Pillow recognises, else 'not a known image format'."""
    with open(path, "rb") as file:
        head = file.read(32)
    if not head:
        return "an empty file"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        return "HEIC"
    if head.lstrip().startswith((b"<?xml", b"<svg", b"<!DOC", b"<html", b"{", b"%PDF")):
        return "text or a document"
    Image.init()
    try:
        with Image.open(path, formats=OTHERS) as image:
            return str(image.format)
    except Exception:
        return "not a known image format"


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
    images = tiff.pages(path)
    if page is None and len(images) > 1:
        raise ValueError(f"it has {len(images)} pages; image and label need the same number of pages")
    source, layout = tiff.open_page(path, page or 0)
    shown, _ = tiff.as_shown(layout, label)
    pixels = layout.shape[0] * layout.shape[1]
    if isinstance(source, np.ndarray) and shown is None:
        return turned(source, layout.orientation)
    view = View(source, layout.orientation, shown) if layout.orientation > 1 or shown is not None else source
    if pixels > MOST_PIXELS >= layout.segment[0] * layout.segment[1]:
        return view
    if pixels > MOST_PIXELS and isinstance(source, np.ndarray):
        return view
    _too_large(pixels)
    return np.asarray(view[WHOLE])


def count_pages(path: Path) -> int:
    """Number of images in a TIFF, without overviews, thumbnails and masks. Raises DataError if unreadable."""
    try:
        return len(tiff.pages(path)) if is_tiff(path) else 1
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
    return f"{height} x {width}, {counted(channels, 'channel')}, {array.dtype}"
