"""Runs on objects as they are shipped, `python run.py data=nuclei`: exact, swept, shared out and exported."""

import csv
import json
from pathlib import Path

import onnx
import pytest
import tifffile
from PIL import Image

from tests.conftest import Cli
from unet_exp.data.nuclei import generate_nuclei

pytestmark = pytest.mark.default_size
FEW = ["data=nuclei", "epochs=2", "trainer.limit_train_batches=3", "trainer.monitor=ap", "threads=1"]


@pytest.fixture(scope="module")
def start(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with run/, trained on generated nuclei. Read only."""
    start = tmp_path_factory.mktemp("nuclei")
    done = cli(*FEW, "hydra.run.dir=run", cwd=start)
    assert done.returncode == 0, done.stdout
    return start


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_resume(start: Path, cli: Cli, tmp_path: Path) -> None:
    cut = cli(*FEW, "trainer.max_minutes=1e-9", "hydra.run.dir=run", cwd=tmp_path)
    assert cut.returncode == 0, cut.stdout
    rest = cli("resume=run", "trainer.max_minutes=null", cwd=tmp_path)
    assert rest.returncode == 0, rest.stdout
    for name in ("steps.csv", "metrics.csv", "objects.json"):
        assert (tmp_path / "run" / name).read_bytes() == (start / "run" / name).read_bytes(), name


def test_reproduce(start: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("task=reproduce", f"run={start / 'run'}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "identical: 6 steps, 2 epochs" in done.stdout


def test_sweep(start: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", *FEW, "seed=0,1", "sweep_dir=sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    (same,) = (tmp_path / "sweep").glob("*seed-0*/metrics.csv")
    assert same.read_bytes() == (start / "run/metrics.csv").read_bytes()
    table = rows(tmp_path / "sweep/sweep.csv")
    assert {row["state"] for row in table} == {"finished"}
    assert all(0 <= float(row["object_ap"]) <= 1 for row in table)


def test_two_ranks_count_the_objects_of_one(cli: Cli, tmp_path: Path) -> None:
    done = cli(*FEW, "trainer.devices=2", "trainer.best_by=last", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    alone = cli("task=evaluate", "run=run", "output=scores", "worst=0", cwd=tmp_path)
    assert alone.returncode == 0, alone.stdout
    trained = rows(tmp_path / "run/metrics.csv")[-1]
    scores = json.loads((tmp_path / "scores/evaluation.json").read_text())
    for name in ("ap", "f1", "pq", "aji", "seg", "count_error"):
        assert float(trained[name]) == pytest.approx(scores[name], abs=1e-6), name


def test_evaluate_and_predict(start: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("task=evaluate", f"run={start / 'run'}", "output=scores", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "mean of images " in done.stdout
    Image.fromarray(generate_nuclei(0, 99, 256)[0]).save(tmp_path / "image.png")
    done = cli("task=predict", f"run={start / 'run'}", "input=image.png", "output=out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    numbers = tifffile.imread(tmp_path / "out/objects/image.tif")
    found = [row for row in rows(tmp_path / "out/objects.csv") if row["number"]]
    assert numbers.shape == (256, 256)
    assert [int(row["number"]) for row in found] == list(range(1, numbers.max() + 1))


def test_export(start: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("task=export", f"run={start / 'run'}", "output=model.onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    onnx.checker.check_model(tmp_path / "model.onnx")
    classes = ["background", "edge", "middle", "core"]
    assert json.loads((tmp_path / "model.json").read_text())["classes"] == classes
