"""A folder of masks for each image, one mask for each object: found, read, and refused where it is wrong."""

import logging
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.data.sets import SMALL, line_of, pasted, save, scene, settings, survey, train
from unet_exp.config.label_map import label_map
from unet_exp.config.resolve import check
from unet_exp.data.items import Item
from unet_exp.data.samples import load_samples
from unet_exp.data.splits import find_splits
from unet_exp.errors import DataError, UserError
from unet_exp.training.setup import fingerprint_files

OBJECTS = ["data.labels_are=objects", "data.classes=[background,edge,middle,core]"]
BOWL = ("{name}/images/{name}.png", "{name}/masks")
LAYOUTS = {
    "bowl": BOWL,
    "bowl, a folder above": ("stage1_train/{name}/images/{name}.png", "stage1_train/{name}/masks"),
    "image beside masks": ("{name}/image.png", "{name}/masks"),
    "images and masks": ("images/{name}.png", "masks/{name}"),
    "default names": ("images/{name}.png", "labels/{name}"),
}


def write_masks(root: Path, images: str, labels: str, count: int = 6) -> list[npt.NDArray[np.bool_]]:
    """Image i has the squares 0 to i + 1, in masks 8.png, 9.png, ...; returns those of the last image."""
    masks: list[npt.NDArray[np.bool_]] = []
    for index in range(count):
        name = f"n{index}"
        masks = []
        for number in range(index + 2):
            mask = np.zeros((32, 32), bool)
            row, column = divmod(number, 4)
            mask[8 * row : 8 * row + 6, 8 * column : 8 * column + 6] = True
            masks.append(mask)
            save(root / labels.format(name=name) / f"{8 + number}.png", mask * np.uint8(255))
        image = scene(index)[0] // 2 + np.any(masks, axis=0) * np.uint8(100)
        save(root / images.format(name=name), image)
    return masks


def words_of(root: Path) -> list[str]:
    where = [f"data.root={root}", "data.images={name}/images", "data.labels={name}/masks"]
    return ["data=image_folder", *where, *OBJECTS, "data.split.mode=blocks", "data.split.val=0"]


def load(root: Path) -> list[npt.NDArray[np.int32]]:
    data = check(settings(words_of(root))).data
    samples = load_samples(find_splits(data)["train"], "train", "ram", 100, label_map(data))
    assert samples.pairs is not None
    return [label[..., 0] for _, label in samples.pairs]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_line_of_check_data_trains_on_a_mask_for_each_object(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_masks(tmp_path / "data", *LAYOUTS[name])
    said = survey(capsys, "data=image_folder", "data.root=data")
    assert "a mask for each object" in " ".join(said.split())
    assert "labels:   27 objects, 2 to 7 in an image (median 4.5)" in said
    words = pasted(line_of(said))
    assert set(OBJECTS) < set(words)
    assert survey(capsys, *words).rstrip().endswith("ready")
    if name in ("bowl", "images and masks"):
        train(tmp_path / "run", [*words, *SMALL])


def test_splits_in_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for split in ("test", "train", "val"):
        write_masks(tmp_path / "data" / split, *BOWL, count=4)
    said = survey(capsys, "data=image_folder", "data.root=data", "data.duplicates=allow")
    assert "pairs:    12 (train 4, val 4, test 4; split by folders)" in said
    for folder in (tmp_path / "data/test").glob("*/masks"):
        shutil.rmtree(folder)
    said = survey(capsys, "data=image_folder", "data.root=data", "data.duplicates=allow")
    assert "pairs:    8 (train 4, val 4, test 0; split by folders)" in said
    shutil.rmtree(tmp_path / "data/train")
    said = survey(capsys, "data=image_folder", "data.root=data", "data.duplicates=allow", code=1)
    assert "{name}" not in said


def test_numbers_follow_the_names_and_a_pixel_of_two_masks_is_of_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    masks = write_masks(tmp_path, *BOWL, count=3)
    save(tmp_path / "n1/masks/99.png", np.ones((32, 32), np.uint8))
    with caplog.at_level(logging.WARNING):
        labels = load(tmp_path)
    expected = np.zeros((32, 32), int)
    for number, mask in enumerate(masks[:3], start=1):
        expected[mask] = number
    assert np.array_equal(labels[1], np.where(expected, expected, 4))
    assert [label.max() for label in labels] == [2, 4, 4]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("train: 108 pixels of 1 image lie in several masks; each counts for the first")


def test_every_mask_is_in_the_fingerprint(tmp_path: Path) -> None:
    write_masks(tmp_path, *BOWL, count=3)
    config = check(settings([*words_of(tmp_path), "data.split.val=1"]))
    files = fingerprint_files(config, find_splits(config.data), None, True)["files"]
    assert {"train/n0/images/n0.png", "train/n0/masks/8.png", "val/n2/masks/11.png"} < set(files)
    assert len(files) == 3 + 2 + 3 + 4


def test_what_is_refused(tmp_path: Path) -> None:
    write_masks(tmp_path, *BOWL, count=3)
    mask = tmp_path / "n1/masks/9.png"
    save(mask, np.ones((32, 30), np.uint8))
    with pytest.raises(
        DataError, match=r"9\.png is 32 x 30, but .*8\.png, a mask of the same image, is 32 x 32"
    ):
        load(tmp_path)
    for path in (tmp_path / "n1/masks").iterdir():
        save(path, np.ones((30, 32), np.uint8))
    with pytest.raises(DataError, match=r"n1\.png is 32 x 32, but its label .*masks is 30 x 32"):
        load(tmp_path)
    for path in (tmp_path / "n1/masks").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"1 folder without masks: .*n1/masks(.|\n)*0 everywhere"):
        load(tmp_path)
    (tmp_path / "n1/masks").rmdir()
    with pytest.raises(DataError, match=r"images without a label \(1\): n1\.png"):
        load(tmp_path)
    save(tmp_path / "n1/images/other.png", np.ones((32, 32), np.uint8))
    with pytest.raises(DataError, match=r"images holds 2 images: n1\.png, other\.png"):
        load(tmp_path)


def test_a_list_names_folders_of_masks(tmp_path: Path) -> None:
    write_masks(tmp_path, *BOWL, count=3)
    rows = [f"n{index}/images/n{index}.png,n{index}/masks,train" for index in range(3)]
    (tmp_path / "list.csv").write_text("\n".join(["image,label,split", *rows]))
    words = ["data=csv", f"data.root={tmp_path}"]
    items = find_splits(check(settings([*words, *OBJECTS])).data)["train"]
    assert [len(item.masks) for item in items] == [2, 3, 4]
    with pytest.raises(DataError, match="line 2: "):
        find_splits(check(settings(words)).data)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["data.labels_are=classes", "data.classes=[a,b]"],
            "stands for masks of one object each",
        ),
        (["data.labels=masks"], "has no {name}, but data.images has"),
        (["data.labels={name}_masks"], "{name} once, as a folder"),
        (["data.label_suffix=_mask"], "data.label_suffix is given"),
    ],
)
def test_settings_that_do_not_fit(arguments: list[str], expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as failure:
        check(settings([*words_of(tmp_path), *arguments]))
    assert expected in str(failure.value)


def test_an_item_names_all_its_files() -> None:
    item = Item("a", Path("a.png"), Path("masks"))
    assert item.files == (Path("a.png"), Path("masks"))
    masks = (Path("masks/1.png"), Path("masks/2.png"))
    assert Item("a", Path("a.png"), Path("masks"), masks=masks).files == (Path("a.png"), *masks)
