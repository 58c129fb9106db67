"""data.channels: give all images of a data set the same channels, grey or RGB."""

from pathlib import Path

import numpy as np

from unet_exp.data import tiff
from unet_exp.data.formats import NUMPY, Source, View, is_tiff, open_array
from unet_exp.errors import DataError

WANTED = {"grey": 1, "rgb": 3}
# ITU-R BT.601 as integers that sum to 1 << 16, as Pillow converts to L.
BRIGHTNESS = (19595, 38470, 7471)


def open_image(path: Path, page: int | None, rule: str) -> Source:
    """An image as formats.open_array gives it, with the channels that data.channels=RULE asks for.

    stored: as it is. grey: colours by their brightness. rgb: grey three times. Both leave out an alpha.
    Raises DataError for other channels, such as bands.
    """
    source = open_array(path, page)
    alpha = rule in WANTED and source.shape[2] in (2, 4) and has_alpha(path, page)
    return as_channels(source, rule, str(path), alpha)


def as_channels(source: Source, rule: str, name: str, alpha: bool = False) -> Source:
    """Like open_image, for an image that is already open. alpha: whether its last channel is an alpha."""
    if rule not in WANTED:
        return source
    channels = source.shape[2]
    colours = channels - alpha
    wanted = WANTED[rule]
    if colours not in (1, 3):
        raise DataError(
            f"{name} has {channels} channels, which data.channels={rule} can't convert to {rule}",
            allowed="grey or RGB, with or without a channel that the file marks as alpha",
            do="save it as grey or RGB; or data.channels=stored, if all images have as many channels",
        )
    if channels == wanted:
        return source
    if colours == wanted:
        return View(source, shown=lambda array: array[..., :wanted])
    if wanted == 1:
        return View(source, shown=to_grey)
    return View(source, shown=lambda array: np.repeat(array[..., :1], 3, axis=2))


def convertible(channels: int, path: Path, page: int | None) -> bool:
    """Whether data.channels can convert an image with this number of channels."""
    return channels in (1, 3) or (channels in (2, 4) and has_alpha(path, page))


def has_alpha(path: Path, page: int | None) -> bool:
    """Whether the last of two or four channels is an alpha: in a TIFF if its tags say so, in npy never."""
    if path.suffix.lower() in NUMPY:
        return False
    return tiff.open_page(path, page or 0)[1].alpha if is_tiff(path) else True


def to_grey(image: np.ndarray) -> np.ndarray:
    """0.299 R + 0.587 G + 0.114 B of an image H x W x 3 (or more), as H x W x 1 of the same dtype.

    uint8 and uint16 are rounded as Pillow rounds uint8.
    """
    if image.dtype.kind == "f":
        weights = np.array(BRIGHTNESS, np.float64) / (1 << 16)
        return (image[..., :3].astype(np.float64) @ weights)[..., np.newaxis].astype(image.dtype)
    wide = image[..., :3].astype(np.uint64) @ np.array(BRIGHTNESS, np.uint64)
    return ((wide + (1 << 15)) >> 16)[..., np.newaxis].astype(image.dtype)
