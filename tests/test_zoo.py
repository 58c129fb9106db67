"""A network of another package through everything that ours goes through."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from tests.conftest import TINY, Cli
from unet_exp import load_run
from unet_exp.build import find_class
from unet_exp.errors import ConfigError
from unet_exp.training.checkpoint import load

pytest.importorskip("monai", reason="pip install -e '.[zoo]'")
NET = ["model=monai_basic_unet", "model.features=[2,2,2,2,2,2]"]
OPTIONS = [word for word in TINY if not word.startswith("model.")] + [
    *NET,
    "epochs=3",
    "trainer.precision=fp32",
]


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
    assert "1 channel," in predicted.stdout
    image = torch.rand(64, 96).mul(255).byte().numpy()
    Image.fromarray(image).save(tmp_path / "grey.png")
    options = ["input=grey.png", "output=masks", "probabilities=true"]
    predicted = cli("task=predict", "run=whole", *options, cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stdout
    net = load_run(tmp_path / "whole", device="cpu").networks[0]
    with torch.inference_mode():
        logits = net(torch.from_numpy((image / 255 - 0.5) / 0.5).float()[None, None])[0, 0].float()
    probability = tifffile.imread(tmp_path / "masks/probabilities/grey.tif")
    np.testing.assert_allclose(probability, torch.sigmoid(logits).numpy(), atol=1e-3)
    assert probability.std() > 1e-3
    assert np.array_equal(np.asarray(Image.open(tmp_path / "masks/grey.png")), probability > 0.5)
    assert load_run(tmp_path / "whole").predict(image[:45, :51]).shape == (45, 51)


def test_how_to_install_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai", None)
    monkeypatch.delitem(sys.modules, "monai.networks.nets", raising=False)
    monkeypatch.delitem(sys.modules, "monai.networks", raising=False)
    with pytest.raises(ConfigError, match=r"pip install -c constraints.txt -e '.\[zoo\]'"):
        find_class("monai.networks.nets.BasicUNet", "model")


def test_a_class_that_is_not_there_is_named(cli: Cli, tmp_path: Path) -> None:
    target = "model._target_=monai.networks.nets.NoSuchNet"
    done = cli(*[word for word in TINY if not word.startswith("model.")], NET[0], target, cwd=tmp_path)
    assert done.returncode == 1
    assert "model._target_ monai.networks.nets.NoSuchNet can't be imported" in done.stdout
    assert "Traceback" not in done.stdout
