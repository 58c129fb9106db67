"""Guess what label values without a label map are: classes, object numbers or smoothed edges."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unet_exp.data.labels import Counts, proposal

MOST_PIXELS = 1 << 25  # the largest label whose shapes are examined
FEW = 4  # fewest object numbers in the label that has most
MOST_SCATTERED = 16  # values that may lie scattered over a label of classes
MOST_WHOLE = 0.9  # share of the numbers that are one region each, which few corrections leave
LEAST_WHOLE = 0.75  # below this share they are classes, not numbers of objects that others cover in part
MOST_DIVIDED = 0.5  # share of such labels above which all are classes
SHARE = 0.8  # share of the labels that must look alike


@dataclass(frozen=True)
class Shapes:
    """numbered: values other than 0 are one region each, and many or consecutive. smooth: rare values lie at
    edges. scattered: many values, and most pixels differ from the next. whole: share of the values other than
    0 that are one region; 1 where there is none.
    """

    numbered: bool
    smooth: bool
    scattered: bool = False
    whole: float = 1.0


def shapes(label: np.ndarray) -> Shapes | None:
    """The shapes of the regions of a label H x W; None for labels too large or not of whole numbers."""
    if label.size > MOST_PIXELS or (label.dtype.kind == "f" and not (label % 1 == 0).all()):
        return None
    values, index = np.unique(label, return_inverse=True)
    index = index.reshape(label.shape).astype(np.int32)
    whole = share_of_whole(values, index)
    return Shapes(
        whole >= MOST_WHOLE and are_numbers(values),
        are_smooth(values, index),
        are_scattered(values, index),
        whole,
    )


def are_numbers(values: np.ndarray) -> bool:
    """Whether the positive ones of these sorted values are consecutive but for a few, or many."""
    numbers = values[values > 0]  # below 0 is nodata
    if not len(numbers):
        return False
    return len(numbers) > MOST_SCATTERED or int(numbers[-1]) - int(numbers[0]) + 1 <= 1.2 * len(numbers)


def share_of_whole(values: np.ndarray, index: np.ndarray) -> float:
    """Share of the positive values that are one region (8 neighbours); 1 if there are none.

    index: H x W, each pixel's position in the sorted values.
    """
    from skimage.measure import label  # takes a fifth of a second

    objects = np.flatnonzero(values > 0)
    if not len(objects):
        return 1.0
    regions = label(index, background=-1, connectivity=2)  # type: ignore[no-untyped-call]
    _, first = np.unique(regions, return_index=True)
    pieces = np.bincount(index.ravel()[first], minlength=len(values))
    return float((pieces[objects] == 1).mean())


def are_scattered(values: np.ndarray, index: np.ndarray) -> bool:
    """Whether there are many values and most pixels differ from the next, as in a photograph or in noise."""
    return len(values) > MOST_SCATTERED and bool((index[:, 1:] == index[:, :-1]).mean() < 0.5)


def are_smooth(values: np.ndarray, index: np.ndarray) -> bool:
    """Whether at least three values are rare, lie between frequent ones, and nowhere fill 3 x 3 pixels."""
    counts = np.bincount(index.ravel(), minlength=len(values))
    frequent = (counts > 0.05 * index.size) | (counts >= np.sort(counts)[-2:][0])
    low, high = np.flatnonzero(frequent)[[0, -1]]
    between = ~frequent
    if between.sum() < 3 or between[:low].any() or between[high + 1 :].any() or min(index.shape) < 3:
        return False
    around = np.lib.stride_tricks.sliding_window_view(index, (3, 3)).reshape(-1, 9)
    filled = (around == around[:, :1]).all(1)
    centres = between[index[1:-1, 1:-1]].ravel()
    return bool(filled[centres].mean() < 0.1) if centres.any() else False


def guess(values: Sequence[Counts], looks: Sequence[Shapes | None]) -> str:
    """'classes', 'objects', 'smooth' or '' for labels with unknown values. values: those of each label."""
    seen = [look for look in looks if look is not None]
    numbered = [set(one) - {"0"} for one, look in zip(values, looks, strict=True) if look and look.numbered]
    if numbered and len(numbered) >= SHARE * len(seen):
        kinds = Counter(frozenset(one) for one in numbered)
        differ = len(kinds) >= max(2, len(numbered) / 3) or len(max(numbered, key=len)) > 64
        if differ and len(max(numbered, key=len)) >= FEW:
            return "objects"
    if seen and sum(look.scattered for look in seen) >= SHARE * len(seen):
        return ""
    if seen and sum(look.smooth for look in seen) >= SHARE * len(seen):
        return "smooth"
    files = Counter(value for one in values for value in one)
    # Colours and numbers of one label only; fractions are no numbers of objects.
    alone = sum(count == 1 for value, count in files.items() if re.fullmatch(r"[0-9-]+", value))
    if len(values) >= FEW and max(map(len, values)) > FEW and alone >= SHARE * len(files):
        return "objects"
    union = {value for one in values for value in one}
    return "classes" if proposal(union, []) is not None else ""
