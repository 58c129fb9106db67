"""From probability maps to numbered objects: seeds in the interior, watershed on the foreground."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from unet_exp.objects.seeds import find_seeds

LEVELS = tuple(round(0.05 * number, 2) for number in range(19, -1, -1))  # of the interior probability
BAND = 256  # rows whose confidence is summed at once


@dataclass(frozen=True)
class ObjectRule:
    """dip: how far the interior probability must fall between two objects. foreground: probability of not
    being background above which a pixel belongs to an object. smallest: pixels below which an object is
    dropped. confidence: mean probability of not being background, in an object, below which it is dropped.
    target: what the network has learnt, data.target.
    """

    dip: float = 0.4
    foreground: float = 0.5
    smallest: int = 10
    confidence: float = 0.0
    target: str = "distance"


def find_objects(interior: np.ndarray, foreground: np.ndarray, rule: ObjectRule) -> np.ndarray:
    """int32 H x W: object numbers from 1 on without gaps, 0 where there is none.

    interior, foreground: probabilities H x W. Each 4-connected component of the foreground, its holes filled,
    is solved by itself: with several seeds it is divided by a watershed on 1 - interior (Beucher and
    Lantuejoul, 1979; scikit-image). The result does not depend on how the maps were tiled.
    """
    components, _ = ndimage.label(foreground > rule.foreground)
    objects = np.zeros(components.shape, np.int32)
    count = 0
    for index, box in enumerate(ndimage.find_objects(components), start=1):
        height, width = (side.stop - side.start for side in box)
        if height * width < rule.smallest:
            continue
        component = ndimage.binary_fill_holes(components[box] == index)
        regions = divide(component, np.asarray(interior[box], np.float32), rule)
        kept = np.bincount(regions.ravel()) >= rule.smallest
        kept[0] = False
        numbers = np.where(kept, count + np.cumsum(kept), 0).astype(np.int32)[regions]
        count += int(kept.sum())
        # A hole that is filled may hold another component, which comes later and takes its pixels back.
        objects[box] = np.where(numbers > 0, numbers, objects[box])
    return confident(objects, foreground, rule.confidence) if rule.confidence else objects


def confident(objects: np.ndarray, foreground: np.ndarray, confidence: float) -> np.ndarray:
    """The objects, int32 H x W, whose mean foreground, H x W, is at least `confidence`, numbered anew."""
    areas = np.zeros(int(objects.max(initial=0)) + 1)
    sums = areas.copy()
    for top in range(0, len(objects), BAND):
        numbers = objects[top : top + BAND].ravel()
        areas += np.bincount(numbers, minlength=len(areas))
        sums += np.bincount(numbers, foreground[top : top + BAND].ravel(), len(areas))
    kept = (areas > 0) & (sums >= confidence * areas)
    kept[0] = False
    names = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    result = np.empty_like(objects)
    for top in range(0, len(objects), BAND):
        result[top : top + BAND] = names[objects[top : top + BAND]]
    return result


def divide(component: np.ndarray, interior: np.ndarray, rule: ObjectRule) -> np.ndarray:
    """int H x W: the component, True in bool H x W, divided into one region for each of its seeds.

    Seeds of regions below rule.smallest pixels leave them to the others, so that they are no holes.
    """
    seeds, count = find_seeds(np.where(component, interior, -1), LEVELS, rule.dip)
    if count < 2:
        return component.astype(np.int32)
    from skimage.segmentation import watershed

    regions = watershed(1 - interior, seeds, mask=component)  # type: ignore[no-untyped-call]
    small = np.bincount(regions.ravel()) < rule.smallest
    kept = np.where(small[seeds], 0, seeds)
    if kept.any() and (kept != seeds).any():
        regions = watershed(1 - interior, kept, mask=component)  # type: ignore[no-untyped-call]
    return np.asarray(regions)
