"""Cells by learned borders: leaks that a threshold falls for are closed, gaps inside a cell are joined."""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from scipy import ndimage
from sklearn.linear_model import LogisticRegression

from unet_exp.data.synthetic import generate_membranes
from unet_exp.inference.cell_borders import SHIFTS, best_shift
from unet_exp.metrics.em import proposal_segments, rand_and_info, true_segments
from unet_exp.objects import cells, fragments, joining
from unet_exp.objects.scores import overlaps


def leaking(index: int, size: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """A map of cell interiors with leaks and false membranes, and the true cells of a synthetic slice."""
    _, label = generate_membranes(0, index, size)
    rng = np.random.default_rng(index)
    interior = ndimage.gaussian_filter(label.astype(np.float64), 1.2)
    # Places where the network saw no membrane, and places where it saw one that is not there.
    leaks = ndimage.gaussian_filter(rng.standard_normal((size, size)), 2)
    false = ndimage.gaussian_filter(rng.standard_normal((size, size)), (1, 9))
    interior += 0.95 * (leaks > 1.7 * leaks.std()) - 0.75 * (false > 1.9 * false.std())
    interior = np.clip(interior + 0.05 * rng.standard_normal((size, size)), 0.01, 0.99)
    return interior.astype(np.float32), true_segments(label == 1)


def v_rand_at(thresholds: Iterable[float], interior: np.ndarray, truth: np.ndarray) -> list[float]:
    return [rand_and_info(truth, proposal_segments(interior > threshold))[0] for threshold in thresholds]


def test_joining_is_better_than_the_best_threshold() -> None:
    maps, truths = zip(*(leaking(index) for index in range(6)), strict=True)
    learned = joining.fit_joining([joining.borders_of(p) for p in maps[:3]], truths[:3])
    assert learned is not None
    by_cells, thresholded = [], []
    for interior, truth in zip(maps[3:], truths[3:], strict=True):
        found, inside = cells.find_cells(interior, learned)
        assert set(np.unique(found)) == set(range(1, found.max() + 1))
        map_of_cells = cells.repaired(interior, found, inside)
        by_cells.append(v_rand_at((0.3, 0.5, 0.7), map_of_cells, truth))
        thresholded.append(v_rand_at(np.arange(0.1, 1, 0.1), interior, truth))
    by_threshold = np.mean(thresholded, axis=0)
    assert np.mean(by_cells, axis=0).min() > by_threshold.max()
    assert np.mean(by_cells, axis=0).min() > by_threshold[4] + 0.03
    assert np.ptp(np.mean(by_cells, axis=0)) < 0.02  # any threshold gives these cells


def test_the_regression_is_that_of_scikit_learn() -> None:
    maps, truths = zip(*(leaking(index, 128) for index in range(2)), strict=True)
    learned = joining.fit_joining([joining.borders_of(p) for p in maps], truths)
    assert learned is not None
    inputs, targets = [], []
    for interior, truth in zip(maps, truths, strict=True):
        parts = fragments.find_fragments(interior)
        pairs, features = fragments.border_features(parts, interior)
        same, clear = joining.are_same(parts, truth, pairs)
        inputs.append(features[clear])
        targets.append(same[clear])
    standard = (np.concatenate(inputs) - learned.mean) / learned.scale
    model = LogisticRegression(C=1 / joining.RIDGE, tol=1e-10, max_iter=10_000).fit(
        standard, np.concatenate(targets)
    )
    assert learned.weights == pytest.approx(model.coef_[0], abs=1e-4)
    assert learned.bias == pytest.approx(model.intercept_[0], abs=1e-4)


def test_features_by_hand() -> None:
    parts = np.array([[1, 1, 2], [1, 1, 2], [1, 1, 2]])
    interior = np.array([[0.9, 0.8, 0.9], [0.9, 0.6, 0.9], [0.9, 0.5, 0.4]])
    pairs, features = fragments.border_features(parts, interior)
    membrane = np.sort(1 - np.array([0.8, 0.6, 0.4]))
    assert pairs.tolist() == [[1, 2]]
    areas = [np.log(3), np.log(6), 3 / np.sqrt(3)]
    expected = [fragments.logit(membrane.mean()), fragments.logit(membrane[0]), np.log(3), *areas]
    assert features[0] == pytest.approx([float(value) for value in expected])


def test_joining_adds_up_what_speaks_for_it_and_against_it() -> None:
    """0 and 1 are joined first; what then speaks against 2 (-3) outweighs what spoke for it (+2)."""
    pairs = np.array([[0, 1], [1, 2], [0, 2], [2, 3]])
    everything = joining.join(4, pairs, np.ones(4))
    assert len(set(everything.tolist())) == 1
    assert joining.join(4, pairs, -np.ones(4)).tolist() == [0, 1, 2, 3]
    for order in itertools.permutations(range(4)):
        groups = joining.join(4, pairs[list(order)], np.array([5.0, 2.0, -3.0, 1.0])[list(order)])
        assert (groups[0] == groups[1], groups[2] == groups[3], groups[0] == groups[2]) == (True, True, False)


def test_maps_without_borders() -> None:
    flat = np.full((20, 20), 0.99, np.float32)
    assert joining.fit_joining([joining.borders_of(p) for p in [flat]], [np.ones((20, 20), int)]) is None
    learned = joining.Joining((0.0,) * 6, (1.0,) * 6, (0.0,) * 6, -1.0)
    for level in (0.99, 0.2):
        found, inside = cells.find_cells(np.full((20, 20), level, np.float32), learned)
        assert (found == 1).all()
        assert (cells.repaired(flat, found, inside) == flat).all()


def test_blocks_give_the_cells_of_the_whole_image() -> None:
    maps, truths = zip(*(leaking(index) for index in range(3)), strict=True)
    learned = joining.fit_joining([joining.borders_of(p) for p in maps], truths)
    assert learned is not None
    interior, _ = leaking(7, 512)
    whole, _ = cells.find_cells(interior, learned)
    in_blocks, inside = cells.find_cells(interior, learned, block=160, halo=64)
    assert set(np.unique(in_blocks)) == set(range(1, in_blocks.max() + 1))
    iou = np.zeros(whole.max() + 1)
    pair = overlaps(whole, in_blocks)
    np.maximum.at(iou, pair.true_numbers[pair.pairs[:, 0]], pair.iou)
    assert (iou[1:] >= 0.9).mean() >= 0.99
    # The repaired map is made in bands of rows; a shorter image has but one.
    shown = cells.repaired(interior, in_blocks, inside)
    assert np.array_equal(shown, cells.repaired_band(interior, in_blocks, inside))


def test_the_shift_is_scored_by_regressions_that_have_not_seen_the_map() -> None:
    clean, truths = zip(*(leaking(index, 128) for index in range(3)), strict=True)
    noise = [np.random.default_rng(index).normal(0, 0.25, (128, 128)) for index in range(3)]
    maps = [np.clip(p + n, 0, 1).astype(np.float32) for p, n in zip(clean, noise, strict=True)]
    borders = [joining.borders_of(interior) for interior in maps]
    shift, reached = best_shift(borders, truths, "")
    table = []
    for tried in SHIFTS:
        rows = []
        for left in range(3):
            others = [index for index in range(3) if index != left]
            learned = joining.fit_joining([borders[i] for i in others], [truths[i] for i in others])
            assert learned is not None
            moved = dataclasses.replace(learned, bias=learned.bias + tried)
            rows.append(rand_and_info(truths[left], cells.find_cells(maps[left], moved)[0])[0])
        table.append(float(np.mean(rows)))
    assert np.mean(reached, axis=0)[0] == pytest.approx(table[SHIFTS.index(shift)])
    assert table[SHIFTS.index(shift)] > min(table)
    assert best_shift(borders[:1], truths[:1], "")[0] == 0
