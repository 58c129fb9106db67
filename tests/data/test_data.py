"""Files to checked samples, on real files of every kind: what is read, and what is refused and how."""

import logging
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
from PIL import Image

from unet_exp.config.schema import DataConfig, SplitConfig
from unet_exp.data.datasets import Samples, SegmentationDataset, check_batches, load_samples
from unet_exp.data.labels import class_indices
from unet_exp.data.splits import Splits, find_splits
from unet_exp.data.transforms import Compose, Normalization, RandomFlip, ToTensor
from unet_exp.errors import DataError

Array = npt.NDArray[Any]
H, W = 6, 5


def grey(seed: int = 0, shape: tuple[int, ...] = (H, W)) -> Array:
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def mask(seed: int = 0, shape: tuple[int, int] = (H, W)) -> Array:
    """Zeros and ones, both there."""
    values = np.random.default_rng(seed + 100).integers(2, size=shape, dtype=np.uint8)
    values[0, 0], values[0, 1] = 0, 1
    return values


def save(path: Path, array: Array, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array, **options)
    else:
        Image.fromarray(array).save(path, **options)


def config(root: Path, kind: str = "image_folder", cache: str = "auto", **split: Any) -> DataConfig:
    return DataConfig(kind=kind, root=str(root), cache=cache, split=SplitConfig(**split))


def pair(root: Path, name: str, seed: int = 0) -> None:
    save(root / "images" / f"{name}.png", grey(seed))
    save(root / "labels" / f"{name}.png", mask(seed) * 255)


def folder_of(root: Path, count: int) -> Path:
    for i in range(count):
        pair(root, f"{i:02d}", i)
    return root


def names(splits: Splits) -> dict[str, list[str]]:
    return {part: [item.name for item in items] for part, items in splits.items()}


def load_all(data: DataConfig) -> Samples:
    """Every sample of the set, as the training part."""
    data.split = SplitConfig(mode="blocks", train="rest", val=0, test=0)
    return load_samples(find_splits(data)["train"], "train", data.cache, data.cache_limit_mb)


def plain(samples: Samples, index: int = 0) -> tuple[Array, Array]:
    sample = SegmentationDataset(samples, Compose([]), seed=0)[0, index]
    assert sample["index"] == index
    for key in ("input", "label"):
        assert sample[key].dtype == np.float32
    return sample["input"], sample["label"]


def refusal(data: DataConfig) -> str:
    with pytest.raises(DataError) as caught:
        load_all(data)
    return str(caught.value)


# ---- what is read -------------------------------------------------------------------------------


