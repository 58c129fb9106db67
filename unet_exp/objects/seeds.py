"""Where regions of a map begin: at its peaks, which become parts of each other as the level falls."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

CROSS = ndimage.generate_binary_structure(2, 1)  # which ndimage.label would build each time


def find_seeds(
    height: np.ndarray, levels: Sequence[float], dip: float = 0.0, smallest: int = 1
) -> tuple[np.ndarray, int]:
    """Numbers of seeds, int32 H x W, 0 elsewhere, and how many there are.

    height: float H x W. levels: falling. A seed is a 4-connected component of height > level, of at least
    `smallest` pixels, that holds no seed of a higher level. Where seeds come into one component before the
    level is `dip` below that of the lower one, only the highest stays (of equals the first): between the
    others the map hardly falls (the dynamics of a peak: Grimaud, 1992, doi 10.1117/12.60650).
    """
    seeds = np.zeros(height.shape, np.int32)
    begun: list[tuple[float, int]] = []  # level and first pixel of each seed
    standing: list[int] = []  # the highest first
    top = height.max()
    for level in levels:
        if level >= top:
            continue
        regions, count = ndimage.label(height > level, CROSS)
        if count == 1 and len(standing) == 1:
            continue
        flat = regions.ravel()
        highest: dict[int, int] = {}
        left = []
        for seed in standing:
            peak, pixel = begun[seed]
            if highest.setdefault(int(flat[pixel]), seed) == seed or peak - level >= dip - 1e-6:
                left.append(seed)
        sizes = np.bincount(flat)
        new = sizes >= smallest
        new[0] = False
        new[list(highest)] = False
        standing = [*left, *range(len(begun), len(begun) + int(new.sum()))]
        if new.any():
            names = np.where(new, len(begun) + np.cumsum(new), 0).astype(np.int32)[regions]
            pixels = np.flatnonzero(names)[::-1]
            first = np.zeros(int(new.sum()), int)
            first[names.ravel()[pixels] - len(begun) - 1] = pixels  # of many the last to be assigned stays
            begun += [(level, pixel) for pixel in first.tolist()]
            seeds = np.where(names > 0, names, seeds)
    kept = np.zeros(len(begun) + 1, np.int32)
    kept[np.sort(np.array(standing, int)) + 1] = np.arange(1, len(standing) + 1)
    return kept[seeds], len(standing)
