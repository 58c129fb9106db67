"""task=export: the graph answers as the network does, for every option of it and at any size, or refuses."""

import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import unet_exp
from tests.conftest import ROOT, TINY, composed, predictor_of, train
from unet_exp.config.task_schema import ExportConfig
from unet_exp.errors import ModelError, UserError
from unet_exp.inference import export as exporting
from unet_exp.inference.any_size import AnySize
from unet_exp.inference.export import export_onnx
from unet_exp.losses import class_probabilities
from unet_exp.models.unet import UNet
from unet_exp.tasks.export import export
from unet_exp.training.build import build_model


def read(path: Path) -> tuple[onnxruntime.InferenceSession, Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session, json.loads(path.with_suffix(".json").read_text())


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def whole(model: nn.Module, image: Tensor) -> np.ndarray:
    with torch.inference_mode():
        return class_probabilities(model(image)).numpy()


SAME: dict[str, tuple[int, int, dict[str, Any]]] = {  # channels, logits, arguments
    "depth 3": (1, 1, {"depth": 3}),
    "nnU-Net": (
        2,
        3,
        {
            "depth": 3,
            "norm": "instance",
            "activation": "leaky_relu",
            "max_channels": 8,
            "deep_supervision": True,
        },
    ),
    "half": (3, 1, {"depth": 2, "stride": 2, "norm": "group", "upsample": "bilinear", "dropout": 0.5}),
}


@pytest.mark.parametrize("name", SAME)
def test_any_size_is_answered_as_by_the_network(name: str, tmp_path: Path) -> None:
    channels, logits, arguments = SAME[name]
    model = UNet(channels, logits, base_channels=4, **arguments)
    export_onnx(predictor_of(model, channels, max(2, logits)), tmp_path / "model.onnx")
    session, facts = read(tmp_path / "model.onnx")
    assert facts["sizes"]["smallest"] == facts["sizes"]["step"] == facts["size_multiple"] == 1
    assert facts["output"]["margin"] == facts["output_is_smaller_by"] == 0
    assert session.get_inputs()[0].shape == facts["input"]["shape"] == ["batch", channels, "height", "width"]
    assert session.get_outputs()[0].shape == facts["output"]["shape"]
    # The issue's size, multiples, one multiple (which the network doubles), less than one, single rows.
    for shape in ((1, 97, 129), (3, 64, 40), (1, 8, 8), (2, 5, 7), (1, 1, 50), (1, 33, 1), (1, 1, 1)):
        image = images(shape[0], channels, *shape[1:])
        found = session.run(None, {"image": image.numpy()})[0]
        assert found.shape == (shape[0], max(2, logits), *shape[1:])
        np.testing.assert_allclose(found, whole(model, image), atol=1e-4, rtol=0, err_msg=str(shape))
        assert found.std() > 1e-3 or shape[1:] == (1, 1)
    content = (tmp_path / "model.onnx").read_bytes()
    assert str(ROOT).encode() not in content
    assert b"unet.py" not in content


def test_without_padding_sizes_fit_or_are_refused(tmp_path: Path) -> None:
    model = UNet(1, 3, base_channels=4, padding="valid", depth=2, norm="none", upsample="bilinear")
    export_onnx(predictor_of(model, 1, 3), tmp_path / "model.onnx")
    session, facts = read(tmp_path / "model.onnx")
    least, step, margin = facts["sizes"]["smallest"], facts["sizes"]["step"], facts["output"]["margin"]
    assert facts["output"]["shape"][2:] == [f"height - {2 * margin}", f"width - {2 * margin}"]
    taken = []
    sides = [1, 2, least // 2, *range(least - step - 1, least + 2 * step + 1), 2 * least]
    for height, width in {(side, least) for side in sides} | {(least + step, side) for side in sides}:
        image = images(2, 1, height, width)
        try:
            expected = whole(model, image)
        except ModelError:
            with pytest.raises(Exception, match="Reshape"):
                session.run(None, {"image": image.numpy()})
            continue
        taken.append((height, width))
        found = session.run(None, {"image": image.numpy()})[0]
        assert found.shape[2:] == (height - 2 * margin, width - 2 * margin)
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    fits = [side for side in sides if side >= least and (side - least) % step == 0]
    assert sorted(taken) == sorted({(side, least) for side in fits} | {(least + step, side) for side in fits})
    # As many pixels as a size that fits has, but other sides.
    with pytest.raises(Exception, match="Reshape"):
        session.run(None, {"image": images(1, 1, least // 2, 2 * least).numpy()})


class Own(nn.Module):
    """Somebody's network: `how` says what is wrong with it."""

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.conv, self.how = nn.Conv2d(1, 1, 3, padding=1), how

    def forward(self, image: Tensor) -> Tensor:
        if self.how == "looks at the size" and image.shape[-1] < 200:
            image = image * 2
        if self.how == "looks at the values" and image.mean() > 0:
            image = image * 2
        if self.how == "one size":
            image = image + torch.ones(image.shape[-2], 96)
        x: Tensor = self.conv(image)
        return x[..., ::2, ::2] if self.how == "smaller" else x


def test_a_network_of_ones_own_is_continued_as_in_predictions(tmp_path: Path) -> None:
    own = Own()
    model = AnySize(own)
    predictor = predictor_of(model)
    export_onnx(predictor, tmp_path / "model.onnx")
    session, facts = read(tmp_path / "model.onnx")
    assert "multiple of 32" in facts["sizes"]["inside"]
    pixels = np.random.default_rng(0).integers(0, 256, (45, 51), dtype=np.uint8)
    image = ((pixels / np.float32(255) - 0.5) / 0.25)[None, None]
    found = session.run(None, {"image": image})[0]
    np.testing.assert_allclose(found[0], predictor.probabilities(pixels), atol=1e-5)
    np.testing.assert_allclose(found, whole(model, torch.from_numpy(image)), atol=1e-5)
    # The comparison can fail.
    torch.nn.init.constant_(own.conv.weight, 1.0)
    graph = (tmp_path / "model.onnx").read_bytes()
    differences = exporting.compare(graph, exporting.answers_of(model, 1, 2, [(45, 51)]))
    with pytest.raises(ModelError, match="differ by 0"):
        exporting.report(differences)


@pytest.mark.parametrize("how", ["looks at the size", "looks at the values", "one size", "smaller"])
def test_a_network_that_can_not_be_exported_is_named(
    how: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=r"can't be exported|gives probabilities of shape"):
        export_onnx(predictor_of(AnySize(Own(how))), tmp_path / "export" / "model.onnx")
    assert not list(tmp_path.rglob("*.*"))
    assert "".join(capfd.readouterr()) == ""


def test_where_onnxruntime_is_missing_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(exporting, "onnx_graph", lambda *_: b"a graph")
    export_onnx(predictor_of(UNet(base_channels=2, depth=1)), tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == b"a graph"
    (line,) = caplog.messages
    assert "not compared" in line
    assert "pip install onnxruntime" in line


def test_a_run_is_exported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of three classes, normalised by each image."""
    run = train(
        tmp_path / "run",
        *TINY,
        "data.classes=[a,b]",
        "transform.mean=image",
        "transform.std=image",
        "epochs=1",
        "trainer.limit_train_batches=1",
        "trainer.log_every=0",
        "trainer.plots=false",
    )
    caplog.set_level(logging.INFO, "unet_exp")
    for output in ("model", "model.json", "run"):
        with pytest.raises(UserError, match=r"not an \.onnx file"):
            export(ExportConfig(run=str(run), output=str(tmp_path / output)))
    export(ExportConfig(run=str(run)))
    compared, written = caplog.messages[-2:]
    assert "8 x 8, 5 x 9, 1 x 9" in compared
    assert "model.onnx and model.json" in written
    session, facts = read(run / "export" / "model.onnx")
    assert facts["input"]["mean"] == facts["input"]["std"] == "image"
    assert "over the whole image" in facts["input"]["scale"]
    assert facts["classes"] == ["a", "b"]
    pixels = np.random.default_rng(0).integers(0, 256, (37, 30), dtype=np.uint8)
    unit = pixels / np.float32(255)
    found = session.run(None, {"image": ((unit - unit.mean()) / unit.std())[None, None]})[0][0]
    predictor = unet_exp.load_run(run, "cpu").with_options(tile=512)
    np.testing.assert_allclose(found, predictor.probabilities(pixels), atol=0.02)  # bf16 on some chips


OPTIONS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))


@pytest.mark.default_size
@pytest.mark.parametrize("option", OPTIONS)
def test_every_network_of_conf_is_exported(option: str, tmp_path: Path) -> None:
    config = composed(f"model={option}", *(["data.size=252"] if option == "unet2015" else []))
    package = config.model["_target_"].partition(".")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    torch.set_num_threads(2)
    torch.manual_seed(0)
    given = {"in_channels": 1, "out_channels": 1, "classes": 1}
    config.model |= {key: given[key] for key, value in config.model.items() if value == "auto"}
    model = build_model(config)
    model = model if isinstance(model, UNet) else AnySize(model)
    predictor = predictor_of(model)
    export_onnx(predictor, tmp_path / "model.onnx")  # compares at three sizes
    session, facts = read(tmp_path / "model.onnx")
    margin = facts["output"]["margin"]
    if margin:
        assert (facts["sizes"]["smallest"], facts["sizes"]["step"], margin) == (188, 16, 92)
        sizes = [(188, 220)]
        with pytest.raises(Exception, match="Reshape"):
            session.run(None, {"image": images(1, 1, 97, 129).numpy()})
    else:
        sizes = [(97, 129)]
    for height, width in sizes:
        image = images(1, 1, height, width)
        found = session.run(None, {"image": image.numpy()})[0]
        assert found.shape == (1, 2, height - 2 * margin, width - 2 * margin)
        assert np.abs(found - whole(model, image)).max() < 1e-4
        assert found.std() > 1e-3
