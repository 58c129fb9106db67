"""From numbered objects to what a network learns of them, and from its probabilities to maps of objects.

A target depends on a fixed neighbourhood of each pixel (ObjectTarget.reach), so that the target of a crop,
read with that margin, is the crop of the target of the whole image. Beyond an image nothing is assumed.
"""

from typing import Any

import numpy as np
from scipy import ndimage

from unet_exp.config.label_map import ObjectTarget

BACKGROUND = 0
INTERIOR = 1
BORDER = 2


def object_target(objects: np.ndarray, rule: ObjectTarget) -> np.ndarray:
    """uint8 H x W of class indices, of object numbers H x W (0: none).

    border: 0 background, 1 interior, 2 border, which is the pixels of an object at most `rim` from another
    object or the background, and the background pixels from which two objects are at most `gap` away, as the
    three classes of Caicedo et al., 2019 (doi 10.1002/cyto.a.23863). binary: 1 on objects but where another
    object is at most `gap` away. distance: as binary, and one class more for each `rim` pixels away from
    another object or the background, up to the last class (the levels of Bai and Urtasun, 2017,
    arXiv:1611.08303). Distances: the larger of rows and columns.
    """
    objects = np.ascontiguousarray(objects)
    inside = objects > 0
    between = near_two(objects, rule.gap)
    if rule.kind == "binary":
        return np.asarray(inside & ~between, np.uint8)
    if rule.kind == "distance":
        target = np.asarray(inside & ~between, np.uint8)
        for level in range(1, rule.num_classes - 1):
            target += (target > 0) & is_deep(objects, level * rule.rim)
        return target
    target = np.where(inside, INTERIOR, BACKGROUND).astype(np.uint8)
    target[~inside & between] = BORDER
    target[inside & ~is_deep(objects, rule.rim)] = BORDER
    return target


def object_maps(probabilities: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Interior and foreground, float32 H x W in [0, 1], of probabilities K x H x W of a target of this kind.

    interior: of class 1; of distance the mean level, 0 to 1. foreground: of all classes but the background.
    """
    foreground = 1 - probabilities[BACKGROUND]
    if kind != "distance":
        return probabilities[INTERIOR], foreground
    levels = np.arange(len(probabilities), dtype=np.float32) / (len(probabilities) - 1)
    return np.einsum("k,khw->hw", levels, probabilities), foreground


def is_deep(objects: np.ndarray, distance: int) -> np.ndarray:
    """bool H x W: where no other number, nor the background, is at most this far away."""
    if not distance:
        return np.ones(objects.shape, bool)
    width = 2 * distance + 1
    lowest = ndimage.minimum_filter(objects, width, mode="nearest")
    highest = ndimage.maximum_filter(objects, width, mode="nearest")
    return np.asarray(lowest == highest)


def near_two(objects: np.ndarray, distance: int) -> np.ndarray:
    """bool H x W: where two different objects are at most this far away; nowhere for 0."""
    if not distance:
        return np.zeros(objects.shape, bool)
    width = 2 * distance + 1
    beyond = objects.max(initial=0) + 1
    lowest = ndimage.minimum_filter(np.where(objects > 0, objects, beyond), width, mode="nearest")
    highest = ndimage.maximum_filter(objects, width, mode="nearest")
    return np.asarray(highest > lowest)


class TargetOf:
    """The target of numbers H x W x 1, mapped when a window of it is read, uint8 h x w x 1."""

    def __init__(self, numbers: Any, rule: ObjectTarget) -> None:
        self.numbers = numbers
        self.rule = rule
        self.shape = numbers.shape

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        outer = []
        inner = []
        for part, length in zip(window, self.shape[:2], strict=True):
            start, stop, _ = part.indices(length)
            first = max(start - self.rule.reach, 0)
            outer.append(slice(first, min(stop + self.rule.reach, length)))
            inner.append(slice(start - first, stop - first))
        numbers = np.asarray(self.numbers[outer[0], outer[1]])[..., 0]
        return object_target(numbers, self.rule)[inner[0], inner[1], np.newaxis]


def classes_of(label: Any, rule: ObjectTarget | None) -> Any:
    """An opened label whose windows are class indices: the target where it numbers objects, else itself."""
    return label if rule is None else TargetOf(label, rule)
