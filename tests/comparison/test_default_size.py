"""Comparing at the shipped defaults: a sweep of two rates and two seeds with its report, and folds of
classes, objects and cells as one predictor."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import unet_exp
from tests.conftest import Cli
from tests.support import read_csv
from unet_exp.data.nuclei import generate_nuclei
from unet_exp.data.synthetic import generate_membranes
from unet_exp.objects.rules import read_rule

pytestmark = pytest.mark.default_size
FEW = ["epochs=2", "trainer.limit_train_batches=2", "threads=1"]


@pytest.fixture(scope="module")
def start(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with multirun/lr, as the page says but for the few steps. Read only."""
    start = tmp_path_factory.mktemp("compared")
    words = ["seed=0,1", "lr=1e-3,3e-3", "data.split.val=12", "sweep_dir=multirun/lr"]
    done = cli("-m", *FEW, *words, cwd=start)
    assert done.returncode == 0, done.stdout
    assert "(n = 2, 12 images)" in done.stdout
    return start


def test_compare(start: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("task=compare", f"runs={start}/multirun/lr", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    (row,) = read_csv(tmp_path / "comparison/differences.csv")
    assert (row["images"], row["trainings_first"], row["scope"]) == ("12", "2", "both")
    assert float(row["low"]) < float(row["difference"]) < float(row["high"])
    assert 0 < float(row["p"]) <= 1
    scores = read_csv(tmp_path / "comparison/scores.csv")
    assert [run["recipe"] for run in scores] == ["lr=0.001"] * 2 + ["lr=0.003"] * 2
    assert all(0 < float(run["dice"]) < 1 for run in scores)
    for name in ("comparison/report.html", "comparison/comparison.png"):
        assert (tmp_path / name).stat().st_size > 10_000


def test_reports_stand_alone_and_are_small(start: Path, cli: Cli, tmp_path: Path) -> None:
    (job, *_) = sorted(start.glob("multirun/lr/*/job.json"))
    for what in (f"run={job.parent}", f"sweep_dir={start}/multirun/lr", f"runs={start}/multirun/lr"):
        done = cli("task=report", what, "output=page.html", cwd=tmp_path)
        assert done.returncode == 0, done.stdout
        page = (tmp_path / "page.html").read_text()
        assert "Methods" in page
        assert "<script" not in page
        assert 'src="http' not in page
        assert len(page) < 5_000_000
    assert (start / "multirun/lr/report.html").is_file()


def test_list_power_and_clean(start: Path, cli: Cli) -> None:
    done = cli("task=list", "root=multirun", cwd=start)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("finished") >= 4
    done = cli("task=power", "sweep_dir=multirun/lr", "difference=0.01", cwd=start)
    assert done.returncode == 0, done.stdout
    assert "seeds of each setting" in done.stdout
    done = cli("task=clean", "root=multirun", cwd=start)
    assert "nothing to remove" in done.stdout


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["trainer.choose_threshold=dice"], "threshold"),
        (["trainer.learn_borders=true"], "cells"),
        (["data=nuclei", "trainer.monitor=ap"], "objects"),
    ],
)
def test_folds_are_one_predictor(words: list[str], kind: str, cli: Cli, tmp_path: Path) -> None:
    folds = ["sweep=folds", "data.folds=2", "data.fold=range(2)", "data.split.train=6", "data.split.val=6"]
    done = cli(*FEW, *words, *folds, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "12 images, each scored by a network that has not seen it (2 folds)" in " ".join(
        done.stdout.split()
    )
    stored = json.loads((tmp_path / "multirun/folds/folds.json").read_text())
    assert (stored["threshold"] is not None) == (kind == "threshold")
    draw = generate_nuclei if kind == "objects" else generate_membranes
    Image.fromarray(draw(0, 99, 256)[0]).save(tmp_path / "image.png")
    done = cli("task=predict", "run=multirun/folds", "input=image.png", "output=out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    predictor = unet_exp.load_run(tmp_path / "multirun/folds")
    if kind == "threshold":
        assert predictor.cut == stored["threshold"]["plain"]["threshold"]
        assert np.asarray(Image.open(tmp_path / "out/image.png")).shape == (256, 256)
    else:
        assert predictor.object_rule == read_rule(stored["objects"]["plain"])
        found = [row for row in read_csv(tmp_path / "out/objects.csv") if row["number"]]
        assert tifffile.imread(tmp_path / "out/objects/image.tif").max() == len(found)
