"""Draws colour images of streets: nine classes, three of them rare; codes have gaps, 255 is ignored.

    python benchmarks/colour_scenes.py DIR      # 80 to train, 20 to validate, 40 to test; half a minute
    python run.py task=check_data data.root=DIR # prints the command to train; CODES has the names

Writes DIR/images/SPLIT/NNN.png (RGB, 240 x 320) and DIR/labels/SPLIT/NNN.png. The scenes have an up and a
down: the sky is above, the road below.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

CODES = {
    "road": 10,
    "pavement": 12,
    "building": 30,
    "pole": 41,
    "sign": 43,
    "tree": 50,
    "sky": 60,
    "person": 71,
    "car": 80,
}
IGNORED = 255
HEIGHT, WIDTH = 240, 320
SPLITS = {"train": 80, "val": 20, "test": 40}
Rng = np.random.Generator
Colour = tuple[float, float, float]


class Scene:
    """An image in the making, float H x W x 3 in [0, 1], and its label, uint8 H x W."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.image = np.zeros((HEIGHT, WIDTH, 3))
        self.label = np.full((HEIGHT, WIDTH), IGNORED, np.uint8)
        self.rows, self.columns = np.mgrid[:HEIGHT, :WIDTH]
        self.horizon = int(rng.uniform(0.35, 0.5) * HEIGHT)
        self.middle = rng.uniform(0.35, 0.65) * WIDTH  # where the road vanishes

    def paint(self, where: np.ndarray, name: str, colour: Colour, texture: float = 0.03) -> None:
        """texture: standard deviation of coarse and fine noise."""
        coarse = ndimage.gaussian_filter(self.rng.normal(0, 1, (HEIGHT, WIDTH)), 3)
        noise = texture * (coarse / coarse.std() + 0.5 * self.rng.normal(0, 1, (HEIGHT, WIDTH)))
        self.image[where] = (np.array(colour) + noise[..., None])[where]
        self.label[where] = CODES[name]

    def colour(self, low: float, high: float, spread: float = 0.06) -> Colour:
        """Any colour of this brightness."""
        level = self.rng.uniform(low, high)
        red, green, blue = np.clip(level + self.rng.normal(0, spread, 3), 0, 1)
        return float(red), float(green), float(blue)

    def box(self, top: float, bottom: float, left: float, right: float) -> np.ndarray:
        inside = (self.rows >= top) & (self.rows < bottom)
        return np.asarray(inside & (self.columns >= left) & (self.columns < right))


