"""The scores of the ISBI 2012 challenge of membrane segmentation: foreground-restricted V-Rand and V-Info.

Arganda-Carreras et al., 2015, doi 10.3389/fnana.2015.00142, after thinning, as the challenge's Fiji classes
(RandError, VariationOfInformation of Trainable_Segmentation) compute them. docs/scores.md has the formulas.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import ndimage
from tqdm import tqdm

THRESHOLDS = tuple(round(0.05 * number, 2) for number in range(1, 20))
SCORES = ("v_rand", "v_info", "pixel_error", "pixel_f1")
LINE = -1
OUTSIDE = -2
Row = dict[str, float]


def true_segments(interior: np.ndarray) -> np.ndarray:
    """int32 H x W: the 4-connected components of bool H x W, counted from 1; 0 on membranes."""
    return np.asarray(ndimage.label(interior)[0], np.int32)


def proposal_segments(interior: np.ndarray) -> np.ndarray:
    """int32 H x W: the 4-connected components of bool H x W, grown until only lines of one pixel part them.

    A 4-connected watershed of a flat landscape from these components as markers (as skimage's watershed with
    watershed_line=True): layer by layer, a pixel beside one segment joins it, one beside two is a line, 0.
    """
    segments, count = ndimage.label(interior)
    if count == 0:
        return np.zeros(interior.shape, np.int32)
    height, width = interior.shape
    padded = np.full((height + 2, width + 2), OUTSIDE, np.int32)
    padded[1:-1, 1:-1] = segments
    flat = padded.ravel()
    order = np.empty(padded.size, np.int32)
    steps = (-(width + 2), width + 2, -1, 1)
    # Pixels of one colour of a chessboard are no neighbours, so each half of a layer is done at once.
    odd = (np.add.outer(np.arange(height + 2), np.arange(width + 2)) % 2).ravel().astype(bool)
    beside = ndimage.binary_dilation(segments > 0)
    first = np.flatnonzero(np.pad((segments == 0) & beside, 1)).astype(np.int32)
    layer = [first[~odd[first]], first[odd[first]]]
    while len(layer[0]) or len(layer[1]):
        joined = []
        for pixels in layer:
            around = [flat[pixels + step] for step in steps]
            highest = np.maximum(np.maximum(around[0], around[1]), np.maximum(around[2], around[3]))
            alone = np.ones(len(pixels), bool)
            for neighbour in around:
                alone &= (neighbour <= 0) | (neighbour == highest)
            flat[pixels] = np.where(alone, highest, LINE)
            joined.append(pixels[alone])
        # The next layer: what is beside the pixels that joined just now, on the other half of the board.
        layer = []
        for pixels in joined[::-1]:
            reached = np.concatenate([pixels + step for step in steps])
            reached = reached[flat[reached] == 0]
            order[reached] = np.arange(len(reached), dtype=np.int32)
            layer.append(reached[order[reached] == np.arange(len(reached))])  # each once
    return np.maximum(padded[1:-1, 1:-1], 0)


def v_rand(truth: np.ndarray, proposal: np.ndarray) -> float:
    """F-score of the Rand index, 0 to 1; nan where truth has no segment.

    truth, proposal: int H x W of segment numbers. Only pixels with truth > 0 count; those of proposal 0 are
    segments of one pixel each. Sum of p_ij^2 over the mean of sum of s_i^2 and sum of t_j^2.
    """
    return rand_and_info(truth, proposal)[0]


def v_info(truth: np.ndarray, proposal: np.ndarray) -> float:
    """2 I(S; T) / (H(S) + H(T)), 0 to 1; arguments as v_rand. 1 where both are one and the same segment."""
    return rand_and_info(truth, proposal)[1]


def rand_and_info(truth: np.ndarray, proposal: np.ndarray) -> tuple[float, float]:
    """v_rand and v_info of one count of pairs."""
    inside = truth > 0
    true = truth[inside]
    proposed = proposal[inside]
    total = len(true)
    if not total:
        return float("nan"), float("nan")
    columns = int(proposed.max()) + 1
    pairs = true.astype(np.int64) * columns + proposed
    if (int(true.max()) + 1) * columns < 4_000_000:
        counts = np.bincount(pairs)
        cells = np.flatnonzero(counts)
        counts = counts[cells]
    else:
        cells, counts = np.unique(pairs, return_counts=True)
    p = counts / total
    s = np.bincount(cells // columns, p)
    t = np.bincount(cells % columns, p)[1:]
    p = p[cells % columns > 0]
    singles = total - int(counts[cells % columns > 0].sum())
    alone = singles / total**2
    rand = ((p**2).sum() + alone) / (0.5 * (s**2).sum() + 0.5 * ((t**2).sum() + alone))
    alone = singles / total * np.log(total)
    of_s = entropy(s)
    of_t = entropy(t) + alone
    of_both = entropy(p) + alone
    info = 2 * (of_s + of_t - of_both) / (of_s + of_t) if of_s + of_t > 0 else 1.0
    return float(rand), float(info)


def entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def em_table(
    probabilities: Iterable[np.ndarray],
    labels: Sequence[np.ndarray],
    thresholds: Sequence[float] = THRESHOLDS,
    ignore: Sequence[np.ndarray] | None = None,
) -> list[Row]:
    """table_of the em_values of these arguments."""
    return table_of(em_values(probabilities, labels, thresholds, ignore), thresholds)


def table_of(values: np.ndarray, thresholds: Sequence[float] = THRESHOLDS) -> list[Row]:
    """A row for each threshold: threshold, SCORES, slices. values: of em_values.

    Scores are means over the slices, not pooled; a slice without a cell in its label is left out, and
    `slices` says how many are in.
    """
    used = ~np.isnan(values[:, :1, 0]).all(1)
    means = values[used].mean(0) if used.any() else values[:0].sum(0) + np.nan
    return [
        {
            "threshold": float(threshold),
            **dict(zip(SCORES, map(float, row), strict=True)),
            "slices": int(used.sum()),
        }
        for threshold, row in zip(thresholds, means, strict=True)
    ]


def em_values(
    probabilities: Iterable[np.ndarray],
    labels: Sequence[np.ndarray],
    thresholds: Sequence[float] = THRESHOLDS,
    ignore: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """float64 slices x thresholds x SCORES; nan for a slice without a cell in its label.

    probabilities: of the cells' interior, float H x W each; labels: bool H x W, True inside cells; ignore:
    bool H x W, True where nothing counts. pixel_error: share of pixels of the wrong class; pixel_f1: F-score
    of the membrane pixels.
    """
    values = np.full((len(labels), len(thresholds), len(SCORES)), np.nan)
    slices = tqdm(
        zip(probabilities, labels, strict=True), "V-Rand", len(labels), leave=False, disable=None, ncols=79
    )
    for number, (probability, label) in enumerate(slices):
        counted = np.ones(label.shape, bool) if ignore is None else ~ignore[number]
        inner = np.ix_(counted.any(1), counted.any(0))  # a mirrored border would join what it touches
        probability = probability[inner]
        label = label[inner]
        counted = counted[inner]
        truth = true_segments(label)
        truth[~counted] = 0
        if not truth.any():
            continue
        for column, threshold in enumerate(thresholds):
            interior = probability > threshold
            proposal = proposal_segments(interior)
            wrong = (interior != label)[counted]
            membranes = (~label[counted]).sum() + (~interior[counted]).sum()
            right = (~label & ~interior)[counted].sum()
            f1 = 2 * right / membranes if membranes else 1.0
            values[number, column] = *rand_and_info(truth, proposal), wrong.mean(), f1
    return values


def of_slices(values: np.ndarray, threshold: float, ending: str = "") -> dict[str, list[float]]:
    """v_rand and v_info of each slice at a threshold, names with this ending. values: of em_values."""
    column = min(range(len(THRESHOLDS)), key=lambda index: abs(THRESHOLDS[index] - threshold))
    names = SCORES[:2]
    return {f"{name}{ending}": values[:, column, place].tolist() for place, name in enumerate(names)}


def best_threshold(table: Sequence[Row], metric: str = "v_rand") -> float:
    """Of the row with the highest score; of equal ones, and where none is a number, that nearest to 0.5."""

    def rank(row: Row) -> tuple[float, float]:
        score = -math.inf if math.isnan(row[metric]) else row[metric]
        return score, -abs(row["threshold"] - 0.5)

    return max(table, key=rank)["threshold"]


def row_at(table: Sequence[Row], threshold: float) -> Row:
    """The row of a threshold, or of the one nearest to it."""
    return dict(min(table, key=lambda row: abs(row["threshold"] - threshold)))
