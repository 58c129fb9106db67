"""Synthetic nuclei, as a fluorescence microscope shows them, each with its number.

Ellipses that are dented and often touch, brighter and darker ones side by side, on an uneven background with
debris that is no nucleus. A threshold finds most of them, and joins those that touch.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from unet_exp.data.fields import Field, Rng, noise, ramp, turn, window

SMALLEST = 30  # pixels; what is left of a nucleus behind others or at the border, below this, is not there


def generate_nuclei(
    seed: int, index: int, size: int = 256
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Image `index` of the endless series `seed`.

    seed, index: integers from 0; each pair gives one image, independent of all others.
    size: side in pixels, at least 32. The scale is fixed: a larger image shows more nuclei.

    Returns image, uint8 (size, size), 0 (dark) to 255, and objects, uint16 (size, size): 1, 2, ... in each
    nucleus, 0 elsewhere. The same arguments give the same bits in every process on one machine.
    """
    assert size >= 32, size
    rng = np.random.default_rng((1, seed, index))
    objects = np.zeros((size, size), np.uint16)
    light = np.zeros((size, size), np.float32)
    for place in places(rng, size):
        add_nucleus(rng, objects, light, place)
    number_again(objects, light)
    light = ndimage.gaussian_filter(light, rng.uniform(0.7, 1.4))
    light += debris(rng, size)
    return exposed(rng, light), objects


def places(rng: Rng, size: int) -> list[tuple[float, float, float]]:
    """Row, column and radius of each nucleus; a share of them lies beside another one, touching it."""
    count = max(1, rng.poisson(26 * (size / 256) ** 2 * rng.uniform(0.5, 1.5)))
    radius = rng.uniform(8, 13)  # of this image's cells
    result: list[tuple[float, float, float]] = []
    for _ in range(count):
        own = radius * float(np.exp(rng.normal(0, 0.18)))
        row, column = rng.uniform(-4, size + 4, 2)
        if result and rng.random() < 0.45:
            neighbour = result[int(rng.integers(len(result)))]
            angle = rng.uniform(0, 2 * np.pi)
            away = 0.92 * (own + neighbour[2])
            row = neighbour[0] + away * np.sin(angle)
            column = neighbour[1] + away * np.cos(angle)
        if all(np.hypot(row - y, column - x) > 0.8 * (own + other) for y, x, other in result):
            result.append((float(row), float(column), own))
    return result


def add_nucleus(
    rng: Rng, objects: npt.NDArray[np.uint16], light: Field, place: tuple[float, float, float]
) -> None:
    """Put a nucleus where no other is yet: its number into `objects`, its brightness into `light`."""
    row, column, radius = place
    size = len(objects)
    box, down, right = window((row, column), 2 * radius, size)
    along, across = turn(down, right, rng.uniform(0, np.pi))
    stretch = rng.uniform(1.0, 1.35)
    angle = np.arctan2(across, along)
    dents = 1 + 0.08 * np.sin(2 * angle + rng.uniform(0, 6)) + 0.05 * np.sin(3 * angle + rng.uniform(0, 6))
    away = np.hypot(along / stretch, across * stretch) / (radius * dents)
    free = (away < 1) & (objects[box] == 0)
    brightness = float(np.clip(rng.lognormal(-0.9, 0.45), 0.12, 1.2))
    texture = 1 + 0.12 * noise(rng, size, 2.5)[box] - 0.25 * away**4
    objects[box][free] = objects.max() + 1
    light[box][free] = brightness * texture[free]


def number_again(objects: npt.NDArray[np.uint16], light: Field) -> None:
    """Of each nucleus keep the largest piece, drop small ones, and number the rest without gaps."""
    number = 0
    for index, box in enumerate(ndimage.find_objects(objects), start=1):
        if box is None:
            continue
        mine = objects[box] == index
        pieces, _ = ndimage.label(mine)
        sizes = np.bincount(pieces.ravel(), minlength=2)[1:]
        kept = pieces == 1 + int(sizes.argmax())
        keep = sizes.max() >= SMALLEST
        number += int(keep)
        objects[box][mine & ~kept] = 0
        light[box][mine & ~kept] = 0
        objects[box][kept] = number if keep else 0
        light[box][kept] *= np.float32(keep)


def debris(rng: Rng, size: int) -> Field:
    """Specks and out-of-focus blobs, which are no nuclei."""
    field = np.zeros((size, size), np.float32)
    for _ in range(rng.poisson(10 * (size / 256) ** 2)):
        radius = rng.uniform(1.0, 2.5) if rng.random() < 0.7 else rng.uniform(8, 20)
        strength = rng.uniform(0.2, 0.9) if radius < 3 else rng.uniform(0.04, 0.12)
        box, down, right = window((rng.uniform(0, size), rng.uniform(0, size)), 3 * radius, size)
        field[box] += np.float32(strength) * np.exp(
            -(down**2 + right**2) / np.float32(2 * (radius / 1.6) ** 2)
        )
    return field


def exposed(rng: Rng, light: Field) -> npt.NDArray[np.uint8]:
    """uint8 of what the camera records: uneven background, shot noise, read noise."""
    size = len(light)
    shade = ramp(noise(rng, size, size / 3), -2.5, 2.5)
    background = rng.uniform(0.02, 0.09) + rng.uniform(0.0, 0.12) * shade
    lit = light * (0.75 + 0.5 * shade) + background
    photons = rng.uniform(60, 400)
    recorded = rng.poisson(np.clip(lit, 0, None) * photons) / photons
    recorded = recorded + rng.normal(0, 0.008, lit.shape)
    return np.asarray(np.clip(np.rint(recorded * rng.uniform(130, 230)), 0, 255), np.uint8)