def check_image(root: Path, name: str, array: Array, expected: Array, **options: Any) -> None:
    """An image file of this content is read as `expected` (H x W or H x W x C, in [0, 1])."""
    save(root / "images" / name, array, **options)
    save(root / "labels" / "a.png", mask())
    samples = load_all(config(root))
    image, label = plain(samples)
    expected = expected[..., np.newaxis] if expected.ndim == 2 else expected
    assert samples.channels == expected.shape[2]
    assert samples.sizes == [(H, W)]
    np.testing.assert_allclose(image, expected, rtol=1e-6, atol=0)
    assert np.array_equal(label[..., 0], mask())


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.PNG"])
@pytest.mark.parametrize("shape", [(H, W), (H, W, 3)])
def test_8_bit(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    if name.endswith("tif"):
        photometric = "rgb" if len(shape) == 3 else "minisblack"
        check_image(tmp_path, name, grey(0, shape), grey(0, shape) / 255.0, photometric=photometric)
    else:
        check_image(tmp_path, name, grey(0, shape), grey(0, shape) / 255.0)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit(tmp_path: Path, name: str) -> None:
    array = np.random.default_rng(0).integers(65536, size=(H, W), dtype=np.uint16)
    array[0, :2] = 0, 65535
    check_image(tmp_path, name, array, array / 65535.0)


def test_jpeg_is_read_about_right(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)
    save(tmp_path / "images" / "a.jpg", ramp, quality=100)
    save(tmp_path / "labels" / "a.png", mask(shape=(8, 8)))
    image, _ = plain(load_all(config(tmp_path)))
    assert np.abs(image[..., 0] - ramp / 255.0).max() < 0.05


def test_palette_image_is_read_by_its_colours(tmp_path: Path) -> None:
    indices = mask()
    image = Image.fromarray(indices, mode=None).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata(indices.ravel().tolist())
    (tmp_path / "images").mkdir()
    image.save(tmp_path / "images" / "a.png")
    save(tmp_path / "labels" / "a.png", mask())
    found, _ = plain(load_all(config(tmp_path)))
    colours = np.array([[10, 20, 30], [200, 100, 50]]) / 255.0
    np.testing.assert_allclose(found, colours[indices], rtol=1e-6)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_1_bit_image_spans_0_to_1(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {"photometric": "minisblack"} if name == "a.tif" else {}
    check_image(tmp_path, name, mask().astype(bool), mask().astype(float), **options)


def test_white_is_what_is_drawn_white(tmp_path: Path) -> None:
    """A TIFF may store white as 0, as ImageJ does with an inverting lookup table."""
    save(tmp_path / "images" / "a.tif", 255 - grey(), photometric="miniswhite")
    save(tmp_path / "labels" / "a.tif", (1 - mask()) * 255, photometric="miniswhite")
    for part, expected in (("images", grey()), ("labels", mask() * 255)):
        with Image.open(tmp_path / part / "a.tif") as drawn:
            assert np.array_equal(np.asarray(drawn), expected)  # what a viewer shows
    image, label = plain(load_all(config(tmp_path)))
    assert np.array_equal(label[..., 0], mask())
    np.testing.assert_allclose(image[..., 0], grey() / 255.0, rtol=1e-6)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(tmp_path: Path, compression: str) -> None:
    folder_of(tmp_path, 1)
    (tmp_path / "images" / "00.png").unlink()
    Image.fromarray(grey(3)).save(tmp_path / "images" / "00.tif", compression=compression)
    image, _ = plain(load_all(config(tmp_path)))
    np.testing.assert_allclose(image[..., 0], grey(3) / 255.0, rtol=1e-6)


LABELS: dict[str, Callable[[], Array]] = {
    "0 and 255": lambda: mask() * np.uint8(255),
    "0 and 1": mask,
    "1 bit": lambda: mask().astype(bool),
    "grey as RGB": lambda: np.repeat(mask()[..., np.newaxis] * np.uint8(255), 3, axis=2),
}


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("form", LABELS)
def test_labels(tmp_path: Path, form: str, name: str) -> None:
    save(tmp_path / "images" / "a.png", grey())
    photometric = "rgb" if form == "grey as RGB" else "minisblack"
    options: dict[str, Any] = {"photometric": photometric} if name == "a.tif" else {}
    save(tmp_path / "labels" / name, LABELS[form](), **options)
    image, label = plain(load_all(config(tmp_path)))
    assert label.shape == (H, W, 1)
    assert np.array_equal(label[..., 0], mask())
    np.testing.assert_allclose(image[..., 0], grey() / 255.0, rtol=1e-6)


def test_palette_label_is_read_by_its_indices(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", grey())
    image = Image.new("P", (W, H))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putdata(mask().ravel().tolist())
    (tmp_path / "labels").mkdir()
    image.save(tmp_path / "labels" / "a.png")
    assert np.array_equal(plain(load_all(config(tmp_path)))[1][..., 0], mask())


@pytest.mark.parametrize("value", [0, 1, 255])
def test_label_of_one_value(value: int) -> None:
    found = class_indices(np.full((H, W, 1), value, np.uint8), "a")
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.full((H, W, 1), min(value, 1)))


NPY: dict[str, tuple[Array, Array]] = {
    "uint8": (grey(), grey() / 255.0),
    "uint16": (grey().astype(np.uint16) * 257, grey() / 255.0),
    "float32": (grey().astype(np.float32) / 300, grey() / 300.0),
    "float64": (grey() / 300.0, grey() / 300.0),
    "three channels": (grey(0, (H, W, 3)), grey(0, (H, W, 3)) / 255.0),
    "H x W x 1": (grey()[..., np.newaxis], grey() / 255.0),
}


@pytest.mark.parametrize("form", NPY)
def test_npy(tmp_path: Path, form: str) -> None:
    stored, expected = NPY[form]
    for part in ("train", "val"):
        save(tmp_path / part / "input_000.npy", stored)
        save(tmp_path / part / "label_000.npy", mask().astype(bool) if form == "uint16" else mask() * 255)
    save(tmp_path / "train" / "notes.npy", grey())  # of no interest
    splits = find_splits(config(tmp_path, "npy_folder"))
    assert names(splits) == {"train": ["000"], "val": ["000"], "test": []}
    image, label = plain(load_samples(splits["train"], "train", "auto", 100))
    np.testing.assert_allclose(image, expected.reshape(H, W, -1), rtol=1e-6)
    assert np.array_equal(label[..., 0], mask())


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint32])
def test_wide_integers_have_no_scale(tmp_path: Path, dtype: type) -> None:
    """What numpy makes of 0..255 by default: taken as floats it would be 255 times too bright."""
    for part in ("train", "val"):
        save(tmp_path / part / "input_000.npy", grey().astype(dtype))
        save(tmp_path / part / "label_000.npy", mask())
    items = find_splits(config(tmp_path, "npy_folder"))["train"]
    with pytest.raises(DataError, match=r"input_000\.npy"):
        load_samples(items, "train", "auto", 100)


