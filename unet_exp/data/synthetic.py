"""Drawn slices of neural tissue, as a transmission electron microscope shows them.

Every slice is made up from a seed: neurite profiles packed side by side, dark membranes between
them, and inside them things that are as dark as a membrane but are not one (mitochondria,
vesicles, synaptic spots). A grey threshold alone cannot find the membranes; shape can.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from unet_exp.data.fields import Field, Indices, Mask, Rng, noise, ramp, turn, window

_MARGIN = 40  # cells are packed this far beyond the border, so that the border cuts through them
_REACH = 50  # a cell claims no pixel farther than this from its surface
_DARK = 0.25  # brightness of whatever took the stain fully
_SPECK = 14  # an interior this small, in pixels, is closed: nobody could trace it


def generate_membranes(
    seed: int, index: int, size: int = 256
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw slice ``index`` of the endless series ``seed``.

    seed, index: integers from 0; each pair gives one slice, independent of all others.
    size: side in pixels, at least 32. The scale is fixed: a larger slice shows more cells.

    Returns image, uint8 (size, size), 0 (dark) to 255 (pale), and label, uint8 (size, size),
    1 = cell interior (organelles included), 0 = membrane. The same arguments give the same bits
    in every process on one machine; another machine's arithmetic may round a few greys otherwise.
    """
    assert size >= 32, size
    rng = np.random.default_rng((seed, index))
    cell = _cells(rng, size)
    depth, half, oblique = _membranes(rng, cell)
    room = depth - half  # pixels from here to the nearest membrane's edge; negative inside one
    label = (room > 0).astype(np.uint8)
    canvas = _cytoplasm(rng, cell, room)
    _mitochondria(rng, canvas, room)
    _vesicles(rng, canvas, room)
    _synapses(rng, canvas, room)
    canvas = _stain_membranes(rng, canvas, room, oblique)
    canvas = _staining(rng, canvas)
    canvas = _defects(rng, canvas)
    return _film(rng, canvas), label


def _anywhere(rng: Rng, size: int) -> tuple[float, float]:
    """A random place in the slice, (y, x)."""
    return rng.uniform(0, size), rng.uniform(0, size)


def _places(rng: Rng, allowed: Mask, mean: float) -> list[tuple[int, int]]:
    """Random pixels of a mask, as many as a slice of 256 x 256 has ``mean`` of."""
    pixels = np.argwhere(allowed)
    if not len(pixels):
        return []
    count = rng.poisson(mean * allowed.size / 256**2)
    return [(int(y), int(x)) for y, x in pixels[rng.integers(len(pixels), size=count)]]


def _pack(rng: Rng, size: int) -> list[tuple[float, float, float, float, float]]:
    """Capsules (y, x, angle, half length, radius) that hardly overlap, the largest placed first."""
    span = size + 2 * _MARGIN
    tries = int(0.011 * span * span)
    radii = np.sort(np.clip(rng.lognormal(np.log(8.5), 0.65, tries), 5.5, 50))[::-1]
    fibre_angle = rng.uniform(0, np.pi)
    fibre_at = rng.uniform(0, size, 2)
    fibre_width = rng.choice([0.0, 35.0, 70.0])  # a band of neurites that run side by side
    placed: list[tuple[float, float, float, float, float]] = []
    spine = np.empty((5 * tries, 2))
    girth = np.empty(5 * tries)
    for radius in radii:
        y, x = rng.uniform(-_MARGIN, size + _MARGIN, 2)
        across = (y - fibre_at[0]) * np.cos(fibre_angle) - (x - fibre_at[1]) * np.sin(fibre_angle)
        if abs(across) < fibre_width:
            radius = min(radius, 16.0)
            angle = fibre_angle + rng.normal(0, 0.15)
            half = radius * rng.uniform(1.5, 4)
        else:
            angle = rng.uniform(0, np.pi)
            half = radius * rng.uniform(0, 1.3)
        along = np.linspace(-half, half, 5)[:, None]
        points = np.array([y, x]) + along * np.array([np.sin(angle), np.cos(angle)])
        n = 5 * len(placed)
        gap = np.hypot(points[:, :1] - spine[:n, 0], points[:, 1:] - spine[:n, 1]) - girth[:n]
        if n and gap.min() < 0.85 * radius:
            continue
        spine[n : n + 5] = points
        girth[n : n + 5] = radius
        placed.append((y, x, angle, half, radius))
    return placed


