"""Cells by learned borders: fragments of a map of cell interiors, joined where a regression says "same cell".

A threshold merges two cells through one leaking pixel. Here each border between two fragments is judged as a
whole, by features that a logistic regression has learnt to weigh, and the judgements are added up while
fragments are joined (greedy additive edge contraction: Keuper et al., 2015, doi 10.1109/ICCV.2015.204).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np
from scipy import ndimage

LEVELS = (0.95, 0.9, 0.8, 0.6, 0.4)  # of the interior probability, at which new fragments begin
SMALLEST_SEED = 5  # pixels
CLEAR_PIXELS = 10  # of a fragment in true cells, for it to be learnt from
CLEAR_SHARE = 0.7  # of these in one cell
RIDGE = 10.0
FEATURES = (
    "logit of the mean membrane probability along the border",
    "logit of its lower quartile",
    "log of the border's length",
    "log of the smaller area",
    "log of the larger area",
    "length / sqrt(smaller area)",
)


@dataclass(frozen=True)
class Joining:
    """The regression: log-odds of "same cell" = weights . (features - mean) / scale + bias."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """Of each border, float64 E, by its features E x 6."""
        standard = (features - np.array(self.mean)) / np.array(self.scale)
        return np.asarray(standard @ np.array(self.weights) + self.bias)


def find_fragments(interior: np.ndarray) -> np.ndarray:
    """int32 H x W: the fragment of every pixel, from 1 on.

    interior: probability H x W. A fragment begins in each component above one of LEVELS that holds no
    fragment of a higher level, and grows by a watershed on 1 - interior.
    """
    seeds = np.zeros(interior.shape, np.int32)
    count = 0
    for level in LEVELS:
        components, _ = ndimage.label(interior > level)
        sizes = np.bincount(components.ravel())
        new = sizes >= SMALLEST_SEED
        new[0] = False
        new[np.unique(components[seeds > 0])] = False
        names = np.zeros(len(sizes), np.int32)
        names[new] = count + 1 + np.arange(new.sum())
        count += int(new.sum())
        seeds = np.where((seeds == 0) & new[components], names[components], seeds)
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
    for here, beside in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
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


def are_same(fragments: np.ndarray, cells: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each pair: do both lie mostly in one true cell, and is it clear of both in which they lie?

    cells: true numbers H x W, 0 for membrane.
    """
    inside = cells > 0
    shape = (int(fragments.max()) + 1, int(cells.max()) + 1)
    places = fragments[inside].astype(np.int64) * shape[1] + cells[inside]
    counts = np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)
    total = counts.sum(axis=1)
    clear = (total >= CLEAR_PIXELS) & (counts.max(axis=1) > CLEAR_SHARE * total)
    cell = counts.argmax(axis=1)
    return cell[pairs[:, 0]] == cell[pairs[:, 1]], clear[pairs].all(axis=1)


def fit_joining(interiors: Sequence[np.ndarray], cells: Sequence[np.ndarray]) -> Joining | None:
    """The regression that tells borders inside true cells from those between them, with RIDGE, by Newton.

    None where the maps have no borders of both kinds.
    """
    features = []
    same = []
    for interior, true in zip(interiors, cells, strict=True):
        fragments = find_fragments(interior)
        pairs, values = border_features(fragments, interior)
        equal, clear = are_same(fragments, true, pairs)
        features.append(values[clear])
        same.append(equal[clear])
    inputs = np.concatenate(features)
    targets = np.concatenate(same).astype(np.float64)
    if len(np.unique(targets)) < 2:
        return None
    mean = inputs.mean(axis=0)
    scale = inputs.std(axis=0) + 1e-6
    standard = np.c_[(inputs - mean) / scale, np.ones(len(inputs))]
    penalty = np.diag([RIDGE] * len(FEATURES) + [0.0])  # none on the bias
    weights = np.zeros(len(FEATURES) + 1)
    for _ in range(50):
        probability = 1 / (1 + np.exp(-standard @ weights))
        curvature = (standard * (probability * (1 - probability))[:, np.newaxis]).T @ standard + penalty
        step = np.linalg.solve(curvature, standard.T @ (probability - targets) + penalty @ weights)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    return Joining(
        tuple(mean.tolist()), tuple(scale.tolist()), tuple(weights[:-1].tolist()), float(weights[-1])
    )


def join(count: int, pairs: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
    """The group of each of `count` fragments, int64, named by one of them.

    The border of the highest log-odds is removed while they are above 0; borders that become one add theirs.
    """
    group = np.arange(count)
    links: list[dict[int, float]] = [{} for _ in range(count)]
    heap = []
    for (one, other), odds in zip(pairs.tolist(), log_odds.tolist(), strict=True):
        links[one][other] = odds
        links[other][one] = odds
        if odds > 0:
            heap.append((-odds, one, other))
    heapify(heap)
    while heap:
        odds, kept, gone = heappop(heap)
        if links[kept].get(gone) != -odds:  # one of the two has changed since
            continue
        if len(links[kept]) < len(links[gone]):
            kept, gone = gone, kept
        group[gone] = kept
        del links[kept][gone]
        for neighbour, value in links[gone].items():
            if neighbour == kept:
                continue
            del links[neighbour][gone]
            total = links[kept].get(neighbour, 0.0) + value
            links[kept][neighbour] = total
            links[neighbour][kept] = total
            if total > 0:
                heappush(heap, (-total, *sorted((kept, neighbour))))
        links[gone] = {}
    while not np.array_equal(group, group[group]):
        group = group[group]
    return group


def find_cells(interior: np.ndarray, joining: Joining) -> tuple[np.ndarray, np.ndarray]:
    """int32 H x W each: the cell of every pixel, numbered from 1 on without gaps, and its fragment."""
    fragments = find_fragments(interior)
    pairs, features = border_features(fragments, interior)
    group = join(int(fragments.max()) + 1, pairs, joining.log_odds(features))
    _, cells = np.unique(group[fragments], return_inverse=True)
    return cells.reshape(fragments.shape).astype(np.int32) + 1, fragments


def repaired(
    interior: np.ndarray, cells: np.ndarray, fragments: np.ndarray, reach: int = 6, rim: int = 3
) -> np.ndarray:
    """float32 H x W: the map with the topology of the cells at nearly every threshold.

    0 on lines of one pixel between cells; at least 0.99 within `reach` pixels of a border inside a cell, but
    not within `rim` pixels of such a line.
    """
    line = np.zeros(interior.shape, bool)
    within = np.zeros(interior.shape, bool)
    for here, beside in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        between = cells[here] != cells[beside]
        line[here] |= between
        joined = (fragments[here] != fragments[beside]) & ~between
        within[here] |= joined
        within[beside] |= joined
    far = ndimage.distance_transform_edt(~line) > rim if line.any() else np.ones(line.shape, bool)
    near = ndimage.distance_transform_edt(~within) <= reach if within.any() else within
    closed = np.where(near & far, np.maximum(interior, 0.99), interior)
    return np.where(line, 0, closed).astype(np.float32)
