"""The values of image and label files of every kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.folders import Array, H, W, config, folder_of, grey, load_all, mask, names, plain, save
from unet_exp.data.labels import class_indices
from unet_exp.data.samples import load_samples
from unet_exp.data.splits import find_splits
from unet_exp.errors import DataError


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