def _cells(rng: Rng, size: int) -> Indices:
    """Number of the cell at each pixel, int32 (size, size): the nearest capsule's, in warped space.

    Nearness to a surface, not to a centre, lets large and small profiles share curved borders.
    """
    warp_y, warp_x = (4 * noise(rng, size, 14) + 0.9 * noise(rng, size, 4) for _ in range(2))
    best = np.full((size, size), np.inf, dtype=np.float32)
    cell = np.full((size, size), -1, dtype=np.int32)
    for number, (y, x, angle, half, radius) in enumerate(_pack(rng, size)):
        part, v, u = window((y, x), half + radius + _REACH, size)
        along, across = turn(v + warp_y[part], u + warp_x[part], angle)
        along = np.maximum(np.abs(along) - np.float32(half), 0)
        away = np.sqrt(along * along + across * across) - np.float32(radius)
        nearer = away < best[part]
        best[part][nearer] = away[nearer]
        cell[part][nearer] = number
    return cell


def _membranes(rng: Rng, cell: Indices) -> tuple[Field, Field, Field]:
    """Where the membranes run, as three float32 (size, size).

    depth: pixels to the nearest border of two cells; half: half the membrane's width there, in
    pixels; oblique: 0 where the section cuts the membrane straight, to 1 where it grazes it.
    """
    size = cell.shape[0]
    # Pixels on both sides of a border, so that a membrane lies evenly about it.
    cross = ndimage.generate_binary_structure(2, 1)
    border = ndimage.morphological_gradient(cell, footprint=cross) > 0
    border[0, 0] |= not border.any()  # one cell all over: a distance needs something to reach
    depth = ndimage.distance_transform_edt(~border).astype(np.float32)
    depth = ndimage.gaussian_filter(depth, 1.0)
    oblique = ramp(noise(rng, size, 9), 1.0, 2.0)
    half = (1.75 * np.exp(0.2 * noise(rng, size, 8)) + 2.4 * oblique).astype(np.float32)
    pieces, count = ndimage.label(depth > half)
    closed = (np.bincount(pieces.ravel(), minlength=count + 1) < _SPECK)[pieces]
    depth[closed & (depth > half)] = 0
    return depth, half, oblique


def _cytoplasm(rng: Rng, cell: Indices, room: Field) -> Field:
    """Each cell's own grey and grain, with microtubules and stray filaments, (size, size)."""
    size = cell.shape[0]
    kinds = int(cell.max()) + 2
    grey = 0.67 + rng.normal(0, 0.045, kinds) - 0.2 * (rng.random(kinds) < 0.17)
    grain = rng.uniform(0.4, 1.3, kinds)
    dots = rng.random(kinds) ** 2
    canvas = grey[cell] + 0.03 * noise(rng, size, 7)
    canvas -= grain[cell] * 0.05 * (noise(rng, size, 1.2) + noise(rng, size, 2.2))
    spots = rng.random((size, size)) < 0.016 * dots[cell]
    canvas -= 1.6 * ndimage.gaussian_filter(spots.astype(np.float32), 1.0)
    # The zero line of a smooth field is a thin winding thread; a second field cuts it in lengths.
    thread = np.exp(-((noise(rng, size, 6) / 0.13) ** 2)) * ramp(noise(rng, size, 10), 0.3, 1.2)
    painted: Field = (canvas - 0.2 * thread * ramp(room, 1, 4)).astype(np.float32)
    return painted


def _mitochondria(rng: Rng, canvas: Field, room: Field) -> None:
    """Grey ovals with a dark outline and striped cristae, in cells with room for them."""
    size = canvas.shape[0]
    free = room > 8
    for at in _places(rng, free, 3.6):
        if not free[at]:
            continue
        b = min(float(room[at]) * rng.uniform(0.75, 1.0), rng.uniform(9, 24))
        a = b * rng.uniform(1.0, 1.9)
        angle = rng.uniform(0, np.pi)
        part, v, u = window(at, 1.4 * a + 4, size)
        along, across = turn(v, u, angle)
        wobble = 0.1 * np.sin(rng.choice([2, 3]) * np.arctan2(across, along) + rng.uniform(0, 6))
        inside = b * (1 + wobble - np.hypot(along / a, across / b))  # px from the outline, about
        inside = np.minimum(inside, room[part] - 2.5)  # a membrane dents it
        bend = 1.5 * noise(rng, size, 5)[part]
        stripes = np.sin((across + bend) * (2 * np.pi / rng.uniform(4.5, 7)) + 0.15 * along)
        value = rng.uniform(0.3, 0.45) - rng.uniform(0.06, 0.14) * stripes
        value = value + 0.05 * noise(rng, size, 1.2)[part]
        value = value - 0.16 * np.exp(-(((inside - 1.2) / 1.3) ** 2))
        cover = ramp(inside, -0.8, 0.8)
        canvas[part] += cover * (value - canvas[part])
        free[part] &= inside < -6


