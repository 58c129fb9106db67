"""A network of another package through everything that ours goes through."""

from pathlib import Path

import pytest
import torch

from tests.conftest import TINY, Cli
from unet_exp import load_run
from unet_exp.training.checkpoint import load

pytest.importorskip("monai", reason="pip install -e '.[zoo]'")
NET = ["model=monai_basic_unet", "model.features=[2,2,2,2,2,2]"]
OPTIONS = [word for word in TINY if not word.startswith("model.")] + [*NET, "epochs=3"]


def test_monais_basic_unet_trains_resumes_evaluates_and_predicts(cli: Cli, tmp_path: Path) -> None:
    whole = cli(*OPTIONS, "hydra.run.dir=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stdout
    assert "BasicUNet" in whole.stdout
    # Cut off after the second epoch by a limit of time, and continued without it.
    first = cli(*OPTIONS, "trainer.max_minutes=1e-9", "hydra.run.dir=cut", cwd=tmp_path)
    assert first.returncode == 0, first.stdout
    rest = cli("resume=cut", "trainer.max_minutes=null", cwd=tmp_path)
    assert rest.returncode == 0, rest.stdout
    straight, resumed = (load(tmp_path / run / "checkpoints/last.pt")["model"] for run in ("whole", "cut"))
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)

    scored = cli("task=evaluate", "run=whole", "tta=true", cwd=tmp_path)
    assert scored.returncode == 0, scored.stdout
    assert "V-Rand" in scored.stdout
    picture = tmp_path / "whole/plots/samples.png"
    predicted = cli("task=predict", "run=whole", f"input={picture}", "output=masks", cwd=tmp_path)
    assert predicted.returncode == 1  # a coloured picture, and the run knows grey ones
    assert "1 channels" in predicted.stdout
    image = torch.rand(45, 51).mul(255).byte().numpy()
    assert load_run(tmp_path / "whole").predict(image).shape == (45, 51)


def test_a_package_that_is_not_there_is_named(cli: Cli, tmp_path: Path) -> None:
    target = "model._target_=monai.networks.nets.NoSuchNet"
    done = cli(*[word for word in TINY if not word.startswith("model.")], NET[0], target, cwd=tmp_path)
    assert done.returncode == 1
    assert "model._target_ monai.networks.nets.NoSuchNet can't be imported" in done.stdout
    assert "Traceback" not in done.stdout
