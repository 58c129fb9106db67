"""V-Rand and V-Info on labelings small enough to compute by hand, by brute force and with scikit-image."""

import math
from collections import Counter
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from skimage.metrics import adapted_rand_error
from skimage.segmentation import watershed

from unet_exp.data.synthetic import generate_membranes
from unet_exp.metrics.em import (
    best_threshold,
    em_table,
    proposal_segments,
    row_at,
    true_segments,
    v_info,
    v_rand,
)

Array = npt.NDArray[np.int64]


def grid(*rows: list[int]) -> Array:
    return np.array(rows)


def test_two_cells_merged_by_hand() -> None:
    # s = (1/2, 1/2), t = (1), p_11 = p_21 = 1/2: (1/4 + 1/4) / (0.5 * 1/2 + 0.5 * 1) = 2/3.
    truth, proposal = grid([1, 1, 2, 2]), grid([1, 1, 1, 1])
    assert v_rand(truth, proposal) == pytest.approx(2 / 3)
    assert v_info(truth, proposal) == 0.0  # one segment says nothing: I = 0, H(S) = log 2


def test_one_cell_split_by_hand() -> None:
    # The mirror image: s = (1), t = (1/2, 1/2).
    assert v_rand(grid([1, 1, 1, 1]), grid([1, 1, 2, 2])) == pytest.approx(2 / 3)
    # Of two cells one is split: s = (1/2, 1/2), t = (1/2, 1/4, 1/4), p = t.
    truth, proposal = grid([1, 1, 2, 2]), grid([1, 1, 2, 3])
    assert v_rand(truth, proposal) == pytest.approx((6 / 16) / (0.5 * 1 / 2 + 0.5 * 6 / 16))
    of_truth, of_proposal = math.log(2), 1.5 * math.log(2)
    assert v_info(truth, proposal) == pytest.approx(2 * of_truth / (of_truth + of_proposal))


def test_line_pixels_are_segments_of_one_pixel_by_hand() -> None:
    # Cell 1 has 3 pixels and a line pixel of the proposal: p = 3/4 and a single 1/4.
    truth, proposal = grid([1, 1, 1, 1]), grid([5, 5, 5, 0])
    assert v_rand(truth, proposal) == pytest.approx((9 / 16 + 1 / 16) / (0.5 + 0.5 * (9 / 16 + 1 / 16)))
    # Two line pixels are two segments, not one.
    two = grid([5, 5, 0, 0])
    assert v_rand(truth, two) == pytest.approx((4 / 16 + 2 / 16) / (0.5 + 0.5 * (4 / 16 + 2 / 16)))
    of_proposal = 0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    one_more = grid([1, 1, 2, 2])  # and a truth that is not one segment
    assert v_info(one_more, two) == pytest.approx(2 * math.log(2) / (math.log(2) + of_proposal))


def test_membrane_pixels_of_the_label_do_not_count() -> None:
    truth = grid([1, 1, 0, 2, 2])
    for middle in (1, 2, 0, 9):
        assert v_rand(truth, grid([1, 1, middle, 2, 2])) == pytest.approx(1.0)
        assert v_info(truth, grid([1, 1, middle, 2, 2])) == pytest.approx(1.0)


def test_degenerate_labelings() -> None:
    assert v_rand(grid([1, 1]), grid([3, 3])) == v_info(grid([1, 1]), grid([3, 3])) == 1.0
    assert math.isnan(v_rand(grid([0, 0]), grid([1, 1])))
    assert math.isnan(v_info(grid([0, 0]), grid([1, 1])))


def random_pair(seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4, (5, 6)), rng.integers(0, 5, (5, 6))


