"""Fragments of a map of cell interiors, and what the border between two of them looks like."""

import numpy as np

from unet_exp.objects.seeds import find_seeds

LEVELS = (0.95, 0.9, 0.8, 0.6, 0.4)  # of the interior probability, at which new fragments begin
SMALLEST_SEED = 5  # pixels
NEIGHBOURS = (
    (np.s_[:, :-1], np.s_[:, 1:]),
    (np.s_[:-1], np.s_[1:]),
)  # each pixel, and that right of or below it
FEATURES = (
    "logit of the mean membrane probability along the border",
    "logit of its lower quartile",
    "log of the border's length",
    "log of the smaller area",
    "log of the larger area",
    "length / sqrt(smaller area)",
)


def find_fragments(interior: np.ndarray) -> np.ndarray:
    """int32 H x W: the fragment of every pixel, from 1 on.

    interior: probability H x W. A fragment begins in each component above one of LEVELS that holds no
    fragment of a higher level, and grows by a watershed on 1 - interior.
    """
    seeds, count = find_seeds(interior, LEVELS, smallest=SMALLEST_SEED)
    if not count:
        return np.ones(interior.shape, np.int32)
    from skimage.segmentation import watershed

    regions = watershed(1 - interior, seeds)  # type: ignore[no-untyped-call]
    return np.asarray(regions, np.int32)


def border_features(fragments: np.ndarray, interior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of neighbouring fragments, int64 E x 2, and FEATURES of the border between them, E x 6.

    A border is the pairs of 4-neighbours of which one lies in each fragment; its membrane probability is 1 -
    the lower interior of the two.
    """
    count = int(fragments.max()) + 1
    keys = []
    membranes = []
    for here, beside in NEIGHBOURS:
        one = fragments[here]
        other = fragments[beside]
        crossed = one != other
        low = np.minimum(one[crossed], other[crossed]).astype(np.int64)
        keys.append(low * count + np.maximum(one[crossed], other[crossed]))
        membranes.append(1 - np.minimum(interior[here][crossed], interior[beside][crossed]))
    key = np.concatenate(keys)
    membrane = np.concatenate(membranes)
    if not len(key):
        return np.zeros((0, 2), np.int64), np.zeros((0, len(FEATURES)))
    order = np.lexsort((membrane, key))  # border by border, each from the lowest probability on
    key = key[order]
    membrane = membrane[order].astype(np.float64)
    first = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    length = np.diff(np.r_[first, len(key)])
    pairs = np.stack(np.divmod(key[first], count), axis=1)
    mean = np.add.reduceat(membrane, first) / length
    quartile = membrane[first + np.rint(0.25 * (length - 1)).astype(int)]
    areas = np.bincount(fragments.ravel(), minlength=count)[pairs].astype(np.float64)
    small = areas.min(axis=1)
    columns = [logit(mean), logit(quartile), np.log(length), np.log(small), np.log(areas.max(axis=1))]
    return pairs, np.stack([*columns, length / np.sqrt(small)], axis=1)


def logit(probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, 0.001, 0.999)
    return np.asarray(np.log(clipped / (1 - clipped)))
