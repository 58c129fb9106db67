"""Which borders lie inside a cell: a regression learns it, and fragments are joined by its judgement.

A threshold merges two cells through one leaking pixel. Here each border between two fragments is judged as a
whole, by features that a logistic regression has learnt to weigh, and the judgements are added up while
fragments are joined (greedy additive edge contraction: Keuper et al., 2015, doi 10.1109/ICCV.2015.204).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np

from unet_exp.objects.fragments import FEATURES, border_features, find_fragments

CLEAR_PIXELS = 10  # of a fragment in true cells, for it to be learnt from
CLEAR_SHARE = 0.7  # of these in one cell
RIDGE = 10.0


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


@dataclass(frozen=True)
class Borders:
    """The fragments of a map, int H x W, its pairs of neighbours E x 2, and FEATURES of each border E x 6."""

    fragments: np.ndarray
    pairs: np.ndarray
    features: np.ndarray

    def cells(self, joining: Joining) -> np.ndarray:
        """int H x W: the name of the cell of each pixel."""
        count = int(self.fragments.max()) + 1
        return np.asarray(join(count, self.pairs, joining.log_odds(self.features))[self.fragments])


def borders_of(interior: np.ndarray) -> Borders:
    """interior: probability H x W."""
    fragments = find_fragments(interior)
    return Borders(fragments, *border_features(fragments, interior))


def fit_joining(borders: Sequence[Borders], cells: Sequence[np.ndarray]) -> Joining | None:
    """The regression that tells borders inside true cells from those between them, with RIDGE, by Newton.

    None where the maps have no borders of both kinds.
    """
    features = []
    same = []
    for of_map, true in zip(borders, cells, strict=True):
        equal, clear = are_same(of_map.fragments, true, of_map.pairs)
        features.append(of_map.features[clear])
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
