"""Pictures of objects: the worst of an evaluation, and outlines over a predicted image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unet_exp.inference.pictures import overlay_rows
from unet_exp.inference.worst_objects import Scene, Tile, cut, worst_objects
from unet_exp.objects.meter import CountedObjects
from unet_exp.plots.objects import outlines, plot_objects


def bars(*widths: int) -> np.ndarray:
    """Objects 1, 2, ... of 10 rows and these widths, side by side; 0 for a gap of one column."""
    numbers = np.zeros((10, 100), np.int32)
    left = 0
    number = 0
    for width in widths:
        number += width > 0
        numbers[:, left : left + width] = number
        left += width or 1
    return numbers


def counted() -> CountedObjects:
    """Image 0: found, missed (100 pixels), missed (200). 1: merged, found (in the same), split, found."""
    objects = CountedObjects(keep_fates=True)
    objects.count(0, bars(10, 0, 10, 0, 20), bars(10))
    objects.count(1, bars(10, 12, 0, 10, 0, 8), bars(22, 0, 5, 5, 0, 8))
    return objects


def test_the_worst_of_each_kind_are_chosen() -> None:
    chosen = [(index, fate.number, fate.event) for index, fate in worst_objects(counted())]
    assert chosen == [
        (0, 3, "missed"),
        (0, 2, "missed"),
        (1, 3, "split"),
        (1, 1, "merged"),
    ]
    few = [fate.event for _, fate in worst_objects(counted(), most=3)]
    assert few == ["missed", "split", "merged"]


def test_a_tile_is_a_square_around_its_object() -> None:
    true = np.zeros((200, 300), np.int32)
    true[90:110, 150:160] = 4
    true[0:5, 0:5] = 9
    true[100:200, 200:300] = 2
    image = np.arange(200 * 300.0).reshape(200, 300, 1)
    scene = Scene(image, true, true)
    middle, corner, large = (cut(scene, number) for number in (4, 9, 2))
    assert middle.true.shape == corner.true.shape == (48, 48)
    assert (middle.true == 4).sum() == 200
    assert (corner.true == 9).sum() == 25
    assert corner.image[0, 0, 0] == 0
    assert middle.image.shape == (48, 48, 1)
    assert large.true.shape == (180, 180)
    small = cut(Scene(image[:20, :30], true[90:110, 140:170], true[90:110, 140:170]), 4)
    assert small.true.shape == (20, 30)


def test_outlines_run_between_pixels() -> None:
    numbers = np.zeros((4, 5), int)
    numbers[1, 2] = 3
    lines = {tuple(map(tuple, line.tolist())) for line in outlines(numbers)}
    assert lines == {
        ((1.5, 0.5), (1.5, 1.5)),
        ((2.5, 0.5), (2.5, 1.5)),
        ((1.5, 0.5), (2.5, 0.5)),
        ((1.5, 1.5), (2.5, 1.5)),
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_are_drawn_also_of_colours(channels: int, tmp_path: Path) -> None:
    (_, fate), *_ = worst_objects(counted())
    scene = Scene(np.zeros((10, 100, channels), np.float32), bars(10, 0, 10, 0, 20), bars(10))
    plot_objects(tmp_path / "a.png", [Tile("name $x$", fate, scene)] * 5, (0.0, 1.0))
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3)
    for colour in ((87, 181, 232), (230, 158, 0)):
        assert (np.abs(picture - np.array(colour)).max(axis=1) < 4).sum() > 50


def test_an_outline_has_the_colour_of_its_object_on_all_sides(tmp_path: Path) -> None:
    """By rows or as a whole: pixels inside the object, of its own colour; two that touch have both."""
    numbers = np.zeros((12, 12), np.int32)
    numbers[2:8, 1:5] = 1
    numbers[2:8, 5:9] = 2
    grey = np.zeros((12, 12, 1), np.uint8)
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    shape, rows = overlay_rows(grey, numbers, colours, tmp_path, numbered=True)
    whole = rows(slice(0, 12))
    assert whole.shape == shape == (12, 12, 3)
    assert np.array_equal(np.concatenate([rows(slice(top, top + 3)) for top in range(0, 12, 3)]), whole)
    for number in (1, 2):
        inner = numbers == number
        inner[[2, 7]] = False
        inner[:, [1, 4, 5, 8]] = False
        edge = (numbers == number) & ~inner
        assert (whole[edge] == colours[number]).all()
        assert not whole[inner].any()
    assert not whole[numbers == 0].any()
