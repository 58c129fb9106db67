"""Class weights, statistics, duplicates, crops and windows of people's own data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import composed
from tests.data.label_files import Array, data, random, save
from unet_exp.data.class_weights import pixels_of
from unet_exp.data.datasets import SegmentationDataset
from unet_exp.data.formats import open_array
from unet_exp.data.items import Item
from unet_exp.data.samples import load_samples
from unet_exp.data.splits import find_splits
from unet_exp.data.stats import displayed
from unet_exp.data.tiff import TiffWindows
from unet_exp.data.transforms import Compose, Normalization, RandomCrop, ToTensor
from unet_exp.errors import DataError, UserError
from unet_exp.training import setup
from unet_exp.training.build import build


def prepared(root: Path, *overrides: str) -> Any:
    config = setup.settle_machine(
        composed("data=image_folder", f"data.root={root}", "batch_size=1", "threads=1", *overrides)
    )
    found = setup.read_samples(config, setup.find_items(config))
    return setup.settle_data(config, found), found


def three_classes(root: Path, count: int = 3) -> tuple[list[Array], list[Array]]:
    """RGB images; labels with 70 % class 0, 20 % class 1, 10 % class 2."""
    rng = np.random.default_rng(0)
    images, labels = [], []
    for i in range(count):
        labels.append(rng.permutation(np.repeat([0, 1, 2], [280, 80, 40])).reshape(20, 20).astype(np.uint8))
        images.append(random(i, (20, 20, 3)))
        save(root / "images" / f"{i}.png", images[-1])
        save(root / "labels" / f"{i}.png", labels[-1])
    return images, labels


CLASSES = "data.classes=[a,b,c]"


def test_class_weights_from_the_training_pixels(tmp_path: Path) -> None:
    three_classes(tmp_path)
    config, _ = prepared(tmp_path, CLASSES, "loss.class_weights=median_frequency")
    assert config.loss["class_weights"] == pytest.approx([0.2 / 0.7, 1.0, 2.0], abs=1e-5)
    config, _ = prepared(tmp_path, CLASSES, "loss.class_weights=inverse")
    inverse = np.array([1 / 0.7, 1 / 0.2, 1 / 0.1])
    assert config.loss["class_weights"] == pytest.approx(3 * inverse / inverse.sum(), abs=1e-5)
    config, _ = prepared(tmp_path, CLASSES, "loss.class_weights=[1,2,3]")
    assert config.loss["class_weights"] == [1, 2, 3]
    two = tmp_path / "two"
    save(two / "images" / "0.png", random(0))
    save(two / "images" / "1.png", random(1))
    for i in range(2):
        save(two / "labels" / f"{i}.png", np.repeat([0, 1], [90, 30]).reshape(12, 10).astype(np.uint8))
    config, _ = prepared(two, "loss.pos_weight=auto")
    assert config.loss["pos_weight"] == 3.0


def test_statistics_of_the_training_images(tmp_path: Path) -> None:
    images, _ = three_classes(tmp_path)
    config, found = prepared(tmp_path, CLASSES, "transform.mean=train", "transform.std=train")
    train = np.concatenate([image.reshape(-1, 3) for image in images[:2]]) / 255
    step = config.transform["eval"]["normalize"]
    assert step["mean"] == pytest.approx(train.mean(0), abs=1e-5)
    assert step["std"] == pytest.approx(train.std(0), abs=1e-5)
    assert config.transform["train"]["normalize"]["mean"] == step["mean"]
    transform = Compose([Normalization(step["mean"], step["std"])])
    dataset = SegmentationDataset(found["train"], transform, 0)
    seen = np.concatenate([dataset[0, i]["input"].reshape(-1, 3) for i in range(2)])
    assert seen.mean(0) == pytest.approx([0, 0, 0], abs=1e-5)
    assert seen.std(0) == pytest.approx([1, 1, 1], abs=1e-5)
    with pytest.raises(UserError, match="has 2 numbers, but the images have 3 channels"):
        prepared(tmp_path, CLASSES, "transform.mean=[0.1,0.2]", "transform.std=[1,1]")
    with pytest.raises(UserError, match="give both alike"):
        composed("transform.mean=train")


def test_statistics_of_each_image_are_of_the_whole_not_of_the_crop(tmp_path: Path) -> None:
    image = np.zeros((20, 20), np.uint8)
    image[10:] = 200
    save(tmp_path / "images" / "0.png", image)
    save(tmp_path / "labels" / "0.png", (image > 0).astype(np.uint8))
    samples = load_samples(find_splits(data(tmp_path))["train"], "train", "ram", 10)
    dataset = SegmentationDataset(samples, Compose([Normalization("image", "image")]), 0, RandomCrop(4))
    values = np.unique(np.concatenate([dataset[epoch, 0]["input"].ravel() for epoch in range(20)]))
    assert values == pytest.approx([-1, 1])


def test_rare_and_absent_classes_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(3):
        label = np.zeros((40, 40), np.uint8)
        if i < 2:
            label[0, 0] = 1
        save(tmp_path / "images" / f"{i}.png", random(i, (40, 40)))
        save(tmp_path / "labels" / f"{i}.png", label)
    prepared(tmp_path, "data.split.val=1")
    said = " | ".join(record.getMessage() for record in caplog.records)
    assert "foreground has only 0.062 % of the training pixels" in said
    assert "class foreground is absent from val" in said


def test_the_same_image_in_train_and_val_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, seed in (("a", 0), ("b", 1), ("c", 2), ("d", 1)):
        save(tmp_path / "images" / f"{name}.{'tif' if name == 'd' else 'png'}", random(seed))
        save(tmp_path / "labels" / f"{name}.png", random(seed, most=2))
    with pytest.raises(DataError, match=r"(?s)1 image in train and in val too.*d in val is b in train"):
        prepared(tmp_path, "data.split.val=1")
    _, found = prepared(tmp_path, "data.split.val=1", "data.duplicates=allow")
    assert len(found["train"].items) == 3
    assert "1 image in train and in val too, so val scores are inflated: d in val is b" in caplog.text


@pytest.mark.parametrize("colour", [0, 255, (0, 0, 0, 255), (200, 10, 10)])
def test_blank_tiles_are_no_duplicates(colour: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shape = (12, 10) if isinstance(colour, int) else (12, 10, len(colour))
    for i in range(6):
        blank = np.broadcast_to(np.uint8(colour), shape).copy()
        save(tmp_path / "images" / f"{i}.png", blank if i in (0, 1, 4, 5) else random(i, shape))
        save(tmp_path / "labels" / f"{i}.png", random(i, most=2))
    with caplog.at_level("INFO"):
        _, found = prepared(tmp_path, "data.split.val=2")
    assert len(found["val"].items) == 2
    said = [record.getMessage() for record in caplog.records if "blank" in record.getMessage()]
    assert said == ["2 blank val images (all pixels equal) in train too"]
    speck = np.broadcast_to(np.uint8(colour), shape).copy()
    speck[0, 0] = 7
    for i in (1, 4):
        save(tmp_path / "images" / f"{i}.png", speck)
    with pytest.raises(DataError, match="1 image in train and in val too"):
        prepared(tmp_path, "data.split.val=2")


def test_values_that_want_their_own_statistics_are_said_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fixed = composed("data=image_folder", "data.root=.")
    own = composed("data=image_folder", "data.root=.", "transform.mean=train", "transform.std=train")
    kinds: list[tuple[str, Any, bool]] = [
        ("12 bits in 16", lambda a: a.astype(np.uint16) * 16, True),
        ("floats up to 255", lambda a: a.astype(np.float32), True),
        ("floats around 0", lambda a: a / np.float32(200) - 0.5, True),
        ("floats up to 1", lambda a: a / np.float32(255), False),
        ("16 bits", lambda a: a.astype(np.uint16) * 257, False),
        ("8 bits", lambda a: a, False),
    ]
    for name, stored, said in kinds:
        save(tmp_path / name / "images" / "0.tif", stored(random(0)))
        save(tmp_path / name / "labels" / "0.png", random(0, most=2))
        samples = load_samples(find_splits(data(tmp_path / name))["train"], "train", "ram", 10)
        for config, lines in ((fixed, int(said)), (own, 0)):
            caplog.clear()
            setup.warn_of_range(config, samples)
            assert len(caplog.messages) == lines, name
            assert all("transform.mean=train transform.std=train" in line for line in caplog.messages)


def test_images_of_two_ranges_want_statistics_of_each_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, stored in enumerate((random(0), random(1).astype(np.uint16) * 16)):
        save(tmp_path / "images" / f"{number}.tif", stored)
        save(tmp_path / "labels" / f"{number}.png", random(number, most=2))
    items = [item for part in find_splits(data(tmp_path)).values() for item in part]
    samples = load_samples(items, "train", "ram", 10)
    setup.warn_of_range(composed("data=image_folder", "data.root=."), samples)
    (line,) = caplog.messages
    assert "transform.mean=image transform.std=image" in line


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.2, 0.6, 1.0], [0.2, 0.6, 1.0]),
        ([0.0, 0.03, 0.06], [0, 0.5, 1]),  # 12 bits in 16
        ([-20, 0, 80], [0, 0.2, 1]),
        ([-0.005, 0.5, 1.005], [0, 0.5, 1]),
        ([0, 0, 0], [0, 0, 0]),
    ],
)
@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 3), (5, 3)])
def test_pictures_stretch_what_does_not_fill_its_range(
    values: list[float], expected: list[float], channels: int, shown: int
) -> None:
    image = np.repeat(np.array(values)[:, None, None], channels, 2)
    picture = displayed(image)
    assert picture.shape == (3, 1, shown)
    for channel in range(shown):
        assert picture[:, 0, channel] == pytest.approx(expected)


def test_no_numbers_are_counted_and_placed(tmp_path: Path) -> None:
    image = random(0).astype(np.float32)
    image[3, 2], image[5, 1], image[6, 6] = np.nan, np.nan, np.inf
    save(tmp_path / "images" / "0.tif", image)
    save(tmp_path / "labels" / "0.png", random(0, most=2))
    samples = find_splits(data(tmp_path))["train"]
    with pytest.raises(DataError, match=r"0\.tif holds .*: 2 nan and 1 infinite of 120, .* row 3, column 2"):
        load_samples(samples, "train", "ram", 10)
    save(tmp_path / "images" / "0.tif", np.full((12, 10), 1e300))  # more than float32 can hold
    with pytest.raises(DataError, match="0 nan and 120 infinite of 120"):
        load_samples(samples, "train", "ram", 10)


def test_crops_around_the_foreground() -> None:
    label = np.zeros((100, 100, 1), np.float32)
    label[90, 7], label[3, 3] = 1, 2
    sample = {"input": label.copy(), "label": label}
    always, never = RandomCrop(10, foreground=1.0), RandomCrop(10)
    crops = [always(dict(sample), np.random.default_rng(i))["label"] for i in range(200)]
    assert all(crop.shape == (10, 10, 1) and crop.max() > 0 for crop in crops)
    ones = sum((crop == 1).any() for crop in crops)
    assert 60 < ones < 140  # each class as often
    places = {tuple(np.argwhere(crop[..., 0] == 1)[0]) for crop in crops if (crop == 1).any()}
    assert len(places) > 10  # anywhere in the crop
    assert sum(never(dict(sample), np.random.default_rng(i))["label"].max() > 0 for i in range(200)) < 20
    share = RandomCrop(10, foreground=0.33)
    held = sum(share(dict(sample), np.random.default_rng(i))["label"].max() > 0 for i in range(500)) / 500
    assert 0.25 < held < 0.45


def test_labels_get_no_new_values(tmp_path: Path) -> None:
    """Whatever the transforms of conf/ do, a label holds the values it held before."""
    codes = np.array([0, 1, 2, 7, 200], np.uint8)
    label = codes[random(0, (64, 64), most=5)]
    for name in ("augment", "crop", "lecture", "none"):
        overrides = ["transform.train.crop.size=32"] if name == "crop" else []
        config = composed(f"transform={name}", *overrides)
        steps = config.transform["train"]
        transform = Compose([build(step, "transform") for step in steps.values()])
        for seed in range(30):
            sample = {
                "input": label[..., None].astype(np.float32),
                "label": label[..., None].astype(np.float32),
            }
            found = transform(sample, np.random.default_rng(seed))["label"]
            assert set(np.unique(found)) <= set(codes.tolist())


@pytest.mark.parametrize("form", ["a.tif", "tiled.tif", "a.npy"])
def test_a_crop_reads_only_its_window(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unet_exp.data.formats.MOST_PIXELS", 1 << 16)
    image, label = random(0, (600, 500, 3)), random(1, (600, 500), most=2)
    options: dict[str, Any] = {"photometric": "rgb"} if form == "a.tif" else {}
    if form == "tiled.tif":
        options = {"photometric": "rgb", "tile": (64, 64), "compression": "zlib"}
    path = save(tmp_path / "images" / form, image, **options)
    save(tmp_path / "labels" / f"{path.stem}.npy", label)
    opened = open_array(path)
    assert isinstance(opened, TiffWindows if form == "tiled.tif" else np.memmap)
    assert np.array_equal(opened[123:301, 77:432], image[123:301, 77:432])
    assert np.array_equal(opened[599:, 499:], image[599:, 499:])
    samples = load_samples(find_splits(data(tmp_path))["train"], "train", "none", 0)
    dataset = SegmentationDataset(samples, Compose([ToTensor()]), 0, RandomCrop(64))
    in_ram = load_samples(find_splits(data(tmp_path))["train"], "train", "ram", 0)
    other = SegmentationDataset(in_ram, Compose([ToTensor()]), 0, RandomCrop(64))
    assert samples.sha256 == in_ram.sha256
    for epoch in range(5):
        for key in ("input", "label"):
            assert bool((dataset[epoch, 0][key] == other[epoch, 0][key]).all())


def test_large_images_are_validated_in_windows(tmp_path: Path) -> None:
    image, label = random(0, (130, 70)), random(1, (130, 70), most=2)
    save(tmp_path / "images" / "0.png", image)
    save(tmp_path / "labels" / "0.png", label)
    items: list[Item] = find_splits(data(tmp_path))["train"]
    samples = load_samples(items, "val", "none", 0, largest=64)
    assert samples.sizes == [(43, 35)] * 2 + [(43, 35)] * 2 + [(44, 35)] * 2
    whole = np.zeros_like(image, dtype=float)
    dataset = SegmentationDataset(samples, Compose([]), 0)
    for index, item in enumerate(samples.items):
        assert item.window is not None
        top, bottom, left, right = item.window
        whole[top:bottom, left:right] += dataset[0, index]["input"][..., 0]
    assert np.allclose(whole, image / 255)
    assert pixels_of(samples) == [int((label == 0).sum()), int((label == 1).sum())]
