"""The shipped defaults as they are: every task, network and recipe; of steps and images few, of sizes all.

The tasks in processes, on `python run.py` as it comes. The networks and recipes in this process, on real
slices where they are at hand.
"""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import tifffile
from PIL import Image

from tests.conftest import ISBI, ROOT, Cli, composed, train_here
from tests.support import read_csv
from unet_exp.config.task_schema import EvaluateConfig, ExportConfig, PredictConfig
from unet_exp.data.synthetic import generate_membranes
from unet_exp.tasks import autotune
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.export import export
from unet_exp.tasks.predict import predict

pytestmark = pytest.mark.default_size
# Two epochs of two updates and one batch of validation.
FEW = ["epochs=2", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "threads=1"]
ONE = [
    "epochs=1",
    "batch_size=1",
    "trainer.limit_train_batches=2",
    "trainer.validate_every=1",
    "threads=1",
    "num_workers=0",
    "device=cpu",
]
OPTIONS = [
    f"{group}={path.stem}"
    for group in ("model", "experiment")
    for path in sorted((ROOT / "conf" / group).glob("*.yaml"))
]
# Of networks of 64 channels cut slices and one update: side in pixels, and what is left out. Without padding
# the side has to fit; tta of such a network, by which unet2015 chooses its threshold, would take minutes.
LESS = {
    "model=unet": (256, ["trainer.limit_train_batches=1"]),
    "model=unet2015": (252, ["trainer.limit_train_batches=1"]),
    "experiment=lecture": (256, ["trainer.limit_train_batches=1"]),
    "experiment=unet2015": (400, ["trainer.limit_train_batches=1", "trainer.choose_threshold=null"]),
}


# ---- each task, on the default configuration -------------------------------------------------------------