def test_float_label(tmp_path: Path) -> None:
    label = mask()[..., np.newaxis].astype(np.float64)
    assert np.array_equal(class_indices(label, "a"), mask()[..., np.newaxis])
    label[2, 2] = np.nan
    with pytest.raises(DataError, match=r"nan \(1 px\)"):
        class_indices(label, "a")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_stack(tmp_path: Path, compression: str | None) -> None:
    volume, labels = grey(0, (7, H, W)), np.stack([mask(i) * 255 for i in range(7)])
    save(tmp_path / "train-volume.tif", volume, compression=compression, photometric="minisblack")
    save(tmp_path / "train-labels.tif", labels, compression=compression, photometric="minisblack")
    data = config(tmp_path, "tiff_stack", mode="blocks", train=4, val=2, test="rest")
    splits = find_splits(data)
    assert names(splits) == {"train": ["00", "01", "02", "03"], "val": ["04", "05"], "test": ["06"]}
    for part, first in (("train", 0), ("val", 4), ("test", 6)):
        samples = load_samples(splits[part], part, "auto", 100)
        for index in range(len(splits[part])):
            image, label = plain(samples, index)
            np.testing.assert_allclose(image[..., 0], volume[first + index] / 255.0, rtol=1e-6)
            assert np.array_equal(label[..., 0] * 255, labels[first + index])


def test_tiff_stack_under_other_names(tmp_path: Path) -> None:
    save(tmp_path / "raw.tif", grey(0, (2, H, W)), photometric="minisblack")
    save(tmp_path / "truth.tif", np.stack([mask(), mask(1)]), photometric="minisblack")
    data = config(tmp_path, "tiff_stack")
    with pytest.raises(DataError, match=r"train-volume\.tif is not there") as caught:
        find_splits(data)
    assert "raw.tif, truth.tif" in str(caught.value)
    data.image_stack, data.label_stack = "raw.tif", "truth.tif"
    assert load_all(data).sizes == [(H, W), (H, W)]


# ---- which files belong together ------------------------------------------------------------------


def test_pairs_by_name_whatever_the_ending(tmp_path: Path) -> None:
    save(tmp_path / "images" / "b.tif", grey(1))
    save(tmp_path / "labels" / "b.png", mask(1))
    save(tmp_path / "images" / "a.b.png", grey(2))
    save(tmp_path / "labels" / "a.b.bmp", mask(2) * 255)
    save(tmp_path / "images" / ".hidden.png", grey())
    (tmp_path / "images" / "readme.txt").write_text("no image")
    samples = load_all(config(tmp_path))
    assert [item.name for item in samples.items] == ["a.b", "b"]
    for index, seed in enumerate((2, 1)):
        image, label = plain(samples, index)
        np.testing.assert_allclose(image[..., 0], grey(seed) / 255.0, rtol=1e-6)
        assert np.array_equal(label[..., 0], mask(seed))


