"""data.labels_are=components: connected pieces of a mask as objects, from the file to a run."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.sets import SMALL, line_of, pasted, save, scene, settings, survey, train
from unet_exp.config.label_map import label_map
from unet_exp.config.resolve import check
from unet_exp.data.formats import WHOLE
from unet_exp.data.labels import component_numbers
from unet_exp.data.samples import open_pair
from unet_exp.data.splits import find_splits
from unet_exp.errors import UserError
from unet_exp.training import setup

COMPONENTS = ["data.labels_are=components", "data.classes=[background,edge,middle,core]"]
DIAGONAL = np.array([[5, 5, 0, 5], [5, 0, 5, 5], [0, 2, 2, 0], [5, 2, 0, 0]], np.uint8)


def write_masks(root: Path, value: int = 255, count: int = 6) -> None:
    """Image i has i + 2 separate squares, all of one value."""
    for index in range(count):
        mask = np.zeros((32, 32), np.uint8)
        for number in range(index + 2):
            row, column = divmod(number, 4)
            mask[8 * row : 8 * row + 6, 8 * column : 8 * column + 6] = value
        save(root / f"labels/{index}.png", mask)
        save(root / f"images/{index}.png", scene(index)[0] // 2 + (mask > 0) * np.uint8(100))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pieces_are_connected_by_their_sides(dtype: Any) -> None:
    label = DIAGONAL.astype(dtype)[..., np.newaxis]
    pieces = component_numbers(label, "a")[..., 0]
    assert pieces.dtype == np.int32
    assert pieces.tolist() == [[1, 1, 0, 2], [1, 0, 2, 2], [0, 2, 2, 0], [2, 2, 0, 0]]
    of_value = component_numbers(label, "a", 5)[..., 0]
    assert of_value.tolist() == [[1, 1, 0, 2], [1, 0, 2, 2], [0, 0, 0, 0], [3, 0, 0, 0]]
    around = component_numbers(label, "a", 0)[..., 0]
    assert (around > 0).tolist() == (DIAGONAL == 0).tolist()


def test_windows_of_a_label_have_the_numbers_of_the_whole(tmp_path: Path) -> None:
    write_masks(tmp_path)
    data = check(settings(["data=image_folder", f"data.root={tmp_path}", *COMPONENTS])).data
    (item,) = find_splits(data)["val"]
    _, label = open_pair(item, label_map(data))
    whole = label[WHOLE]
    assert np.unique(whole).tolist() == list(range(8))
    window = slice(8, 20), slice(2, 32)
    assert np.array_equal(label[window], whole[window])


def test_a_run_on_masks_as_check_data_proposes_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_masks(tmp_path / "data", value=7)
    said = survey(capsys, "data=image_folder", "data.root=data", *COMPONENTS, "data.object_value=7")
    assert "labels:   27 objects, 2 to 7 in an image (median 4.5)" in said
    words = pasted(line_of(said))
    assert {*COMPONENTS, "data.object_value=7"} < set(words)
    train(tmp_path / "run", [*words, *SMALL, "trainer.monitor=ap"])
    assert (tmp_path / "run/objects.json").exists()
    objects = ["data.labels_are=objects", COMPONENTS[1]]
    config = check(settings(["data=image_folder", "data.root=data", *objects, "batch_size=2"]))
    with caplog.at_level(logging.WARNING):
        setup.read_samples(config, setup.find_items(config))
    assert "numbers in 5 of 5 labels have several pieces each, as classes do (0)" in caplog.text
    said = survey(capsys, "data=image_folder", "data.root=data", *objects, code=1)
    assert "if each piece is an object: data.labels_are=components" in " ".join(said.split())


def test_numbered_objects_are_not_joined_unsaid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for index in range(6):
        label = np.zeros((32, 32), np.uint8)
        label[4:28, 4 : 8 + 4 * index] = (
            np.arange(6 * (1 + index)).reshape(6, -1).repeat(4, 0).repeat(4, 1) + 1
        )
        save(tmp_path / f"data/labels/{index}.png", label)
        save(tmp_path / f"data/images/{index}.png", scene(index)[0])
    said = survey(capsys, "data=image_folder", "data.root=data", *COMPONENTS, code=1)
    assert "as components, those that touch become one" in " ".join(said.split())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data=membranes", *COMPONENTS], "data.labels_are is 'components', but data=membranes has classes"),
        (["data=image_folder", "data.root=.", "data.object_value=3"], "is for data.labels_are=components"),
        (
            ["data=image_folder", "data.root=.", COMPONENTS[0]],
            "it names background, edge and at least one deeper level",
        ),
        (
            ["data=image_folder", "data.root=.", *COMPONENTS, "data.labels=masks/{name}"],
            "{name} in data.labels stands for masks of one object each; objects",
        ),
    ],
)
def test_settings_that_do_not_fit(arguments: list[str], expected: str) -> None:
    with pytest.raises(UserError) as failure:
        check(settings(arguments))
    assert expected in str(failure.value)