def _vesicles(rng: Rng, canvas: Field, room: Field) -> None:
    """Clusters of small rings, some of them filled dark."""
    size = canvas.shape[0]
    for at in _places(rng, room > 5, 22):
        spread = rng.uniform(5, 16)
        dense = rng.random() < 0.25
        for y, x in rng.normal(at, spread, (rng.integers(3, 14), 2)):
            row = round(y)
            column = round(x)
            if not (0 <= row < size and 0 <= column < size) or room[row, column] < 4:
                continue
            radius = rng.uniform(1.8, 3.4)
            part, v, u = window((y, x), 7, size)
            away = np.hypot(v, u) - np.float32(radius)
            cover = ramp(-away, -0.9, 0.9) if dense else np.exp(-((away / 0.95) ** 2))
            canvas[part] += rng.uniform(0.4, 0.85) * cover * (_DARK - canvas[part])


def _synapses(rng: Rng, canvas: Field, room: Field) -> None:
    """Dark spots that sit inside a cell close to its membrane."""
    size = canvas.shape[0]
    for at in _places(rng, (room > 3.5) & (room < 9), 9):
        a = rng.uniform(3, 7)
        b = rng.uniform(2, 3.2)
        part, v, u = window(at, 14, size)
        along, across = turn(v, u, rng.uniform(0, np.pi))
        spot = ramp(1 - np.hypot(along / a, across / b), -0.35, 0.35)
        spot *= ramp(room[part], 0.5, 2.5)
        canvas[part] += rng.uniform(0.6, 0.95) * spot * (_DARK - canvas[part])


def _stain_membranes(rng: Rng, canvas: Field, room: Field, oblique: Field) -> Field:
    """Darken the membranes: crisp where cut straight, pale and blurred where cut obliquely."""
    size = canvas.shape[0]
    weak = ramp(noise(rng, size, 6), 1.2, 2.2)
    strength = (1 - 0.4 * oblique) * (1 - 0.3 * weak) * (1 + 0.08 * noise(rng, size, 5))
    edge = 0.4 + 0.5 * oblique
    cover = strength / (1 + np.exp(np.clip(room / edge, -30, 30)))
    dark = _DARK + 0.05 * noise(rng, size, 2)
    stained: Field = canvas + np.clip(cover, 0, 1).astype(np.float32) * (dark - canvas)
    return stained


def _staining(rng: Rng, canvas: Field) -> Field:
    """Stain that took unevenly over the section: drifting brightness and contrast, dark smears."""
    size = canvas.shape[0]
    drift = 0.05 * noise(rng, size, 40) + 0.03 * noise(rng, size, 18)
    gain = 1 + 0.1 * noise(rng, size, 60)
    smear = ramp(noise(rng, size, 13), 1.5, 2.8)
    return (0.55 + gain * (canvas - 0.55) + drift) * (1 - 0.42 * smear)


def _defects(rng: Rng, canvas: Field) -> Field:
    """Now and then a fold, a knife mark, specks of stain or a hole in the resin."""
    size = canvas.shape[0]
    for chance, change, width in ((0.15, -0.2, 5.0), (0.2, 0.12, 1.3)):
        if rng.random() < chance:
            _, v, u = window(_anywhere(rng, size), 2.0 * size, size)
            _, across = turn(v, u, rng.uniform(0, np.pi))
            across = across + 2 * noise(rng, size, 40)
            canvas = canvas + change * np.exp(-((across / width) ** 2))
    for change in (-0.6, 0.6):
        for _ in range(rng.poisson(0.25)):
            part, v, u = window(_anywhere(rng, size), 16, size)
            ragged = np.hypot(v, u) + noise(rng, size, 4.5)[part]
            canvas[part] += change * ramp(rng.uniform(2, 7) - ragged, -1, 1)
    return canvas.astype(np.float32)


def _film(rng: Rng, canvas: Field) -> npt.NDArray[np.uint8]:
    """Blur, exposure and grain, to uint8 (size, size)."""
    size = canvas.shape[0]
    sharp = ndimage.gaussian_filter(canvas, rng.uniform(0.6, 0.9))
    sharp = rng.uniform(0.9, 1.1) * sharp + rng.normal(0, 0.03)
    grain = 0.65 * noise(rng, size, 0.6) + 0.65 * noise(rng, size, 1.2)
    # Counted electrons: the noise grows with the square root of the brightness.
    sharp = sharp + rng.uniform(0.055, 0.085) * np.sqrt(np.clip(sharp, 0.05, 1)) * grain
    image: npt.NDArray[np.uint8] = np.clip(np.round(230 * sharp), 0, 255).astype(np.uint8)
    return image