def test_files_without_a_partner_are_listed(tmp_path: Path) -> None:
    folder_of(tmp_path, 3)
    (tmp_path / "labels" / "01.png").unlink()
    save(tmp_path / "images" / "x1.tif", grey())
    save(tmp_path / "labels" / "y1.png", mask())
    text = refusal(config(tmp_path))
    assert "images without a label (2): 01.png, x1.tif" in text
    assert "labels without an image (1): y1.png" in text
    assert "00.png" not in text
    assert str(tmp_path) in text


def test_long_list_of_partnerless_files_is_cut(tmp_path: Path) -> None:
    folder_of(tmp_path, 1)
    for i in range(14):
        save(tmp_path / "images" / f"x{i:02d}.png", grey())
    text = refusal(config(tmp_path))
    assert "(14): x00.png" in text
    assert "x09.png and 4 more" in text
    assert "x10" not in text


def test_npy_without_a_partner(tmp_path: Path) -> None:
    for part in ("train", "val"):
        save(tmp_path / part / "input_000.npy", grey())
        save(tmp_path / part / "label_000.npy", mask())
    save(tmp_path / "val" / "input_001.npy", grey())
    with pytest.raises(DataError, match=r"input_001\.npy"):
        find_splits(config(tmp_path, "npy_folder"))


def test_two_files_of_one_name(tmp_path: Path) -> None:
    folder_of(tmp_path, 2)
    save(tmp_path / "images" / "01.tif", grey())
    assert "more than one file named 01." in refusal(config(tmp_path))


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    text = refusal(config(tmp_path))
    assert "no folder images" in text
    assert "other/" in text
    (tmp_path / "images").mkdir()
    assert "no folder labels" in refusal(config(tmp_path))
    (tmp_path / "labels").mkdir()
    assert "no images in" in refusal(config(tmp_path))
    with pytest.raises(DataError, match="no folders train and val"):
        find_splits(config(tmp_path, "npy_folder"))


@pytest.mark.parametrize("kind", ["image_folder", "npy_folder", "tiff_stack"])
@pytest.mark.parametrize("form", ["nothing", "a file"])
def test_root_that_is_no_folder(tmp_path: Path, kind: str, form: str) -> None:
    root = tmp_path / "gone"
    if form == "a file":
        root.write_text("")
    with pytest.raises(DataError, match="gone"):
        find_splits(config(root, kind))


def test_folder_with_stacks_says_so(tmp_path: Path) -> None:
    save(tmp_path / "train-volume.tif", grey(0, (2, H, W)), photometric="minisblack")
    assert "data.kind=tiff_stack" in refusal(config(tmp_path))


# ---- what is refused ------------------------------------------------------------------------------


def test_sizes_that_differ(tmp_path: Path) -> None:
    folder_of(tmp_path, 2)
    save(tmp_path / "labels" / "01.png", mask(shape=(W, H)))
    text = refusal(config(tmp_path))
    assert f"{tmp_path / 'images' / '01.png'} is {H} x {W}" in text
    assert f"{tmp_path / 'labels' / '01.png'} is {W} x {H}" in text


def test_stacks_with_different_page_counts(tmp_path: Path) -> None:
    save(tmp_path / "train-volume.tif", grey(0, (4, H, W)), photometric="minisblack")
    save(tmp_path / "train-labels.tif", np.stack([mask()] * 3), photometric="minisblack")
    with pytest.raises(DataError, match=r"(?s)train-volume\.tif has 4 pages.*train-labels\.tif has 3"):
        find_splits(config(tmp_path, "tiff_stack"))


