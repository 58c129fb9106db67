"""Names as people have them: pairs found all the same, or a message that says what is other."""

import io
import logging
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import run
from tests.conftest import TINY, composed, write_folder
from tests.data.named_files import data, refusal, touch
from unet_exp.cli.startup_patches import survive_odd_names
from unet_exp.config.hydra_hooks import output_problem
from unet_exp.data.items import UnpairedError, image_items
from unet_exp.data.names import ending, natural, split_named
from unet_exp.data.pairing import pair
from unet_exp.data.splits import as_csv, find_splits
from unet_exp.errors import UserError
from unet_exp.inference.inputs import is_label
from unet_exp.plots import run as run_plots
from unet_exp.plots import sweep
from unet_exp.plots.curves import plot_curves
from unet_exp.rundir import atomic
from unet_exp.rundir.directory import RunDirectory
from unet_exp.rundir.sweep_directory import Job, Progress, Row


def pairs(root: Path, **values: Any) -> list[tuple[str, str, str]]:
    return [(i.name, i.image.name, i.label.name) for i in image_items(root, data(root, **values))]


# ---- numbers ----------------------------------------------------------------------------------------------


def test_numbers_found_by_the_regex_are_compared_as_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "images/00.bmp", "images/7.bmp", "labels/labels00000000.png", "labels/labels00000007.png")
    assert pairs(tmp_path, pair_regex=r"(\d+)") == [
        ("00", "00.bmp", "labels00000000.png"),
        ("7", "7.bmp", "labels00000007.png"),
    ]


def test_numbers_within_what_the_regex_finds_too(tmp_path: Path) -> None:
    touch(tmp_path, "images/s1_z02_raw.png", "labels/s01_z2_truth.png")
    assert pairs(tmp_path, pair_regex=r"(s\d+_z\d+)") == [("s1_z02", "s1_z02_raw.png", "s01_z2_truth.png")]


@pytest.mark.parametrize("side", ["images", "labels"])
def test_numbers_that_two_files_share_are_refused(tmp_path: Path, side: str) -> None:
    other = "labels" if side == "images" else "images"
    touch(tmp_path, f"{side}/1.png", f"{side}/01.png", f"{other}/001.png")
    text = refusal(tmp_path, pair_regex=r"(\d+)")
    assert f"{side}/01.png" in text
    assert f"{side}/1.png" in text


def test_equal_words_are_no_numbers(tmp_path: Path) -> None:
    """A set whose names pair as they are stays as it was, whatever their zeros."""
    touch(tmp_path, *(f"{side}/{name}.png" for side in ("images", "labels") for name in ("1", "01")))
    assert sorted(pairs(tmp_path, pair_regex=r"(\d+)")) == [
        ("01", "01.png", "01.png"),
        ("1", "1.png", "1.png"),
    ]


def test_the_message_gives_a_regex_by_whose_numbers_all_would_pair(tmp_path: Path) -> None:
    touch(
        tmp_path, *(f"images/{i:02d}.bmp" for i in range(3)), *(f"labels/mask{i:04d}.png" for i in range(3))
    )
    text = refusal(tmp_path)
    assert r"'data.pair_regex=(\d+)'" in text
    assert len(pairs(tmp_path, pair_regex=r"(\d+)")) == 3
    touch(tmp_path, "images/t2_05.bmp", "labels/t2_x06.png")
    assert "pair_regex" not in refusal(tmp_path)


@pytest.mark.parametrize("name", ["5²5", "①1", "m²", "٣", "x½", "五"])
def test_digits_of_every_kind_are_sorted(name: str) -> None:
    assert sorted([name, "a", "2", "10"], key=natural).index("2") < sorted(
        [name, "a", "2", "10"], key=natural
    ).index("10")
    assert natural("٣") == natural("3")


