"""OpenVINO and ONNX Runtime in place of torch: the same masks, or an error. test_backends.py runs these."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNet

from tests.inference.networks import unet
from tests.inference.runs import IMAGE, masks, options
from tests.support import blobs, picture, save
from unet_exp import load_run
from unet_exp.data.formats import read_array
from unet_exp.errors import ConfigError, ModelError
from unet_exp.inference import backends
from unet_exp.inference.any_size import AnySize
from unet_exp.inference.backends import Engine
from unet_exp.tasks.predict import predict

BACKENDS = ["openvino", "onnxruntime"]
NETWORKS: dict[str, dict[str, Any]] = {
    "batch": {},
    "half": {"stride": 2},
    "bilinear": {"upsample": "bilinear"},
    "instance": {"norm": "instance", "activation": "leaky_relu"},
    "group": {"norm": "group"},
    "valid": {"padding": "valid"},
}


@pytest.mark.parametrize(
    ("kind", "backend"),
    # The graphs of ONNX are tested with task=export.
    [(kind, "openvino") for kind in [*NETWORKS, "of MONAI"]] + [("batch", "onnxruntime")],
)
def test_logits_are_those_of_torch(kind: str, backend: str, seeded: None) -> None:
    """Of several images, and of sizes that follow each other."""
    network = (
        unet(**NETWORKS[kind])
        if kind in NETWORKS
        else AnySize(BasicUNet(2, 2, 3, features=(4, 4, 8, 8, 8, 4))).eval()
    )
    engine = Engine(backend, network, 2, "fp32")
    for number, height, width in [(1, 60, 44), (3, 60, 44), (1, 76, 60)]:
        image = torch.rand(number, 2, height, width)
        with torch.inference_mode():
            torch.testing.assert_close(engine(image), network(image), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_are_those_of_torch_and_the_backend_is_kept(
    backend: str, grey_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(3):
        save(tmp_path / "in" / f"{i}.png", picture(blobs(i), i))
    save(tmp_path / "in" / "3.png", np.tile(IMAGE, (3, 2)))
    caplog.set_level("INFO")
    given: dict[str, Any] = {"tile": 96, "precision": "fp32"}
    predict(options(grey_run, tmp_path / "in", tmp_path / "torch", **given))
    predict(options(grey_run, tmp_path / "in", tmp_path / "out", backend=backend, **given))
    assert caplog.text.count(f"{backend} beside torch in fp32: at most") == 1
    for name in masks(tmp_path / "torch"):
        ours, theirs = (read_array(tmp_path / folder / name) for folder in ("torch", "out"))
        assert np.mean(ours != theirs) < 1e-3
    kept = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert (kept["backend"], kept["precision"]) == (backend, "fp32")
    with pytest.raises(ConfigError, match="predictions made with another backend"):
        predict(options(grey_run, tmp_path / "in", tmp_path / "out", **given))
    predict(options(grey_run, tmp_path / "in", tmp_path / "out", backend="auto", **given))
    assert "backend=auto" not in caplog.text, "it is the one that predicted the others"


def test_auto_says_what_it_measured(grey_run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        predictor = load_run(grey_run, "cpu", backend="auto", precision="fp32")
    (line,) = (record.getMessage() for record in caplog.records if "backend=auto" in record.getMessage())
    assert all(f"{name} " in line for name in ("torch", *BACKENDS))
    chosen = predictor.engines[0].backend if predictor.engines else "torch"
    assert line.startswith(f"backend=auto: {chosen}")
    assert np.mean(predictor.predict(IMAGE) != load_run(grey_run, "cpu").predict(IMAGE)) < 0.01


def test_a_backend_that_disagrees_is_refused(grey_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = backends.compile_openvino

    def wrong(graph: Any, number_format: str) -> backends.Compute:
        compute = right(graph, number_format)
        return lambda tiles: compute(tiles) + 0.5

    predictor = load_run(grey_run, "cpu", backend="openvino", precision="fp32")
    monkeypatch.setattr(backends, "compile_openvino", wrong)
    with pytest.raises(ModelError, match="openvino beside torch in fp32: at most") as error:
        predictor.predict(IMAGE)
    assert error.value.do == "backend=torch"


def test_what_is_missing_or_does_not_go_together_is_said(
    grey_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="onnxruntime does not compute in bf16"):
        load_run(grey_run, "cpu", backend="onnxruntime", precision="bf16")
    with pytest.raises(ConfigError, match="torch does not compute in int8") as error:
        load_run(grey_run, "cpu", precision="int8")
    assert error.value.do == "backend=openvino"
    monkeypatch.setattr("unet_exp.inference.fastest.installed", lambda package: False)
    with pytest.raises(ConfigError, match="needs the package openvino") as error:
        load_run(grey_run, "cpu", backend="openvino")
    assert "'.[fast]'" in error.value.do
    assert load_run(grey_run, "cpu", backend="auto").engines is None


def test_int8_says_what_it_costs(grey_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Masks differ from torch's in few pixels, and the Dice before and after is said and kept."""
    save(tmp_path / "in" / "0.png", IMAGE)
    caplog.set_level("INFO")
    given: dict[str, Any] = {"backend": "openvino", "precision": "int8"}
    predict(options(grey_run, tmp_path / "in", tmp_path / "out", **given))
    kept = json.loads((tmp_path / "out" / "predict.json").read_text())
    (cost,) = kept["int8"]
    assert f"int8: Dice {cost['dice']:.4f} on " in caplog.text
    assert cost["dice"] == pytest.approx(cost["dice_of_torch"], abs=0.02)
    mask = read_array(tmp_path / "out" / "0.png")[..., 0]
    assert np.mean(mask != load_run(grey_run, "cpu").predict(IMAGE)) < 0.02
    predict(options(grey_run, tmp_path / "in", tmp_path / "out", **given))


def test_openvino_reports_to_nobody() -> None:
    """Its telemetry is not imported, so that it can't send anything."""
    program = (
        "import sys; from unet_exp.inference.backends import import_openvino; import_openvino();"
        "print([name for name, module in sys.modules.items() if 'openvino_telemetry' in name and module])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
