"""Layouts of sets are found by their root alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.sets import SMALL, layout, line_of, pasted, save, scene, survey, train
from unet_exp.config.schema import DataConfig
from unet_exp.config.task_schema import EvaluateConfig, PredictConfig
from unet_exp.data.detect import find_layouts, split_of_a_set
from unet_exp.tasks.check_data import say
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.predict import predict

TRAIN, VAL, TEST = ("train", 3), ("val", 2), ("test", 2)


def camvid(root: Path) -> list[str]:
    layout(root, "{p}/{n}.png", "{p}annot/{n}.png", TRAIN, VAL, TEST, classes=12)
    return ["data.images={split}", "data.labels={split}annot"]


def roboflow(root: Path) -> list[str]:
    files = "{p}/{n}_jpg.rf.a1b2c3.jpg", "{p}/{n}_jpg.rf.a1b2c3_mask.png"
    layout(root, *files, TRAIN, ("valid", 2), TEST, classes=4)
    return ["data.images={split}", "data.labels={split}", "data.label_suffix=_mask"]


@pytest.mark.parametrize("make", [camvid, roboflow])
def test_a_public_layout_from_its_root_to_predictions(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = make(tmp_path / "a set")
    classes = 12 if make is camvid else 4
    said = survey(capsys, "data=image_folder", "data.root=a set", *SMALL, typed=tuple(SMALL))
    assert "pairs:    7 (train 3, val 2, test 2; split by folders)" in said
    assert f"looks like {classes} classes: the values 0 to {classes - 1} in 7 labels" in said
    assert said.rstrip().endswith("ready, with the line above")
    words = pasted(line_of(said))
    assert set(expected) < set(words)
    assert "epochs=1" in words
    train(tmp_path / "run", words)
    capsys.readouterr()
    evaluate(EvaluateConfig(run="run", split="test", worst=0))
    assert "class_3" in capsys.readouterr().out
    predict(PredictConfig(run="run", input="a set/test", output="out", overlays=False))
    assert np.asarray(Image.open(next((tmp_path / "out").glob("*.png")))).shape == (32, 32)


LAYOUTS: dict[str, tuple[list[tuple[Any, ...]], dict[str, str]]] = {
    "ADE20K": (
        [("images/{p}/x{n}.jpg", "annotations/{p}/x{n}.png", ("training", 3), ("validation", 2))],
        {"images": "images/{split}", "labels": "annotations/{split}"},
    ),
    "YOLO": (
        [("images/{p}/{n}.png", "labels/{p}/{n}.png", TRAIN, VAL, TEST)],
        {"images": "images/{split}", "labels": "labels/{split}"},
    ),
    "folders": ([("{p}/images/{n}.png", "{p}/masks/{n}.png", TRAIN, ("valid", 2))], {"labels": "masks"}),
    "capital letters": (
        [("Data/{p}/Image/{n}.png", "Data/{p}/Mask/{n}.png", ("Train", 3), ("Valid", 2))],
        {"root": "set/Data", "images": "Image", "labels": "Mask"},
    ),
    "parts in names": (
        [("{p}_images/{n}.png", "{p}_masks/{n}.png", TRAIN, VAL)],
        {"images": "{split}_images", "labels": "{split}_masks"},
    ),
    "side by side": (
        [("raw/{n}.png", "gt/{n}_mask.png", ("", 3))],
        {"images": "raw", "labels": "gt", "label_suffix": "_mask"},
    ),
    "by what they hold": ([("a/{n}.png", "b/{n}.png", ("", 3))], {"images": "a", "labels": "b"}),
    "one folder": ([("{n}.png", "{n}_L.png", ("", 3))], {"images": ".", "labels": ".", "label_suffix": "_L"}),
    "further down": ([("x/y/images/{n}.png", "x/y/labels/{n}.png", ("", 3))], {"root": "set/x/y"}),
    "names that begin otherwise": (
        [("images/img_{n}.png", "masks/mask_{n}.png", ("", 3))],
        {"labels": "masks", "pair_regex": r"^(?:mask_|img_)(.+?)\.[^.]+$"},
    ),
    "nnU-Net": (
        [
            ("imagesTr/case_{n}_0000.png", "labelsTr/case_{n}.png", ("", 3)),
            ("imagesTs/case_{n}_0000.png", None, ("", 2)),
        ],
        {"images": "imagesTr", "labels": "labelsTr", "pair_regex": r"^(?:case_)(.+?)(?:_0000|)\.[^.]+$"},
    ),
    "a test part without labels": (
        [("{p}/images/{n}.png", "{p}/masks/{n}.png", TRAIN), ("test/images/{n}.png", None, ("", 2))],
        {"root": "set/train", "labels": "masks"},
    ),
    "test within a word": (
        [("latest_images/{n}.png", "latest_masks/{n}.png", ("", 3))],
        {"images": "latest_images", "labels": "latest_masks"},
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_found_by_its_root_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files, expected = LAYOUTS[name]
    for images, labels, *parts in files:
        layout(tmp_path / "set", images, labels, *parts)
    (found,) = find_layouts(DataConfig(root="set"))
    usual = DataConfig(root="set")
    given = {key: getattr(found, key) for key in ("root", "images", "labels", "label_suffix", "pair_regex")}
    assert given == {key: expected.get(key, getattr(usual, key)) for key in given}
    assert found.split.mode == "auto"


def test_lists_stacks_and_the_lectures_folders_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "list", "i/{n}.png", "l/{n}.png", ("", 3))
    (tmp_path / "list" / "mine.csv").write_text("image;label\ni/1.png;l/1.png\ni/2.png;l/2.png\n")
    (tmp_path / "stacks").mkdir()
    for part in ("train", "val"):
        for kind, index in (("volume", 0), ("labels", 1)):
            stack = np.stack([scene(i)[index] for i in range(4)])
            save(tmp_path / "stacks" / f"{part}-{kind}.tif", stack)
            for i in range(2):
                folder = tmp_path / "lecture" / part
                save(folder / f"{('input', 'label')[index]}_{i:03d}.npy", scene(i)[index])
    (found,) = find_layouts(DataConfig(root="list"))
    assert (found.kind, found.csv) == ("csv", "mine.csv")
    (found,) = find_layouts(DataConfig(root="stacks"))
    assert found.kind == "tiff_stack"
    assert (found.image_stack, found.label_stack) == ("{split}-volume.tif", "{split}-labels.tif")
    (found,) = find_layouts(DataConfig(root="lecture"))
    assert (found.kind, found.root) == ("npy_folder", "lecture")


def test_a_size_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [f"{1000 + 10**i} x 1024" for i in range(7)]
    say([f"sizes:    {', '.join(sizes)}"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) < 80
    assert all(sum(size in line for line in lines) == 1 for size in sizes)


def test_a_test_set_is_never_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "only", "test/images/{n}.png", "test/labels/{n}.png", ("", 3))
    assert find_layouts(DataConfig(root="only")) == []
    said = survey(capsys, "data=image_folder", "data.root=only", code=1)
    assert "images in folders: test/images/ 3, test/labels/ 3" in said
    assert "use:" not in said
    layout(tmp_path / "set", "{p}/images/{n}.png", "{p}/labels/{n}.png", TRAIN, ("valid", 2), TEST)
    assert split_of_a_set(Path("only/test")) is None  # a name like any other
    said = survey(capsys, "data=image_folder", "data.root=set/test", "batch_size=1", code=1)
    assert "data.root=set/test is the test split of a set; all of it:" in said
    assert "task=check_data data.root=set\n" in said
    assert "use" not in said
    said = survey(capsys, "data=image_folder", "data.root=set/train", "batch_size=1")
    assert "task=check_data data.root=set\n" in said
    assert said.rstrip().endswith("ready")


def test_what_can_be_read_in_several_ways_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for labels in ("masks", "masks2"):
        layout(tmp_path / "set", "images/{n}.png", labels + "/{n}.png", ("", 3))
    said = survey(capsys, "data=image_folder", "data.root=set", code=1)
    assert "set can be read in 2 ways" in said
    for labels in ("masks", "masks2"):
        assert f"task=check_data data=image_folder data.root=set data.labels={labels} " in said


def test_masks_of_other_formats_are_named_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "set", "train/{n}.png", None, ("", 3))
    (tmp_path / "set/train_masks").mkdir()
    for number in range(3):
        (tmp_path / f"set/train_masks/{number}_mask.gif").touch()
    said = survey(capsys, "data=image_folder", "data.root=set", code=1)
    assert "not read in train_masks/: 3 .gif, such as 0_mask.gif (save them as png)" in said


def test_labels_that_are_stored_turned_unlike_their_images_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "set", "images/{n}.png", "labels/{n}.png", ("", 3))
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(scene(2)[1]).save(tmp_path / "set/labels/2.png", exif=exif)
    said = " ".join(survey(capsys, "data=image_folder", "data.root=set", "batch_size=1").split())
    assert "1 of 3 labels are stored turned (EXIF or TIFF orientation, the first: 2, 3)" in said
    assert "images are stored turned" not in said


def test_images_of_two_types_are_said_and_the_line_makes_them_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "set", "images/{n}.png", "labels/{n}.png", ("", 3))
    save(tmp_path / "set/images/2.png", scene(2)[0].astype(np.uint16) * 16)
    said = survey(capsys, "data=image_folder", "data.root=set", "batch_size=1")
    assert "images differ in their type: 2 uint8, 1 uint16" in said
    assert {"transform.mean=image", "transform.std=image"} <= set(pasted(line_of(said)))
