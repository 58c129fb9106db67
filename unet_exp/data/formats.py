"""Files to arrays. Pillow reads png, jpg and bmp, tifffile tif, numpy npy; nothing is unpickled."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from unet_exp.errors import DataError

TIFF = (".tif", ".tiff")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", *TIFF)


def read_array(path: Path, page: int | None = None, label: bool = False) -> np.ndarray:
    """The file as stored, H x W x C (C = 1 for grey). page: of a TIFF stack.

    label: keep the indices of a palette image instead of its colours.
    Raises DataError naming a file that can't be read.
    """
    try:
        if path.suffix.lower() in TIFF:
            array = tifffile.imread(path, key=page)
        elif path.suffix.lower() == ".npy":
            array = np.load(path, allow_pickle=False)
        else:
            array = _read_with_pillow(path, label)
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
    return array.astype(np.uint8) if array.dtype == bool else array


def _read_with_pillow(path: Path, label: bool) -> np.ndarray:
    with Image.open(path) as image:
        if image.mode == "P" and not label:
            return np.asarray(image.convert("RGB"))
        if image.mode == "1" and not label:
            return np.asarray(image.convert("L"))
        return np.asarray(image)


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
