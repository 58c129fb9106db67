"""Numbered objects to targets, perfect maps of these back to objects."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import h_maxima

from unet_exp.config.label_map import ObjectTarget
from unet_exp.objects.rules import objects_of
from unet_exp.objects.scores import count_objects, object_scores
from unet_exp.objects.seeds import find_seeds
from unet_exp.objects.targets import BACKGROUND, BORDER, INTERIOR, object_maps, object_target
from unet_exp.objects.watershed import ObjectRule, find_objects


def border_target(objects: np.ndarray, rim: int, gap: int) -> np.ndarray:
    return object_target(objects, ObjectTarget("border", rim, gap, 3))


def disks(seed: int, count: int, size: int, touching: bool) -> np.ndarray:
    """Numbered disks; those that would touch are left out unless asked for, and then do not overlap."""
    rng = np.random.default_rng(seed)
    objects = np.zeros((size, size), np.int32)
    y, x = np.mgrid[:size, :size]
    for number in rng.permutation(5000)[:count] + 1:
        row, column = rng.integers(0, size, 2)
        radius = rng.integers(4, 12)
        away = np.hypot(y - row, x - column)
        if not touching and objects[away < radius + 3].any():
            continue
        objects[(away < radius) & (objects == 0)] = number
    return objects


def perfect(objects: np.ndarray, rim: int = 1, gap: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Maps of interior and foreground of a network that answers the target itself."""
    target = border_target(objects, rim, gap)
    return (target == INTERIOR).astype(np.float32), (objects > 0).astype(np.float32)


def test_the_target_by_hand() -> None:
    objects = np.zeros((5, 9), int)
    objects[:, 1:4] = 7
    objects[:, 5:9] = 3
    b, i, o = BORDER, INTERIOR, BACKGROUND
    # Columns 3 and 5 are rims, column 4 is the gap between the two; the image's border is none.
    expected = [o, b, i, b, b, b, i, i, i]
    assert border_target(objects, 1, 1).tolist() == [expected] * 5
    assert border_target(objects, 1, 0)[0].tolist() == [o, b, i, b, o, b, i, i, i]
    assert border_target(objects, 2, 1)[0].tolist() == [o, b, b, b, b, b, b, i, i]
    assert border_target(objects, 0, 0)[0].tolist() == [o, i, i, i, o, i, i, i, i]


def test_the_levels_of_distance_by_hand() -> None:
    objects = np.zeros((9, 11), int)
    objects[:, 1:5] = 7
    objects[:, 5:] = 3
    levels = object_target(objects, ObjectTarget("distance", 1, 0, 4))
    assert levels.tolist() == [[0, 1, 2, 2, 1, 1, 2, 3, 3, 3, 3]] * 9
    probabilities = (levels == np.arange(4)[:, None, None]).astype(np.float32)
    interior, foreground = object_maps(probabilities, "distance")
    assert np.allclose(interior, levels / 3)
    assert np.array_equal(foreground, objects > 0)
    found = objects_of(probabilities, ObjectRule(dip=0.3))  # without a gap they part at the lowest level
    assert object_scores(count_objects(objects, found))["sq"] == 1


@pytest.mark.parametrize("kind", ["border", "binary", "distance"])
@pytest.mark.parametrize(("rim", "gap"), [(1, 1), (2, 3), (1, 2), (3, 0)])
def test_the_target_of_a_crop_is_the_crop_of_the_target(rim: int, gap: int, kind: str) -> None:
    objects = disks(0, 80, 160, touching=True)
    rule = ObjectTarget(kind, rim, gap, 5)
    whole = object_target(objects, rule)
    margin = rule.reach
    for top, left, size in ((20, 33, 64), (80, 10, 50), (margin, margin, 40)):
        around = objects[top - margin : top + size + margin, left - margin : left + size + margin]
        inner = object_target(around, rule)[margin : margin + size, margin : margin + size]
        assert np.array_equal(inner, whole[top : top + size, left : left + size])


