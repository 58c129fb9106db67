"""check_data, evaluate and predict, on every kind of file, as functions of runs that were trained."""

import csv
import json
import math
import os
import shlex
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
from omegaconf import OmegaConf
from PIL import Image
from sklearn.metrics import f1_score

import unet_exp
from tests.conftest import TINY, Cli, composed, train, write_folder
from tests.support import blobs, picture, save
from unet_exp.config.task_schema import EvaluateConfig, PredictConfig
from unet_exp.data.items import files_in
from unet_exp.data.synthetic import generate_membranes
from unet_exp.errors import UserError
from unet_exp.metrics.em import em_table
from unet_exp.tasks.check_data import check_data
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.predict import predict
from unet_exp.training.checkpoint import load, weights_sha256

Array = npt.NDArray[Any]
S = 32


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


# ---- every kind of file -----------------------------------------------------------------------------


def unit(array: Array) -> Array:
    return array / np.float32(255)


def wide(array: Array) -> Array:
    return array.astype(np.uint16) * 257


def same(array: Array) -> Array:
    return array


# Channels -> kinds of files that lie side by side in one folder.
IMAGES: dict[int, list[tuple[str, Any]]] = {
    1: [(".png", same), (".png", wide), (".jpg", same), (".bmp", same), (".tif", same), (".tif", wide),
        (".tif", unit), (".npy", unit), (".npz", same)],
    3: [(".png", same), (".jpeg", same), (".bmp", same), (".tif", same), (".tif", wide), (".npy", wide)],
    4: [(".png", same), (".tif", same), (".npz", unit)],
    5: [(".tif", wide), (".npy", same), (".npz", wide)],
}  # fmt: skip
COLOURS = np.array([[0, 0, 0], [255, 0, 0]], np.uint8)
LABELS: dict[int, tuple[list[tuple[str, Any]], list[str]]] = {
    1: ([(".png", same), (".tif", same), (".npy", lambda a: a.astype(np.int64)),
         (".npz", lambda a: a.astype(bool))], []),
    3: ([(".png", lambda a: COLOURS[a]), (".bmp", lambda a: COLOURS[a])],
        ["data.label_map={0-0-0: background, 255-0-0: foreground}"]),
    4: ([(".bmp", lambda a: a * np.uint8(255)), (".png", lambda a: a * np.uint8(255))], []),
    5: ([(".tif", lambda a: a.astype(np.uint16) * 500 + 7)],
        ["data.label_map={7: background, 507: foreground}"]),
}  # fmt: skip


