"""task=clean: proposes, removes on demand, and leaves what is in use, can go on, or is named by a run."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import TINY, Cli
from unet_exp.rundir import lock


@pytest.fixture
def outputs(recipes: Path, tmp_path: Path) -> Path:
    """Copies of a finished run in several states."""
    (job, *_) = sorted(recipes.glob("multirun/two/*/job.json"))
    for name in ("finished", "failed", "begun", "pruned", "interrupted"):
        shutil.copytree(job.parent, tmp_path / "outputs" / name)
        (tmp_path / "outputs" / name / "job.json").unlink()
        status = json.loads((job.parent / "status.json").read_text())
        state = {"begun": "failed"}.get(name, name)
        (tmp_path / "outputs" / name / "status.json").write_text(json.dumps(status | {"state": state}))
        (tmp_path / "outputs" / name / "checkpoints/epoch_0002.pt").write_bytes(bytes(1000))
    for path in (tmp_path / "outputs/failed/checkpoints").iterdir():
        path.unlink()
    return tmp_path / "outputs"


def files(outputs: Path) -> set[str]:
    return {path.name for path in outputs.iterdir()} | {
        f"{path.parent.parent.name}/{path.name}" for path in outputs.glob("*/checkpoints/epoch*")
    }


KEPT = {"finished", "begun", "interrupted", "begun/epoch_0002.pt", "interrupted/epoch_0002.pt"}


def test_it_proposes_and_removes_on_demand(outputs: Path, cli: Cli) -> None:
    before = files(outputs)
    done = cli("task=clean", cwd=outputs.parent)
    assert done.returncode == 0, done.stdout
    assert "outputs/failed " in done.stdout
    assert "outputs/pruned " in done.stdout
    assert "outputs/finished/checkpoints/epoch_0002.pt" in done.stdout
    assert "nothing is removed yet" in done.stdout
    assert files(outputs) == before
    done = cli("task=clean", "yes=true", cwd=outputs.parent)
    assert "in 3 places" in done.stdout
    assert files(outputs) == KEPT
    assert (outputs / "finished/checkpoints/best.pt").exists()
    assert "nothing to remove" in cli("task=clean", cwd=outputs.parent).stdout


def test_what_a_process_writes_stays(outputs: Path, cli: Cli) -> None:
    handle = lock.lock(outputs / "pruned")
    try:
        assert cli("task=clean", "yes=true", cwd=outputs.parent).returncode == 0
        assert files(outputs) == KEPT | {"pruned", "pruned/epoch_0002.pt"}
    finally:
        lock.unlock(handle)


def test_what_another_run_names_stays(outputs: Path, cli: Cli) -> None:
    words = [*TINY, "model.weights=outputs/finished/checkpoints/epoch_0002.pt", "trainer.plots=false"]
    shutil.copy(outputs / "finished/checkpoints/best.pt", outputs / "finished/checkpoints/epoch_0002.pt")
    done = cli(*words, "hydra.run.dir=outputs/finer", cwd=outputs.parent)
    assert done.returncode == 0, done.stdout
    assert cli("task=clean", "yes=true", cwd=outputs.parent).returncode == 0
    assert files(outputs) == KEPT | {"finer", "finished/epoch_0002.pt"}


def test_links_are_not_followed(outputs: Path, cli: Cli, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    shutil.copytree(outputs / "pruned", precious)
    os.symlink(precious, outputs / "linked")
    (outputs / "pruned/more").symlink_to(precious)
    (outputs / "finished/checkpoints/epoch_0004.pt").symlink_to(precious / "checkpoints/last.pt")
    assert cli("task=clean", "yes=true", cwd=outputs.parent).returncode == 0
    assert not (outputs / "pruned").exists()
    assert (precious / "checkpoints/last.pt").exists()
    assert (outputs / "finished/checkpoints/epoch_0004.pt").exists()


def test_what_a_run_elsewhere_names_stays_though_its_path_has_spaces(
    recipes: Path, outputs: Path, cli: Cli
) -> None:
    (job, *_) = sorted(recipes.glob("multirun/two/*/job.json"))
    spaced = outputs / "the second of many runs that were made on that day"
    (outputs / "finished").rename(spaced)
    weights = f"outputs/{spaced.name}/checkpoints/epoch_0002.pt"
    user = outputs.parent / "multirun/later/0"
    shutil.copytree(job.parent, user)
    config = user / ".hydra/config.yaml"
    config.write_text(f"{config.read_text()}\nmodel_weights_for_this_test:\n  {weights}\n")
    assert cli("task=clean", "yes=true", cwd=outputs.parent).returncode == 0
    assert (outputs.parent / weights).exists()
    assert not (outputs / "pruned").exists()
    shutil.rmtree(user)
    assert cli("task=clean", "yes=true", cwd=outputs.parent).returncode == 0
    assert not (outputs.parent / weights).exists()
