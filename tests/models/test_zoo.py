"""A network of another package through everything that ours goes through."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from tests.conftest import TINY, Cli, train_here
from unet_exp import load_run
from unet_exp.config.task_schema import EvaluateConfig, PredictConfig
from unet_exp.errors import ConfigError
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.predict import predict
from unet_exp.training.build import find_class
from unet_exp.training.checkpoint import load

pytest.importorskip("monai", reason="pip install -e '.[zoo]'")
NET = ["model=monai_basic_unet", "model.features=[2,2,2,2,2,2]"]
OPTIONS = [word for word in TINY if not word.startswith("model.")] + [
    *NET,
    "epochs=3",
    "trainer.precision=fp32",
    "trainer.plots=true",
]


def test_monais_basic_unet_trains_resumes_evaluates_and_predicts(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    train_here(tmp_path / "whole", *OPTIONS)
    # Cut off after the second epoch by a limit of time, and continued in a process without it.
    train_here(tmp_path / "cut", *OPTIONS, "trainer.max_minutes=1e-9")
    rest = cli("resume=cut", "trainer.max_minutes=null", cwd=tmp_path)
    assert rest.returncode == 0, rest.stdout
    assert "BasicUNet" in rest.stdout
    straight, resumed = (load(tmp_path / run / "checkpoints/last.pt")["model"] for run in ("whole", "cut"))
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)

    evaluate(EvaluateConfig(run="whole", tta=True, device="cpu"))
    assert "V-Rand" in capsys.readouterr().out
    picture = tmp_path / "whole/plots/samples.png"
    with pytest.raises(SystemExit, match="1"):  # a coloured picture, and the run knows grey ones
        predict(PredictConfig(run="whole", input=str(picture), output="masks", device="cpu"))
    assert "1 channel," in caplog.text
    image = torch.rand(64, 96).mul(255).byte().numpy()
    Image.fromarray(image).save(tmp_path / "grey.png")
    predict(PredictConfig(run="whole", input="grey.png", output="masks", probabilities=True, device="cpu"))
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


def test_a_class_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"model._target_ monai.networks.nets.NoSuchNet can't be imported"):
        find_class("monai.networks.nets.NoSuchNet", "model")