def test_objects_that_do_not_touch_come_back_whole() -> None:
    objects = disks(1, 60, 200, touching=False)
    found = find_objects(*perfect(objects), ObjectRule(smallest=1))
    scores = object_scores(count_objects(objects, found))
    assert scores["ap"] == scores["sq"] == scores["aji"] == 1
    assert np.array_equal(np.unique(found), np.arange(len(np.unique(objects))))


def test_touching_objects_are_divided() -> None:
    objects = disks(2, 120, 200, touching=True)
    found = find_objects(*perfect(objects), ObjectRule(smallest=1))
    together = find_objects((objects > 0) * 1.0, (objects > 0) * 1.0, ObjectRule(smallest=1))
    scores = object_scores(count_objects(objects, found))
    assert scores["f1"] > 0.9 > 0.5 > object_scores(count_objects(objects, together))["f1"]
    assert np.array_equal(found > 0, objects > 0) or (found > 0).sum() > 0.97 * (objects > 0).sum()


def test_small_objects_are_dropped_and_holes_filled() -> None:
    foreground = np.zeros((30, 30), np.float32)
    foreground[2:12, 2:12] = 0.9
    foreground[5:7, 5:7] = 0.1  # a hole
    foreground[20:22, 20:22] = 0.9  # small
    found = find_objects(foreground, foreground, ObjectRule(smallest=5))
    assert found.max() == 1
    assert (found[2:12, 2:12] == 1).all()
    assert not found[15:].any()
    assert find_objects(foreground, foreground, ObjectRule(smallest=4)).max() == 2


@pytest.mark.parametrize("dip", [1, 100, 400, 1000, 2000])
def test_seeds_are_the_peaks_of_scikit_image(dip: int) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(dip).standard_normal((40, 50)), 2)
    order = np.argsort(np.argsort(noise, axis=None)).reshape(noise.shape) + 1  # no ties
    height = np.pad(order.astype(np.int16), 1)
    seeds, count = find_seeds(height, [level - 0.5 for level in range(2000, -1, -1)], dip)
    cross = ndimage.generate_binary_structure(2, 1)
    peaks, expected = ndimage.label(h_maxima(height, dip, cross), cross)  # type: ignore[no-untyped-call]
    assert count == expected == len(np.unique(peaks[seeds > 0]))


def test_objects_part_where_the_interior_falls_far_enough() -> None:
    foreground = np.full((9, 30), 0.9, np.float32)
    interior = np.full((9, 30), 0.8, np.float32)
    interior[:, 10] = 0.5
    interior[:, 20] = 0.72
    found = [find_objects(interior, foreground, ObjectRule(dip=dip)).max() for dip in (0.05, 0.25, 0.4)]
    assert found == [3, 2, 1]


def test_a_small_seed_within_an_object_leaves_no_hole() -> None:
    foreground = np.zeros((30, 30), np.float32)
    foreground[2:22, 2:22] = 0.9
    interior = foreground * 1.0
    interior[9:14, 9:14] = 0.1
    interior[11, 11] = 0.9  # a seed of its own, of a region of at most 25 pixels
    found = find_objects(interior, foreground, ObjectRule(smallest=40))
    assert np.array_equal(found, (foreground > 0).astype(np.int32))
    assert find_objects(interior, foreground, ObjectRule(smallest=1)).max() == 2


def test_an_object_needs_no_deep_level() -> None:
    foreground = np.zeros((12, 12), np.float32)
    foreground[3:7, 3:7] = 0.9
    shallow = foreground * 0.03  # a small nucleus: no pixel is far from its edge
    assert find_objects(shallow, foreground, ObjectRule()).max() == 1


def test_unsure_objects_are_dropped() -> None:
    foreground = np.zeros((12, 24), np.float32)
    foreground[2:8, 2:8] = 0.95
    foreground[2:8, 14:20] = 0.6
    kept = [find_objects(foreground, foreground, ObjectRule(confidence=c)).max() for c in (0.0, 0.8, 0.97)]
    assert kept == [2, 1, 0]
