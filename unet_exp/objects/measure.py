"""Measurements of numbered objects, a row for each."""

from collections.abc import Iterator
from typing import Any

import numpy as np

PROPERTIES = ("label", "area", "centroid", "bbox", "perimeter", "eccentricity", "orientation")
MOST_PIXELS = 1 << 22  # of an image that are converted at a time


def measure_objects(
    objects: np.ndarray, image: Any, pixel_size: tuple[float, float] | None = None
) -> list[dict[str, Any]]:
    """A row for each object, in the order of the numbers, by scikit-image's regionprops_table.

    objects: int H x W, 0 for none. image: H x W x C, as stored: an array, or what gives one as
    image[rows, columns]. pixel_size: height and width of a pixel in micrometres. Lengths are in pixels (_px)
    and, with a pixel size, in micrometres (_um); where pixels are not square, the perimeter has none.
    orientation_rad: of the major axis against the rows, -pi/2 to pi/2. touches_border: part of it may lie
    outside the image.
    """
    from skimage.measure import regionprops_table

    table = regionprops_table(objects, properties=PROPERTIES)  # type: ignore[no-untyped-call]
    height, width = objects.shape
    rows = []
    means, sds = intensities(objects, image, table["label"])
    for index, number in enumerate(table["label"].tolist()):
        top, left, bottom, right = (int(table[f"bbox-{side}"][index]) for side in range(4))
        row: dict[str, Any] = {
            "number": number,
            "area_px": int(table["area"][index]),
            "row_px": float(table["centroid-0"][index]),
            "column_px": float(table["centroid-1"][index]),
            "top_px": top,
            "left_px": left,
            "bottom_px": bottom,
            "right_px": right,
            "perimeter_px": float(table["perimeter"][index]),
            "eccentricity": float(table["eccentricity"][index]),
            "orientation_rad": float(table["orientation"][index]),
        }
        if pixel_size is not None:
            high, wide = pixel_size
            row["area_um2"] = row["area_px"] * high * wide
            row["row_um"] = row["row_px"] * high
            row["column_um"] = row["column_px"] * wide
            row["perimeter_um"] = row["perimeter_px"] * high if high == wide else ""
        for channel in range(image.shape[2]):
            row[f"mean_{channel}"] = float(means[index, channel])
            row[f"sd_{channel}"] = float(sds[index, channel])
        row["touches_border"] = top == 0 or left == 0 or bottom == height or right == width
        rows.append(row)
    return rows


def intensities(objects: np.ndarray, image: Any, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (of the population) of each channel over each object, float64 N x C.

    present: the numbers of the objects, in order. objects and image, as measure_objects has them, are read by
    rows, twice.
    """
    counts = np.zeros((len(present), 1))
    sums = np.zeros((len(present), image.shape[2]))
    for places, values in rows_of(objects, image, present):
        counts[:, 0] += np.bincount(places, minlength=len(present))
        sums += added(places, values, len(present))
    means = sums / np.maximum(counts, 1)
    squares = np.zeros_like(sums)
    for places, values in rows_of(objects, image, present):
        squares += added(places, (values - means[places]) ** 2, len(present))
    return means, np.sqrt(squares / np.maximum(counts, 1))


def rows_of(objects: np.ndarray, image: Any, present: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of blocks of rows: for each pixel of an object the place of its number, int32 N, and values N x C."""
    place_of = np.zeros(int(present.max(initial=0)) + 1, np.int32)
    place_of[present] = np.arange(len(present))
    height, width = objects.shape
    step = max(1, MOST_PIXELS // width)
    for top in range(0, height, step):
        part = slice(top, min(top + step, height))
        inside = objects[part] > 0
        values = np.asarray(image[part, slice(None)])[inside]
        yield place_of[objects[part][inside]], values.astype(np.float64)


def added(places: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """The values N x C summed by place, count x C."""
    sums = [np.bincount(places, values[:, channel], count) for channel in range(values.shape[1])]
    return np.stack(sums, axis=1)