@pytest.mark.parametrize("channels", IMAGES)
def test_every_kind_of_file_through_all_verbs(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds, (label_kinds, settings) = IMAGES[channels], LABELS[channels]
    for i, (ending, stored) in enumerate(kinds):
        label_ending, as_label = label_kinds[i % len(label_kinds)]
        save(tmp_path / "data" / "images" / f"{i}{ending}", stored(picture(blobs(i), i, channels)))
        save(tmp_path / "data" / "labels" / f"{i}{label_ending}", as_label(blobs(i)))
    data = ["data=image_folder", "data.root=data", "data.split.val=1", "batch_size=2", *settings]
    check_data(composed(*data))
    said = capsys.readouterr().out
    assert said.rstrip().endswith("ready"), said
    assert f"pairs:    {len(kinds)} (train {len(kinds) - 1}, val 1, test 0; split by blocks)" in said
    assert (tmp_path / "check_data" / "samples.png").exists()
    assert (tmp_path / "check_data" / "augmented.png").exists()
    run_dir = train(tmp_path / "run", *data)
    evaluate(EvaluateConfig(run="run", worst=1))
    (tmp_path / "data" / "labels").rename(tmp_path / "data" / "gone")  # predictions need no labels
    predict(PredictConfig(run="run", input="data/images", output="out"))
    for i in range(len(kinds)):
        found = np.asarray(Image.open(tmp_path / "out" / f"{i}.png"))
        assert found.shape == (S, S)
        assert set(np.unique(found)) <= {0, 1}
        assert set(np.unique(np.asarray(Image.open(tmp_path / "out" / "visible" / f"{i}.png")))) <= {0, 255}
        assert np.asarray(Image.open(tmp_path / "out" / "overlays" / f"{i}.png")).shape == (S, S, 3)
        maps = tifffile.imread(tmp_path / "out" / "probabilities" / f"{i}.tif")
        assert maps.dtype == np.float32
        assert np.array_equal(maps > 0.5, found == 1)
    assert read_json(run_dir / "evaluation" / "val" / "evaluation.json")["images"] == 1


@pytest.mark.parametrize("stored", [lambda a: a.astype(np.uint16) * 9, lambda a: a * np.float32(7) - 20])
def test_unusual_ranges_are_normalised_by_the_training_images(
    stored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """12 bits in 16, floats beyond [0, 1]: the survey says what to add."""
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        save(tmp_path / "data" / "images" / f"{i}.tif", stored(picture(blobs(i), i)))
        save(tmp_path / "data" / "labels" / f"{i}.png", blobs(i))
    check_data(composed("data=image_folder", "data.root=data", "batch_size=2"))
    said = capsys.readouterr().out
    assert "transform.mean=train" in said
    assert "transform.std=train" in said


def test_stacks_of_pages_through_all_verbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    masks = np.stack([blobs(i) for i in range(4)])
    images = np.stack([picture(mask, i) for i, mask in enumerate(masks)])
    save(tmp_path / "data" / "images" / "a.tif", images)
    save(tmp_path / "data" / "labels" / "a.tif", masks * np.uint8(255))
    check_data(composed("data=image_folder", "data.root=data", "batch_size=2"))
    assert "pairs:    4" in capsys.readouterr().out
    train(tmp_path / "run", "data=image_folder", "data.root=data")
    predict(PredictConfig(run="run", input="data/images/a.tif", output="out", probabilities="uint16"))
    assert [path.name for path in files_in(tmp_path / "out", (".png",))] == [f"a_00{i}.png" for i in range(4)]
    maps = tifffile.imread(tmp_path / "out" / "probabilities" / "a_002.tif")
    exact = unet_exp.load_run("run").probabilities(images[2])[1]
    assert maps.dtype == np.uint16
    assert np.abs(maps / 65535 - exact).max() < 1e-4


# ---- several classes --------------------------------------------------------------------------------------

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
        start / "run", "data=image_folder", f"data.root={start / 'data'}", f"data.classes=[{','.join(FIVE)}]",
        f"data.label_map={MAP}", "data.split.val=2", "epochs=25", "lr=0.02", "loss=ce_dice",
        "loss.class_weights=median_frequency", "transform.mean=train", "transform.std=train",
        "trainer.monitor=dice_car", "trainer.log_every=0",
    )  # fmt: skip
    return start


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


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


# ---- scores ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def membranes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on drawn membranes that has learnt something."""
    start = tmp_path_factory.mktemp("membranes")
    split = ["data.split.train=8", "data.split.val=3", "data.split.test=2"]
    return train(start / "run", "data.size=64", *split, "epochs=12", "lr=0.01", "trainer.log_every=0")


def test_evaluation_gives_the_numbers_of_training(membranes: Path) -> None:
    evaluate(EvaluateConfig(run=str(membranes)))
    found = read_json(membranes / "evaluation" / "val" / "evaluation.json")
    epoch = str(found["epoch"])
    row = next(r for r in rows_of(membranes / "metrics.csv") if r["split"] == "val" and r["epoch"] == epoch)
    same = [name for name in row if name not in ("epoch", "step", "split", "lr")]
    assert len(same) == 13
    assert {name: found[name] for name in same} == {name: float(row[name]) for name in same}
    images = rows_of(membranes / "evaluation" / "val" / "images.csv")
    assert np.mean([float(image["dice"]) for image in images]) == pytest.approx(found["image_dice"])
    assert {"v_rand", "v_info", "pixel_error", "threshold"} <= set(found["em"])


def test_the_threshold_comes_from_validation(membranes: Path) -> None:
    evaluate(EvaluateConfig(run=str(membranes), worst=0))
    val = read_json(membranes / "evaluation" / "val" / "evaluation.json")["em"]["threshold"]
    evaluate(EvaluateConfig(run=str(membranes), split="test", worst=0))
    stored = read_json(membranes / "evaluation" / "test" / "evaluation.json")["em"]
    assert stored["threshold"] == val
    (membranes / "evaluation" / "val" / "evaluation.json").unlink()
    evaluate(EvaluateConfig(run=str(membranes), split="test", worst=0))
    assert read_json(membranes / "evaluation" / "test" / "evaluation.json")["em"]["threshold"] == val


def test_symmetries_are_averaged_and_all_splits_are_one(membranes: Path, tmp_path: Path) -> None:
    parts = {}
    for split in ("train", "val", "test", "all"):
        evaluate(
            EvaluateConfig(run=str(membranes), split=split, worst=0, em=False, output=str(tmp_path / split))
        )
        parts[split] = rows_of(tmp_path / split / "classes.csv")
    for number in range(2):
        each = [int(parts[split][number]["label_pixels"]) for split in ("train", "val", "test")]
        assert int(parts["all"][number]["label_pixels"]) == sum(each)
    evaluate(EvaluateConfig(run=str(membranes), tta=True, worst=0))
    evaluate(EvaluateConfig(run=str(membranes), worst=0))
    folder = membranes / "evaluation"
    plain, averaged = (read_json(folder / name / "evaluation.json")["loss"] for name in ("val", "val_tta"))
    assert averaged != plain


def test_a_metric_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mymetrics.py").write_text(
        "class Wrong:\n"
        "    def __init__(self, factor): self.factor = factor; self.reset()\n"
        "    def reset(self): self.bad = self.all = 0\n"
        "    def update(self, prediction, label):\n"
        "        assert prediction.shape == label.shape and prediction.ndim == 3\n"
        "        self.bad += int((prediction != label).sum()); self.all += label.numel()\n"
        "    def compute(self): return self.factor * self.bad / self.all\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("UNET_EXP_ALLOW", "mymetrics")
    metric = "+metrics.wrong={_target_: mymetrics.Wrong, factor: 100}"
    small = ["data.size=32", "data.split.train=4", "data.split.val=2", "data.split.test=0", "epochs=2"]
    run_dir = train(tmp_path / "run", *small, metric, "trainer.monitor=wrong", "trainer.mode=min")
    rows = rows_of(run_dir / "metrics.csv")
    assert [row["wrong"] == "" for row in rows] == [row["split"] == "train" for row in rows]
    for row in rows:
        if row["split"] == "val":
            assert 0 < float(row["wrong"]) < 100
    evaluate(EvaluateConfig(run=str(run_dir), worst=0))
    found = read_json(run_dir / "evaluation" / "val" / "evaluation.json")
    assert found["wrong"] == min(float(row["wrong"]) for row in rows if row["wrong"])
    with pytest.raises(UserError, match=r"allowed: loss, dice, iou.*wrong"):
        composed(metric, "trainer.monitor=wrnog")
    with pytest.raises(UserError, match="min or max"):
        composed(metric, "trainer.monitor=wrong")
    with pytest.raises(UserError, match="not allowed"):
        composed("+metrics.x._target_=os.system")


# ---- predictions -----------------------------------------------------------------------------------------


def images_in(folder: Path, *sizes: tuple[int, int]) -> Path:
    for number, size in enumerate(sizes):
        save(
            folder / f"im{number:03d}.png",
            np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8),
        )
    return folder


