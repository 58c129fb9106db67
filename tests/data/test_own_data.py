"""Data as people have it: label maps, pairing, lists, groups, folds, weights, statistics, large images."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from tests.conftest import composed
from unet_exp.config.label_map import LabelMap, label_map
from unet_exp.config.schema import IGNORE, DataConfig, SplitConfig
from unet_exp.data.datasets import SegmentationDataset, load_samples
from unet_exp.data.formats import open_array, read_array
from unet_exp.data.items import Item, image_items
from unet_exp.data.labels import class_indices
from unet_exp.data.splits import as_csv, find_splits
from unet_exp.data.stats import displayed
from unet_exp.data.tiff import TiffWindows
from unet_exp.data.transforms import Compose, Normalization, RandomCrop, ToTensor
from unet_exp.errors import DataError, UserError
from unet_exp.training import setup
from unet_exp.training.build import build

Array = npt.NDArray[Any]
FIVE = ["sky", "road", "tree", "car", "person"]
CODES = {0: "sky", 40: "road", 90: "tree", 7: "car", 200: "person", 255: "ignore"}


def save(path: Path, array: Array, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, array, **options)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array, **options)
    else:
        Image.fromarray(array).save(path, **options)
    return path


def random(seed: int, shape: tuple[int, ...] = (12, 10), most: int = 256) -> Array:
    return np.random.default_rng(seed).integers(most, size=shape, dtype=np.uint8)


def data(root: Path, **values: Any) -> DataConfig:
    split = SplitConfig(**values.pop("split", {"mode": "blocks", "train": "rest", "val": 0}))
    return DataConfig(**{"kind": "image_folder", "root": str(root), "split": split, **values})


# ---- label map --------------------------------------------------------------------------------------


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
        ({0: "sky", 1: "lake"}, "lake"), ({0: "sky"}, "gives no value to tree"), ({"red": "sky"}, "'red'"),
        ({0: "sky", "0-0-1": "tree"}, "mixes"), ([0, 1], "allowed"), ({"300-0-0": "sky"}, "300-0-0"),
    ],
)  # fmt: skip
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


# ---- files --------------------------------------------------------------------------------------------


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


# ---- pairing --------------------------------------------------------------------------------------------


def test_pairs_by_suffix_in_two_folders_or_in_one(tmp_path: Path) -> None:
    for folder in ("apart/images", "one"):
        for name in "ab":
            save(tmp_path / folder / f"{name}.jpg", random(0))
    for folder in ("apart/labels", "one"):
        for name in "ab":
            save(tmp_path / folder / f"{name}_mask.png", random(0, most=2))
    apart = image_items(tmp_path / "apart", data(tmp_path, label_suffix="_mask"))
    one = image_items(tmp_path / "one", data(tmp_path, label_suffix="_mask", images=".", labels="."))
    for items in (apart, one):
        assert [(i.name, i.image.name, i.label.name) for i in items] == [
            ("a", "a.jpg", "a_mask.png"), ("b", "b.jpg", "b_mask.png"),
        ]  # fmt: skip
    with pytest.raises(DataError, match=r"without data\.label_suffix=_gt: a_mask"):
        image_items(tmp_path / "apart", data(tmp_path, label_suffix="_gt"))


def test_pairs_by_regex(tmp_path: Path) -> None:
    for number in ("007", "012"):
        save(tmp_path / "images" / f"cell_{number}_raw.png", random(0))
        save(tmp_path / "labels" / f"truth{number}.png", random(0, most=2))
    items = image_items(tmp_path, data(tmp_path, pair_regex=r"(\d+)"))
    assert [(item.name, item.label.name) for item in items] == [
        ("007", "truth007.png"),
        ("012", "truth012.png"),
    ]
    save(tmp_path / "labels" / "other.png", random(0))
    with pytest.raises(DataError, match=r"finds nothing in other\.png"):
        image_items(tmp_path, data(tmp_path, pair_regex=r"(\d+)"))
    with pytest.raises(UserError, match="one group"):
        composed("data=image_folder", "data.root=.", r"data.pair_regex='\d+'")


def write_list(root: Path, lines: list[str]) -> None:
    (root / "list.csv").write_text("\n".join(lines) + "\n")


def test_a_list_with_splits_and_groups(tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / "x" / f"{i}.png", random(i))
        save(tmp_path / "y" / f"m{i}.png", random(i, most=2))
    rows = [f"x/{i}.png,y/m{i}.png,{part}" for i, part in enumerate(("train", "val", "train", "test"))]
    write_list(tmp_path, ["image,label,split", *rows])
    both = find_splits(DataConfig(kind="csv", root=str(tmp_path)))
    semicolons = (tmp_path / "list.csv").read_text().replace(",", ";").replace("\n", "\r\n")
    (tmp_path / "list.csv").write_text("\ufeff" + semicolons)  # as some spreadsheets save it
    splits = find_splits(DataConfig(kind="csv", root=str(tmp_path)))
    assert splits == both
    assert {part: [i.name for i in items] for part, items in splits.items()} == {
        "train": ["x/0", "x/2"], "val": ["x/1"], "test": ["x/3"],
    }  # fmt: skip
    write_list(tmp_path, ["image,label,group", *(f"x/{i}.png,y/m{i}.png,g{i % 2}" for i in range(4))])
    splits = find_splits(DataConfig(kind="csv", root=str(tmp_path), split=SplitConfig(train=1, val=1)))
    assert [i.name for i in splits["train"]] == ["x/0", "x/2"]
    assert [i.name for i in splits["val"]] == ["x/1", "x/3"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["picture,mask", "a,b"], "has the columns picture, mask"), ([""], "columns none"),
        (["image,label", "gone.png,gone2.png"], r"line 2: .*gone\.png and .*gone2\.png is not there"),
        (["image,label,split", "a.png,a.png,holdout"], "split is 'holdout'; allowed: train, val, test"),
    ],
)  # fmt: skip
def test_lists_that_can_not_be_used(tmp_path: Path, lines: list[str], expected: str) -> None:
    save(tmp_path / "a.png", random(0))
    write_list(tmp_path, lines)
    with pytest.raises(DataError, match=expected):
        find_splits(DataConfig(kind="csv", root=str(tmp_path)))


def test_the_split_that_a_run_saves_can_be_read_again(tmp_path: Path) -> None:
    for i in range(6):
        save(tmp_path / "images" / f"{i}.png", random(i))
        save(tmp_path / "labels" / f"{i}.png", random(i, most=2))
    config = data(tmp_path, split={"mode": "random", "train": 3, "val": 2, "test": 1})
    splits = find_splits(config)
    (tmp_path / "split.csv").write_text(as_csv(splits, config.root))
    again = find_splits(DataConfig(kind="csv", root=str(tmp_path), csv="split.csv"))
    for part, items in splits.items():
        assert [item.image for item in again[part]] == [item.image for item in items]
        assert [item.label for item in again[part]] == [item.label for item in items]


# ---- groups and folds -----------------------------------------------------------------------------------


def films(root: Path, counts: dict[str, int]) -> None:
    for film, count in counts.items():
        for i in range(count):
            save(root / "images" / f"{film}_{i}.png", random(i))
            save(root / "labels" / f"{film}_{i}.png", random(i, most=2))


@pytest.mark.parametrize("mode", ["blocks", "random"])
def test_groups_stay_together(tmp_path: Path, mode: str) -> None:
    films(tmp_path, {"a": 3, "b": 1, "c": 2, "d": 2})
    split = {"mode": mode, "train": 2, "val": 1, "test": "rest", "group": r"^(\w)_"}
    splits = find_splits(data(tmp_path, split=split))
    of_part = {part: {item.name[0] for item in items} for part, items in splits.items()}
    assert [len(groups) for groups in of_part.values()] == [2, 1, 1]
    assert sorted("".join("".join(groups) for groups in of_part.values())) == ["a", "b", "c", "d"]
    assert sum(len(items) for items in splits.values()) == 8
    with pytest.raises(DataError, match="finds nothing in"):
        find_splits(data(tmp_path, split={"mode": mode, "group": "(z)"}))


@pytest.mark.parametrize("mode", ["blocks", "random", "folders"])
def test_folds_use_every_sample_once_for_validation(tmp_path: Path, mode: str) -> None:
    counts = {"train": 5, "val": 2} if mode == "folders" else {"": 8}
    for part, count in counts.items():
        for i in range(count):
            save(tmp_path / part / "images" / f"{part}{i}.png", random(i))
            save(tmp_path / part / "labels" / f"{part}{i}.png", random(i, most=2))
    split = {"mode": mode, "test": 1} if mode != "folders" else {"mode": mode}
    each = [find_splits(data(tmp_path, split=split, folds=3, fold=fold)) for fold in range(3)]
    validated = [item.name for splits in each for item in splits["val"]]
    assert len(validated) == len(set(validated)) == 7
    for splits in each:
        names = {item.name for item in splits["train"]}
        assert not names & {item.name for item in splits["val"]}
        assert len(names) + len(splits["val"]) == 7
        assert [item.name for item in splits["test"]] == [item.name for item in each[0]["test"]]
    if mode == "blocks":
        assert [[item.name for item in splits["val"]] for splits in each] == [
            ["0", "1", "2"],
            ["3", "4"],
            ["5", "6"],
        ]


def test_folds_keep_groups_together(tmp_path: Path) -> None:
    films(tmp_path, {"a": 3, "b": 1, "c": 2})
    for fold in range(3):
        splits = find_splits(data(tmp_path, split={"mode": "blocks", "group": r"^(\w)_"}, folds=3, fold=fold))
        assert {item.name[0] for item in splits["val"]} == {"abc"[fold]}
    with pytest.raises(DataError, match="only 3 images or groups"):
        find_splits(data(tmp_path, split={"mode": "blocks", "group": r"^(\w)_"}, folds=4))
    with pytest.raises(UserError, match=r"data\.fold is 5; allowed with data\.folds=5: 0 to 4"):
        composed("data.folds=5", "data.fold=5")


# ---- what the training split decides ----------------------------------------------------------------------


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
    with pytest.raises(DataError, match=r"(?s)1 images are in train and in val.*d in val is b in train"):
        prepared(tmp_path, "data.split.val=1")
    _, found = prepared(tmp_path, "data.split.val=1", "data.duplicates=allow")
    assert len(found["train"].items) == 3
    assert "1 images are in train and in val, so val scores are inflated: d in val is b" in caplog.text


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
    assert said == ["2 val images are blank (all pixels equal) and in train too"]
    speck = np.broadcast_to(np.uint8(colour), shape).copy()
    speck[0, 0] = 7
    for i in (1, 4):
        save(tmp_path / "images" / f"{i}.png", speck)
    with pytest.raises(DataError, match="1 images are in train and in val"):
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


# ---- crops and large images -------------------------------------------------------------------------------


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
    assert setup.pixels_of(samples) == [int((label == 0).sum()), int((label == 1).sum())]
