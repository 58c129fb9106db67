"""worst_objects.png: true objects that were not found, each in its surroundings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection

from unet_exp.inference.worst_objects import Tile
from unet_exp.plots.run import picture_grid, say_inside
from unet_exp.plots.style import WIDTH, as_seen, save

COLUMNS = 4
TRUE = (0.34, 0.71, 0.91)
PREDICTED = (0.90, 0.62, 0.0)


def plot_objects(path: Path, tiles: Sequence[Tile], denorm: tuple[Any, Any]) -> None:
    """Tiles in rows of four: outlines of the label in blue, that of the object itself wide, of the prediction
    in orange. denorm: mean and std to undo."""
    legend = [("label", TRUE), ("predicted", PREDICTED)]
    num_rows = -(-len(tiles) // COLUMNS)
    grid = picture_grid(WIDTH, [(1, 1)] * num_rows, COLUMNS, legend)
    for axes, tile in zip(grid.flat, tiles, strict=False):
        scene = tile.scene
        shown = as_seen(scene.image, denorm)
        shown = (shown - shown.min()) / max(np.ptp(shown), 1e-9)
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        outline = outlines(scene.true == tile.fate.number)
        axes.add_collection(LineCollection(list(outline), colors=[TRUE], linewidths=3.5))
        axes.add_collection(LineCollection(list(outlines(scene.true)), colors=[TRUE], linewidths=1.5))
        axes.add_collection(
            LineCollection(list(outlines(scene.predicted)), colors=[PREDICTED], linewidths=0.9)
        )
        say_inside(axes, f"{tile.name[-20:]} {tile.fate.number}: {tile.fate.event}, IoU {tile.fate.iou:.2f}")
    save(grid[0, 0].figure, path)


def outlines(numbers: np.ndarray) -> np.ndarray:
    """Lines N x 2 x 2, of x and y, between neighbouring pixels of an H x W image that differ."""
    rows, columns = np.nonzero(numbers[:, 1:] != numbers[:, :-1])
    x = columns + 0.5
    upright = np.stack([np.stack([x, rows - 0.5], axis=1), np.stack([x, rows + 0.5], axis=1)], axis=1)
    rows, columns = np.nonzero(numbers[1:] != numbers[:-1])
    y = rows + 0.5
    level = np.stack([np.stack([columns - 0.5, y], axis=1), np.stack([columns + 0.5, y], axis=1)], axis=1)
    return np.concatenate([upright, level])