def test_page_of_a_stack_is_named(tmp_path: Path) -> None:
    labels = np.stack([mask(), mask(), np.full((H, W), 7, np.uint8)])
    save(tmp_path / "train-volume.tif", grey(0, (3, H, W)), photometric="minisblack")
    save(tmp_path / "train-labels.tif", labels, photometric="minisblack")
    assert "train-labels.tif page 2 has values that are not binary: 7 (30 px)" in refusal(
        config(tmp_path, "tiff_stack")
    )


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "zlib.tif", "npy"])
@pytest.mark.parametrize("keep", [0, 0.6])
def test_truncated_and_empty_files(tmp_path: Path, suffix: str, keep: float) -> None:
    parts = ("train", "val")
    for part in parts:
        folder = tmp_path / part / "images" if suffix != "npy" else tmp_path / part
        path = folder / ("input_000.npy" if suffix == "npy" else f"a.{suffix}")
        options: dict[str, Any] = {"compression": "zlib"} if suffix == "zlib.tif" else {}
        save(path, grey(0, (40, 40)), **options)
        label = tmp_path / part / ("label_000.npy" if suffix == "npy" else f"labels/{path.stem}.png")
        save(label, mask(shape=(40, 40)))
    data = config(tmp_path, "npy_folder" if suffix == "npy" else "image_folder", mode="folders")
    items = find_splits(data)["train"]
    load_samples(items, "train", "none", 0)  # whole, it is read
    path = items[0].image
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(DataError) as caught:
        load_samples(items, "train", "none", 0)
    assert f"{path} can't be read" in str(caught.value)


def test_pickled_npy_is_not_opened(tmp_path: Path) -> None:
    for part in ("train", "val"):
        save(tmp_path / part / "input_000.npy", np.array([{"a": 1}], dtype=object))
        save(tmp_path / part / "label_000.npy", mask())
    items = find_splits(config(tmp_path, "npy_folder"))["train"]
    with pytest.raises(DataError, match=r"input_000\.npy can't be read"):
        load_samples(items, "train", "none", 0)


@pytest.mark.parametrize("shape", [(H,), (2, 3, H, W), (0, W, 1)])
def test_arrays_that_are_no_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    for part in ("train", "val"):
        save(tmp_path / part / "input_000.npy", np.zeros(shape, np.float32))
        save(tmp_path / part / "label_000.npy", mask())
    items = find_splits(config(tmp_path, "npy_folder"))["train"]
    with pytest.raises(DataError) as caught:
        load_samples(items, "train", "none", 0)
    assert f"input_000.npy holds an array of shape {shape}" in str(caught.value)


def test_image_that_is_not_finite(tmp_path: Path) -> None:
    image = grey().astype(np.float32)
    image[1, 1] = np.nan
    for part in ("train", "val"):
        save(tmp_path / part / "input_000.npy", image)
        save(tmp_path / part / "label_000.npy", mask())
    items = find_splits(config(tmp_path, "npy_folder"))["train"]
    with pytest.raises(DataError, match=r"input_000\.npy holds values that are not numbers"):
        load_samples(items, "train", "none", 0)


def test_label_that_is_not_binary(tmp_path: Path) -> None:
    folder_of(tmp_path, 2)
    label = np.zeros((H, W), np.uint8)
    label[0] = 255
    label[1, :2] = 128
    save(tmp_path / "labels" / "01.png", label)
    text = refusal(config(tmp_path))
    assert f"{tmp_path / 'labels' / '01.png'} has values that are not binary" in text
    assert "0 (23 px), 128 (2 px), 255 (5 px)" in text
    assert "0 and 255" in text


def test_label_with_0_1_and_255(tmp_path: Path) -> None:
    label = mask()
    label[0, 0] = 255
    with pytest.raises(DataError, match=r"255 \(1 px\)"):
        class_indices(label[..., np.newaxis], "a")


def test_many_values_are_cut() -> None:
    values = np.arange(30, dtype=np.uint8).reshape(H, W, 1)
    with pytest.raises(DataError, match=r"7 \(1 px\) and 22 more"):
        class_indices(values, "a")


