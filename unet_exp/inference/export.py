"""The network as ONNX, with a JSON beside it that says what goes in and what comes out."""

import json
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unet_exp import runs
from unet_exp.errors import ConfigError
from unet_exp.inference.predictor import OTHER_DEPTH, Predictor
from unet_exp.inference.tiling import unet_margin
from unet_exp.losses import class_probabilities
from unet_exp.models.sizes import nearest_sizes
from unet_exp.models.unet import UNet


class Probabilities(nn.Module):
    """N x C x H x W normalised to N x K x H x W probabilities, in fp32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return class_probabilities(self.model(image).float())


def export_onnx(predictor: Predictor, path: Path) -> None:
    """Write path (.onnx; batch, height, width free) and path with .json. predictor: of one run, on the CPU.

    Raises ConfigError where the packages of the extra `onnx` are missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"task=export needs the package {error.name}", do="pip install -c constraints.txt -e '.[onnx]'"
        ) from error
    model = predictor.networks[0]
    network = Probabilities(model).to("cpu", torch.float32).eval()
    network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    depth, padding = (model.halvings, model.padding) if isinstance(model, UNet) else (OTHER_DEPTH, "same")
    side = nearest_sizes(4 * 2**depth, depth, padding)[-1]
    example = torch.zeros(2, predictor.channels, side, side)
    free = {0: torch.export.Dim("batch"), 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own machinery
        program = torch.onnx.export(
            network, (example,), dynamo=True, verbose=False, dynamic_shapes=(free,),
            input_names=["image"], output_names=["probabilities"],
        )  # fmt: skip
    assert program is not None
    runs.make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.tmp")
    program.save(temporary, external_data=False)
    temporary.replace(path)
    mean, std = (as_list(value, predictor.channels) for value in predictor.statistics[0])
    facts = {
        "input": {
            "name": "image", "shape": ["batch", predictor.channels, "height", "width"], "dtype": "float32",
            "scale": "uint8 / 255, uint16 / 65535, floats as they are; then (value - mean) / std per channel",
            "channels": predictor.data_channels, "mean": mean, "std": std,
        },
        "output": {
            "name": "probabilities", "shape": ["batch", len(predictor.classes), "height", "width"],
            "dtype": "float32", "sums_to_one_over": 1,
        },
        "classes": predictor.classes,
        "palette": [list(colour) for colour in predictor.palette],
        "threshold": predictor.cut,
        "size_multiple": 2**depth if padding == "same" else None,
        "example_size": side,
        "output_is_smaller_by": 2 * unet_margin(depth, padding),
    }  # fmt: skip
    runs.write_text(path.with_suffix(".json"), json.dumps(facts, indent=2) + "\n")


def as_list(value: object, channels: int) -> list[float] | str:
    """mean or std of each channel; "image" stays: of each whole image."""
    if isinstance(value, str):
        return value
    numbers = np.broadcast_to(np.asarray(value, np.float64), (channels,))
    return [float(number) for number in numbers]
