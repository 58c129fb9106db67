"""Runs that learn at their end which borders part two cells, and give cells."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import unet_exp
from tests.conftest import Cli, composed
from unet_exp.config.task_schema import EvaluateConfig, PredictConfig
from unet_exp.data.synthetic import generate_membranes
from unet_exp.errors import ConfigError, ModelError
from unet_exp.metrics.em import proposal_segments, rand_and_info
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.predict import predict

TINY = [
    "data.size=96",
    "data.split.train=8",
    "data.split.val=3",
    "data.split.test=0",
    "model.depth=2",
    "model.base_channels=8",
    "batch_size=2",
    "epochs=5",
    "lr=0.01",
    "threads=1",
]


@pytest.fixture(scope="module")
def run(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    start = tmp_path_factory.mktemp("cells")
    done = cli(*TINY, "trainer.learn_borders=true", "hydra.run.dir=run", cwd=start)
    assert done.returncode == 0, done.stdout
    assert "cells of each validation sample by borders learnt of the others: V-Rand" in done.stdout
    return start / "run"


def test_the_borders_are_kept_with_their_scores(run: Path) -> None:
    stored = json.loads((run / "objects.json").read_text())
    scores = json.loads((run / "status.json").read_text())["scores"]
    for kind, ending in (("plain", ""), ("tta", "_tta")):
        assert len(stored[kind]["weights"]) == 6
        assert stored[kind]["weights"][0] < 0  # a membrane speaks against one cell
        assert 0 < scores[f"cells_v_rand{ending}"] == stored[kind]["v_rand"] <= 1


def test_a_finished_run_learns_borders_when_it_is_asked_to(cli: Cli, tmp_path: Path) -> None:
    for more in (["hydra.run.dir=run", *TINY], ["resume=run", "trainer.learn_borders=true"]):
        assert cli(*more, "trainer.plots=false", cwd=tmp_path).returncode == 0
    assert (tmp_path / "run/objects.json").exists()


def test_evaluate_scores_the_cells(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(EvaluateConfig(run=str(run), output=str(tmp_path), em=True, worst=0))
    cells = json.loads((tmp_path / "evaluation.json").read_text())["cells"]
    line = f"V-Rand {cells['v_rand']:.4f}, V-Info {cells['v_info']:.4f} of {cells['cells']:.0f} cells"
    assert line in capsys.readouterr().out


def test_predict_writes_cells_and_a_map_of_their_topology(run: Path, tmp_path: Path) -> None:
    Image.fromarray(generate_membranes(3, 0, 96)[0]).save(tmp_path / "a.png")
    predict(PredictConfig(run=str(run), input=str(tmp_path / "a.png"), output=str(tmp_path / "out")))
    cells = tifffile.imread(tmp_path / "out/objects/a.tif")
    predictor = unet_exp.load_run(run)
    assert np.array_equal(cells, predictor.objects(tmp_path / "a.png"))
    assert cells.min() == 1
    interior = tifffile.imread(tmp_path / "out/repaired/a.tif")
    assert np.array_equal(interior, predictor.repaired(tmp_path / "a.png"))
    raw = predictor.probabilities(tmp_path / "a.png")[1]
    for threshold in (0.2, 0.4, 0.6):
        of_map, of_raw = (rand_and_info(cells, proposal_segments(m > threshold))[0] for m in (interior, raw))
        assert of_map > of_raw


def test_a_run_without_learnt_borders_says_what_it_needs(cli: Cli, tmp_path: Path) -> None:
    done = cli(*TINY, "epochs=1", "trainer.plots=false", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    with pytest.raises(ModelError, match="learn_borders=true"):
        unet_exp.load_run(tmp_path / "run").repaired(np.zeros((32, 32), np.uint8))


def test_three_classes_have_no_borders_to_learn() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.learn_borders is for two classes"):
        composed("data=nuclei", "trainer.learn_borders=true")