@pytest.mark.parametrize("name", ["00.png", "00.tif"])
def test_colour_label_is_refused(tmp_path: Path, name: str) -> None:
    folder_of(tmp_path, 1)
    (tmp_path / "labels" / "00.png").unlink()
    colour = np.zeros((H, W, 3), np.uint8)
    colour[..., 0] = 255 * mask()
    options: dict[str, Any] = {"photometric": "rgb"} if name == "00.tif" else {}
    save(tmp_path / "labels" / name, colour, **options)
    text = refusal(config(tmp_path))
    assert f"{name} is a colour image" in text


def test_mixed_channels(tmp_path: Path) -> None:
    folder_of(tmp_path, 3)
    save(tmp_path / "images" / "01.png", grey(0, (H, W, 3)))
    text = refusal(config(tmp_path))
    assert "1 in 00" in text
    assert "3 in 01" in text


def test_several_broken_files_in_one_message(tmp_path: Path) -> None:
    folder_of(tmp_path, 5)
    (tmp_path / "images" / "00.png").write_bytes(b"")
    save(tmp_path / "labels" / "02.png", np.full((H, W), 9, np.uint8))
    save(tmp_path / "labels" / "04.png", mask(shape=(3, 3)))
    text = refusal(config(tmp_path))
    assert "3 of 5 files can't be used" in text
    for part in ("images/00.png can't be read", "labels/02.png has values", "images/04.png is 6 x 5"):
        assert part in text
    assert "01.png" not in text


def test_files_that_are_broken_alike_are_one_problem_with_its_count(tmp_path: Path) -> None:
    folder_of(tmp_path, 12)
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"")
    text = refusal(config(tmp_path))
    assert "12 of 12" in text
    assert text.count("can't be read") == 1
    assert "(12 such files: also 01, 02, 03, 04 and 7 more)" in text


def test_labels_of_codes_are_one_problem_with_the_classes_of_all(tmp_path: Path) -> None:
    folder_of(tmp_path, 4)
    for index in range(4):
        label = np.zeros((H, W), np.uint8)
        label[: 1 + index, :2] = 1 + index
        save(tmp_path / "labels" / f"{index:02d}.png", label)
    text = refusal(config(tmp_path))
    assert text.count("not binary") == 1
    assert "3 labels, such as" in text  # that of 0 and 1 is binary
    assert "ask what all labels hold" in text
    save(tmp_path / "labels" / "00.png", label)
    assert "data.classes=[class_0,class_2,class_3,class_4]" in refusal(config(tmp_path))


def test_empty_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the val split is empty"):
        load_samples([], "val", "auto", 10)


# ---- splits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "val", "test", "expected"),
    [
        (6, 3, 1, (6, 3, 1)), ("rest", 3, 2, (5, 3, 2)), (5, "rest", 0, (5, 5, 0)), (4, 2, "rest", (4, 2, 4)),
        ("rest", 0.2, 0, (8, 2, 0)), (0.5, 0.3, 0.2, (5, 3, 2)), ("rest", 0.01, 0.0, (9, 1, 0)),
        (2, 1, 0, (2, 1, 0)), ("rest", 10, 0, (0, 10, 0)),
    ],
)  # fmt: skip
def test_blocks(tmp_path: Path, train: Any, val: Any, test: Any, expected: tuple[int, ...]) -> None:
    splits = find_splits(config(folder_of(tmp_path, 10), mode="blocks", train=train, val=val, test=test))
    assert tuple(len(splits[part]) for part in ("train", "val", "test")) == expected
    in_order = [name for part in ("train", "val", "test") for name in names(splits)[part]]
    assert in_order == [f"{i:02d}" for i in range(sum(expected))]


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.1, 0.1), (0.7, 0.3, 0.0), (0.5, 0.5, 0.0), (0.5, 0.25, 0.25), (0.6, 0.2, 0.2)]
)
@pytest.mark.parametrize("total", [5, 10, 15, 25, 30])
def test_fractions_of_one_use_every_image_once(
    tmp_path: Path, total: int, fractions: tuple[float, ...]
) -> None:
    parts: dict[str, Any] = dict(zip(("train", "val", "test"), fractions, strict=True))
    splits = find_splits(config(folder_of(tmp_path, total), mode="random", **parts))
    found = [name for part in names(splits).values() for name in part]
    assert sorted(found) == [f"{i:02d}" for i in range(total)]
    for part, fraction in parts.items():
        assert abs(len(splits[part]) - fraction * total) <= 1


