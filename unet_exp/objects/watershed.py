"""From probability maps to numbered objects: seeds in the interior, watershed on the foreground."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class ObjectRule:
    """seed: interior probability above which a pixel belongs to a seed. foreground: probability of not being
    background above which a pixel belongs to an object. smallest: pixels below which an object is dropped.
    """

    seed: float = 0.5
    foreground: float = 0.5
    smallest: int = 10


def find_objects(interior: np.ndarray, foreground: np.ndarray, rule: ObjectRule) -> np.ndarray:
    """int32 H x W: object numbers from 1 on without gaps, 0 where there is none.

    interior, foreground: probabilities H x W. Each 4-connected component of the foreground, its holes filled,
    is solved by itself: without a seed it is no object, with one it is an object, with several it is divided
    by a watershed on 1 - interior (Beucher and Lantuejoul, 1979; scikit-image). The result does not depend on
    how the maps were tiled.
    """
    mask = np.asarray(foreground > rule.foreground)
    components, _ = ndimage.label(mask)
    objects = np.zeros(mask.shape, np.int32)
    number = 0
    for index, box in enumerate(ndimage.find_objects(components), start=1):
        component = ndimage.binary_fill_holes(components[box] == index)
        inside = np.asarray(interior[box], np.float32)
        divided = divide(component, inside, rule.seed)
        sizes = np.bincount(divided.ravel())
        kept = sizes >= rule.smallest
        kept[0] = False
        names = np.where(kept, number + np.cumsum(kept), 0).astype(np.int32)
        number += int(kept.sum())
        # A hole that is filled may hold another component, which comes later and takes its pixels back.
        objects[box] = np.where(names[divided] > 0, names[divided], objects[box])
    return objects


def divide(component: np.ndarray, interior: np.ndarray, seed: float) -> np.ndarray:
    """int H x W: the component, True in bool H x W, divided into one region for each of its seeds."""
    seeds, count = ndimage.label(component & (interior > seed))
    if count < 2:
        return np.where(component, count, 0)
    from skimage.segmentation import watershed

    regions = watershed(1 - interior, seeds, mask=component)  # type: ignore[no-untyped-call]
    return np.asarray(regions)
