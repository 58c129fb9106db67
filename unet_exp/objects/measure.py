"""Measurements of numbered objects, a row for each."""

from typing import Any

import numpy as np

PROPERTIES = ("label", "area", "centroid", "bbox", "perimeter", "eccentricity", "orientation")


def measure_objects(
    objects: np.ndarray, image: np.ndarray, pixel_size: tuple[float, float] | None = None
) -> list[dict[str, Any]]:
    """A row for each object, in the order of the numbers, by scikit-image's regionprops_table.

    objects: int H x W, 0 for none. image: H x W x C, as stored. pixel_size: height and width of a pixel in
    micrometres. Lengths are in pixels (_px) and, with a pixel size, in micrometres (_um); the perimeter has
    no micrometres where pixels are not square. orientation_rad: of the major axis against the rows, -pi/2 to
    pi/2. touches_border: part of it may lie outside the image.
    """
    from skimage.measure import regionprops_table

    table = regionprops_table(objects, properties=PROPERTIES)  # type: ignore[no-untyped-call]
    height, width = objects.shape
    rows = []
    values = image.reshape(-1, image.shape[2]).astype(np.float64)
    means, sds = intensities(objects.ravel(), values, table["label"])
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


def intensities(
    numbers: np.ndarray, values: np.ndarray, present: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (of the population) of each channel over each of these objects.

    numbers: int N, values: float64 N x C, of each pixel. present: the numbers, in order.
    """
    places = np.searchsorted(present, numbers)
    inside = numbers > 0
    counts = np.bincount(places[inside], minlength=len(present))
    means = np.zeros((len(present), values.shape[1]))
    sds = np.zeros_like(means)
    for channel in range(values.shape[1]):
        of_channel = values[inside, channel]
        sums = np.bincount(places[inside], of_channel, minlength=len(present))
        means[:, channel] = sums / np.maximum(counts, 1)
        away = of_channel - means[places[inside], channel]
        squares = np.bincount(places[inside], away**2, minlength=len(present))
        sds[:, channel] = np.sqrt(squares / np.maximum(counts, 1))
    return means, sds
