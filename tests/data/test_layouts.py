"""Folders as public sets have them: {split} in data.images and data.labels, and the names of the parts."""

import logging
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from PIL import Image

from tests.conftest import composed
from unet_exp.config.paths import quote_path
from unet_exp.config.schema import DataConfig, SplitConfig
from unet_exp.data.splits import Splits, decide_mode, find_splits
from unet_exp.errors import DataError, UserError
from unet_exp.sweeps.plan import expand, merged, parse


def touch(root: Path, *names: str) -> Path:
    """Files of these names; pairing looks at names only."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def files(splits: Splits, root: Path) -> dict[str, list[tuple[str, str]]]:
    """Of each part: image and label, from the root."""
    return {
        part: [(i.image.relative_to(root).as_posix(), i.label.relative_to(root).as_posix()) for i in items]
        for part, items in splits.items()
    }


def data(root: Path, split: dict[str, Any] | None = None, **values: Any) -> DataConfig:
    return DataConfig(kind="image_folder", root=str(root), split=SplitConfig(**(split or {})), **values)


def test_camvid(tmp_path: Path) -> None:
    """train/ with trainannot/, and so on, in one folder."""
    frames = [("train", "0001TP_006690"), ("train", "0001TP_006720"), ("val", "0016E5_07959")]
    frames += [("test", "Seq05VD_f00000")]
    for part, name in frames:
        touch(tmp_path, f"{part}/{name}.png", f"{part}annot/{name}.png")
    touch(tmp_path, "train.txt", "val.txt")
    config = data(tmp_path, images="{split}", labels="{split}annot")
    assert decide_mode(config) == "folders"
    found = files(find_splits(config), tmp_path)
    assert found == {
        part: [(f"{p}/{n}.png", f"{p}annot/{n}.png") for p, n in frames if p == part]
        for part in ("train", "val", "test")
    }


def test_ade20k(tmp_path: Path) -> None:
    """images/training with annotations/training, images/validation; the test images have no labels."""
    for part, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        touch(tmp_path, f"images/{part}/{name}.jpg", f"annotations/{part}/{name}.png")
    config = data(tmp_path, images="images/{split}", labels="annotations/{split}")
    found = files(find_splits(config), tmp_path)
    assert found["val"] == [
        ("images/validation/ADE_val_00000001.jpg", "annotations/validation/ADE_val_00000001.png")
    ]
    assert len(found["train"]) == 1
    assert found["test"] == []


def test_roboflow(tmp_path: Path) -> None:
    """train/ valid/ test/, each with NAME.jpg beside NAME_mask.png."""
    for part in ("train", "valid", "test"):
        touch(tmp_path, f"{part}/{part}_1_jpg.rf.3f2a.jpg", f"{part}/{part}_1_jpg.rf.3f2a_mask.png")
        (tmp_path / part / "_classes.csv").write_text("Pixel Value, Class\n0, background\n")
    config = data(tmp_path, images="{split}", labels="{split}", label_suffix="_mask")
    assert files(find_splits(config), tmp_path)["val"] == [
        ("valid/valid_1_jpg.rf.3f2a.jpg", "valid/valid_1_jpg.rf.3f2a_mask.png")
    ]


@pytest.mark.parametrize("pattern", ["images/{split} labels/{split}", "{split}/images {split}/labels"])
def test_yolo(tmp_path: Path, pattern: str) -> None:
    images, labels = pattern.split()
    for part in ("train", "val"):
        for folder in (images, labels):
            touch(tmp_path, f"{folder.replace('{split}', part)}/{part}.png")
    found = find_splits(data(tmp_path, images=images, labels=labels))
    assert {part: [item.name for item in items] for part, items in found.items()} == {
        "train": ["train"],
        "val": ["val"],
        "test": [],
    }


@pytest.mark.parametrize(
    ("train", "val"), [("Training", "VALID"), ("training", "validation"), ("Train", "val")]
)
def test_other_spellings_of_train_and_val(tmp_path: Path, train: str, val: str) -> None:
    for part in (train, val):
        touch(tmp_path, f"{part}/images/a.png", f"{part}/labels/a.png")
    found = files(find_splits(data(tmp_path)), tmp_path)
    assert found["train"] == [(f"{train}/images/a.png", f"{train}/labels/a.png")]
    assert found["val"] == [(f"{val}/images/a.png", f"{val}/labels/a.png")]


def test_a_folder_named_training_beside_images_changes_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "labels/a.png", "training/notes.txt")
    assert decide_mode(data(tmp_path)) == "blocks"


def test_the_lectures_layout_takes_other_spellings_too(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        touch(tmp_path, f"{part}/input_000.npy", f"{part}/label_000.npy")
    found = find_splits(DataConfig(kind="npy_folder", root=str(tmp_path)))
    assert [item.image.parent.name for item in found["val"]] == ["valid"]


@pytest.mark.parametrize("layout", ["{split}/images", "images/{split}", ""])
def test_two_spellings_of_one_split_are_refused(tmp_path: Path, layout: str) -> None:
    for part in ("train", "val", "valid"):
        for kind in ("images", "labels"):
            folder = f"{kind}/{part}" if layout == "images/{split}" else f"{part}/{kind}"
            touch(tmp_path, f"{folder}/a.png")
    words: dict[str, Any] = {"images": layout, "labels": layout.replace("images", "labels")} if layout else {}
    with pytest.raises(DataError, match=r"val\b.* and .*valid.* are both for val"):
        find_splits(data(tmp_path, **words))


def test_a_set_without_val_says_how_to_take_it_from_train(tmp_path: Path) -> None:
    touch(tmp_path, "images/train/a.png", "labels/train/a.png", "images/train/b.png", "labels/train/b.png")
    template: dict[str, Any] = {"images": "images/{split}", "labels": "labels/{split}"}
    with pytest.raises(DataError) as caught:
        find_splits(data(tmp_path, **template))
    text = str(caught.value)
    assert "matches images/{split} for val" in text
    assert "val or valid or validation" in text
    assert "found in" in text
    assert "data.images=images/train data.labels=labels/train data.split.mode=blocks" in text
    pasted = data(tmp_path, {"mode": "blocks", "val": 1}, images="images/train", labels="labels/train")
    assert [len(items) for items in find_splits(pasted).values()] == [1, 1, 0]
    for fold in (0, 1):  # folds take it from train themselves
        assert len(find_splits(data(tmp_path, folds=2, fold=fold, **template))["val"]) == 1


def test_a_test_part_without_labels_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for part in ("train", "val"):
        touch(tmp_path, f"images/{part}/a.png", f"labels/{part}/a.png")
    touch(tmp_path, "images/test/a.png")
    with caplog.at_level(logging.INFO):
        assert find_splits(data(tmp_path, images="images/{split}", labels="labels/{split}"))["test"] == []
    assert "images/test" in caplog.text
    assert "labels/{split}" in caplog.text


def test_labels_that_are_missing_for_a_part_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/train/a.png", "labels/train/a.png", "images/val/a.png", "labels/vall/a.png")
    with pytest.raises(DataError, match=r"matches labels/\{split\} for val") as caught:
        find_splits(data(tmp_path, images="images/{split}", labels="labels/{split}"))
    assert "vall/" in str(caught.value)


def test_lists_and_stacks_of_each_part(tmp_path: Path) -> None:
    for part in ("train", "val"):
        touch(tmp_path, f"x/{part}.png", f"y/{part}.png")
        (tmp_path / f"{part}.csv").write_text(f"image,label\nx/{part}.png,y/{part}.png\n")
    found = files(find_splits(DataConfig(kind="csv", root=str(tmp_path), csv="{split}.csv")), tmp_path)
    assert found["train"] == [("x/train.png", "y/train.png")]
    assert found["val"] == [("x/val.png", "y/val.png")]
    for part in ("train", "val"):
        pages = [Image.new("L", (4, 4))] * (3 if part == "train" else 2)
        for what in ("volume", "labels"):
            pages[0].save(tmp_path / f"{part}-{what}.tif", save_all=True, append_images=pages[1:])
    stacks: dict[str, Any] = {"image_stack": "{split}-volume.tif", "label_stack": "{split}-labels.tif"}
    splits = find_splits(DataConfig(kind="tiff_stack", root=str(tmp_path), **stacks))
    assert [len(items) for items in splits.values()] == [3, 2, 0]


def test_templates_that_can_not_be_meant(tmp_path: Path) -> None:
    root = f"data.root={tmp_path}"
    with pytest.raises(UserError, match=r"data\.labels has no \{split\}, but data\.images has"):
        composed("data=image_folder", root, "data.images='images/{split}'")
    both = ["data.images='images/{split}'", "data.labels='labels/{split}'"]
    with pytest.raises(UserError, match=r"data\.split\.mode is 'random'.*with \{split\} in data\.images"):
        composed("data=image_folder", root, *both, "data.split.mode=random")
    assert composed("data=image_folder", root, *both).data.images == "images/{split}"


@pytest.mark.parametrize("multirun", [False, True])
@pytest.mark.parametrize("key", ["data.images", "data.labels", "data.csv", "data.image_stack"])
def test_braces_arrive_as_typed(tmp_path: Path, key: str, multirun: bool) -> None:
    typed = f"{key}=" + "{split}/a {split}"
    assert quote_path(typed, multirun) == f"{key}='" + "{split}/a {split}'"


def test_braces_in_the_file_of_a_sweep_arrive_as_written() -> None:
    params = {"data.images": "images/{split},{split}/raw", "lr": "1e-3,1e-4"}
    points = [{"data.labels": "labels/{split}", "data.root": "a b"}]
    loader = ConfigLoaderImpl(create_config_search_path(None))
    (overrides,) = merged([], params, points)
    jobs = [{o.key_or_group: o.value() for o in parse(job, loader)} for job in expand(overrides, loader)]
    assert [(job["data.images"], job["lr"]) for job in jobs] == [
        ("images/{split}", 1e-3),
        ("images/{split}", 1e-4),
        ("{split}/raw", 1e-3),
        ("{split}/raw", 1e-4),
    ]
    assert {(job["data.labels"], job["data.root"]) for job in jobs} == {("labels/{split}", "a b")}
