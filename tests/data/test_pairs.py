"""Images and labels that belong together, and what is said where they do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.folders import H, W, config, folder_of, grey, load_all, mask, plain, save
from unet_exp.config.schema import DataConfig
from unet_exp.data.labels import class_indices
from unet_exp.data.samples import load_samples
from unet_exp.data.splits import find_splits
from unet_exp.errors import DataError


def refusal(data: DataConfig) -> str:
    with pytest.raises(DataError) as caught:
        load_all(data)
    return str(caught.value)


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
