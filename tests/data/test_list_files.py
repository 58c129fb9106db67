"""Lists of images and labels, as programs save them."""

import logging
import unicodedata
from pathlib import Path

import pytest

from tests.data.named_files import data, refusal
from unet_exp.data.splits import find_splits


def of_list(root: Path, *rows: str, header: str = "image,label") -> str:
    (root / "list.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return refusal(root, kind="csv")


@pytest.mark.parametrize("row", [",", ",,", "", " , "])
def test_rows_of_empty_cells_are_passed_over(listed: Path, row: str) -> None:
    lines = [row, "image,label", "images/00.png,labels/00.png", row, "images/00.png,gone.png", row]
    (listed / "list.csv").write_text("\n".join(lines) + "\n")
    assert "line 5:" in refusal(listed, kind="csv")  # as an editor numbers it
    (listed / "list.csv").write_text("\n".join([*lines[:4], row]) + "\n")
    assert len(find_splits(data(listed, {"val": 0}, kind="csv"))["train"]) == 1


@pytest.mark.parametrize(
    ("cell", "near", "reason"),
    [
        (r"images\00.png", "images/00.png", "the list has \\ instead of /"),
        ("images/00.png ", "images/00.png", "a space before or after"),
        (" images/00.png", "images/00.png", "a space before or after"),
        ("'images/00.png'", "images/00.png", "quotes around"),
        ("Images/00.PNG", "images/00.png", "capitals differ"),
        ("images/00.jpg", "images/00.png", "extensions differ"),
        (r"C:\Users\kim\set\images\00.png", "images/00.png", "paths are taken from"),
        ("data/images/00.png", "images/00.png", "paths are taken from"),
        (f"images/{unicodedata.normalize('NFD', 'Zürich')}.png", "images/Zürich.png", "the Unicode form"),
        ("images", "images is a folder", ""),
        ("https://x.org/00.png", "", "it is a URL"),
    ],
)
def test_rows_whose_file_is_not_found_say_why(listed: Path, cell: str, near: str, reason: str) -> None:
    text = of_list(listed, "images/00.png,labels/00.png", f"{cell},labels/00.png")
    assert "line 3: " in text
    assert str(listed / cell) in text
    assert near in text.replace(str(listed / cell), "")
    assert reason in text


def test_whole_paths_of_another_machine(listed: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Their ends are looked for below data.root, in one line; what is not there is named as it was listed."""
    with caplog.at_level("INFO"):
        (listed / "list.csv").write_text("image,label\n/home/kim/set/images/00.png,labels/00.png\n")
        (item,) = [item for items in find_splits(data(listed, kind="csv")).values() for item in items]
    assert item.image == listed / "images/00.png"
    assert "1 whole path no longer there, read below" in caplog.text
    assert "/home/kim/07.png is not there" in of_list(listed, "/home/kim/07.png,labels/00.png")


def test_lists_with_columns_too_many_or_too_few(listed: Path) -> None:
    assert "line 2: has more cells than the first line: labels/00.png" in of_list(
        listed, "images/a, b.png,labels/00.png"
    )
    assert "line 2: names no label" in of_list(listed, "images/00.png")
    assert "line 2: names no image" in of_list(listed, ",labels/00.png")
    assert "no rows" in of_list(listed)
    assert "two columns label" in of_list(listed, "a,b,c", header="image,label,label")
    long = "0 1 " * 2000
    assert len(of_list(listed, f"images/00.png,{long}")) < 1000


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_as_programs_save_them(
    listed: Path, separator: str, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        "image, label, split",
        "images/00.png,labels/00.png,Training",
        "images/Zürich.png,labels/00.png,valid",
    ]
    text = end.join([*rows, rows[1], ""]).replace(",", separator)
    (listed / "list.csv").write_bytes(("\ufeff" + text).encode())
    with caplog.at_level(logging.INFO):
        splits = find_splits(data(listed, kind="csv"))
    assert [len(items) for items in splits.values()] == [2, 1, 0]
    assert "1 row repeats an earlier one, such as line 4 (line 2)" in caplog.text
