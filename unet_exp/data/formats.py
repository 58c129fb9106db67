"""Files to arrays. Pillow reads png, jpg and bmp, tifffile tif, numpy npy; nothing is unpickled."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from unet_exp.errors import DataError

TIFF = (".tif", ".tiff")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", *TIFF)


def read_array(path: Path, page: int | None = None, label: bool = False) -> np.ndarray:
    """The file as a viewer shows it, H x W x C (C = 1 for grey), uint8, uint16 or float.

    page: of a TIFF stack. label: keep the indices of a palette image and the 0 and 1 of a one-bit image
    instead of their colours.
    Raises DataError naming a file that can't be read.
    """
    try:
        if path.suffix.lower() in TIFF:
            array = _read_tiff(path, page, label)
        elif path.suffix.lower() == ".npy":
            array = np.load(path, allow_pickle=False)
        else:
            array = _read_with_pillow(path, None, label)
    except Exception as error:  # decoders raise whatever they like on a broken file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path} can't be read: {reason}", do="open it in a viewer; copy or export it again"
        ) from error
    if array.ndim == 2:
        array = array[..., np.newaxis]
    if array.ndim != 3 or 0 in array.shape:
        raise DataError(
            f"{path} holds an array of shape {array.shape}",
            allowed="height x width, or height x width x channels",
        )
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(1 if label else 255)
    if not label and array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        raise DataError(
            f"{path} holds {array.dtype} values, whose white is unknown",
            allowed="uint8 (white is 255), uint16 (white is 65535), floats (taken as they are)",
            do="save it as one of these",
        )
    return array


def _read_with_pillow(path: Path, page: int | None, label: bool) -> np.ndarray:
    with Image.open(path) as image:
        if page is not None:
            image.seek(page)
        if image.mode == "P" and not label:
            return np.asarray(image.convert("RGB"))
        return np.asarray(image)


def _read_tiff(path: Path, page: int | None, label: bool) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        if page is None and len(file.pages) > 1:
            raise ValueError(f"it has {len(file.pages)} pages; data=tiff_stack reads stacks")
        tiff_page = file.pages[page or 0].aspage()
        if tiff_page.compression not in (1, 8, 32773, 32946):  # none, deflate, PackBits, old deflate
            return _read_with_pillow(path, page, label)  # the others need a package of their own
        array: np.ndarray = tiff_page.asarray()
        # Files of one bit are left alone: what numpy users save as True carries this tag by accident.
        if tiff_page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and array.dtype != bool:
            array = np.iinfo(array.dtype).max - array
    return array


def count_pages(path: Path) -> int:
    """Pages of a TIFF stack. Raises DataError if it can't be read."""
    try:
        with tifffile.TiffFile(path) as file:
            return len(file.pages)
    except Exception as error:
        raise DataError(f"{path} can't be read as TIFF: {error}", do="export it again") from error


def to_unit(image: np.ndarray) -> np.ndarray:
    """float32 in [0, 1]: uint8 is divided by 255, uint16 by 65535; floats are taken as they are."""
    if image.dtype in (np.uint8, np.uint16):
        return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    return image.astype(np.float32)
