"""Label values as people have them, and files of other kinds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.conftest import composed
from tests.data.label_files import data, random, save
from unet_exp.config.label_map import LabelMap, label_map
from unet_exp.config.schema import IGNORE, DataConfig
from unet_exp.data.datasets import SegmentationDataset
from unet_exp.data.formats import read_array
from unet_exp.data.labels import class_indices
from unet_exp.data.samples import load_samples
from unet_exp.data.splits import find_splits
from unet_exp.data.transforms import Compose
from unet_exp.errors import DataError, UserError

FIVE = ["sky", "road", "tree", "car", "person"]


CODES = {0: "sky", 40: "road", 90: "tree", 7: "car", 200: "person", 255: "ignore"}


def five() -> LabelMap:
    return label_map(DataConfig(classes=FIVE, label_map=CODES))


def test_codes_that_do_not_follow_each_other() -> None:
    codes = np.array(list(CODES), np.uint8)
    label = codes[random(0, most=len(codes))]
    found = class_indices(label[..., None], "a", five())
    expected = [0, 1, 2, 3, 4, IGNORE]
    for code, index in zip(codes, expected, strict=True):
        assert (found[..., 0][label == code] == index).all()
    assert found.dtype == np.uint8
    for dtype in (np.uint16, np.int64, np.float64):  # the same map for wider files
        assert np.array_equal(class_indices(label[..., None].astype(dtype), "a", five()), found)


@pytest.mark.parametrize("form", ["255-0-0", "255,0,0", "255 0 0", "#ff0000", "#FF0000"])
def test_colours(form: str) -> None:
    labels = label_map(DataConfig(classes=["sky", "tree"], label_map={"0-0-0": "sky", form: "tree"}))
    mask = random(1, most=2)
    colour = np.zeros((*mask.shape, 3), np.uint8)
    colour[..., 0] = mask * 255
    assert np.array_equal(class_indices(colour, "a", labels)[..., 0], mask)
    with_alpha = np.concatenate([colour, np.full((*mask.shape, 1), 255, np.uint8)], axis=2)
    assert np.array_equal(class_indices(with_alpha, "a", labels)[..., 0], mask)
    colour[0, 0] = 3, 2, 1
    with pytest.raises(DataError, match=r"3-2-1 \(1 px\)") as caught:
        class_indices(colour, "a", labels)
    assert "'data.label_map={0-0-0: sky, 255-0-0: tree, 3-2-1: ignore}'" in str(caught.value)


def test_unknown_values_are_named_with_counts_and_lines() -> None:
    label = np.zeros((4, 5, 1), np.uint8)
    label[0], label[1, :2] = 13, 99
    with pytest.raises(DataError) as caught:
        class_indices(label, "masks/a.png", five())
    text = str(caught.value)
    for part in (
        "masks/a.png",
        "13 (5 px), 99 (2 px)",
        "200: person, 255: ignore, 13: ignore, 99: ignore}",
        "sky, road, tree, car, person",
    ):
        assert part in text
    assert "0 (" not in text  # what is known is not listed


def test_a_colour_label_without_a_map_shows_the_lines() -> None:
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[0, 0] = 255, 0, 0
    with pytest.raises(DataError) as caught:
        class_indices(colour, "a")
    assert "data.label_map={0-0-0: background, 255-0-0: foreground}" in str(caught.value)


@pytest.mark.parametrize(
    ("map_", "expected"),
    [
        ({0: "sky", 1: "lake"}, "lake"),
        ({0: "sky"}, "gives no value to tree"),
        ({"red": "sky"}, "'red'"),
        ({0: "sky", "0-0-1": "tree"}, "mixes"),
        ([0, 1], "allowed"),
        ({"300-0-0": "sky"}, "300-0-0"),
    ],
)
def test_maps_that_are_none(map_: Any, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        label_map(DataConfig(classes=["sky", "tree"], label_map=map_))


def test_a_map_on_the_command_line_is_checked_before_anything_is_read() -> None:
    overrides = ["data=image_folder", "data.root=.", "data.classes=[sky,tree]", "loss=ce"]
    config = composed(*overrides, "data.label_map={0-0-0: sky, 255-0-0: tree, 9-9-9: ignore}")
    assert label_map(config.data).values == {0: 0, 0xFF0000: 1, 0x090909: IGNORE}
    with pytest.raises(UserError, match="lake"):
        composed(*overrides, "data.label_map={0: sky, 1: lake}")
    with pytest.raises(UserError, match="would learn the ignored pixels"):
        composed(*overrides, "loss=bce", "data.label_map={0: sky, 1: tree, 255: ignore}")


def test_npz_by_name_or_alone(tmp_path: Path) -> None:
    image, label = random(0), random(1, most=2)
    np.savez(tmp_path / "both.npz", image=image, label=label)
    np.savez_compressed(tmp_path / "one.npz", image)
    assert np.array_equal(read_array(tmp_path / "both.npz")[..., 0], image)
    assert np.array_equal(read_array(tmp_path / "both.npz", label=True)[..., 0], label)
    assert np.array_equal(read_array(tmp_path / "one.npz")[..., 0], image)
    np.savez(tmp_path / "other.npz", a=image, b=label)
    with pytest.raises(DataError, match="holds the arrays a, b"):
        read_array(tmp_path / "other.npz")


def test_channels_in_front_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="are the channels in front"):
        read_array(save(tmp_path / "a.npy", random(0, (3, 64, 48))))


def test_planes_of_a_tiff_become_channels(tmp_path: Path) -> None:
    array = random(0, (3, 64, 48))
    path = save(tmp_path / "a.tif", array, photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_array(path), np.moveaxis(array, 0, -1))


def test_big_endian_files(tmp_path: Path) -> None:
    array = random(0).astype(">u2") * 257
    for path in (save(tmp_path / "a.npy", array), tmp_path / "a.tif"):
        if path.suffix == ".tif":
            tifffile.imwrite(path, array, byteorder=">")
        found = read_array(path)
        assert found.dtype == np.uint16
        assert found.dtype.isnative
        assert np.array_equal(found[..., 0], array)


def test_animated_pictures_and_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.fromarray(random(i)) for i in range(2)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "a.gif").rename(tmp_path / "gif.png")
    frames[0].save(tmp_path / "b.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"gif\.png can't be read"):
        read_array(tmp_path / "gif.png")
    with pytest.raises(DataError, match="animated"):
        read_array(tmp_path / "b.png")
    monkeypatch.setattr("unet_exp.data.formats.MOST_PIXELS", 1000)
    np.savez_compressed(tmp_path / "bomb.npz", np.zeros((70, 60), np.uint8))
    with pytest.raises(DataError, match="megapixels"):
        read_array(tmp_path / "bomb.npz")


def test_pages_of_an_image_folder_become_samples(tmp_path: Path) -> None:
    images, labels = random(0, (3, 12, 10)), random(1, (3, 12, 10), most=2)
    save(tmp_path / "images" / "a.tif", images, photometric="minisblack")
    save(tmp_path / "labels" / "a.tif", labels, photometric="minisblack")
    items = find_splits(data(tmp_path))["train"]
    assert [item.name for item in items] == ["a_000", "a_001", "a_002"]
    samples = load_samples(items, "train", "none", 0)
    for page in range(3):
        sample = SegmentationDataset(samples, Compose([]), 0)[0, page]
        assert np.allclose(sample["input"][..., 0], images[page] / 255)
        assert np.array_equal(sample["label"][..., 0], labels[page])
    save(tmp_path / "labels" / "a.tif", labels[:2], photometric="minisblack")
    with pytest.raises(DataError, match="3 pages, but"):
        find_splits(data(tmp_path))
