"""model.weights: a run that starts from given weights, and what is said of those that do not fit."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import TINY, Cli
from unet_exp.training.checkpoint import load, start_from

Run = tuple[Path, str]


@pytest.mark.parametrize("name", ["best.pt", "best.safetensors"])
def test_a_run_starts_from_the_weights_of_another(
    name: str, cli: Cli, finished_run: Run, tmp_path: Path
) -> None:
    """With next to no learning rate it stays where the other ended; from fresh weights it would not."""
    given = finished_run[0] / "checkpoints" / name
    done = cli(*TINY, "lr=1e-12", "epochs=1", f"model.weights={given}", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "starting from" in done.stdout
    assert "missing" not in done.stdout
    ours = load(tmp_path / "run/checkpoints/last.pt")["model"]
    theirs = load(finished_run[0] / "checkpoints/best.pt")["model"]
    learnt = [key for key in ours if "running" not in key and "num_batches" not in key]
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-9) for key in learnt)
    predicted = cli("task=evaluate", "run=run", cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stdout


def test_what_does_not_fit_is_listed(cli: Cli, finished_run: Run, tmp_path: Path) -> None:
    given = finished_run[0] / "checkpoints/best.safetensors"
    wider = ["model.base_channels=4", "model.depth=3", f"model.weights={given}", "epochs=1"]
    done = cli(*TINY, *wider, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "missing: down.2.1.0.weight" in done.stdout
    assert "other shape: up.0.enlarge.weight (16, 8, 2, 2) instead of (32, 16, 2, 2)" in done.stdout


def test_unexpected_weights_and_other_peoples_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    layer = torch.nn.Linear(2, 3)
    weights = {"weight": torch.ones(3, 2), "extra": torch.ones(1)}
    for number, content in enumerate(
        (weights, {"state_dict": weights}, {"model": weights}, {"net": weights})
    ):
        path = tmp_path / f"{number}.pt"
        torch.save(content, path)
        torch.nn.init.zeros_(layer.weight)
        start_from(layer, path)
        assert torch.equal(layer.weight, torch.ones(3, 2))
    assert "1 of 2 tensors" in caplog.text
    for prefix in ("module.", "_orig_mod.", "module._orig_mod."):  # DataParallel, torch.compile, both
        torch.save({prefix + name: tensor for name, tensor in weights.items()}, path)
        torch.nn.init.zeros_(layer.weight)
        start_from(layer, path)
        assert torch.equal(layer.weight, torch.ones(3, 2))
    assert "missing: bias" in caplog.text
    assert "not of this model: extra" in caplog.text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "can't be read as weights"),
        (b"text", "can't be read as weights"),
        (None, "w.pt is not there"),
        ({"x": torch.ones(1)}, "none of its weights fits the model"),
        ([1], "can't be read as weights"),
    ],
)
def test_a_file_of_no_use_is_refused(content: Any, expected: str, cli: Cli, tmp_path: Path) -> None:
    if isinstance(content, bytes):
        (tmp_path / "w.pt").write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / "w.pt")
    done = cli(*TINY, "model.weights=w.pt", cwd=tmp_path)
    assert done.returncode == 1
    assert expected in done.stdout
    assert "Traceback" not in done.stdout


def test_the_file_belongs_to_what_is_proven(cli: Cli, finished_run: Run, tmp_path: Path) -> None:
    """Replayed and continued from the same weights only, found from wherever one stands."""
    shutil.copy(finished_run[0] / "checkpoints/best.safetensors", tmp_path / "w.safetensors")
    done = cli(*TINY, "model.weights=w.safetensors", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    proof = cli("task=reproduce", "run=../run", cwd=elsewhere)
    assert "identical" in proof.stdout, proof.stdout
    more = cli("resume=../run", "epochs=3", cwd=elsewhere)
    assert more.returncode == 0, more.stdout
    assert "starting from" not in more.stdout
    again = cli("from_run=../run", cwd=elsewhere)
    assert "starting from" in again.stdout, again.stdout
    shutil.copy(finished_run[0] / "checkpoints/epoch_0003.pt", tmp_path / "w.safetensors")
    refused = cli("task=reproduce", "run=../run", cwd=elsewhere)
    assert refused.returncode == 1
    assert "weights/w.safetensors has other content" in refused.stdout