def test_predictions_of_any_size_are_those_of_the_whole_image(membranes: Path, tmp_path: Path) -> None:
    folder = images_in(tmp_path / "in", (64, 64), (1, 1), (131, 77), (300, 9))
    predictor = unet_exp.load_run(membranes, device="cpu")
    whole = predictor.with_options(tile=512)
    tiled = predictor.with_options(tile=96)
    for path in files_in(folder, (".png",)):
        image = np.asarray(Image.open(path))
        one, many = whole.probabilities(image), tiled.probabilities(image)
        assert one.shape == (2, *image.shape)
        assert np.abs(one.sum(0) - 1).max() < 1e-3
        assert np.abs(one - many).max() < 0.03  # bf16 where the chip has it; test_tiling has the exact proof
        assert np.array_equal(predictor.predict(image), (one[1] > 0.5).astype(np.uint8))


def test_statistics_are_of_the_whole_image_and_not_of_its_tiles(tmp_path: Path) -> None:
    """A network that hands its input through shows by what it was normalised."""
    split = ["data.split.train=2", "data.split.val=1", "data.split.test=0", "data.size=32"]
    run_dir = train(tmp_path / "run", *split, "transform.mean=image", "transform.std=image")
    predictor = unet_exp.load_run(run_dir, "cpu").with_options(tile=64)
    predictor.networks[0] = torch.nn.Identity()
    image = np.zeros((256, 256), np.uint8)
    image[:, 200:] = 100
    found = predictor.probabilities(image)[1]
    unit = image / 255
    expected = 1 / (1 + np.exp(-(unit - unit.mean()) / unit.std()))
    assert np.abs(found - expected).max() < 1e-4


