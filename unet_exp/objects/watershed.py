"""From probability maps to numbered objects: seeds in the interior, watershed on the foreground."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class ObjectRule:
    """seed: interior probability above which a pixel belongs to a seed. foreground: probability of not being
    background above which a pixel belongs to an object. smallest: pixels below which an object is dropped.
    confidence: mean probability of not being background, in an object, below which it is dropped. target:
    what the network has learnt, data.target.
    """

    seed: float = 0.5
    foreground: float = 0.5
    smallest: int = 10
    confidence: float = 0.0
    target: str = "border"


def find_objects(interior: np.ndarray, foreground: np.ndarray, rule: ObjectRule) -> np.ndarray:
    """int32 H x W: object numbers from 1 on without gaps, 0 where there is none.

    interior, foreground: probabilities H x W. Each 4-connected component of the foreground, its holes filled,
    is solved by itself: without a seed it is no object (of a target by distance it is one), with one it is an
    object, with several it is divided by a watershed on 1 - interior (Beucher and Lantuejoul, 1979;
    scikit-image). The result does not depend on
    how the maps were tiled.
    """
    mask = ndimage.binary_fill_holes(foreground > rule.foreground)
    components, _ = ndimage.label(mask)
    seeds, num_seeds = ndimage.label(mask & (interior > rule.seed))
    # A component with one seed is its object; only those with several have to be divided.
    home = np.zeros(num_seeds + 1, np.int32)
    home[seeds] = components
    seeds_of = np.bincount(home[1:], minlength=int(components.max(initial=0)) + 1)
    name_of = np.zeros(len(seeds_of), np.int32)
    name_of[home[1:]] = np.arange(1, num_seeds + 1)
    if rule.target == "distance":  # small objects have no deep level, so that no seed is needed
        seedless = seeds_of == 0
        seedless[0] = False
        name_of[seedless] = num_seeds + 1 + np.arange(seedless.sum())
    objects = name_of[components]
    boxes = ndimage.find_objects(components)
    for index in np.flatnonzero(seeds_of > 1):
        box = boxes[index - 1]
        divide(objects[box], components[box] == index, seeds[box], interior[box], rule.smallest)
    return numbered_anew(objects, foreground, rule)


def divide(
    objects: np.ndarray, component: np.ndarray, seeds: np.ndarray, interior: np.ndarray, smallest: int
) -> None:
    """Write into objects, int32 H x W, the number of a seed for each pixel of the component, bool H x W.

    Seeds of regions below `smallest` pixels leave them to the others, so that they are no holes.
    """
    from skimage.segmentation import watershed

    seeds = np.where(component, seeds, 0)
    outside = 1 - interior.astype(np.float32)
    regions = watershed(outside, seeds, mask=component)  # type: ignore[no-untyped-call]
    small = np.bincount(regions.ravel()) < smallest
    kept = np.where(small[seeds], 0, seeds)
    if kept.any() and (kept != seeds).any():
        regions = watershed(outside, kept, mask=component)  # type: ignore[no-untyped-call]
    objects[component] = regions[component]


def numbered_anew(objects: np.ndarray, foreground: np.ndarray, rule: ObjectRule) -> np.ndarray:
    """int32 H x W: the objects that are large and sure enough, numbered from 1 on."""
    areas = np.bincount(objects.ravel())
    kept = areas >= rule.smallest
    if rule.confidence:
        kept &= np.bincount(objects.ravel(), foreground.ravel()) >= rule.confidence * areas
    kept[0] = False
    names = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return np.asarray(names[objects])
