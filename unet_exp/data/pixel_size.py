"""The size of a pixel in micrometres, as ImageJ and OME store it; a resolution for print is none."""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import tifffile

from unet_exp.data.formats import is_tiff

IN_MICROMETRES = {"µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}


def read_pixel_size(path: Path) -> tuple[float, float] | None:
    """Height and width of a pixel in micrometres; None where the file does not say it in a unit of length."""
    if not is_tiff(path):
        return None
    try:
        with tifffile.TiffFile(path) as file:
            sizes = of_imagej(file) if file.ome_metadata is None else of_ome(file.ome_metadata)
    except Exception:  # damaged metadata says nothing
        return None
    return sizes if sizes is not None and all(0 < size < math.inf for size in sizes) else None


def of_imagej(file: tifffile.TiffFile) -> tuple[float, float] | None:
    metadata = file.imagej_metadata
    if metadata is None:
        return None
    factor = IN_MICROMETRES.get(str(metadata.get("unit", "")).replace("\\u00B5", "µ").replace("μ", "µ"))
    tags = file.pages[0].aspage().tags
    height, width = (pixels_to_size(tags.valueof(code)) for code in (283, 282))
    return None if factor is None else (height * factor, width * factor)


def pixels_to_size(resolution: tuple[int, int] | None) -> float:
    """The unit's share of a pixel, of the pixels in a unit (numerator, denominator); 0 for none."""
    if resolution is None or not all(resolution):
        return 0.0
    return resolution[1] / resolution[0]


def of_ome(text: str) -> tuple[float, float] | None:
    root = ElementTree.fromstring(text)
    pixels = next((node for node in root.iter() if node.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None
    sizes = []
    for axis in "YX":
        size = pixels.get(f"PhysicalSize{axis}")
        factor = IN_MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if size is None or factor is None:
            return None
        sizes.append(float(size) * factor)
    return sizes[0], sizes[1]