@pytest.fixture(scope="module")
def start(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with run/, trained by `python run.py`, and image.png. Read only."""
    start = tmp_path_factory.mktemp("defaults")
    done = cli(*FEW, "hydra.run.dir=run", cwd=start)
    assert done.returncode == 0, done.stdout
    assert "open:" in done.stdout
    Image.fromarray(generate_membranes(0, 99, 256)[0]).save(start / "image.png")
    return start


def test_train(start: Path) -> None:
    assert json.loads((start / "run/status.json").read_text())["state"] == "finished"
    assert len(read_csv(start / "run/steps.csv")) == 4
    assert all(math.isfinite(float(row["loss"])) for row in read_csv(start / "run/metrics.csv"))
    for name in ("checkpoints/best.pt", "checkpoints/last.pt", "plots/curves.png", "plots/samples.png"):
        assert (start / "run" / name).is_file(), name


def test_resume(start: Path, cli: Cli, tmp_path: Path) -> None:
    """Cut off after the first epoch, and continued to the numbers of the run that was left alone."""
    cut = cli(*FEW, "trainer.max_minutes=1e-9", "hydra.run.dir=run", cwd=tmp_path)
    assert cut.returncode == 0, cut.stdout
    assert len(read_csv(tmp_path / "run/steps.csv")) == 2
    rest = cli("resume=run", "trainer.max_minutes=null", cwd=tmp_path)
    assert rest.returncode == 0, rest.stdout
    for name in ("steps.csv", "metrics.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (start / "run" / name).read_bytes()


def test_from_run(start: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli(f"from_run={start / 'run'}", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "run/steps.csv").read_bytes() == (start / "run/steps.csv").read_bytes()


def test_reproduce(start: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("task=reproduce", f"run={start / 'run'}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "identical: 4 steps, 2 epochs" in done.stdout


def test_evaluate(start: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("task=evaluate", f"run={start / 'run'}", "output=scores", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "V-Rand" in done.stdout
    assert len(read_csv(tmp_path / "scores/images.csv")) == 4


def test_predict(start: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli(
        "task=predict", f"run={start / 'run'}", f"input={start}/image.png", "output=masks", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout
    for name in ("image.png", "visible/image.png", "overlays/image.png"):
        assert np.asarray(Image.open(tmp_path / "masks" / name)).shape[:2] == (256, 256), name


def test_export(start: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("task=export", f"run={start / 'run'}", "output=model.onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    onnx.checker.check_model(tmp_path / "model.onnx")
    assert json.loads((tmp_path / "model.json").read_text())["classes"] == ["membrane", "interior"]


def test_check_data(cli: Cli, tmp_path: Path) -> None:
    done = cli("task=check_data", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "membrane" in done.stdout


def test_autotune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A few steps of each setting, and without the compiler: the whole of it may take three minutes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(autotune, "SECONDS_EACH", 0.1)
    monkeypatch.setattr(autotune, "SECONDS", 10.0)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    autotune.autotune(composed("threads=1", "device=cpu"))
    told = capsys.readouterr().out
    assert "as it is" in told
    assert "batch_size=8" in told
    assert list(tmp_path.iterdir()) == []


def test_sweep_and_summary(cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", *FEW, "lr=1e-3,1e-2", "n_jobs=2", "sweep_dir=sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert [row["lr"] for row in read_csv(tmp_path / "sweep/sweep.csv")] == ["0.001", "0.01"]
    (tmp_path / "sweep/sweep.csv").unlink()
    done = cli("task=summary", "sweep_dir=sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert len(read_csv(tmp_path / "sweep/sweep.csv")) == 2


# ---- each network and each recipe -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/ and labels/ of five slices of 512 x 512: real ones, or drawn ones where these are not there."""
    start = tmp_path_factory.mktemp("slices")
    for kind in ("images", "labels"):
        (start / kind).mkdir()
    for number in (0, 1, 20, 21, 22):
        image, label = generate_membranes(0, number, 512)
        for kind, drawn in (("images", image), ("labels", (255 * label).astype(np.uint8))):
            path = start / kind / f"{number:02d}.png"
            if ISBI.is_dir():
                shutil.copyfile(ISBI / kind / path.name, path)
            else:
                Image.fromarray(drawn).save(path)
    return start


@pytest.mark.parametrize("option", OPTIONS)
def test_a_network_or_recipe_goes_through_everything(
    option: str, slices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Train, evaluate, predict, export: finite numbers, masks of the image's size, a graph that is sound."""
    if option == "model=smp_unet":
        pytest.importorskip("segmentation_models_pytorch", reason="untried: its package is not installed")
    size, more = LESS.get(option, (512, []))
    for path in slices.rglob("*.png"):
        target = tmp_path / path.relative_to(slices)
        target.parent.mkdir(exist_ok=True)
        with Image.open(path) as whole:
            whole.crop((0, 0, size, size)).save(target)
    run_dir, masks = tmp_path / "run", tmp_path / "masks"
    data = ["data=isbi2012", f"data.root={tmp_path}", "data.split.train=2", "data.split.val=1"]
    train_here(run_dir, option, *data, *ONE, *more)
    assert json.loads((run_dir / "status.json").read_text())["state"] == "finished"
    assert all(math.isfinite(float(row["loss"])) for row in read_csv(run_dir / "steps.csv"))
    scores = str(tmp_path / "scores")
    evaluate(EvaluateConfig(run=str(run_dir), tta=size == 512, output=scores, device="cpu"))
    assert ("mean of images" if option == "experiment=nuclei" else "V-Rand") in capsys.readouterr().out
    found = json.loads((tmp_path / "scores/evaluation.json").read_text())
    assert found["images"] == 1
    assert math.isfinite(found["loss"])
    assert 0 <= found["dice"] <= 1
    image = str(tmp_path / "images/22.png")
    predict(PredictConfig(run=str(run_dir), input=image, output=str(masks), probabilities=True, device="cpu"))
    probability = tifffile.imread(masks / "probabilities/22.tif")
    assert probability.shape[-2:] == np.asarray(Image.open(masks / "22.png")).shape == (size, size)
    assert 0 <= probability.min() <= probability.max() <= 1
    export(ExportConfig(run=str(run_dir)))
    onnx.checker.check_model(run_dir / "export/model.onnx")
