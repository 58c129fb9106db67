"""task=check_data: sets as people have them are found, said on one screen, and trained by the pasted line."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import composed, write_folder
from tests.data.sets import SMALL, Array, layout, line_of, pasted, save, scene, settings, survey, train
from unet_exp.cli import command_line
from unet_exp.config.resolve import check
from unet_exp.config.schema import DataConfig
from unet_exp.data.label_guess import Shapes, guess, shapes
from unet_exp.errors import UserError
from unet_exp.tasks.check_data import check_data

NAMES = ["배경", "세포-2", "naïve", "yes", "null", "True", "1", "1e3", "0x1F", "nan", "_x", "a-b"]


def test_the_line_survives_the_shell_and_hydra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "it's a $SET, [1]"
    layout(root, "im ages/{n}.png", "la,bels/{n} (mask).png", ("", 3), classes=12)
    data = DataConfig(
        root=root.name,
        images="im ages",
        labels="la,bels",
        label_suffix=" (mask)",
        classes=NAMES,
        label_map=dict(enumerate(NAMES)) | {99: "ignore"},
    )
    config = composed("data=image_folder", "data.root=.", "batch_size=1")
    config.data = data
    check_data(config)
    said = capsys.readouterr().out
    assert said.rstrip().endswith("ready"), said
    again = check(settings(pasted(line_of(said)))).data
    assert again.classes == NAMES
    assert (again.root, again.images, again.labels) == (root.name, "im ages", "la,bels")
    assert again.label_suffix == " (mask)"
    assert {str(key): name for key, name in again.label_map.items()} == {
        str(key): name for key, name in data.label_map.items()
    }


def test_the_line_keeps_what_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data")
    typed = (
        "data=image_folder",
        "data.root=data",
        "data.split.val=3",
        "data.split.mode=random",
        "transform=strong",
        "transform.train.crop.size=64",
        "optimizer=sgd",
    )
    words = pasted(line_of(survey(capsys, *typed, typed=typed)))
    assert {"data.split.val=3", "data.split.mode=random", "transform=strong", "optimizer=sgd"} < set(words)
    assert "transform.train.crop.size=32" in words  # the images have no 64 pixels
    assert "batch_size=3" in words
    assert survey(capsys, *words).rstrip().endswith("ready")


def test_pictures_go_where_output_says_and_the_verdict_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data")
    command = command_line.prepare(["task=check_data", "data.root=data", "output=a b/c"])
    assert command.beside["output"] == "a b/c"
    assert "data=image_folder" in command.argv
    check_data(composed("data=image_folder", "data.root=data"), **command.beside)
    assert "pictures: a b/c/samples.png" in capsys.readouterr().out
    assert (tmp_path / "a b/c/augmented.png").stat().st_size > 1000
    (tmp_path / "file").touch()
    check_data(composed("data=image_folder", "data.root=data"), output="file/inside")
    said = capsys.readouterr().out
    assert "no pictures: file/inside can't be written" in said
    assert said.rstrip().endswith("ready")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "a b", "file"}

    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("unet_exp.plots.run.plot_sheet", full)
    check_data(composed("data=image_folder", "data.root=data"))
    said = capsys.readouterr().out
    assert "no pictures: the memory is full" in said
    assert said.rstrip().endswith("ready")


def one_line(said: str) -> str:
    return " ".join(said.split())


def numbered(seed: int, count: int, dtype: Any) -> tuple[Array, Array]:
    """An image with some discs, and a label in which each has its own number."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    label = np.zeros((64, 64), dtype)
    for number, place in enumerate(rng.permutation(16)[:count], start=1):
        cy, cx = 8 + 16 * (place // 4), 8 + 16 * (place % 4)
        label[(y - cy) ** 2 + (x - cx) ** 2 < 36] = number
    return np.clip(40 + 150 * (label > 0) + rng.normal(0, 9, label.shape), 0, 255).astype(np.uint8), label


def numbered_set(root: Path, counts: tuple[int, ...], dtype: str = "uint8", ending: str = "png") -> None:
    for index, count in enumerate(counts):
        image, label = numbered(index, count, dtype)
        save(root / f"images/{index}.png", image)
        save(root / f"labels/{index}.{ending}", label)


@pytest.mark.parametrize(("dtype", "ending"), [("uint8", "png"), ("float32", "tif"), ("uint32", "npy")])
def test_numbered_objects_are_recognised(
    dtype: str,
    ending: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    numbered_set(tmp_path / "data", (5, 9, 12, 7, 16, 3), dtype, ending)
    said = survey(capsys, "data=image_folder", "data.root=data", "data.classes=[a,b]")
    assert "looks like numbered objects, a number for each piece: up to 16 in 6 labels" in one_line(said)
    assert "labels:   52 objects, 3 to 16 in an image (median 8)" in said
    assert said.rstrip().endswith("ready, with the line above")
    words = pasted(line_of(said))
    assert {"data.labels_are=objects", "data.classes=[background,edge,middle,core]"} < set(words)
    said = survey(capsys, *words)
    assert "labels:   52 objects" in said
    assert said.rstrip().endswith("ready")
    assert pasted(line_of(said)) == words


def test_a_run_on_misread_labels_says_that_they_number_objects(tmp_path: Path) -> None:
    numbered_set(tmp_path / "data", (5, 9, 12, 7, 16, 3))
    words = ["data=image_folder", f"data.root={tmp_path}/data", *SMALL]
    with pytest.raises(UserError, match="look like numbered objects") as failure:
        train(tmp_path / "run", words)
    settings = shlex.split(failure.value.do.splitlines()[-1])
    assert settings == ["data.labels_are=objects", "data.classes=[background,edge,middle,core]"]
    train(tmp_path / "run2", [*words, *settings])


def test_classes_read_as_objects_are_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "codes", "images/{n}.png", "labels/{n}.png", ("", 4), classes=5)
    numbered_set(tmp_path / "binary", (5, 9, 12, 7))
    for path in (tmp_path / "binary/labels").iterdir():
        save(path, (np.asarray(Image.open(path)) > 0) * np.uint8(255))
    for root in ("codes", "binary"):
        words = ["data=image_folder", f"data.root={root}"]
        objects = ["data.labels_are=objects", "data.classes=[background,edge,middle,core]"]
        said = survey(capsys, *words, *objects, code=1)
        assert "looks like classes, not like numbered objects" in one_line(said)
        assert "objects" not in survey(capsys, *words)


def test_classes_in_one_piece_each_are_no_objects() -> None:
    """The same organs in every label; and squares of twelve codes."""
    organs = [numbered(i, 8, np.uint8)[1] for i in range(6)]
    codes = [scene(i, 12)[1] for i in range(6)]
    for labels in (organs, codes):
        counts = [{str(value): int((one == value).sum()) for value in np.unique(one)} for one in labels]
        assert guess(counts, [shapes(one) for one in labels]) == "classes"


def test_object_numbers_with_gaps_and_photographs_are_no_classes() -> None:
    def guessed(labels: list[Array]) -> str:
        counts = [{str(value): int((one == value).sum()) for value in np.unique(one)} for one in labels]
        return guess(counts, [shapes(one) for one in labels])

    rng = np.random.default_rng(0)
    tracks = [np.append(0, rng.integers(1, 60_000, 12))[numbered(i, 8, np.uint8)[1]] for i in range(6)]
    assert guessed(tracks) == "objects"
    some = np.append(0, rng.permutation(np.arange(1, 60))[:40])
    blocks = [np.kron(rng.permutation(49).reshape(7, 7), np.ones((8, 8), int)) for _ in range(6)]
    assert guessed([some[np.where(one > 25 + 3 * i, 0, one)] for i, one in enumerate(blocks)]) == "objects"
    nodata = [numbered(i, 3 + i, np.int16)[1] for i in range(6)]
    for one in nodata:
        one[0] = -1
    assert guessed(nodata) == "objects"
    assert guessed([numbered(i, 8, np.uint8)[0] for i in range(6)]) == ""


def test_objects_by_colours_of_their_own_are_no_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    colours = np.random.default_rng(0).integers(1, 255, (6, 20, 3), dtype=np.uint8)
    colours[:, 0] = 0
    for index in range(6):
        image, label = numbered(index, 5 + index, np.uint8)
        save(tmp_path / f"data/images/{index}.png", image)
        save(tmp_path / f"data/labels/{index}.png", colours[index][label])
    said = survey(capsys, "data=image_folder", "data.root=data")
    assert "looks like numbered objects, a colour for each piece" in one_line(said)
    assert "label_map" not in said
    assert survey(capsys, *pasted(line_of(said))).rstrip().endswith("ready")


def test_smoothed_edges_are_told_from_rare_classes() -> None:
    _, mask = scene(1, 2, 64)
    small = Image.fromarray(mask * 255)
    resized = np.asarray(small.resize((160, 160), Image.Resampling.BILINEAR))
    assert shapes(resized) == Shapes(numbered=False, smooth=True, whole=0.0)
    rare = scene(2, 3, 64)[1] * np.uint8(100)
    for value in (20, 50, 80, 120):
        rare[8 * (value % 7) : 8 * (value % 7) + 6, 4:10] = value
    found = shapes(rare)
    assert found is not None
    assert not found.smooth


def test_many_labels_of_codes_are_one_finding_and_a_stray_value_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Classes differ from file to file; 255 above indices is ignored, as VOC and Cityscapes have it."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data", count=12)
    for index in range(12):
        label = np.zeros((32, 32), np.uint8)
        label[:16, :16], label[20:, 20:], label[:4, 20:] = 1 + index % 3, 4 + index % 2, 255
        save(tmp_path / "data/labels" / f"{index:02d}.png", label)
    said = survey(capsys, "data=image_folder", "data.root=data")
    assert "looks like 6 classes: the values 0, 1, ..., 255 in 12 labels" in said
    assert "smoothed" not in said
    words = pasted(line_of(said))
    assert "data.classes=[class_0,class_1,class_2,class_3,class_4,class_5]" in words
    assert any(word.endswith("5: class_5, 255: ignore}") for word in words)
    assert survey(capsys, *words).rstrip().endswith("ready")
    stray = tmp_path / "stray"
    write_folder(stray, count=12)
    label = np.asarray(Image.open(stray / "labels/03.png")).copy()
    label[:5, :5] = 77
    save(stray / "labels/03.png", label)
    said = survey(capsys, "data=image_folder", "data.root=stray", code=1)
    assert "1. label stray/labels/03.png has values that are not binary" in said
    assert "'data.label_map={0: class_0, 77: class_77, 255: class_255}'" in said
    with pytest.raises(UserError, match="ask what all labels hold: task=check_data"):
        train(tmp_path / "run", ["data=image_folder", "data.root=stray", *SMALL])


def test_one_screen_for_a_set_with_everything_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "a_rather_long_name_of_a_microscope_and_a_day_{n:03d}.png"
    layout(tmp_path / "data", f"images/{name}", f"labels/{name}", ("", 60))
    files = sorted((tmp_path / "data/images").iterdir())
    for path in files[:10]:
        path.write_bytes(b"")
    for path in files[10:20]:
        save(path, np.zeros((32, 40), np.uint8))
    for path in files[20:30]:
        save(path, np.zeros((32, 32, 3), np.uint8))
    for path in files[30:40]:
        save(tmp_path / "data/labels" / path.name, scene(1, 5)[1] * np.uint8(40))
    for path in files[40:42]:
        path.unlink()
    said = survey(capsys, "data=image_folder", "data.root=data", code=1)
    assert said.rstrip().endswith("4 problems")
    for words in (
        "labels without an image (2)",
        "10 such files",
        "10 labels, such as",
        "differ in their channels",
    ):
        assert words in said


def test_the_command_line_of_shlex_is_that_of_bash() -> None:
    assert pasted("python run.py 'a=[\"b\"]' c") == ['a=["b"]', "c"] == shlex.split("'a=[\"b\"]' c")
