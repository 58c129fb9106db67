"""Five classes from file to mask; task=check_data on sets with faults."""

import math
import os
import shlex
import time
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from tests.conftest import TINY, Cli, composed, train, write_folder
from tests.support import blobs, picture, save
from tests.tasks.common import S, images_in, rows_of
from unet_exp.config.task_schema import EvaluateConfig, PredictConfig
from unet_exp.data.items import files_in
from unet_exp.errors import UserError
from unet_exp.tasks.check_data import check_data
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.predict import predict

FIVE = ["sky", "road", "tree", "car", "person"]


CODES = [3, 40, 90, 7, 200]


MAP = "{3: sky, 40: road, 90: tree, 7: car, 200: person, 255: ignore}"


@pytest.fixture(scope="module")
def five_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on RGB images of 5 classes with codes of their own, ignored pixels, one class absent from val."""
    start = tmp_path_factory.mktemp("five")
    for i in range(8):
        label = blobs(i, 5 if i < 6 else 4)  # the last two validate: no person in them
        codes = np.array(CODES, np.uint8)[label]
        codes[:3] = 255
        save(start / "data" / "images" / f"{i}.png", picture(label, i, 3))
        save(start / "data" / "labels" / f"{i}.png", codes)
    train(
        start / "run",
        "data=image_folder",
        f"data.root={start / 'data'}",
        f"data.classes=[{','.join(FIVE)}]",
        f"data.label_map={MAP}",
        "data.split.val=2",
        "epochs=25",
        "lr=0.02",
        "loss=ce_dice",
        "loss.class_weights=median_frequency",
        "transform.mean=train",
        "transform.std=train",
        "trainer.monitor=dice_car",
        "trainer.log_every=0",
    )
    return start


def test_five_classes_are_learnt_and_scored(five_classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = [row for row in rows_of(five_classes / "run" / "metrics.csv") if row["split"] == "val"]
    best = max(float(row["dice_car"]) for row in last)
    assert best > 0.6
    assert all(math.isnan(float(row["dice_person"])) or float(row["dice_person"]) == 0 for row in last)
    resolved = OmegaConf.load(five_classes / "run" / "config_resolved.yaml")
    assert resolved.model.out_channels == 5
    assert len(resolved.loss.class_weights) == 5
    evaluate(EvaluateConfig(run=str(five_classes / "run"), worst=2))
    said = capsys.readouterr().out
    assert any(
        line.split()[:2] == ["person", "absent"] or line.startswith("person") for line in said.splitlines()
    )
    classes = {
        row["class"]: row for row in rows_of(five_classes / "run" / "evaluation" / "val" / "classes.csv")
    }
    assert classes["person"]["label_pixels"] == "0"
    assert (
        sum(int(row["label_pixels"]) for row in classes.values()) == 2 * (S - 3) * S
    )  # without the ignored rows


def test_a_run_of_five_classes_predicts_in_its_palette(five_classes: Path, tmp_path: Path) -> None:
    images = five_classes / "data" / "images"
    predict(PredictConfig(run=str(five_classes / "run"), input=str(images), output=str(tmp_path / "out")))
    right = []
    for i in range(8):
        found = np.asarray(Image.open(tmp_path / "out" / f"{i}.png"))
        right.append(np.mean(found == blobs(i, 5 if i < 6 else 4)))
        assert np.asarray(Image.open(tmp_path / "out" / "visible" / f"{i}.png")).shape == (S, S, 3)
    assert np.mean(right) > 0.7
    assert not (tmp_path / "out" / "probabilities").exists()  # only for nets of one logit, unless asked for


def pasted(said: str) -> list[str]:
    """The settings of the line that check_data gives."""
    (line,) = [line for line in said.splitlines() if line.startswith("  python ") and "run.py" in line]
    return shlex.split(line)[2:]


@pytest.mark.parametrize("colour", [False, True])
def test_the_config_lines_of_check_data_can_be_used(
    colour: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown codes: training would refuse, and the survey's own line makes it ready."""
    monkeypatch.chdir(tmp_path)
    palette = (
        np.array([[0, 0, 0], [200, 10, 10], [9, 180, 60]], np.uint8)
        if colour
        else np.array([4, 90, 200], np.uint8)
    )
    for i in range(4):
        label = blobs(i, 3)
        save(tmp_path / "data" / "images" / f"{i}.png", picture(label, i))
        save(tmp_path / "data" / "labels" / f"{i}.png", palette[label])
    check_data(composed("data=image_folder", "data.root=data"))
    said = capsys.readouterr().out
    assert said.rstrip().endswith("ready, with the line above")
    assert f"looks like 3 classes: the {'colours' if colour else 'values'} " in said
    words = pasted(said)
    assert any(word.startswith("data.label_map=") for word in words)
    check_data(composed(*words))
    assert capsys.readouterr().out.rstrip().endswith("ready")


