"""Pictures of labelled samples: as high as their images, with a legend of the classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unet_exp.config.label_map import LabelMap, palette
from unet_exp.config.schema import IGNORE
from unet_exp.inference.samples import SampleResult
from unet_exp.plots.run import plot_augmented, plot_samples, plot_sheet

STREET = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "person", "bicycle"]


def stripes(height: int, width: int, classes: int) -> np.ndarray:
    return np.tile(np.arange(width) * classes // width, (height, 1)).astype(np.float32)


def result(height: int, width: int, classes: int) -> SampleResult:
    label = stripes(height, width, classes)
    image = np.full((height, width, 1), 0.4, np.float32)
    return SampleResult("a", 0.5, image, label, label, (label == 1).astype(np.float32))


def blank_rows(path: Path) -> list[int]:
    """Lengths of the runs of white pixel rows between the first and the last row that is not white."""
    white = (np.asarray(Image.open(path).convert("RGB"))[:, 100:] == 255).all((1, 2))
    inside = white[np.flatnonzero(~white)[0] : np.flatnonzero(~white)[-1] + 1]
    return [len(run) for run in "".join("w" if row else " " for row in inside).split()]


@pytest.mark.parametrize("shape", [(90, 360), (360, 480), (64, 64), (300, 100)])
def test_no_white_gaps_between_rows(shape: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "samples.png"
    plot_samples(path, [result(*shape, 2) for _ in range(4)], ["no", "yes"], (0, 1), [(0, 0, 0), (255,) * 3])
    assert max(blank_rows(path)) <= 14  # of 110 dots an inch


@pytest.mark.parametrize("count", [3, 11])
def test_a_legend_names_the_colours(count: int, tmp_path: Path) -> None:
    classes, path = STREET[:count], tmp_path / "samples.png"
    colours = palette(LabelMap(classes, {}, False, False))
    plot_samples(path, [result(60, 80, count)] * 2, classes, (0, 1), colours)
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    below = picture[-(8 + 25 * -(-count // 6)) :]  # lines of six names
    for colour in colours:
        assert (np.abs(below - colour).sum(-1) == 0).sum() > 20, colour
    label = (np.abs(picture - colours[1]).sum(-1) == 0).any(1)
    assert label[: -len(below)].any(), "the label is drawn in the colours of the legend"


def test_two_classes_have_no_legend_but_words(tmp_path: Path) -> None:
    two, three = tmp_path / "two.png", tmp_path / "three.png"
    plot_samples(two, [result(60, 80, 2)], ["no", "yes"], (0, 1), [(0, 0, 0), (255, 255, 255)], 0.7)
    colours = palette(LabelMap(STREET[:3], {}, False, False))
    plot_samples(three, [result(60, 80, 3)], STREET[:3], (0, 1), colours)
    assert len(np.asarray(Image.open(two))) < len(np.asarray(Image.open(three)))


def test_contact_sheets_have_the_legend_and_ignored_pixels(tmp_path: Path) -> None:
    label = stripes(60, 240, 11)
    label[:, :20] = IGNORE
    sample = {"input": np.full((60, 240, 1), 0.5, np.float32), "label": label[..., np.newaxis]}
    colours = palette(LabelMap(STREET, {}, False, False))
    plain, named = tmp_path / "plain.png", tmp_path / "named.png"
    plot_sheet(plain, [sample] * 6, list("abcdef"), colours, (0, 1), ["image", "label"])
    plot_sheet(named, [sample] * 6, list("abcdef"), colours, (0, 1), ["image", "label"], STREET)
    assert max(blank_rows(plain)) <= 20
    bottom = np.asarray(Image.open(named).convert("RGB")).astype(int)[-55:]
    for colour in (*colours, (128, 128, 128)):
        assert (np.abs(bottom - colour).sum(-1) <= 3).sum() > 20, colour
    plot_augmented(named, [[sample] * 2] * 3, list("abc"), colours, (0, 1), STREET)
    assert max(blank_rows(named)) <= 20
