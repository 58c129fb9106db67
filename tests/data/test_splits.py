"""Splits, the cache and batches."""

import logging
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.folders import config, folder_of, grey, load_all, mask, names, plain, save
from unet_exp.config.schema import DataConfig, SplitConfig
from unet_exp.data.datasets import SegmentationDataset
from unet_exp.data.samples import Samples, load_samples
from unet_exp.data.split_checks import check_batches
from unet_exp.data.splits import find_splits
from unet_exp.data.transforms import Compose, Normalization, RandomFlip, ToTensor
from unet_exp.errors import DataError


def test_empty_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the val split is empty"):
        load_samples([], "val", "auto", 10)


@pytest.mark.parametrize(
    ("train", "val", "test", "expected"),
    [
        (6, 3, 1, (6, 3, 1)),
        ("rest", 3, 2, (5, 3, 2)),
        (5, "rest", 0, (5, 5, 0)),
        (4, 2, "rest", (4, 2, 4)),
        ("rest", 0.2, 0, (8, 2, 0)),
        (0.5, 0.3, 0.2, (5, 3, 2)),
        ("rest", 0.01, 0.0, (9, 1, 0)),
        (2, 1, 0, (2, 1, 0)),
        ("rest", 10, 0, (0, 10, 0)),
    ],
)
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
    with pytest.raises(DataError, match=rf"train={train}, val={val}, test=0, but the data has 10 images"):
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
        "train": ["00", "01", "02", "03", "10", "11"],
        "val": ["04"],
        "test": ["05", "06"],
    }


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


def test_cached_and_uncached_samples_are_equal(tmp_path: Path) -> None:
    items = find_splits(config(folder_of(tmp_path, 4), train=4, val=0))["train"]
    transform = Compose([RandomFlip(), Normalization(0.5, 0.5), ToTensor()])
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
