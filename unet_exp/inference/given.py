"""Convert what a Predictor is given (path, array, tensor, PIL image, list) to H x W x C, or refuse it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from unet_exp.config.paths import expanded
from unet_exp.data.channels import as_channels, open_image
from unet_exp.data.formats import Source, count_pages, unreadable
from unet_exp.errors import DataError, first_line
from unet_exp.messages import counted

ONE_BY_ONE = "one image at a time: [predictor.predict(image) for image in images]"
AS_STORED = ("1", "L", "LA", "RGB", "RGBA", "I", "I;16", "I;16L", "I;16B", "F")  # modes of PIL
AS_RGB = ("P", "CMYK", "YCbCr")


def opened(given: Any, rule: str = "stored") -> tuple[Source, str]:
    """The image as an open source H x W x C, and its name for messages.

    given: as for Predictor.predict. rule: data.channels.
    Raises DataError for anything that can't be read as one image.
    """
    if isinstance(given, (str, os.PathLike)):
        return open_file(expanded(os.fsdecode(given)), rule)
    name, array = as_array(given)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise DataError(
            f"{name} is an array of shape {array.shape}",
            allowed="height x width, or height x width x channels",
            do=ONE_BY_ONE if array.ndim > 3 else "",
        )
    dtype = array.dtype.newbyteorder("=")
    if dtype.kind == "b":
        array = array.astype(np.uint8) * np.uint8(255)
    elif dtype not in (np.uint8, np.uint16) and dtype.kind != "f":
        whole = "image.astype(numpy.uint8) where white is 255, .astype(numpy.uint16) where it is 65535"
        raise DataError(
            f"{name} holds {dtype} values, whose white is unknown",
            allowed="uint8 (white is 255), uint16 (white is 65535), floats (taken as they are), bool",
            do=whole if dtype.kind in "iu" else "convert it to one of these",
        )
    array = array[..., np.newaxis] if array.ndim == 2 else array
    alpha = isinstance(given, Image.Image) and given.mode in ("LA", "RGBA")
    return (as_channels(array, rule, name, alpha) if alpha else array), name


def open_file(path: Path, rule: str = "stored") -> tuple[Source, str]:
    """Like opened, for a file that holds one image."""
    pages = count_pages(path)
    if pages > 1:
        raise DataError(
            f"{path} holds {pages} pages",
            allowed="a file of one image",
            do="task=predict writes a mask for each page; or give the pages as arrays, one by one",
        )
    return open_image(path, None, rule), str(path)


def as_array(given: Any) -> tuple[str, np.ndarray]:
    """Its name for messages, and its values as an array."""
    if isinstance(given, Image.Image):
        return "the PIL image", from_pillow(given)
    if isinstance(given, (list, tuple)):
        images = (str, os.PathLike, Image.Image, torch.Tensor, np.ndarray)
        if given and isinstance(given[0], images) and getattr(given[0], "ndim", 2) > 1:
            raise DataError(f"a {type(given).__name__} of {len(given)} images is given", allowed=ONE_BY_ONE)
    if np.ma.is_masked(given):
        raise DataError("the image is an array with masked values", do="fill them: image.filled(0)")
    name = "the image"
    kind = type(given).__name__
    try:
        if isinstance(given, torch.Tensor):
            name = "the tensor"
            plain = given.detach().cpu()
            given = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
        array = np.asarray(given)
    except Exception as error:  # rows of different lengths, sparse tensors, and what other libraries raise
        raise DataError(
            f"{name}, {kind}, can't be made an array: {first_line(error)}",
            allowed="height x width, or height x width x channels",
        ) from error
    if array.ndim == 0:
        raise DataError(f"{kind} is not an image", allowed="a path, an array or a PIL image")
    return name, array


def from_pillow(image: Image.Image) -> np.ndarray:
    """Convert as a file is read: EXIF orientation applied, palette and CMYK as RGB."""
    if image.mode not in (*AS_STORED, *AS_RGB):
        raise DataError(
            f"the PIL image is of mode {image.mode}",
            allowed=", ".join((*AS_STORED, *AS_RGB)),
            do="image.convert('RGB')",
        )
    try:
        upright = ImageOps.exif_transpose(image)
        return np.asarray(upright.convert("RGB") if image.mode in AS_RGB else upright)
    except Exception as error:  # a truncated file, whose pixels are read only now
        raise unreadable(getattr(image, "filename", "") or "the PIL image", error) from error


def misfit(name: str, shape: tuple[int, ...], channels: int) -> DataError:
    """The error for an array H x W x C with other channels than the run, and how to correct it."""
    if shape[0] == channels:
        do = "the channels are in front: numpy.moveaxis(image, 0, -1), of a tensor image.permute(1, 2, 0)"
    elif shape[2] > 16:
        do = f"if these are {shape[0]} images, give {ONE_BY_ONE}"
    else:
        do = "convert it (grey or RGB, without alpha)"
    return DataError(
        f"{name} is an array of shape {tuple(shape)}",
        allowed=f"height x width x {counted(channels, 'channel')}, as the run was trained on",
        do=do,
    )