# ---- letters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Zürich_1", "사진_1", "Ångström"])
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_two_unicode_forms_pair(tmp_path: Path, name: str, forms: Any) -> None:
    image, label = (unicodedata.normalize(form, name) for form in forms)
    touch(tmp_path, f"images/{image}.png", f"labels/{label}.png")
    assert pairs(tmp_path) == [(image, f"{image}.png", f"{label}.png")]
    listed = {"mode": "listed", "train": [label], "val": []}
    assert [i.name for i in find_splits(data(tmp_path, listed))["train"]] == [image]
    letter = unicodedata.normalize("NFC", name)[0]
    assert pairs(tmp_path, pair_regex=f"^({letter})") == [(letter, f"{image}.png", f"{label}.png")]
    grouped = {"group": f"^({letter})", "val": 0}
    assert len(find_splits(data(tmp_path, grouped))["train"]) == 1


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_settings_and_names_on_disk_may_be_in_two_forms(tmp_path: Path, forms: Any) -> None:
    typed, stored = ([unicodedata.normalize(form, word) for word in ("größe", "_정답")] for form in forms)
    touch(tmp_path, *(f"{stored[0]}/1{suffix}.png" for suffix in ("", stored[1])))
    touch(tmp_path, *(f"{stored[0]}_{part}/1.png" for part in ("train", "val")))
    own: dict[str, Any] = {"images": typed[0], "labels": typed[0], "label_suffix": typed[1]}
    assert [label for _, _, label in pairs(tmp_path, **own)] == [f"1{stored[1]}.png"]
    assert is_label(tmp_path / stored[0] / f"1{stored[1]}.png", data(tmp_path, **own), several=False)
    template: dict[str, Any] = own | dict.fromkeys(("images", "labels"), typed[0] + "_{split}")
    touch(tmp_path, *(f"{stored[0]}_{part}/1{stored[1]}.png" for part in ("train", "val")))
    assert [len(items) for items in find_splits(data(tmp_path, **template)).values()] == [1, 1, 0]
    found = pair(["é.png", "à.png"], [unicodedata.normalize("NFD", f"{word}_x.png") for word in "éà"], False)
    assert found is not None
    assert found.suffix == "_x"


def test_one_name_in_two_forms_in_one_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images/{unicodedata.normalize(form, 'é')}.png" for form in ("NFC", "NFD")))
    touch(tmp_path, "labels/é.png")
    assert "Unicode form" in refusal(tmp_path)


def test_names_that_differ_in_capitals_are_said_to(tmp_path: Path) -> None:
    touch(tmp_path, "images/IMG_1.png", "labels/img_1.png")
    assert "IMG_1.png and img_1.png differ in capitals only" in refusal(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
@pytest.mark.parametrize("encoding", ["cp949", "latin-1"])
def test_names_of_other_encodings_are_refused_by_name(tmp_path: Path, encoding: str) -> None:
    write_folder(tmp_path, 2)
    word = "사진" if encoding == "cp949" else "für"
    other = os.fsencode(tmp_path / "images") + b"/" + word.encode(encoding) + b".png"
    os.rename(tmp_path / "images/00.png", other)
    text = refusal(tmp_path)
    assert word in text
    assert str(tmp_path / "images") in text
    text.encode()  # can be printed anywhere
    root = os.fsencode(tmp_path) + b"/" + word.encode(encoding)
    os.mkdir(root)
    with pytest.raises(UserError, match=r"data\.root.*UTF-8") as caught:
        composed("data=image_folder", f"data.root='{os.fsdecode(root)}'")
    str(caught.value).encode()
    with pytest.raises(UserError, match=r"data\.labels.*UTF-8"):
        composed("data=image_folder", "data.root=.", f"data.labels='{os.fsdecode(root)}'")


def test_a_name_in_brackets_is_that_name(tmp_path: Path) -> None:
    """As QuPath exports its tiles."""
    names = [f"slide [x={i},y=0,w=512,h=512]" for i in range(4)]
    touch(tmp_path, *(f"{side}/{name}.png" for side in ("images", "labels") for name in [*names, "s1", "s3"]))
    split = {"mode": "listed", "train": names[:3], "val": ["slide [x=3,*"], "test": ["s[1-3]"]}
    found = find_splits(data(tmp_path, split))
    assert {part: [item.name for item in items] for part, items in found.items()} == {
        "train": names[:3],
        "val": names[3:],
        "test": ["s1", "s3"],
    }


def test_other_words_for_the_parts() -> None:
    assert [split_named(word) for word in ("Training", "valid", "VALIDATION", " test ", "dev")] == [
        "train",
        "val",
        "val",
        "test",
        None,
    ]


# ---- what is not read -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "advice"), [(".gif", "png"), (".nii.gz", "npy"), (".json", "outlines"), (".WEBP", "png")]
)
def test_labels_of_other_endings_are_named(tmp_path: Path, kind: str, advice: str) -> None:
    touch(tmp_path, *(f"images/{i}.png" for i in range(6)), *(f"labels/{i}{kind}" for i in range(6)))
    touch(tmp_path, "labels/Thumbs.db", "labels/._0.png", "labels/.DS_Store")
    text = refusal(tmp_path)
    assert f"6 {kind.lower()}, such as 0{kind}" in text
    assert advice in text
    assert "Thumbs" not in text
    assert str(tmp_path / "labels") in text