@pytest.mark.parametrize("seed", range(8))
def test_against_counting_every_pair_of_pixels(seed: int) -> None:
    truth, proposal = random_pair(seed)
    inside = truth > 0
    s = truth[inside].tolist()
    t = [value if value else -1 - number for number, value in enumerate(proposal[inside].tolist())]
    pairs = list(product(range(len(s)), repeat=2))  # ordered, each pixel with itself too
    both = sum(s[a] == s[b] and t[a] == t[b] for a, b in pairs)
    of_s, of_t = sum(s[a] == s[b] for a, b in pairs), sum(t[a] == t[b] for a, b in pairs)
    assert v_rand(truth, proposal) == pytest.approx(both / (0.5 * of_s + 0.5 * of_t))

    def entropy(values: list[object]) -> float:
        return -sum(n / len(values) * math.log(n / len(values)) for n in Counter(values).values())

    h_s, h_t, h_both = entropy(list(s)), entropy(list(t)), entropy(list(zip(s, t, strict=True)))
    assert v_info(truth, proposal) == pytest.approx(2 * (h_s + h_t - h_both) / (h_s + h_t))
    # scikit-image counts pairs of different pixels, the challenge all; they meet for large images only.
    large = np.kron(truth, np.ones((60, 60), int)), np.kron(proposal, np.ones((60, 60), int))
    alone = large[1].copy()
    alone[alone == 0] = 10 + np.arange((alone == 0).sum())
    error = adapted_rand_error(large[0], alone, ignore_labels=(0,))[0]  # type: ignore[no-untyped-call]
    assert v_rand(*large) == pytest.approx(1 - error, abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_names_of_segments_do_not_matter(seed: int) -> None:
    truth, proposal = random_pair(seed)
    names = np.concatenate([[0], np.random.default_rng(seed).permutation(50)[:10] + 7])
    for score in (v_rand, v_info):
        assert score(names[truth], proposal) == pytest.approx(score(truth, proposal))
        assert score(truth, names[proposal]) == pytest.approx(score(truth, proposal))


def soft(label: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.float32]:
    """A probability map such as a network gives: blurred, with noise that opens and closes membranes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=label.shape), 3)
    blurred = ndimage.gaussian_filter(label.astype(np.float32), 1.5) + 0.9 * noise
    return np.asarray(np.clip(blurred, 0, 1), np.float32)


def test_segments_are_those_of_a_watershed() -> None:
    for index in range(3):
        label = generate_membranes(0, index, 160)[1] > 0
        truth = true_segments(label)
        for threshold in (0.2, 0.5, 0.8):
            interior = soft(label, index) > threshold
            markers = ndimage.label(interior)[0]
            reference = watershed(  # type: ignore[no-untyped-call]
                np.zeros(label.shape, np.uint8), markers, connectivity=1, watershed_line=True
            )
            found = proposal_segments(interior)
            assert ((found > 0) >= interior).all()  # cells only grow
            for score in (v_rand, v_info):
                assert score(truth, found) == pytest.approx(score(truth, reference), abs=2e-3)
            assert np.mean(found == reference) > 0.97  # what differs is which pixel of two is the line


def test_lines_part_all_segments_and_are_thin() -> None:
    interior = soft(generate_membranes(0, 0, 128)[1] > 0, 0) > 0.6
    found = proposal_segments(interior)
    for a, b in ((found[1:], found[:-1]), (found[:, 1:], found[:, :-1])):
        assert not ((a != b) & (a > 0) & (b > 0)).any()
    assert not proposal_segments(np.zeros((5, 6), bool)).any()
    assert (proposal_segments(np.ones((5, 6), bool)) == 1).all()


def test_the_width_of_borders_does_not_matter() -> None:
    """Thinning makes a proposal with borders of 2, 4 or 8 pixels the same cells."""
    truth = np.zeros((60, 60), bool)
    truth[1:29, 1:59], truth[31:59, 1:29], truth[31:59, 31:59] = True, True, True
    scores = []
    for width in (1, 2, 4):
        thick = ndimage.binary_erosion(truth, iterations=width, border_value=1) if width > 1 else truth
        scores.append(v_rand(true_segments(truth), proposal_segments(thick)))
    assert scores == pytest.approx([1.0] * 3, abs=0.01)


def test_table_is_a_mean_over_slices_and_takes_the_best_threshold() -> None:
    labels = [generate_membranes(0, index, 96)[1] > 0 for index in range(3)]
    maps = [soft(label, index) for index, label in enumerate(labels)]
    table = em_table(maps, labels, (0.3, 0.5, 0.7))
    for column, threshold in enumerate((0.3, 0.5, 0.7)):
        each = [
            v_rand(true_segments(a), proposal_segments(m > threshold))
            for a, m in zip(labels, maps, strict=True)
        ]
        assert table[column]["v_rand"] == pytest.approx(np.mean(each))
        wrong = [np.mean((m > threshold) != a) for a, m in zip(labels, maps, strict=True)]
        assert table[column]["pixel_error"] == pytest.approx(np.mean(wrong))
    best = best_threshold(table)
    assert row_at(table, best)["v_rand"] == max(row["v_rand"] for row in table)
    again = em_table(maps[::-1], labels[::-1], (0.3, 0.5, 0.7))
    assert [row["v_info"] for row in again] == pytest.approx([row["v_info"] for row in table])
    perfect = em_table([label.astype(np.float32) for label in labels], labels)
    assert len(perfect) == 19
    assert min(row["v_rand"] for row in perfect) > 0.999
    assert best_threshold(perfect) == 0.5  # of equals the middle
    nothing = em_table([np.full((8, 8), 0.3)], [np.zeros((8, 8), bool)])
    assert all(np.isnan(row["v_rand"]) for row in nothing)
    assert best_threshold(nothing) == 0.5
    inverted = em_table([1 - label.astype(np.float32) for label in labels], labels, (0.5,))
    assert inverted[0]["v_rand"] < 0.7
    assert inverted[0]["pixel_error"] == 1.0


def test_slices_without_cells_and_ignored_pixels() -> None:
    label = generate_membranes(0, 0, 64)[1] > 0
    nothing = np.zeros_like(label)
    table = em_table([soft(label, 0), soft(label, 0)], [label, nothing], (0.5,))
    assert table[0]["slices"] == 1
    assert table[0]["v_rand"] == em_table([soft(label, 0)], [label], (0.5,))[0]["v_rand"]
    wrong = label.astype(np.float32)
    wrong[:20] = 0
    ignore = np.zeros_like(label)
    ignore[:20] = True
    assert em_table([wrong], [label], (0.5,))[0]["pixel_error"] > 0.2
    ignored = em_table([wrong], [label], (0.5,), ignore=[ignore])[0]
    assert ignored["pixel_error"] == 0.0
    assert ignored["v_rand"] > em_table([wrong], [label], (0.5,))[0]["v_rand"]


def test_a_border_that_is_ignored_scores_as_if_it_were_not_there() -> None:
    """A map longer than its label, as networks without padding have: cells must not join through the rest."""
    label = generate_membranes(0, 0, 96)[1] > 0
    table = em_table([soft(label, 0)], [label], (0.3, 0.5))
    padded = np.pad(label, (2, 6), constant_values=True)  # all cells that touch the edge become one
    ignore = np.pad(np.zeros_like(label), (2, 6), constant_values=True)
    larger = np.pad(soft(label, 0), (2, 6), constant_values=1)
    assert em_table([larger], [padded], (0.3, 0.5), ignore=[ignore]) == table
    assert em_table([larger], [padded], (0.3, 0.5)) != table
    nothing = np.ones_like(padded)
    assert em_table([larger, larger], [padded] * 2, (0.3, 0.5), ignore=[nothing, ignore]) == table