def bad(root: Path, what: str) -> list[str]:
    """A folder of six pairs with one thing wrong; the words that have to be said."""
    write_folder(root)
    image, label = root / "images" / "03.png", root / "labels" / "03.png"
    if what == "wrong sizes":
        save(label, blobs(0)[:20])
        return ["03.png is 32 x 32", "is 20 x 32"]
    if what == "orphans":
        label.unlink()
        return ["images without a label (1): 03.png", "pairs:    5"]
    if what == "unknown values":
        save(label, blobs(0, 3) * np.uint8(100))
        return ["03.png has values", "100 (", "200 ("]
    if what == "truncated tif":
        image.unlink()
        path = save(root / "images" / "03.tif", np.zeros((S, S), np.uint8))
        path.write_bytes(path.read_bytes()[:-300])
        return ["03.tif can't be read"]
    if what == "animated gif":
        frames = [Image.fromarray(blobs(i) * np.uint8(255)) for i in range(2)]
        frames[0].save(root / "a.gif", save_all=True, append_images=frames[1:])
        (root / "a.gif").rename(image)
        return ["03.png can't be read"]
    if what == "zero bytes":
        image.write_bytes(b"")
        return ["03.png can't be read"]
    if what == "directory":
        image.unlink()
        image.mkdir()
        return ["labels without an image (1): 03.png", "pairs:    5"]
    if what == "symlink loop":
        image.unlink()
        os.symlink(image, image)
        return ["03.png can't be read", "symbolic links"]
    assert what == "smoothed mask"
    ramp = np.concatenate(
        [np.zeros((S, 13)), np.tile(np.linspace(10, 240, 6), (S, 1)), np.full((S, 13), 255)], 1
    )
    save(label, ramp.astype(np.uint8))
    return ["smoothed edges", "without interpolation"]


BAD = [
    "wrong sizes",
    "orphans",
    "unknown values",
    "truncated tif",
    "animated gif",
    "zero bytes",
    "directory",
    "symlink loop",
    "smoothed mask",
]


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_named(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = bad(tmp_path / "data", what)
    overrides = ["data=image_folder", "data.root=data"]
    with pytest.raises(SystemExit) as stop:
        check_data(composed(*overrides))
    assert stop.value.code == 1
    said = capsys.readouterr().out
    for word in words:
        assert word in said
    if what != "smoothed mask":
        with pytest.raises(UserError) as caught:
            train(tmp_path / "run", *overrides)
        assert words[0].split(" (")[0] in str(caught.value)
        assert not (tmp_path / "run" / "metrics.csv").exists()


def test_suspicions_of_the_survey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An inverted mask, an empty one, a jpeg, and an image twice."""
    monkeypatch.chdir(tmp_path)
    root = write_folder(tmp_path / "data", count=12)
    inverted = np.asarray(Image.open(root / "labels" / "05.png"))
    save(root / "labels" / "05.png", 255 - inverted)
    save(root / "labels" / "06.png", np.zeros((S, S), np.uint8))
    Image.fromarray(np.full((S, S), 255, np.uint8)).save(root / "labels" / "07.jpg", quality=95)
    (root / "labels" / "07.png").unlink()
    for part in ("images", "labels"):
        (root / part / "11.png").write_bytes((root / part / "02.png").read_bytes())
    with pytest.raises(SystemExit):
        check_data(composed("data=image_folder", "data.root=data"))
    said = capsys.readouterr().out
    for words in (
        "05: class foreground is darker there",
        "06: the label holds nothing but background",
        "07.jpg: the label is a jpeg",
        "1. 11 (val) is the same image as 02 (train)",
    ):
        assert words in said


def test_many_bad_files_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data", count=30)
    for i in range(15):
        (tmp_path / "data" / "images" / f"{i:02d}.png").write_bytes(b"")
    save(tmp_path / "data" / "images" / "20.png", picture(blobs(0), 0, 3))
    with pytest.raises(SystemExit):
        check_data(composed("data=image_folder", "data.root=data"))
    said = capsys.readouterr().out
    assert said.count("can't be read") == 1
    assert "(15 such files: also 01, 02, 03, 04 and" in said
    assert "images differ in their channels: 14 have 1, 1 have 3; the odd ones: 20" in said
    assert said.rstrip().endswith("1 problem")
    assert "pictures: check_data/samples.png" in said


def test_a_large_folder_is_listed_quickly(tmp_path: Path) -> None:
    for i in range(100_000):
        os.close(os.open(tmp_path / f"{i}.png", os.O_CREAT | os.O_WRONLY))
    started = time.perf_counter()
    assert len(files_in(tmp_path, (".png",))) == 100_000
    assert time.perf_counter() - started < 20  # a few seconds; the limit is for a busy machine


def test_verbs_on_the_command_line(cli: Cli, finished_run: tuple[Path, str], tmp_path: Path) -> None:
    run_dir, _ = finished_run
    images = images_in(tmp_path / "a b", (40, 33))
    done = cli("task=evaluate", f"run={run_dir}", f"output={tmp_path / 'scores'}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "V-Rand" in done.stdout
    done = cli("task=predict", f"run={run_dir}", f"input={images}", "output=out, [1]", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "out, [1]" / "im000.png").exists()
    done = cli("task=check_data", *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.rstrip().endswith("ready")
    assert {path.name for path in tmp_path.iterdir()} == {"a b", "scores", "out, [1]", "check_data"}
    done = cli("task=evaluate", f"run={run_dir}", "splt=test", cwd=tmp_path)
    assert done.returncode == 1
    assert "did you mean 'split'" in done.stdout
