"""Object scores against values by hand and of StarDist's matching (0.9.2), and what must not change them."""

import math
import time

import numpy as np
import pytest

from unet_exp.objects.meter import CountedObjects
from unet_exp.objects.scores import NOTHING, Fate, count_objects, fates, mean_scores, object_scores

# precision, recall, f1, AP at 0.5, mean AP, PQ of `disk_images(seed)` by stardist.matching.matching
STARDIST = {
    0: (0.25, 0.25, 0.25, 0.14285714285714285, 0.042010163749294185, 0.15386807336328634),
    1: (0.4444444444444444, 0.3333333333333333, 0.38095238095238093, 0.23529411764705882,
        0.02852941176470588, 0.2080156130789042),
    2: (0.6363636363636364, 0.6363636363636364, 0.6363636363636364, 0.4666666666666667,
        0.2454901960784314, 0.47225940334861394),
}  # fmt: skip


def disk_images(seed: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Twelve disks, and the same moved, some of them gone and some cut in two."""
    rng = np.random.default_rng(seed)
    true = np.zeros((size, size), np.int32)
    y, x = np.mgrid[:size, :size]
    for number in range(1, 13):
        row, column = rng.integers(4, size - 4, 2)
        radius = rng.integers(3, 9)
        true[(y - row) ** 2 + (x - column) ** 2 < radius * radius] = number
    rng = np.random.default_rng(seed + 10)
    down, right = rng.integers(-2, 3, 2)
    predicted = np.roll(true, (down, right), (0, 1)).copy()
    for number in np.unique(predicted)[1:]:
        if rng.random() < 0.15:
            predicted[predicted == number] = 0
        elif rng.random() < 0.2:
            rows, columns = np.nonzero(predicted == number)
            half = len(rows) // 2
            predicted[rows[:half], columns[:half]] = 1000 + number
    return true, predicted


def boxes(*places: tuple[int, int, int, int], size: int = 20) -> np.ndarray:
    """Objects 1, 2, ... as boxes: top, bottom, left, right."""
    image = np.zeros((size, size), np.int32)
    for number, (top, bottom, left, right) in enumerate(places, start=1):
        image[top:bottom, left:right] = number
    return image


@pytest.mark.parametrize("seed", STARDIST)
def test_scores_are_those_of_stardist(seed: int) -> None:
    scores = object_scores(count_objects(*disk_images(seed)))
    names = ("precision", "recall", "f1", "ap50", "ap", "pq")
    assert tuple(scores[name] for name in names) == pytest.approx(STARDIST[seed], rel=1e-6)
    assert scores["pq"] == pytest.approx(scores["sq"] * scores["rq"])


def test_scores_by_hand() -> None:
    """One object 10 x 10 met by 10 x 8, one missed of 5 x 4, one of 3 x 3 where there is none."""
    true = boxes((0, 10, 0, 10), (14, 19, 0, 4))
    predicted = boxes((0, 10, 0, 8), (0, 3, 16, 19))
    scores = object_scores(count_objects(true, predicted))
    assert scores["precision"] == scores["recall"] == scores["f1"] == 0.5
    assert scores["ap50"] == pytest.approx(1 / 3)
    assert scores["ap"] == pytest.approx(6 / 10 / 3)  # IoU 0.8 is above 0.5 to 0.75, and not above 0.8
    assert scores["sq"] == pytest.approx(0.8)
    assert scores["pq"] == pytest.approx(0.4)
    assert scores["aji"] == pytest.approx(80 / (100 + 20 + 9))
    assert scores["seg"] == pytest.approx(0.8 / 2)
    assert (scores["objects_true"], scores["objects_predicted"]) == (2, 2)


def test_aji_takes_a_predicted_object_twice_and_seg_needs_half() -> None:
    """Two halves under one: each has an IoU of 0.5 with it, which finds neither."""
    true = boxes((0, 10, 0, 5), (0, 10, 5, 10))
    predicted = boxes((0, 10, 0, 10))
    scores = object_scores(count_objects(true, predicted))
    assert scores["f1"] == 0
    assert scores["aji"] == pytest.approx((50 + 50) / (100 + 100))
    assert scores["seg"] == pytest.approx(0.5)
    assert object_scores(count_objects(predicted, true))["seg"] == 0  # a half covers no more than half


@pytest.mark.parametrize("seed", range(5))
def test_aji_and_seg_are_those_of_their_definitions(seed: int) -> None:
    """Object by object, from pixels: Kumar et al. (2017), and the Cell Tracking Challenge."""
    true, predicted = disk_images(seed)
    rest = {number: predicted == number for number in np.unique(predicted)[1:]}
    masks = dict(rest)
    intersection = union = 0
    jaccards = []
    for number in np.unique(true)[1:]:
        mine = true == number
        ious = {other: (mine & mask).sum() / (mine | mask).sum() for other, mask in masks.items()}
        best = max(ious, key=lambda other: ious[other])
        covering = [other for other, mask in masks.items() if (mine & mask).sum() > 0.5 * mine.sum()]
        jaccards.append(ious[covering[0]] if covering else 0.0)
        if ious[best] == 0:
            union += mine.sum()
            continue
        intersection += (mine & masks[best]).sum()
        union += (mine | masks[best]).sum()
        rest.pop(best, None)
    union += sum(mask.sum() for mask in rest.values())
    scores = object_scores(count_objects(true, predicted))
    assert scores["aji"] == pytest.approx(intersection / union)
    assert scores["seg"] == pytest.approx(np.mean(jaccards))


def test_empty_images() -> None:
    nothing, one = boxes(), boxes((0, 4, 0, 4))
    assert all(
        math.isnan(value)
        for name, value in object_scores(count_objects(nothing, nothing)).items()
        if not name.startswith("objects_")
    )
    missed = object_scores(count_objects(one, nothing))
    assert (missed["ap"], missed["f1"], missed["recall"], missed["pq"], missed["aji"]) == (0, 0, 0, 0, 0)
    assert math.isnan(missed["precision"])
    false = object_scores(count_objects(nothing, one))
    assert (false["ap"], false["f1"], false["precision"], false["aji"]) == (0, 0, 0, 0)
    assert math.isnan(false["recall"])


def test_numbers_types_and_order_change_nothing() -> None:
    true, predicted = disk_images(0)
    scores = object_scores(count_objects(true, predicted))
    rng = np.random.default_rng(0)
    for kind in (np.uint16, np.int64, np.uint32):
        names = rng.permutation(60_000)[: 2000 + 1].astype(kind)
        names[0] = 0
        assert object_scores(count_objects(names[true], names[predicted])) == pytest.approx(scores)
    large = (true.astype(np.uint32) * 300_000_001).astype(np.uint32)  # of 32 bits
    assert object_scores(count_objects(large, predicted)) == pytest.approx(scores)
    assert object_scores(count_objects(true[::-1, ::-1], predicted[::-1, ::-1])) == pytest.approx(scores)


def test_images_are_pooled_by_their_counts_and_averaged_by_their_scores() -> None:
    images = [disk_images(seed) for seed in STARDIST]
    counts = [count_objects(*pair) for pair in images]
    side_by_side = count_objects(
        np.hstack([true + 2000 * index * (true > 0) for index, (true, _) in enumerate(images)]),
        np.hstack(
            [predicted + 2000 * index * (predicted > 0) for index, (_, predicted) in enumerate(images)]
        ),
    )
    pooled = sum(counts, NOTHING)
    assert object_scores(pooled) == pytest.approx(object_scores(side_by_side))
    means = mean_scores(counts)
    assert means["ap"] == pytest.approx(np.mean([values[4] for values in STARDIST.values()]))
    assert means["count_error"] == pytest.approx(np.mean([abs(c.true - c.predicted) for c in counts]))
    assert mean_scores(counts[::-1]) == pytest.approx(means)


def test_what_became_of_each_true_object() -> None:
    true = boxes((0, 6, 0, 6), (0, 6, 8, 14), (0, 6, 14, 20), (10, 18, 0, 8), (10, 14, 12, 16))
    predicted = boxes((0, 6, 0, 5), (0, 6, 8, 20), (10, 14, 0, 8), (14, 18, 0, 8))
    assert fates(true, predicted) == [
        Fate(1, 36, "found", 30 / 36),
        Fate(2, 36, "merged", 0.5),
        Fate(3, 36, "merged", 0.5),
        Fate(4, 64, "split", 0.5),
        Fate(5, 16, "missed", 0.0),
    ]


def test_sizes_have_to_agree() -> None:
    with pytest.raises(ValueError, match="true objects are"):
        count_objects(np.zeros((4, 4), int), np.zeros((4, 5), int))


def test_100_images_of_100_objects_are_scored_in_seconds() -> None:
    """Half a second on one core of an EPYC."""
    true = np.kron(np.arange(1, 101).reshape(10, 10), np.ones((51, 51), np.int32))
    predicted = np.roll(true, (5, 7), (0, 1))
    objects = CountedObjects(keep_fates=True)
    started = time.perf_counter()
    for index in range(100):
        objects.count(index, true, predicted)
    assert time.perf_counter() - started < 10
    assert sum(len(of_image) for of_image in objects.fates.values()) == 10_000
