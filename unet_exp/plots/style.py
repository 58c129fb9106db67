"""How all pictures look: sizes, colours, images as they are seen, saving.

matplotlib is imported in this room alone, and this room when a run ends, because it costs half a second.
"""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from unet_exp.config.label_map import Colour
from unet_exp.data.stats import displayed
from unet_exp.rundir import atomic

BLUE = "#1f77b4"
ORANGE = "#d95f02"
# Of recipes beside each other: Okabe and Ito's, told apart by colour-blind eyes too, the dark ones first.
RECIPES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
BLACK_AND_WHITE: list[Colour] = [(0, 0, 0), (255, 255, 255)]
OF_TWO: list[Colour] = [(0, 0, 0), (214, 39, 40)]  # over an image: the second of two classes in red
GREY = 0.5  # of pixels that are ignored
WIDTH = 10.0  # inches, of a picture with several panes
ONE_PANE = (6.4, 4.2)  # inches
MOST_INCHES = 24.0  # width and height of a sweep's picture
DOTS = 110  # per inch


def as_seen(image: np.ndarray, denorm: tuple[Any, Any]) -> np.ndarray:
    """A network's input H x W x C as a picture H x W x 1 or 3 in [0, 1]. denorm: mean and std to undo."""
    mean, std = denorm
    return displayed(np.asarray(image, np.float64) * np.asarray(std) + np.asarray(mean))


def in_colour(indices: np.ndarray, palette: Sequence[Colour]) -> np.ndarray:
    """H x W class indices as H x W x 3 in [0, 1]; ignored pixels are grey."""
    table = np.full((256, 3), GREY)
    table[: len(palette)] = np.array(palette) / 255
    return np.asarray(table[indices.astype(np.uint8)])


def unit(colour: Colour) -> tuple[float, float, float]:
    """A colour for matplotlib."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255


def save(figure: Figure, path: Path) -> None:
    atomic.make_directory(path.parent)
    FigureCanvasAgg(figure)
    take_names_as_they_are(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names in a script that the font lacks
        figure.savefig(path, dpi=DOTS, pil_kwargs={"compress_level": 3})


def as_svg(figure: Figure) -> str:
    """The figure as SVG, its text as text."""
    take_names_as_they_are(figure)
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "unet_exp", "font.family": "sans-serif"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def take_names_as_they_are(figure: Figure) -> None:
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # $ in a name does not begin a formula