def test_images_of_other_endings_are_named_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "images/0.webp", "labels/0.webp", "images/1.png", "labels/1.png", "images/readme.txt")
    with caplog.at_level(logging.INFO):
        assert len(pairs(tmp_path)) == 1
    assert "1 .webp, such as 0.webp" in caplog.text
    assert "txt" not in caplog.text
    (tmp_path / "images/1.png").unlink()
    (tmp_path / "labels/1.png").unlink()
    assert "1 .webp" in refusal(tmp_path)


def test_endings() -> None:
    assert [ending(name) for name in ("a.PNG", "a.nii.gz", "a.b.tif", "a", ".hidden")] == [
        ".png",
        ".nii.gz",
        ".tif",
        "",
        "",
    ]


def test_images_and_labels_in_one_folder_want_a_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a_mask.png")
    assert "data.label_suffix=_mask" in refusal(tmp_path, images=".", labels=".")


# ---- images without a label -------------------------------------------------------------------------------


def test_images_without_a_label_are_refused_or_left_out(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images/{i}.png" for i in range(5)), *(f"labels/{i}.png" for i in range(3)))
    with pytest.raises(UnpairedError, match=r"on the other 3: data\.unlabelled=skip"):
        find_splits(data(tmp_path))
    left_out: list[Path] = []
    config = data(tmp_path, {"val": 1}, unlabelled="skip")
    splits = find_splits(config, left_out)
    assert {part: len(items) for part, items in splits.items()} == {"train": 2, "val": 1, "test": 0}
    assert left_out == [tmp_path / "images/3.png", tmp_path / "images/4.png"]
    text = as_csv(splits, config.root, left_out)
    assert text.splitlines()[-2:] == ["images/3.png,,unlabelled,3,,", "images/4.png,,unlabelled,4,,"]
    (tmp_path / "list.csv").write_text(text)
    again: list[Path] = []
    assert len(find_splits(data(tmp_path, kind="csv"), again)["train"]) == 2
    assert again == left_out
    touch(tmp_path, "labels/9.png")
    assert "labels without an image (1): 9.png" in refusal(tmp_path, unlabelled="skip")


def test_unlabelled_images_of_other_layouts(tmp_path: Path) -> None:
    for part in ("train", "val"):
        touch(tmp_path, f"{part}/input_0.npy", f"{part}/label_0.npy", f"{part}/input_1.npy")
        touch(tmp_path, f"images/{part}/a.png", f"labels/{part}/a.png", f"images/{part}/b.png")
    left_out: list[Path] = []
    assert len(find_splits(data(tmp_path, kind="npy_folder", unlabelled="skip"), left_out)["val"]) == 1
    template = {"images": "images/{split}", "labels": "labels/{split}", "unlabelled": "skip"}
    assert len(find_splits(data(tmp_path, None, **template), left_out)["val"]) == 1
    (tmp_path / "list.csv").write_text(
        "image,label\nimages/train/a.png,labels/train/a.png\nimages/val/b.png,\n"
    )
    assert "line 3: names no label" in (text := refusal(tmp_path, kind="csv"))
    assert "data.unlabelled=skip" in text
    find_splits(data(tmp_path, kind="csv", unlabelled="skip"), left_out)
    names = [path.relative_to(tmp_path).as_posix() for path in left_out]
    assert names == [
        "train/input_1.npy",
        "val/input_1.npy",
        "images/train/b.png",
        "images/val/b.png",
        "images/val/b.png",
    ]


def test_skipping_never_leaves_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "labels/b.txt")
    assert "images without a label (1): a.png" in refusal(tmp_path, unlabelled="skip")


