"""From numbered objects to what a network learns of them: interior and border.

Targets depend on a fixed neighbourhood of each pixel (`reach`), so that the target of a crop, read with that
margin, is the crop of the target of the whole image.
"""

import numpy as np
from scipy import ndimage

BACKGROUND = 0
INTERIOR = 1
BORDER = 2
CLASS_NAMES = ["background", "interior", "border"]


def reach(rim: int, gap: int) -> int:
    """Pixels beyond a crop that its target depends on."""
    return max(rim, gap)


def border_target(objects: np.ndarray, rim: int, gap: int) -> np.ndarray:
    """uint8 H x W: 0 background, 1 interior, 2 border, of object numbers H x W (0: none).

    Border: the pixels of an object that are at most `rim` pixels from another object or the background, and
    the background pixels from which two objects are at most `gap` pixels away (distances by the larger of
    rows and columns). Beyond the image nothing is assumed. As the three classes of Caicedo et al., 2019
    (doi 10.1002/cyto.a.23863), with the gaps.
    """
    numbers = np.ascontiguousarray(objects)
    inside = numbers > 0
    target = np.where(inside, INTERIOR, BACKGROUND).astype(np.uint8)
    if rim:
        lowest = ndimage.minimum_filter(numbers, 2 * rim + 1, mode="nearest")
        highest = ndimage.maximum_filter(numbers, 2 * rim + 1, mode="nearest")
        target[inside & (lowest != highest)] = BORDER
    if gap:
        beyond = numbers.max(initial=0) + 1
        lowest = ndimage.minimum_filter(np.where(inside, numbers, beyond), 2 * gap + 1, mode="nearest")
        highest = ndimage.maximum_filter(numbers, 2 * gap + 1, mode="nearest")
        target[~inside & (highest > lowest)] = BORDER
    return target
