"""Pairing by suffix and regex, lists, groups and folds."""

from pathlib import Path

import pytest

from tests.conftest import composed
from tests.data.label_files import data, random, save
from unet_exp.config.schema import DataConfig, SplitConfig
from unet_exp.data.items import image_items
from unet_exp.data.splits import as_csv, find_splits
from unet_exp.errors import DataError, UserError


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
            ("a", "a.jpg", "a_mask.png"),
            ("b", "b.jpg", "b_mask.png"),
        ]
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
        "train": ["x/0", "x/2"],
        "val": ["x/1"],
        "test": ["x/3"],
    }
    write_list(tmp_path, ["image,label,group", *(f"x/{i}.png,y/m{i}.png,g{i % 2}" for i in range(4))])
    splits = find_splits(DataConfig(kind="csv", root=str(tmp_path), split=SplitConfig(train=1, val=1)))
    assert [i.name for i in splits["train"]] == ["x/0", "x/2"]
    assert [i.name for i in splits["val"]] == ["x/1", "x/3"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["picture,mask", "a,b"], "has the columns picture, mask"),
        ([""], "columns none"),
        (["image,label", "gone.png,gone2.png"], r"line 2: .*gone\.png and .*gone2\.png is not there"),
        (["image,label,split", "a.png,a.png,holdout"], "split is 'holdout'; allowed: train, val, test"),
    ],
)
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
