"""task=check_data: sets as people have them are found, said on one screen, and trained by the pasted line."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from PIL import Image

import run
from tests.conftest import ROOT, composed, write_folder
from unet_exp.cli import command_line
from unet_exp.config.hydra_hooks import register
from unet_exp.config.resolve import check
from unet_exp.config.schema import DataConfig
from unet_exp.config.task_schema import EvaluateConfig, PredictConfig
from unet_exp.data.detect import find_layouts, part_of_a_set
from unet_exp.data.label_guess import Shapes, guess, shapes
from unet_exp.errors import UserError
from unet_exp.rundir.directory import Origin, RunDirectory
from unet_exp.tasks.check_data import check_data, say
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.predict import predict

Array = npt.NDArray[Any]
SMALL = ["model.depth=2", "model.base_channels=4", "epochs=1", "batch_size=2", "threads=1", "device=cpu"]
TRAIN, VAL, TEST = ("train", 3), ("val", 2), ("test", 2)


def save(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array, photometric="minisblack")
    else:
        Image.fromarray(array).save(path)


def scene(seed: int, classes: int = 2, size: int = 32) -> tuple[Array, Array]:
    """An image whose brightness follows its label of squares, and the label, class indices."""
    rng = np.random.default_rng(seed)
    coarse = rng.permutation(np.arange((size // 8) ** 2) % classes).astype(np.uint8)
    label = np.kron(coarse.reshape(size // 8, -1), np.ones((8, 8), np.uint8))
    noise = rng.normal(0, 6, label.shape)
    return np.clip(20 + 200 / classes * label + noise, 0, 255).astype(np.uint8), label


def layout(root: Path, images: str, labels: str | None, *parts: tuple[str, int], classes: int = 2) -> None:
    """Files whose paths have {p} for the part and {n} for a number."""
    for part, count in parts:
        for number in range(1, count + 1):
            image, label = scene(number + 10 * sum(map(ord, part)), classes)
            save(root / images.format(p=part, n=number), image)
            if labels is not None:
                save(root / labels.format(p=part, n=number), label)


def survey(
    capsys: pytest.CaptureFixture[str], *words: str, typed: tuple[str, ...] = (), code: int = 0
) -> str:
    """What check_data says of these settings, which ends with this exit code and fits a screen."""
    try:
        check_data(composed(*words), typed=typed)
        found = 0
    except SystemExit as stop:
        found = int(stop.code or 0)
    said = capsys.readouterr().out
    assert found == code, said
    commands = ("python ", "data.")
    lines = [line for line in said.splitlines() if not line.lstrip(" '").startswith(commands)]
    assert max(map(len, lines)) < 80
    assert len(lines) <= 40
    return said


def line_of(said: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith("  python ") and "task=" not in line]
    return line.strip()


def pasted(line: str) -> list[str]:
    """The words that python gets when a line is pasted into bash."""
    script = f"python() {{ printf '%s\\0' \"$@\"; }}; {line}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[1:-1]


def settings(words: list[str]) -> Any:
    """What Hydra composes of them, as run.py would."""
    register()
    GlobalHydra.instance().clear()
    prepared = command_line.prepare(words)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=prepared.argv)


def train(run_dir: Path, words: list[str]) -> None:
    cfg = settings(words)
    (run_dir / ".hydra").mkdir(parents=True)
    OmegaConf.save(cfg, run_dir / ".hydra" / "config.yaml")
    run.train(check(cfg), RunDirectory(run_dir), Origin())


# ---- sets of the public, from a folder to predictions -------------------------------------------------


def camvid(root: Path) -> list[str]:
    layout(root, "{p}/{n}.png", "{p}annot/{n}.png", TRAIN, VAL, TEST, classes=12)
    return ["data.images={split}", "data.labels={split}annot"]


def roboflow(root: Path) -> list[str]:
    files = "{p}/{n}_jpg.rf.a1b2c3.jpg", "{p}/{n}_jpg.rf.a1b2c3_mask.png"
    layout(root, *files, TRAIN, ("valid", 2), TEST, classes=4)
    return ["data.images={split}", "data.labels={split}", "data.label_suffix=_mask"]


@pytest.mark.parametrize("make", [camvid, roboflow])
def test_a_public_layout_from_its_root_to_predictions(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = make(tmp_path / "a set")
    classes = 12 if make is camvid else 4
    said = survey(capsys, "data=image_folder", "data.root=a set", *SMALL, typed=tuple(SMALL))
    assert "pairs:    7 (train 3, val 2, test 2; split by folders)" in said
    assert f"looks like {classes} classes: the values 0 to {classes - 1} in 7 labels" in said
    assert said.rstrip().endswith("ready, with the line above")
    words = pasted(line_of(said))
    assert set(expected) < set(words)
    assert "epochs=1" in words
    train(tmp_path / "run", words)
    capsys.readouterr()
    evaluate(EvaluateConfig(run="run", split="test", worst=0))
    assert "class_3" in capsys.readouterr().out
    predict(PredictConfig(run="run", input="a set/test", output="out", overlays=False))
    assert np.asarray(Image.open(next((tmp_path / "out").glob("*.png")))).shape == (32, 32)


LAYOUTS: dict[str, tuple[list[tuple[Any, ...]], dict[str, str]]] = {
    "ADE20K": (
        [("images/{p}/x{n}.jpg", "annotations/{p}/x{n}.png", ("training", 3), ("validation", 2))],
        {"images": "images/{split}", "labels": "annotations/{split}"},
    ),
    "YOLO": (
        [("images/{p}/{n}.png", "labels/{p}/{n}.png", TRAIN, VAL, TEST)],
        {"images": "images/{split}", "labels": "labels/{split}"},
    ),
    "folders": ([("{p}/images/{n}.png", "{p}/masks/{n}.png", TRAIN, ("valid", 2))], {"labels": "masks"}),
    "capital letters": (
        [("Data/{p}/Image/{n}.png", "Data/{p}/Mask/{n}.png", ("Train", 3), ("Valid", 2))],
        {"root": "set/Data", "images": "Image", "labels": "Mask"},
    ),
    "parts in names": (
        [("{p}_images/{n}.png", "{p}_masks/{n}.png", TRAIN, VAL)],
        {"images": "{split}_images", "labels": "{split}_masks"},
    ),
    "side by side": ([("raw/{n}.png", "gt/{n}_mask.png", ("", 3))],
                     {"images": "raw", "labels": "gt", "label_suffix": "_mask"}),
    "by what they hold": ([("a/{n}.png", "b/{n}.png", ("", 3))], {"images": "a", "labels": "b"}),
    "one folder": ([("{n}.png", "{n}_L.png", ("", 3))], {"images": ".", "labels": ".", "label_suffix": "_L"}),
    "further down": ([("x/y/images/{n}.png", "x/y/labels/{n}.png", ("", 3))], {"root": "set/x/y"}),
    "names that begin otherwise": (
        [("images/img_{n}.png", "masks/mask_{n}.png", ("", 3))],
        {"labels": "masks", "pair_regex": r"^(?:mask_|img_)(.+?)\.[^.]+$"},
    ),
    "nnU-Net": (
        [("imagesTr/case_{n}_0000.png", "labelsTr/case_{n}.png", ("", 3)),
         ("imagesTs/case_{n}_0000.png", None, ("", 2))],
        {"images": "imagesTr", "labels": "labelsTr", "pair_regex": r"^(?:case_)(.+?)(?:_0000|)\.[^.]+$"},
    ),
    "a test part without labels": (
        [("{p}/images/{n}.png", "{p}/masks/{n}.png", TRAIN), ("test/images/{n}.png", None, ("", 2))],
        {"root": "set/train", "labels": "masks"},
    ),
    "test within a word": (
        [("latest_images/{n}.png", "latest_masks/{n}.png", ("", 3))],
        {"images": "latest_images", "labels": "latest_masks"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_found_by_its_root_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files, expected = LAYOUTS[name]
    for images, labels, *parts in files:
        layout(tmp_path / "set", images, labels, *parts)
    (found,) = find_layouts(DataConfig(root="set"))
    usual = DataConfig(root="set")
    given = {key: getattr(found, key) for key in ("root", "images", "labels", "label_suffix", "pair_regex")}
    assert given == {key: expected.get(key, getattr(usual, key)) for key in given}
    assert found.split.mode == "auto"


def test_lists_stacks_and_the_lectures_folders_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "list", "i/{n}.png", "l/{n}.png", ("", 3))
    (tmp_path / "list" / "mine.csv").write_text("image;label\ni/1.png;l/1.png\ni/2.png;l/2.png\n")
    (tmp_path / "stacks").mkdir()
    for part in ("train", "val"):
        for kind, index in (("volume", 0), ("labels", 1)):
            stack = np.stack([scene(i)[index] for i in range(4)])
            save(tmp_path / "stacks" / f"{part}-{kind}.tif", stack)
            for i in range(2):
                folder = tmp_path / "lecture" / part
                save(folder / f"{('input', 'label')[index]}_{i:03d}.npy", scene(i)[index])
    (found,) = find_layouts(DataConfig(root="list"))
    assert (found.kind, found.csv) == ("csv", "mine.csv")
    (found,) = find_layouts(DataConfig(root="stacks"))
    assert found.kind == "tiff_stack"
    assert (found.image_stack, found.label_stack) == ("{split}-volume.tif", "{split}-labels.tif")
    (found,) = find_layouts(DataConfig(root="lecture"))
    assert (found.kind, found.root) == ("npy_folder", "lecture")


def test_a_size_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [f"{1000 + 10**i} x 1024" for i in range(7)]
    say([f"sizes:    {', '.join(sizes)}"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) < 80
    assert all(sum(size in line for line in lines) == 1 for size in sizes)


def test_a_test_set_is_never_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "only", "test/images/{n}.png", "test/labels/{n}.png", ("", 3))
    assert find_layouts(DataConfig(root="only")) == []
    said = survey(capsys, "data=image_folder", "data.root=only", code=1)
    assert "images in folders: test/images/ 3, test/labels/ 3" in said
    assert "use:" not in said
    layout(tmp_path / "set", "{p}/images/{n}.png", "{p}/labels/{n}.png", TRAIN, ("valid", 2), TEST)
    assert part_of_a_set(Path("only/test")) is None  # a name like any other
    said = survey(capsys, "data=image_folder", "data.root=set/test", "batch_size=1", code=1)
    assert "data.root=set/test is the test part of a set; all of it:" in said
    assert "task=check_data data.root=set\n" in said
    assert "use" not in said
    said = survey(capsys, "data=image_folder", "data.root=set/train", "batch_size=1")
    assert "task=check_data data.root=set\n" in said
    assert said.rstrip().endswith("ready")


def test_what_can_be_read_in_several_ways_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for labels in ("masks", "masks2"):
        layout(tmp_path / "set", "images/{n}.png", labels + "/{n}.png", ("", 3))
    said = survey(capsys, "data=image_folder", "data.root=set", code=1)
    assert "set can be read in 2 ways" in said
    for labels in ("masks", "masks2"):
        assert f"task=check_data data=image_folder data.root=set data.labels={labels} " in said


def test_masks_of_other_formats_are_named_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "set", "train/{n}.png", None, ("", 3))
    (tmp_path / "set/train_masks").mkdir()
    for number in range(3):
        (tmp_path / f"set/train_masks/{number}_mask.gif").touch()
    said = survey(capsys, "data=image_folder", "data.root=set", code=1)
    assert "not read in train_masks/: 3 .gif, such as 0_mask.gif (save them as png)" in said


def test_labels_that_are_stored_turned_unlike_their_images_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "set", "images/{n}.png", "labels/{n}.png", ("", 3))
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(scene(2)[1]).save(tmp_path / "set/labels/2.png", exif=exif)
    said = " ".join(survey(capsys, "data=image_folder", "data.root=set", "batch_size=1").split())
    assert "1 of 3 labels are stored turned (EXIF or TIFF orientation, the first: 2, 3)" in said
    assert "images are stored turned" not in said


def test_images_of_two_types_are_said_and_the_line_makes_them_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "set", "images/{n}.png", "labels/{n}.png", ("", 3))
    save(tmp_path / "set/images/2.png", scene(2)[0].astype(np.uint16) * 16)
    said = survey(capsys, "data=image_folder", "data.root=set", "batch_size=1")
    assert "images differ in their type: 2 uint8, 1 uint16" in said
    assert {"transform.mean=image", "transform.std=image"} <= set(pasted(line_of(said)))


# ---- the line that is pasted ----------------------------------------------------------------------------

NAMES = ["배경", "세포-2", "naïve", "yes", "null", "True", "1", "1e3", "0x1F", "nan", "_x", "a-b"]


def test_the_line_survives_the_shell_and_hydra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "it's a $SET, [1]"
    layout(root, "im ages/{n}.png", "la,bels/{n} (mask).png", ("", 3), classes=12)
    data = DataConfig(
        root=root.name, images="im ages", labels="la,bels", label_suffix=" (mask)", classes=NAMES,
        label_map=dict(enumerate(NAMES)) | {99: "ignore"},
    )  # fmt: skip
    config = composed("data=image_folder", "data.root=.", "batch_size=1")
    config.data = data
    check_data(config)
    said = capsys.readouterr().out
    assert said.rstrip().endswith("ready"), said
    again = check(settings(pasted(line_of(said)))).data
    assert again.classes == NAMES
    assert (again.root, again.images, again.labels) == (root.name, "im ages", "la,bels")
    assert again.label_suffix == " (mask)"
    assert {str(key): name for key, name in again.label_map.items()} == {
        str(key): name for key, name in data.label_map.items()
    }


def test_the_line_keeps_what_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data")
    typed = ("data=image_folder", "data.root=data", "data.split.val=3", "data.split.mode=random",
             "transform=strong", "transform.train.crop.size=64", "optimizer=sgd")  # fmt: skip
    words = pasted(line_of(survey(capsys, *typed, typed=typed)))
    assert {"data.split.val=3", "data.split.mode=random", "transform=strong", "optimizer=sgd"} < set(words)
    assert "transform.train.crop.size=32" in words  # the images have no 64 pixels
    assert "batch_size=3" in words
    assert survey(capsys, *words).rstrip().endswith("ready")


def test_pictures_go_where_output_says_and_the_verdict_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data")
    command = command_line.prepare(["task=check_data", "data.root=data", "output=a b/c"])
    assert command.own["output"] == "a b/c"
    assert "data=image_folder" in command.argv
    check_data(composed("data=image_folder", "data.root=data"), **command.own)
    assert "drawn: a b/c/samples.png" in capsys.readouterr().out
    assert (tmp_path / "a b/c/augmented.png").stat().st_size > 1000
    (tmp_path / "file").touch()
    check_data(composed("data=image_folder", "data.root=data"), output="file/inside")
    said = capsys.readouterr().out
    assert "no pictures: file/inside can't be written" in said
    assert said.rstrip().endswith("ready")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "a b", "file"}

    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("unet_exp.plots.run.plot_sheet", full)
    check_data(composed("data=image_folder", "data.root=data"))
    said = capsys.readouterr().out
    assert "no pictures: the memory is full" in said
    assert said.rstrip().endswith("ready")


# ---- what labels look like -------------------------------------------------------------------------------


def numbered(seed: int, count: int, dtype: Any) -> tuple[Array, Array]:
    """An image with some discs, and a label in which each has its own number."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    label = np.zeros((64, 64), dtype)
    for number, place in enumerate(rng.permutation(16)[:count], start=1):
        cy, cx = 8 + 16 * (place // 4), 8 + 16 * (place % 4)
        label[(y - cy) ** 2 + (x - cx) ** 2 < 36] = number
    return np.clip(40 + 150 * (label > 0) + rng.normal(0, 9, label.shape), 0, 255).astype(np.uint8), label


@pytest.mark.parametrize(("dtype", "ending"), [("uint8", "png"), ("float32", "tif"), ("uint32", "npy")])
def test_object_numbers_are_recognised_and_converted(
    dtype: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    counts = (5, 9, 12, 7, 16, 3)
    for index, count in enumerate(counts):
        image, label = numbered(index, count, dtype)
        save(tmp_path / f"data/images/{index}.png", image)
        save(tmp_path / f"data/labels/{index}.{ending}", label)
    data = ["data=image_folder", "data.root=data"]
    said = survey(capsys, *data, code=1)
    assert "with 16 values: looks like object numbers" in " ".join(said.split())
    assert said.rstrip().endswith("1 problem")
    assert "use, once that is corrected:" in said
    (line,) = [line for line in said.splitlines() if line.startswith("python -c ")]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line], env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    words = pasted(line_of(said))
    assert "data.labels=labels_masks" in words
    said = survey(capsys, *words)
    assert said.rstrip().endswith("ready")
    inside = sum(int((numbered(i, count, dtype)[1] > 0).sum()) for i, count in enumerate(counts))
    assert f"labels:   file values 0 ({6 * 64 * 64 - inside} px), 255 ({inside} px)" in said


def test_classes_in_one_piece_each_are_no_objects() -> None:
    """The same organs in every label; and squares of twelve codes."""
    organs = [numbered(i, 8, np.uint8)[1] for i in range(6)]
    codes = [scene(i, 12)[1] for i in range(6)]
    for labels in (organs, codes):
        counts = [{str(value): int((one == value).sum()) for value in np.unique(one)} for one in labels]
        assert guess(counts, [shapes(one) for one in labels]) == "classes"


def test_object_numbers_with_gaps_and_photographs_are_no_classes() -> None:
    def guessed(labels: list[Array]) -> str:
        counts = [{str(value): int((one == value).sum()) for value in np.unique(one)} for one in labels]
        return guess(counts, [shapes(one) for one in labels])

    rng = np.random.default_rng(0)
    tracks = [np.append(0, rng.integers(1, 60_000, 12))[numbered(i, 8, np.uint8)[1]] for i in range(6)]
    assert guessed(tracks) == "objects"
    nodata = [numbered(i, 3 + i, np.int16)[1] for i in range(6)]
    for one in nodata:
        one[0] = -1
    assert guessed(nodata) == "objects"
    assert guessed([numbered(i, 8, np.uint8)[0] for i in range(6)]) == ""


def test_objects_by_colours_of_their_own_are_no_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    colours = np.random.default_rng(0).integers(1, 255, (6, 20, 3), dtype=np.uint8)
    colours[:, 0] = 0
    for index in range(6):
        image, label = numbered(index, 5 + index, np.uint8)
        save(tmp_path / f"data/images/{index}.png", image)
        save(tmp_path / f"data/labels/{index}.png", colours[index][label])
    said = survey(capsys, "data=image_folder", "data.root=data", code=1)
    assert "looks like object numbers" in " ".join(said.split())
    assert "label_map" not in said
    assert said.rstrip().endswith("1 problem")


def test_smoothed_edges_are_told_from_rare_classes() -> None:
    _, mask = scene(1, 2, 64)
    small = Image.fromarray(mask * 255)
    resized = np.asarray(small.resize((160, 160), Image.Resampling.BILINEAR))
    assert shapes(resized) == Shapes(numbered=False, smooth=True)
    rare = scene(2, 3, 64)[1] * np.uint8(100)
    for value in (20, 50, 80, 120):
        rare[8 * (value % 7) : 8 * (value % 7) + 6, 4:10] = value
    found = shapes(rare)
    assert found is not None
    assert not found.smooth


def test_many_labels_of_codes_are_one_finding_and_a_stray_value_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Classes differ from file to file; 255 above indices is ignored, as VOC and Cityscapes have it."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data", count=12)
    for index in range(12):
        label = np.zeros((32, 32), np.uint8)
        label[:16, :16], label[20:, 20:], label[:4, 20:] = 1 + index % 3, 4 + index % 2, 255
        save(tmp_path / "data/labels" / f"{index:02d}.png", label)
    said = survey(capsys, "data=image_folder", "data.root=data")
    assert "looks like 6 classes: the values 0, 1, ..., 255 in 12 labels" in said
    assert "smoothed" not in said
    words = pasted(line_of(said))
    assert "data.classes=[class_0,class_1,class_2,class_3,class_4,class_5]" in words
    assert any(word.endswith("5: class_5, 255: ignore}") for word in words)
    assert survey(capsys, *words).rstrip().endswith("ready")
    stray = tmp_path / "stray"
    write_folder(stray, count=12)
    label = np.asarray(Image.open(stray / "labels/03.png")).copy()
    label[:5, :5] = 77
    save(stray / "labels/03.png", label)
    said = survey(capsys, "data=image_folder", "data.root=stray", code=1)
    assert "1. label stray/labels/03.png has values that are not binary" in said
    assert "'data.label_map={0: class_0, 77: class_77, 255: class_255}'" in said
    with pytest.raises(UserError, match="ask what all labels hold: task=check_data"):
        train(tmp_path / "run", ["data=image_folder", "data.root=stray", *SMALL])


def test_one_screen_for_a_set_with_everything_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "a_rather_long_name_of_a_microscope_and_a_day_{n:03d}.png"
    layout(tmp_path / "data", f"images/{name}", f"labels/{name}", ("", 60))
    files = sorted((tmp_path / "data/images").iterdir())
    for path in files[:10]:
        path.write_bytes(b"")
    for path in files[10:20]:
        save(path, np.zeros((32, 40), np.uint8))
    for path in files[20:30]:
        save(path, np.zeros((32, 32, 3), np.uint8))
    for path in files[30:40]:
        save(tmp_path / "data/labels" / path.name, scene(1, 5)[1] * np.uint8(40))
    for path in files[40:42]:
        path.unlink()
    said = survey(capsys, "data=image_folder", "data.root=data", code=1)
    assert said.rstrip().endswith("4 problems")
    for words in (
        "labels without an image (2)",
        "10 such files",
        "10 labels, such as",
        "differ in their channels",
    ):
        assert words in said


def test_the_command_line_of_shlex_is_that_of_bash() -> None:
    assert pasted("python run.py 'a=[\"b\"]' c") == ['a=["b"]', "c"] == shlex.split("'a=[\"b\"]' c")