@pytest.mark.parametrize(("train", "val"), [(8, 3), ("rest", "rest"), ("rest", 11)])
def test_counts_that_do_not_fit(tmp_path: Path, train: Any, val: Any) -> None:
    with pytest.raises(DataError, match=rf"train={train}, val={val}, test=0, but there are 10 images"):
        find_splits(config(folder_of(tmp_path, 10), mode="blocks", train=train, val=val))


def test_random_split(tmp_path: Path) -> None:
    folder_of(tmp_path, 12)
    found = [
        names(find_splits(config(tmp_path, mode="random", train=7, val=3, test=2, seed=seed)))
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]
    for split in found:
        assert [len(split[part]) for part in ("train", "val", "test")] == [7, 3, 2]
        assert sorted(chain.from_iterable(split.values())) == [f"{i:02d}" for i in range(12)]
        assert all(part == sorted(part) for part in split.values())
    assert found[0]["train"] != [f"{i:02d}" for i in range(7)]


def test_listed_split(tmp_path: Path) -> None:
    folder_of(tmp_path, 12)
    data = config(tmp_path, mode="listed", train=["0[0-3]", "1?"], val=["04"], test=["05", "06"])
    assert names(find_splits(data)) == {
        "train": ["00", "01", "02", "03", "10", "11"], "val": ["04"], "test": ["05", "06"],
    }  # fmt: skip


def test_listed_split_overlap(tmp_path: Path) -> None:
    folder_of(tmp_path, 4)
    data = config(tmp_path, mode="listed", train=["0*"], val=["03"], test=[])
    with pytest.raises(DataError, match=r"03 is in data\.split\.val and in data\.split\.train"):
        find_splits(data)


def test_listed_name_that_matches_nothing(tmp_path: Path) -> None:
    folder_of(tmp_path, 3)
    data = config(tmp_path, mode="listed", train=["00", "01"], val=["3*"], test=0)
    with pytest.raises(DataError, match=r"data\.split\.val names '3\*'.*00, 01, 02"):
        find_splits(data)


@pytest.mark.parametrize("mode", ["auto", "folders"])
def test_folders(tmp_path: Path, mode: str) -> None:
    folder_of(tmp_path / "train", 3)
    folder_of(tmp_path / "val", 2)
    splits = find_splits(config(tmp_path, mode=mode))
    assert names(splits) == {"train": ["00", "01", "02"], "val": ["00", "01"], "test": []}
    assert splits["val"][0].image == tmp_path / "val" / "images" / "00.png"
    folder_of(tmp_path / "test", 1)
    assert names(find_splits(config(tmp_path, mode=mode)))["test"] == ["00"]


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    folder_of(tmp_path, 3)
    with pytest.raises(DataError, match="no folders train and val") as caught:
        find_splits(config(tmp_path, mode="folders"))
    assert "images/, labels/" in str(caught.value)
    assert len(find_splits(config(tmp_path, mode="auto"))["train"]) == 2  # rest after a val of 0.2


def test_other_folder_names(tmp_path: Path) -> None:
    save(tmp_path / "raw" / "a.png", grey())
    save(tmp_path / "truth" / "a.png", mask())
    data = config(tmp_path)
    data.images, data.labels = "raw", "truth"
    assert [item.name for item in load_all(data).items] == ["a"]


def test_drawn_images() -> None:
    data = DataConfig(kind="membranes", size=32, seed=5, split=SplitConfig("blocks", 3, 2, 1))
    splits = find_splits(data)
    assert [len(splits[part]) for part in ("train", "val", "test")] == [3, 2, 1]
    images = [plain(load_samples(splits[p], p, "ram", 10), 0)[0].tobytes() for p in ("train", "val", "test")]
    assert len(set(images)) == 3
    data.split.train = "rest"
    with pytest.raises(DataError, match="whole numbers"):
        find_splits(data)


