"""Scores of predicted objects against true ones: which were found, and how well.

Both are images of object numbers, integer H x W, 0 where there is none; numbers may have gaps, and mean
nothing across images. Formulas and sources: docs/scores.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FOUND = 0.5  # an object is found by one whose IoU with it is above this, so by at most one
MOST_CELLS = 50_000_000  # up to which counting each possible value is cheaper than sorting
EVENTS = ("found", "missed", "split", "merged")
BOWL = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))  # 0.5 to 0.95, of the 2018 Data Science Bowl


@dataclass(frozen=True)
class Overlaps:
    """Areas of the true and the predicted objects of one image, and the pairs that overlap.

    true, predicted: pixels of each object, int64, in the order of true_numbers and predicted_numbers.
    pairs: int64 N x 2, places in these orders, sorted; pixels: int64 N, that both have in common.
    """

    true_numbers: np.ndarray
    predicted_numbers: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    pairs: np.ndarray
    pixels: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each pair, float64 N."""
        union = self.true[self.pairs[:, 0]] + self.predicted[self.pairs[:, 1]] - self.pixels
        return np.asarray(self.pixels / union)

    def matches(self, threshold: float = FOUND) -> np.ndarray:
        """Which pairs have an IoU above the threshold, which is at least 0.5: no object is in two of them."""
        return self.iou > threshold


def overlaps(true: np.ndarray, predicted: np.ndarray) -> Overlaps:
    """Raises ValueError for images of different sizes."""
    if true.shape != predicted.shape:
        raise ValueError(f"true objects are {true.shape}, predicted ones {predicted.shape}")
    true_numbers, true_area, rows = numbered(true)
    predicted_numbers, predicted_area, columns = numbered(predicted)
    cells, pixels = counted(rows * len(predicted_numbers) + columns)
    table = np.stack(np.divmod(cells, len(predicted_numbers)), axis=1)
    # 0 is no object, so what it has in common with others counts for nothing.
    first = [int(len(numbers) > 0 and numbers[0] == 0) for numbers in (true_numbers, predicted_numbers)]
    both = (table >= first).all(axis=1)
    return Overlaps(
        true_numbers[first[0] :],
        predicted_numbers[first[1] :],
        true_area[first[0] :],
        predicted_area[first[1] :],
        table[both] - first,
        pixels[both],
    )