def scene(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """uint8 image H x W x 3 and uint8 codes H x W."""
    one = Scene(rng)
    draw_background(one)
    for row in sorted(rng.uniform(0.05, 0.8, rng.integers(1, 5))):
        draw_car(one, row)
    for _ in range(rng.integers(0, 4)):
        draw_pole(one)
    for _ in range(rng.integers(0, 4)):
        draw_person(one)
    if rng.random() < 0.5:  # the hood of the car with the camera
        hood = one.rows > HEIGHT - 14 + ((one.columns - WIDTH / 2) / 60) ** 2
        one.image[hood] = one.colour(0.1, 0.3)
        one.label[hood] = IGNORED
    light = rng.uniform(0.6, 1.1) * np.clip(rng.normal(1, 0.06, 3), 0.8, 1.2)
    image = ndimage.gaussian_filter(one.image * light, (0.7, 0.7, 0)) + rng.normal(0, 0.02, one.image.shape)
    return (255 * np.clip(image, 0, 1)).astype(np.uint8), one.label


def draw_background(one: Scene) -> None:
    rng = one.rng
    one.paint(one.rows < HEIGHT, "sky", (0.55, 0.7, 0.9) if rng.random() < 0.6 else (0.75, 0.75, 0.78), 0.04)
    left = -10.0
    while left < WIDTH:
        width = rng.uniform(30, 90)
        top = one.horizon - rng.uniform(10, 90)
        wall = one.box(top, one.horizon + 8, left, left + width * rng.uniform(0.7, 1.05))
        one.paint(wall, "building", one.colour(0.3, 0.7))
        panes = wall & (one.rows % 12 > 5) & (one.columns % 10 > 5) & (one.rows > top + 4)
        one.image[panes] *= rng.uniform(0.5, 0.8)
        left += width
    crowns = ndimage.gaussian_filter(rng.normal(0, 1, (HEIGHT, WIDTH)), 9)
    near = np.abs(one.rows - one.horizon + 8) < rng.uniform(12, 40)
    one.paint(near & (crowns > 0.4 * crowns.std()), "tree", (0.2, rng.uniform(0.3, 0.5), 0.15), 0.08)
    one.paint(one.rows >= one.horizon, "pavement", one.colour(0.5, 0.65, 0.02))
    joints = (one.rows >= one.horizon) & ((one.rows - one.horizon) % 16 == 0)
    one.image[joints] *= 0.85
    depth = (one.rows - one.horizon) / (HEIGHT - one.horizon)
    half = 8 + depth * rng.uniform(0.35, 0.55) * WIDTH
    across = one.columns - one.middle
    road = (depth >= 0) & (np.abs(across) < half)
    one.paint(road, "road", one.colour(0.3, 0.42, 0.01))
    one.image[road & (np.abs(across) < 1 + 3 * depth) & (one.rows % 30 < 15)] = 0.85


def draw_car(one: Scene, row: float) -> None:
    """row: 0 at the horizon, 1 at the bottom of the image."""
    rng = one.rng
    size = 10 + 70 * row
    bottom = one.horizon + 6 + row * (HEIGHT - one.horizon)
    left = one.middle + rng.uniform(-0.9, 0.5) * (8 + row * 0.4 * WIDTH) - size / 4
    body = one.box(bottom - 0.45 * size, bottom - 0.08 * size, left, left + size)
    roof = one.box(bottom - 0.75 * size, bottom - 0.45 * size, left + 0.18 * size, left + 0.82 * size)
    one.paint(body | roof, "car", one.colour(0.1, 0.9, 0.25))
    one.image[
        one.box(bottom - 0.68 * size, bottom - 0.47 * size, left + 0.24 * size, left + 0.76 * size)
    ] *= 0.4
    for place in (0.2, 0.8):
        wheel = np.hypot(one.rows - bottom + 0.1 * size, one.columns - left - place * size) < 0.11 * size
        one.paint(wheel, "car", (0.08, 0.08, 0.08), 0.01)


def beside_the_road(one: Scene) -> tuple[float, float, float]:
    """Foot of something that stands there (row, column), and its nearness, 0 to 1."""
    near = one.rng.uniform(0.1, 0.7)
    side = one.rng.choice([-1, 1])
    column = one.middle + side * (14 + near * 0.5 * WIDTH + one.rng.uniform(0, 25))
    return one.horizon + near * (HEIGHT - one.horizon), float(np.clip(column, 4, WIDTH - 5)), near


def draw_pole(one: Scene) -> None:
    row, column, near = beside_the_road(one)
    height = 35 + 90 * near
    width = 1.5 + 2.5 * near
    one.paint(one.box(row - height, row, column, column + width), "pole", one.colour(0.25, 0.45, 0.01), 0.01)
    if one.rng.random() < 0.6:
        side = 6 + 10 * near
        top = row - height - side / 2
        colour = [(0.8, 0.1, 0.1), (0.1, 0.2, 0.7), (0.9, 0.8, 0.1)][one.rng.integers(3)]
        one.paint(
            one.box(top, top + side, column - side / 2, column + side / 2 + width), "sign", colour, 0.01
        )


def draw_person(one: Scene) -> None:
    row, column, near = beside_the_road(one)
    height = 12 + 36 * near
    body = one.box(row - 0.8 * height, row, column - 0.13 * height, column + 0.13 * height)
    one.paint(body, "person", one.colour(0.1, 0.8, 0.2))
    head = np.hypot(one.rows - row + 0.88 * height, one.columns - column) < 0.11 * height
    one.paint(head, "person", (0.75, 0.55, 0.45), 0.01)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    number = 0
    for split, count in SPLITS.items():
        for part in ("images", "labels"):
            (options.folder / part / split).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            image, label = scene(np.random.default_rng((options.seed, number)))
            Image.fromarray(image).save(options.folder / "images" / split / f"{number:03d}.png")
            Image.fromarray(label).save(options.folder / "labels" / split / f"{number:03d}.png")
            number += 1


if __name__ == "__main__":
    main()
