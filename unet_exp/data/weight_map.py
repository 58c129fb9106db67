"""The weight map of the U-Net paper: what a pixel between two objects weighs more than another."""

import numpy as np
from scipy import ndimage

from unet_exp.config.schema import IGNORE

REACH = 4.0  # in sigma: farther from the second nearest object the weight is below w0 * exp(-8)


def weight_map(label: np.ndarray, w0: float = 10.0, sigma: float = 5.0, inside: bool = False) -> np.ndarray:
    """float32 H x W: w0 * exp(-(d1 + d2)^2 / (2 sigma^2)) on pixels of class 0, 0 elsewhere.

    d1, d2: distances in pixels to the nearest and second nearest object (Ronneberger et al., 2015,
    arXiv:1505.04597, equation 2, without the class weights, which the loss adds). label: class indices H x W.
    Objects: 4-connected components of each class but 0 and of ignored pixels (255). Weights of pixels that
    are farther than 4 sigma from their second object, below w0 * 0.0004, are 0. inside: also on the pixels of
    an object, from which d1 is 0: where two touch, no class 0 lies between them.
    """
    reach = int(np.ceil(REACH * sigma))
    nearest = np.full((2, *label.shape), np.inf, np.float32)
    for index, box in enumerate(ndimage.find_objects(label.astype(np.int32)), start=1):
        if box is None or index == IGNORE:
            continue
        class_window = widened(box, reach)
        objects, _ = ndimage.label(label[class_window] == index)
        for number, inner in enumerate(ndimage.find_objects(objects), start=1):
            window = widened(inner, reach)
            distance = ndimage.distance_transform_edt(objects[window] != number).astype(np.float32)
            first = nearest[0][class_window][window]
            second = nearest[1][class_window][window]
            second[:] = np.minimum(second, np.maximum(first, distance))
            first[:] = np.minimum(first, distance)
    total = nearest.sum(0)
    near = ((label == 0) | inside) & (nearest[1] <= reach)
    weights = np.zeros(label.shape, np.float32)
    weights[near] = w0 * np.exp(-(total[near] ** 2) / (2 * sigma**2))
    return weights


def widened(box: tuple[slice, ...], reach: int) -> tuple[slice, ...]:
    return tuple(slice(max(part.start - reach, 0), part.stop + reach) for part in box)