def numbered(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct numbers in order, the pixels of each, and of each pixel (flat) its number's place."""
    numbers, areas = counted(image.ravel())
    if len(numbers) and numbers[-1] > MOST_CELLS:
        return numbers, areas, np.searchsorted(numbers, image.ravel())
    places = np.zeros(int(numbers[-1]) + 1 if len(numbers) else 1, np.int64)
    places[numbers] = np.arange(len(numbers))
    return numbers, areas, places[image.ravel()]


def counted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values from 0 on in order, and how often each occurs; np.unique is ten times as slow."""
    if values.size and int(values.max()) > MOST_CELLS:
        return np.unique(values, return_counts=True)
    counts = np.bincount(values)
    distinct = np.flatnonzero(counts)
    return distinct, counts[distinct]


@dataclass(frozen=True)
class ObjectCounts:
    """What the scores of an image, or of several summed, are made of.

    true, predicted: numbers of objects. found: pairs above each threshold of BOWL. iou: their summed IoU at
    0.5. intersection, union: pixels, as AJI sums them. seg: summed Jaccard indices of SEG.
    """

    true: int
    predicted: int
    found: tuple[int, ...]
    iou: float
    intersection: int
    union: int
    seg: float

    def __add__(self, other: "ObjectCounts") -> "ObjectCounts":
        return ObjectCounts(
            self.true + other.true,
            self.predicted + other.predicted,
            tuple(map(sum, zip(self.found, other.found, strict=True))),
            self.iou + other.iou,
            self.intersection + other.intersection,
            self.union + other.union,
            self.seg + other.seg,
        )


NOTHING = ObjectCounts(0, 0, (0,) * len(BOWL), 0.0, 0, 0, 0.0)


def count_objects(true: np.ndarray, predicted: np.ndarray) -> ObjectCounts:
    """What the scores of one image are made of. Raises ValueError for images of different sizes."""
    return counts_of(overlaps(true, predicted))


def counts_of(pair: Overlaps) -> ObjectCounts:
    """As count_objects."""
    iou = pair.iou
    jaccard = aggregated_jaccard(pair)
    covered = 2 * pair.pixels > pair.true[pair.pairs[:, 0]]  # more than half of the true object: SEG's rule
    return ObjectCounts(
        true=len(pair.true),
        predicted=len(pair.predicted),
        found=tuple(int((iou > threshold).sum()) for threshold in BOWL),
        iou=float(iou[iou > FOUND].sum()),
        intersection=jaccard[0],
        union=jaccard[1],
        seg=float(iou[covered].sum()),
    )


def aggregated_jaccard(pair: Overlaps) -> tuple[int, int]:
    """Intersection and union of AJI, in pixels (Kumar et al., 2017, doi 10.1109/TMI.2017.2677499).

    Each true object is taken with the predicted one of the largest IoU, which several may share; true
    objects that nothing touches and predicted ones that none takes add their area to the union.
    """
    intersection = 0
    union = 0
    taken = np.zeros(len(pair.predicted), bool)
    touched = np.zeros(len(pair.true), bool)
    order = np.lexsort((-pair.iou, pair.pairs[:, 0]))
    rows = pair.pairs[order, 0]
    best = order[np.r_[True, rows[1:] != rows[:-1]]] if len(order) else order
    for index in best:
        row, column = pair.pairs[index]
        intersection += int(pair.pixels[index])
        union += int(pair.true[row] + pair.predicted[column] - pair.pixels[index])
        taken[column] = True
        touched[row] = True
    return intersection, union + int(pair.true[~touched].sum() + pair.predicted[~taken].sum())


def object_scores(counts: ObjectCounts) -> dict[str, float]:
    """The scores of an image, or of several whose counts are summed. nan where nothing is to be scored.

    precision, recall, f1 at IoU 0.5; ap50, ap75, ap (the mean over BOWL): found / (found + missed + false);
    pq = sq * rq (Kirillov et al., 2019, arXiv:1801.00868); aji; seg (Cell Tracking Challenge, Maška et al.,
    2014, doi 10.1093/bioinformatics/btu080): the mean over the true objects. objects_predicted and
    objects_true: their numbers. An image without true and predicted objects has no score.
    """
    true = counts.true
    predicted = counts.predicted
    found = counts.found[0]
    precisions = [share(number, true + predicted - number) for number in counts.found]
    return {
        "precision": share(found, predicted) if true + predicted else math.nan,
        "recall": share(found, true) if true + predicted else math.nan,
        "f1": share(2 * found, true + predicted),
        "ap50": precisions[0],
        "ap75": precisions[BOWL.index(0.75)],
        "ap": float(np.mean(precisions)),
        "sq": share(counts.iou, found) if found else (0.0 if true + predicted else math.nan),
        "rq": share(2 * found, true + predicted),
        "pq": share(2 * counts.iou, true + predicted),
        "aji": share(counts.intersection, counts.union),
        "seg": share(counts.seg, true),
        "objects_true": float(true),
        "objects_predicted": float(predicted),
    }


def share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def mean_scores(counts: Sequence[ObjectCounts]) -> dict[str, float]:
    """Each score as a mean over the images that have it; objects_true and objects_predicted are sums.

    count_error: mean of |predicted - true| over all images.
    """
    rows = [object_scores(image) for image in counts]
    means = {}
    for name in object_scores(NOTHING):
        values = [row[name] for row in rows if not math.isnan(row[name])]
        if name.startswith("objects_"):
            means[name] = float(sum(values))
        else:
            means[name] = float(np.mean(values)) if values else math.nan
    errors = [abs(image.predicted - image.true) for image in counts]
    return means | {"count_error": float(np.mean(errors)) if errors else math.nan}


@dataclass(frozen=True)
class Fate:
    """What became of a true object. iou: the largest with a predicted one.

    event: found, missed, split or merged. split: several predicted objects, each mostly inside it, cover more
    than half of it. merged: the predicted object that covers more than half of it covers more than half of
    another true object as well.
    """

    number: int
    area: int
    event: str
    iou: float


def fates(true: np.ndarray, predicted: np.ndarray) -> list[Fate]:
    """One for each true object, in the order of their numbers. Raises ValueError for different sizes."""
    return fates_of(overlaps(true, predicted))


def fates_of(pair: Overlaps) -> list[Fate]:
    """As fates."""
    iou = pair.iou
    covers = 2 * pair.pixels > pair.true[pair.pairs[:, 0]]
    inside = 2 * pair.pixels > pair.predicted[pair.pairs[:, 1]]
    covered_by = np.bincount(pair.pairs[covers, 1], minlength=len(pair.predicted))
    starts = np.searchsorted(pair.pairs[:, 0], np.arange(len(pair.true) + 1))  # pairs are in this order
    result = []
    for row, (number, area) in enumerate(zip(pair.true_numbers, pair.true, strict=True)):
        mine = slice(starts[row], starts[row + 1])
        best = float(iou[mine].max(initial=0.0))
        pieces = pair.pixels[mine][inside[mine]]
        if best > FOUND:
            event = "found"
        elif (covered_by[pair.pairs[mine, 1][covers[mine]]] > 1).any():
            event = "merged"
        elif len(pieces) > 1 and 2 * pieces.sum() > area:
            event = "split"
        else:
            event = "missed"
        result.append(Fate(int(number), int(area), event, best))
    return result