# ---- in pictures, on the terminal, in files ---------------------------------------------------------------

FORMULAS = ["a$_{$", r"$\frac$", "5 $ and 6 $", r"\$x$", "사진 ²"]


def test_a_dollar_in_a_name_begins_no_formula(tmp_path: Path) -> None:
    grey = np.full((8, 8, 1), 0.5, np.float32)
    sample = {"input": grey, "label": grey * 0}
    samples, black = [sample] * len(FORMULAS), [(0, 0, 0)] * 2
    run_plots.plot_sheet(tmp_path / "sheet.png", samples, FORMULAS, black, (0, 1), ["$x", "$_"])
    run_dir = tmp_path / FORMULAS[0]
    (run_dir / "plots").mkdir(parents=True)
    (run_dir / "metrics.csv").write_text("epoch,split,loss,dice,iou,lr\n1,train,1,1,1,0.1\n")
    plot_curves(run_dir, "dice", 1)
    for picture in (tmp_path / "sheet.png", run_dir / "plots/curves.png"):
        assert picture.stat().st_size > 1000


@pytest.mark.parametrize("keys", [["data.root"], ["data.root", "lr"], ["data.root", "lr", "seed", "loss"]])
def test_a_dollar_in_a_setting_of_a_sweep_begins_no_formula(tmp_path: Path, keys: list[str]) -> None:
    rows = [
        Row(
            Job(tmp_path, {key: name if key == "data.root" else f"{i}" for key in keys}, "dice", "max", 1),
            Progress("finished", 1, 0.5 + i / 10, 1, 1.0, ""),
        )
        for i, name in enumerate(FORMULAS)
    ]
    sweep.plot_sweep(rows, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 1000


def test_a_picture_that_can_not_be_plotted_fails_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def plot_run(*arguments: Any) -> None:
        raise ValueError("no such glyph")

    monkeypatch.setattr(run_plots, "plot_run", plot_run)
    parts: Any = None
    run.plot(RunDirectory(tmp_path), composed(*TINY), parts, 1, 0.5)
    assert "could not be plotted: ValueError: no such glyph" in caplog.text


def test_a_terminal_takes_every_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, shown in (("utf-8", "사\\udcbb"), ("ascii", "\\uc0ac\\udcbb")):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
        survive_odd_names()
        print("사\udcbb", flush=True)
        assert written.getvalue().decode() == f"{shown}\n"


def test_a_run_keeps_paths_of_any_bytes_and_lies_in_none(tmp_path: Path) -> None:
    odd = os.fsdecode(b"/data/\xbb\xe7")
    atomic.write_json(tmp_path / "a.json", {"start_dir": odd})
    assert atomic.read_json(tmp_path / "a.json") == {"start_dir": odd}
    problem = output_problem(tmp_path / Path(odd).name, resume=False)
    assert problem is not None
    assert "is not UTF-8; choose another hydra.run.dir=DIR" in problem
    problem.encode()
