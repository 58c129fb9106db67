"""Numbered images, as somebody corrected them, are scored and measured again."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from tests.conftest import train
from tests.tasks.common import rows_of
from unet_exp.config.task_schema import EvaluateConfig, PredictConfig
from unet_exp.data.items import Item
from unet_exp.data.nuclei import generate_nuclei
from unet_exp.data.samples import Samples
from unet_exp.data.synthetic import generate_membranes
from unet_exp.errors import UserError
from unet_exp.inference.numbered_files import files_of_samples
from unet_exp.metrics.em import true_segments
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.predict import predict

SIZE = 64


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """set/images and set/labels, six numbered images, and run/ that trained on them for a moment."""
    start = tmp_path_factory.mktemp("numbered")
    for folder in ("images", "labels"):
        (start / "set" / folder).mkdir(parents=True)
    for index in range(6):
        image, objects = generate_nuclei(1, index, SIZE)
        Image.fromarray(image).save(start / "set" / "images" / f"{index}.png")
        Image.fromarray(objects).save(start / "set" / "labels" / f"{index}.png")
    train(
        start / "run",
        "data=image_folder",
        f"data.root={start / 'set'}",
        "data.labels_are=objects",
        "data.classes=[background,edge,middle,core]",
        "data.split.val=2",
        "trainer.plots=false",
    )
    return start


def labels(start: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.asarray(Image.open(path)) for path in (start / "set" / "labels").iterdir()}


def written(folder: Path, numbers: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, array in numbers.items():
        tifffile.imwrite(folder / f"{name}.tif", array)
    return folder


def scored(start: Path, folder: Path, output: Path, split: str = "val") -> dict[str, dict[str, float]]:
    run = str(start / "run")
    evaluate(EvaluateConfig(run=run, objects=str(folder), output=str(output), split=split))
    result = json.loads((output / "evaluation.json").read_text())
    return dict(result["objects"])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.float32])
def test_the_labels_themselves_score_1(start: Path, tmp_path: Path, dtype: type) -> None:
    folder = written(tmp_path / "in", {name: array.astype(dtype) for name, array in labels(start).items()})
    objects = scored(start, folder, tmp_path / "out")
    assert objects["pooled"]["ap"] == objects["mean"]["pq"] == objects["mean"]["seg"] == 1
    assert objects["mean"]["count_error"] == 0
    assert objects["events"]["found"] == objects["pooled"]["objects_true"] > 0
    assert not (tmp_path / "out" / "worst_objects.png").exists()


def test_what_was_corrected_is_what_is_scored(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = {name: array.astype(np.uint16) for name, array in labels(start).items()}
    folder = written(tmp_path / "in", numbers)
    scored(start, folder, tmp_path / "out")
    names = [row["name"] for row in rows_of(tmp_path / "out" / "images.csv")]
    assert len(names) == 2
    corrected = numbers[names[0]]
    lost = int(corrected.max())
    written(folder, {names[0]: np.where(corrected == lost, 0, corrected)})
    capsys.readouterr()
    objects = scored(start, folder, tmp_path / "out")
    assert objects["events"]["missed"] == 1
    assert (tmp_path / "out" / "worst_objects.png").exists()
    assert f"objects of {folder}" in capsys.readouterr().out
    rows = rows_of(tmp_path / "out" / "objects.csv")
    assert [(row["image"], row["number"]) for row in rows if row["event"] == "missed"] == [
        (names[0], str(lost))
    ]
    images = rows_of(tmp_path / "out" / "images.csv")
    assert float(images[0]["recall"]) < 1 == float(images[0]["precision"]) == float(images[1]["recall"])


def test_what_predict_writes_can_be_scored_and_gives_its_scores(start: Path, tmp_path: Path) -> None:
    run = str(start / "run")
    images = str(start / "set" / "images")
    predict(PredictConfig(run=run, input=images, output=str(tmp_path / "predicted")))
    with pytest.raises(UserError, match="pixel_size is 0"):
        predict(PredictConfig(run=run, input=images, output=str(tmp_path / "none"), pixel_size=0))
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match="is a folder of predictions"):
        scored(start, tmp_path / "predicted", tmp_path / "out")
    by_files = scored(start, tmp_path / "predicted" / "objects", tmp_path / "out")
    evaluate(EvaluateConfig(run=run, output=str(tmp_path / "network")))
    assert (tmp_path / "network" / "worst_objects.png").exists()
    by_network = json.loads((tmp_path / "network" / "evaluation.json").read_text())["objects"]
    assert by_files["pooled"] == by_network["pooled"]
    assert rows_of(tmp_path / "out" / "objects.csv") == rows_of(tmp_path / "network" / "objects.csv")


def test_files_that_are_missing_and_too_many(
    start: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    numbers = labels(start) | {"stranger": np.zeros((5, 5), np.uint8)}
    scored(start, written(tmp_path / "in", numbers), tmp_path / "out")
    assert "left out: 5 files that no sample of val has" in caplog.text
    (tmp_path / "in" / "0.tif").unlink()
    with pytest.raises(UserError, match="lacks 1 sample of all: 0"):
        scored(start, tmp_path / "in", tmp_path / "out", split="all")
    with pytest.raises(UserError, match="is no folder"):
        scored(start, tmp_path / "absent", tmp_path / "out")


def test_files_are_called_as_predict_calls_them(tmp_path: Path) -> None:
    """By the sample, or by the file of its image, with its page; one file is not of two samples."""
    stack = [Item(f"{page:02d}", Path("volume.tif"), Path("labels.tif"), page) for page in (3, 4)]
    folders = [Item(f"{name}/x", Path(name, "x.png"), Path(name, "x_label.png")) for name in ("a", "b")]
    folder = written(
        tmp_path / "in", dict.fromkeys(("volume_003", "04", "a_x", "x"), np.eye(4, dtype=np.uint8))
    )
    samples = Samples([*stack, *folders], None, [], 1, "")
    names = [path.name for path in files_of_samples(samples, "val", folder)]
    assert names == ["volume_003.tif", "04.tif", "a_x.tif", "x.tif"]
    (folder / "a_x.tif").unlink()
    with pytest.raises(UserError, match=r"x.tif fits several samples of val: a/x, b/x"):
        files_of_samples(samples, "val", folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda array: array[1:], "is 63 x 64, but 0 is 64 x 64"),
        (lambda array: array + np.float32(0.5), "holds fractions"),
        (lambda array: -array.astype(np.float32), "0 to 16777216"),
    ],
)
def test_files_that_do_not_fit(start: Path, tmp_path: Path, change: object, expected: str) -> None:
    assert callable(change)
    folder = written(tmp_path / "in", labels(start))
    written(folder, {"0": change(labels(start)["0"])})
    with pytest.raises(UserError, match=expected):
        scored(start, folder, tmp_path / "out", split="all")


def test_cells_between_membranes_are_scored_as_the_challenge_does(tmp_path: Path) -> None:
    """The components of the label score 1; two cells under one number less. em=false is refused."""
    run = str(train(tmp_path / "run", "data.size=64", "data.split.train=2", "data.split.val=1"))
    config = yaml.safe_load((tmp_path / "run" / "config_resolved.yaml").read_text())["data"]
    _, label = generate_membranes(config["seed"], 2, 64)
    cells = true_segments(label == 1).astype(np.uint16)
    assert cells.max() > 1
    out = tmp_path / "out"
    folder = written(tmp_path / "in", {"membranes_0002": cells})
    evaluate(EvaluateConfig(run=run, objects=str(folder), output=str(out)))
    result = json.loads((out / "evaluation.json").read_text())["cells"]
    assert result == {"v_rand": pytest.approx(1), "v_info": pytest.approx(1), "cells": cells.max()}
    written(folder, {"membranes_0002": np.where(cells == 2, 1, cells).astype(np.uint16)})
    evaluate(EvaluateConfig(run=run, objects=str(folder), output=str(out)))
    row = rows_of(out / "images.csv")[0]
    assert row["name"] == "membranes_0002"
    assert float(row["v_rand"]) < 1 > float(row["v_info"])
    assert int(row["cells"]) == cells.max() - 1
    with pytest.raises(UserError, match="trained on objects or on membranes"):
        evaluate(EvaluateConfig(run=run, objects=str(folder), em=False))
    with pytest.raises(UserError, match=r"tta=true and weights=last would change nothing"):
        evaluate(EvaluateConfig(run=run, objects=str(folder), tta=True, weights="last"))