def test_what_is_done_is_skipped_and_a_broken_file_is_only_itself(
    membranes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = images_in(tmp_path / "in", (40, 40), (40, 40))
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "folder.png").mkdir()
    options = PredictConfig(run=str(membranes), input=str(folder), output=str(tmp_path / "out"))
    with pytest.raises(SystemExit) as stop:
        predict(options)
    assert stop.value.code == 1
    assert "broken.png can't be read" in caplog.text
    assert not list((tmp_path / "out").glob(".*"))
    first = (tmp_path / "out" / "im000.png").stat().st_mtime_ns
    (tmp_path / "out" / "im001.png").unlink()
    (folder / "broken.png").unlink()
    predict(options)
    assert (tmp_path / "out" / "im000.png").stat().st_mtime_ns == first
    assert (tmp_path / "out" / "im001.png").exists()
    options.tta = True
    with pytest.raises(UserError, match="made with another tta"):
        predict(options)
    options.overwrite = True
    predict(options)
    assert (tmp_path / "out" / "im000.png").stat().st_mtime_ns > first


def test_masks_of_large_images_are_written_by_rows(
    membranes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = images_in(tmp_path / "in", (150, 90))
    options = PredictConfig(run=str(membranes), input=str(folder), output=str(tmp_path / "small"), tile=64)
    predict(options)
    monkeypatch.setattr("unet_exp.tasks.predict.MOST_PNG", 1000)
    options.output = str(tmp_path / "large")
    predict(options)
    for name in ("im000", "visible/im000", "overlays/im000"):
        as_png = np.asarray(Image.open(tmp_path / "small" / f"{name}.png"))
        assert np.array_equal(tifffile.imread(tmp_path / "large" / f"{name}.tif"), as_png)
    kept = {path.name for path in (tmp_path / "large").iterdir()}
    assert kept == {"im000.tif", "visible", "overlays", "probabilities", "predict.json"}


def test_an_ensemble_is_the_mean_of_its_runs(membranes: Path, tmp_path: Path) -> None:
    other = train(
        tmp_path / "other", "data.size=64", "data.split.train=4", "data.split.val=2", "seed=1",
        "transform.mean=train", "transform.std=train",
    )  # fmt: skip
    folder = images_in(tmp_path / "in", (48, 48))
    image = np.asarray(Image.open(folder / "im000.png"))
    each = [unet_exp.load_run(path, "cpu").probabilities(image) for path in (membranes, other)]
    options = PredictConfig(
        run=f"{membranes},{other}", input=str(folder), output=str(tmp_path / "out"), device="cpu"
    )
    predict(options)
    found = tifffile.imread(tmp_path / "out" / "probabilities" / "im000.tif")
    assert np.abs(found - (each[0][1] + each[1][1]) / 2).max() < 1e-5
    assert np.abs(each[0] - each[1]).max() > 0.01


def test_inputs_that_are_none(membranes: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(UserError, match="holds no image"):
        predict(PredictConfig(run=str(membranes), input=str(tmp_path / "x*.png"), output=out))
    with pytest.raises(UserError, match="is not a run directory"):
        predict(PredictConfig(run=str(tmp_path), input=str(images_in(tmp_path / "in", (9, 9))), output=out))
    with pytest.raises(UserError, match="folder of the images"):
        predict(PredictConfig(run=str(membranes), input=str(tmp_path / "in"), output=str(tmp_path / "in")))


# ---- what people get wrong --------------------------------------------------------------------------------


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


BAD = ["wrong sizes", "orphans", "unknown values", "truncated tif", "animated gif", "zero bytes", "directory",
       "symlink loop", "smoothed mask"]  # fmt: skip


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
    for words in ("05: class foreground is darker there", "06: the label holds nothing but background",
                  "07.jpg: the label is a jpeg", "1. 11 (val) is the same image as 02 (train)"):  # fmt: skip
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
    assert "drawn: check_data/samples.png" in said


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


# ---- the threshold of two classes -------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["dice", "v_rand"])
def test_a_run_keeps_the_threshold_that_is_best_on_validation(metric: str, tmp_path: Path) -> None:
    size = ["data.size=64", "data.split.train=4", "data.split.val=2", "data.split.test=1", "epochs=3"]
    run_dir = train(tmp_path / "run", *size, f"trainer.choose_threshold={metric}")
    stored = read_json(run_dir / "threshold.json")
    scores = read_json(run_dir / "status.json")["scores"]
    predictor = unet_exp.load_run(run_dir)
    items = composed(*size)
    labels, images = [], []
    for index in range(4, 6):  # drawn after the four of training
        image, label = generate_membranes(items.data.seed, index, 64)
        images.append(image)
        labels.append(label == 1)
    for name, ending in (("plain", ""), ("tta", "_tta")):
        ours = predictor.with_options(tta=name == "tta")
        assert ours.cut == stored[name]["threshold"]
        maps = [ours.probabilities(image)[1] for image in images]
        by_hand = {}
        for threshold in np.arange(1, 20) / 20:
            if metric == "v_rand":
                by_hand[threshold] = em_table(maps, labels, [threshold])[0]["v_rand"]
            else:
                predicted = np.ravel([m > threshold for m in maps])
                by_hand[threshold] = f1_score(np.ravel(labels), predicted, average="macro")
        assert stored[name][metric] == pytest.approx(max(by_hand.values()), abs=1e-6)
        assert scores[f"{metric}{ending}"] == stored[name][metric]
        assert by_hand[np.float64(stored[name]["threshold"])] == pytest.approx(
            max(by_hand.values()), abs=1e-6
        )
    save(tmp_path / "images/a.png", (images[0]).astype(np.uint8))
    options: dict[str, Any] = {"run": str(run_dir), "input": str(tmp_path / "images"), "tta": True}
    for given, used in (("auto", stored["tta"]["threshold"]), (0.9, 0.9)):
        output = tmp_path / f"{given}"
        predict(PredictConfig(**options, output=str(output), threshold=given))
        expected = predictor.with_options(tta=True).probabilities(images[0])[1] > used
        assert np.array_equal(np.array(Image.open(output / "a.png")), expected)
    evaluate(EvaluateConfig(run=str(run_dir), split="test", tta=True, worst=0))
    test = read_json(run_dir / "evaluation/test_tta/evaluation.json")["em"]
    if metric == "v_rand":
        assert (test["threshold"], test["threshold_from"]) == (stored["tta"]["threshold"], "threshold.json")
    else:  # V-Rand has a threshold of its own
        assert test["threshold_from"] == "val"


def test_evaluate_scores_the_masks_that_predict_writes(
    membranes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the threshold of the run, with and without tta, against the files and another library's F1."""
    sha256 = weights_sha256(load(membranes / "checkpoints/best.pt"))
    stored = {
        "metric": "dice",
        "weights_sha256": sha256,
        "plain": {"threshold": 0.7},
        "tta": {"threshold": 0.3},
    }
    (membranes / "threshold.json").write_text(json.dumps(stored))
    try:
        pairs = [
            generate_membranes(0, index, 64) for index in range(8, 11)
        ]  # drawn after the eight of training
        for number, (image, _) in enumerate(pairs):
            save(tmp_path / f"new/{number}.png", image)
        for tta, threshold in ((False, "0.70"), (True, "0.30")):
            output = tmp_path / f"masks{tta}"
            predict(
                PredictConfig(run=str(membranes), input=str(tmp_path / "new"), output=str(output), tta=tta)
            )
            masks = [np.array(Image.open(output / f"{number}.png")) for number in range(3)]
            capsys.readouterr()
            evaluate(EvaluateConfig(run=str(membranes), tta=tta))
            printed = capsys.readouterr().out
            folder = membranes / f"evaluation/val{'_tta' * tta}"
            found = read_json(folder / "evaluation.json")
            labels = [label for _, label in pairs]
            pooled = f1_score(np.ravel(labels), np.ravel(masks), average=None)
            assert found["predict"]["threshold"] == float(threshold)
            of_classes = [found["predict"][f"dice_{name}"] for name in ("membrane", "interior")]
            assert of_classes == pytest.approx(list(pooled))
            assert found["predict"]["dice"] == pytest.approx(pooled.mean())
            each = [
                f1_score(np.ravel(a), np.ravel(b), average="macro")
                for a, b in zip(labels, masks, strict=True)
            ]
            images = rows_of(folder / "images.csv")
            assert [float(row["predict_dice"]) for row in images] == pytest.approx(each)
            by_class = [float(row["predict_dice"]) for row in rows_of(folder / "classes.csv")]
            assert by_class == pytest.approx(list(pooled))
            assert found["dice"] != pytest.approx(pooled.mean(), abs=1e-4)
            expected = em_table(
                [mask.astype(float) for mask in masks], [label == 1 for label in labels], [0.5]
            )[0]
            assert found["predict"]["v_rand"] == pytest.approx(expected["v_rand"])
            assert (
                f"threshold 0.50, as in training {threshold:>19}, as predict".split()
                == printed.splitlines()[1].split()
            )
            assert f"at {threshold}, as predict" in printed
            assert f"{pooled.mean():.4f}" in printed
            assert max(map(len, printed.splitlines())) <= 80
    finally:
        (membranes / "threshold.json").unlink()
    evaluate(EvaluateConfig(run=str(membranes), worst=0))
    assert "threshold 0.50, as in training and predict" in capsys.readouterr().out


def test_the_threshold_of_one_class(tmp_path: Path) -> None:
    size = ["data.size=64", "data.split.train=4", "data.split.val=2", "epochs=2"]
    run_dir = train(tmp_path / "run", *size, "trainer.choose_threshold=dice_membrane")
    stored = read_json(run_dir / "threshold.json")
    assert stored["metric"] == "dice_membrane"
    evaluate(EvaluateConfig(run=str(run_dir), worst=0))
    found = read_json(run_dir / "evaluation/val/evaluation.json")
    assert found["predict"]["dice_membrane"] == pytest.approx(stored["plain"]["dice_membrane"])
    assert found["predict"]["dice_membrane"] >= found["dice_membrane"]
    with pytest.raises(UserError, match=r"allowed: dice, dice_membrane, dice_interior, v_rand.*did you mean"):
        composed("trainer.choose_threshold=dice_membran")


def test_a_finished_run_is_given_a_threshold(cli: Cli, tmp_path: Path) -> None:
    done = cli(*TINY, "epochs=1", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    before = (tmp_path / "run/metrics.csv").read_bytes()
    done = cli("resume=run", "trainer.choose_threshold=v_rand", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert read_json(tmp_path / "run/threshold.json")["metric"] == "v_rand"
    assert "v_rand" in read_json(tmp_path / "run/status.json")["scores"]
    assert (tmp_path / "run/metrics.csv").read_bytes() == before
    done = cli("resume=run", cwd=tmp_path)
    assert "nothing to do" in done.stdout


def test_no_threshold_is_chosen_on_labels_of_one_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(4):
        save(tmp_path / f"images/{index}.png", blobs(index) * 255)
        save(tmp_path / f"labels/{index}.png", blobs(index) * 255 * np.uint8(index < 3))
    options = ["data=image_folder", f"data.root={tmp_path}", "data.split.val=1", "batch_size=1", "epochs=1"]
    run_dir = train(tmp_path / "run", *options, "trainer.choose_threshold=v_rand")
    assert not (run_dir / "threshold.json").exists()
    assert "no threshold is chosen" in caplog.text
    assert unet_exp.load_run(run_dir).cut == 0.5


def test_a_threshold_of_other_weights_is_not_used(membranes: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert unet_exp.load_run(membranes).cut == 0.5
    assert not caplog.text
    row = {"threshold": 0.9}
    stored = {"metric": "dice", "weights_sha256": "0" * 64, "plain": row, "tta": row}
    (membranes / "threshold.json").write_text(json.dumps(stored))
    try:
        assert unet_exp.load_run(membranes).cut == 0.5
        assert "threshold.json is of other weights than best.pt, so the threshold is 0.5" in caplog.text
    finally:
        (membranes / "threshold.json").unlink()