# ---- cache ----------------------------------------------------------------------------------------


def test_cached_and_uncached_samples_are_equal(tmp_path: Path) -> None:
    items = find_splits(config(folder_of(tmp_path, 4), train=4, val=0))["train"]
    transform = Compose([RandomFlip(), Normalization(), ToTensor()])
    sets = [
        SegmentationDataset(load_samples(items, "train", cache, 100), transform, seed=3)
        for cache in ("ram", "none", "auto")
    ]
    assert [dataset.samples.pairs is None for dataset in sets] == [False, True, False]
    for epoch in (0, 1):
        for index in range(4):
            first, *others = (dataset[epoch, index] for dataset in sets)
            for other in others:
                assert torch.equal(other["input"], first["input"])
                assert torch.equal(other["label"], first["label"])


def test_cache_is_kept_as_stored(tmp_path: Path) -> None:
    items = find_splits(config(folder_of(tmp_path, 2), train=2, val=0))["train"]
    pairs = load_samples(items, "train", "ram", 0).pairs
    assert pairs is not None
    assert {array.dtype for both in pairs for array in both} == {np.dtype(np.uint8)}


def test_samples_can_be_changed_without_harm_to_the_cache(tmp_path: Path) -> None:
    items = find_splits(config(folder_of(tmp_path, 1), train=1, val=0))["train"]
    samples = load_samples(items, "train", "ram", 100)
    for array in plain(samples):
        array += 5
    image, label = plain(samples)
    np.testing.assert_allclose(image[..., 0], grey() / 255.0, rtol=1e-6)
    assert np.array_equal(label[..., 0], mask())


@pytest.mark.parametrize(("limit", "in_ram"), [(1, False), (2, True)])
def test_cache_auto_over_the_limit_reads_from_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, limit: int, in_ram: bool
) -> None:
    caplog.set_level(logging.INFO)
    for i in range(4):
        save(tmp_path / "images" / f"{i}.png", np.full((400, 400), i, np.uint8))
        save(tmp_path / "labels" / f"{i}.png", np.eye(400, dtype=np.uint8))
    items = find_splits(config(tmp_path, train=4, val=0))["train"]
    samples = load_samples(items, "train", "auto", limit)  # 4 x 2 x 160,000 bytes = 1.28 MB
    assert len(samples.sizes) == 4
    said = [record.getMessage() for record in caplog.records]
    assert said == ([] if in_ram else ["train is larger than 1 MB, so it is read from disk each time"])
    save(tmp_path / "images" / "2.png", np.full((400, 400), 9, np.uint8))
    value = 2 if in_ram else 9
    assert plain(samples, 2)[0].max() == pytest.approx(value / 255)


# ---- fitting into batches ---------------------------------------------------------------------------


def sized(*sizes: tuple[int, int]) -> Samples:
    items = find_splits(DataConfig(kind="membranes", split=SplitConfig("blocks", len(sizes), 0, 0)))["train"]
    return Samples(items, None, list(sizes), 1, "")


def test_batches_that_fit() -> None:
    check_batches(sized((8, 8), (8, 8)), "train", 2, crop=None)
    check_batches(sized((8, 8), (9, 8)), "train", 2, crop=8)
    check_batches(sized((8, 8), (9, 8)), "train", 1, crop=None)


@pytest.mark.parametrize(
    ("batch_size", "crop", "words"),
    [
        (3, None, ["batch_size is 3", "train split has 2 images", "at most 2"]),
        (2, 8, ["membranes_0001 is only 7", "crop is 8", "at most 7"]),
        (2, None, ["different sizes: 8 x 8, 9 x 7", "batch_size=1"]),
    ],
)
def test_batches_that_do_not_fit(batch_size: int, crop: int | None, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        check_batches(sized((8, 8), (9, 7)), "train", batch_size, crop)
    for word in words:
        assert word in str(caught.value)
