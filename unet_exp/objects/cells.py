"""Cells by learned borders, of an image of any size: block by block, then joined across blocks."""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from unet_exp.objects.fragments import NEIGHBOURS
from unet_exp.objects.joining import Joining, borders_of
from unet_exp.objects.scores import overlaps

BLOCK = 1024  # pixels; an image that is no larger is solved whole
HALO = 128  # pixels around a block that are solved with it
SAME = 0.5  # intersection over union, in what two blocks have both solved, above which two cells are one
REACH = 6  # pixels from a border inside a cell up to which the repaired map is closed
RIM = 3  # pixels from a line between cells which it leaves as they are
BAND = 256  # rows repaired at once


def find_cells(
    interior: np.ndarray, joining: Joining, block: int = BLOCK, halo: int = HALO
) -> tuple[np.ndarray, np.ndarray]:
    """The cell of every pixel, int32 H x W, from 1 on without gaps; and bool H x W, where a border is inside
    a cell.

    interior: probability H x W. Blocks are counted from the top left corner of the image, so that cells do
    not depend on how the map was tiled. Each is solved with the halo around it; two cells of neighbouring
    blocks are one where they are mostly the same in what both have solved.
    """
    cells = np.zeros(interior.shape, np.int32)
    inside = np.zeros(interior.shape, bool)
    strips: dict[tuple[int, int, int], np.ndarray] = {}
    pairs: list[np.ndarray] = []
    count = 0
    for place, inner, outer in blocks(interior.shape, block, halo):
        solved, borders = solve(np.asarray(interior[outer], np.float32), joining)
        numbers = np.add(solved, count, dtype=np.int32)
        count = int(numbers.max())
        own = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
        cells[inner] = numbers[own]
        inside[inner] = borders[own]
        for axis in (0, 1):
            edge = (inner[axis].start, inner[axis].stop)
            before = strips.pop((axis, *place), None)
            if before is not None:
                pairs.append(same_cells(before, strip(numbers, axis, edge[0], outer, inner, halo)))
            if edge[1] < interior.shape[axis]:
                following = (place[0] + (axis == 0), place[1] + (axis == 1))
                strips[axis, *following] = strip(numbers, axis, edge[1], outer, inner, halo)
    names = one_name_each(np.bincount(cells.ravel(), minlength=count + 1) > 0, pairs)
    for top in range(0, len(cells), BAND):
        cells[top : top + BAND] = names[cells[top : top + BAND]]
    return cells, inside


def solve(interior: np.ndarray, joining: Joining) -> tuple[np.ndarray, np.ndarray]:
    """Cells and the borders inside them, as find_cells, of a whole map."""
    borders = borders_of(interior)
    fragments = borders.fragments
    _, cells = np.unique(borders.cells(joining), return_inverse=True)
    cells = np.asarray(cells.reshape(fragments.shape) + 1, np.int32)
    inside = np.zeros(interior.shape, bool)
    for here, beside in NEIGHBOURS:
        joined = (fragments[here] != fragments[beside]) & (cells[here] == cells[beside])
        inside[here] |= joined
        inside[beside] |= joined
    return cells, inside


def blocks(
    shape: tuple[int, ...], block: int, halo: int
) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]]:
    """Row and column of each block, its pixels, and these with the halo. A rest of less than half a block
    belongs to the last one."""
    rows, columns = (edges_of(length, block) for length in shape[:2])
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            inner = slice(top, bottom), slice(left, right)
            outer = (
                slice(max(top - halo, 0), min(bottom + halo, shape[0])),
                slice(max(left - halo, 0), min(right + halo, shape[1])),
            )
            yield (i, j), inner, outer


def edges_of(length: int, block: int) -> list[tuple[int, int]]:
    starts = [0, *range(block, length - block // 2 + 1, block)] if length > block else [0]
    return list(zip(starts, [*starts[1:], length], strict=True))


def strip(
    cells: np.ndarray,
    axis: int,
    edge: int,
    outer: tuple[slice, slice],
    inner: tuple[slice, slice],
    halo: int,
) -> np.ndarray:
    """What both blocks beside an edge have solved: `halo` pixels on either side, along the whole block."""
    window = []
    for n in (0, 1):
        first, last = (edge - halo, edge + halo) if n == axis else (inner[n].start, inner[n].stop)
        window.append(slice(max(first - outer[n].start, 0), last - outer[n].start))
    return cells[window[0], window[1]].copy()


def same_cells(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Numbers of two solutions of the same pixels that are one cell, N x 2."""
    size = tuple(map(min, zip(one.shape, other.shape, strict=True)))
    pair = overlaps(one[: size[0], : size[1]], other[: size[0], : size[1]])
    found = pair.pairs[pair.iou > SAME]
    return np.stack([pair.true_numbers[found[:, 0]], pair.predicted_numbers[found[:, 1]]], axis=1)


def one_name_each(is_used: np.ndarray, pairs: list[np.ndarray]) -> np.ndarray:
    """int32 N: a new number from 1 on for each set of the numbers 0 to N - 1 that the pairs connect.

    is_used: bool N, of the numbers outside the halos; a set of others takes none.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = np.concatenate([np.zeros((0, 2), int), *pairs]).T
    links = coo_array((np.ones(len(one), bool), (one, other)), (len(is_used), len(is_used)))
    count, sets = connected_components(links, directed=False)
    taken = np.bincount(sets, is_used, minlength=count) > 0
    return np.asarray(np.cumsum(taken)[sets], np.int32)


def repaired(interior: np.ndarray, cells: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """float32 H x W: the map with the topology of the cells at nearly every threshold.

    cells, inside: as find_cells gives them. 0 on lines of one pixel between cells; at least 0.99 within REACH
    pixels of a border inside a cell, but not within RIM pixels of such a line.
    """
    result = np.empty(interior.shape, np.float32)
    margin = max(REACH, RIM) + 1
    for top in range(0, len(result), BAND):
        first = max(top - margin, 0)
        rows = slice(first, top + BAND + margin)
        band = repaired_band(np.asarray(interior[rows]), cells[rows], inside[rows])
        result[top : top + BAND] = band[top - first :][:BAND]
    return result


def repaired_band(interior: np.ndarray, cells: np.ndarray, inside: np.ndarray) -> np.ndarray:
    line = np.zeros(interior.shape, bool)
    for here, beside in NEIGHBOURS:
        line[here] |= cells[here] != cells[beside]
    far = ndimage.distance_transform_edt(~line) > RIM if line.any() else np.ones(line.shape, bool)
    near = ndimage.distance_transform_edt(~inside) <= REACH if inside.any() else inside
    closed = np.where(near & far, np.maximum(interior, 0.99), interior)
    return np.where(line, 0, closed).astype(np.float32)
