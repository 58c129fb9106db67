"""The network as ONNX, with a JSON beside it that says what goes in and what comes out."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from unet_exp.errors import ConfigError, ModelError, first_line
from unet_exp.inference.onnx_graph import depth_and_padding, onnx_graph, output_sides, smallest_size
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.tiles import unet_margin
from unet_exp.losses import class_probabilities
from unet_exp.models.unet import UNet
from unet_exp.rundir import atomic

log = logging.getLogger("unet_exp")
ROUNDING = 1e-4  # probabilities of two libraries that compute the same in fp32 are closer than this
WRONG = 1e-2


def export_onnx(predictor: Predictor, path: Path) -> None:
    """Write path (.onnx; batch, height, width free) and path with .json. predictor: of one run, on the CPU.

    Compares the graph with the network where onnxruntime is installed, and logs what it found.
    Raises ConfigError where the packages of the extra `onnx` are missing or path is no .onnx, ModelError for
    a network that can't be exported or a graph that disagrees with it; then nothing is written.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"task=export needs the package {error.name}", do="pip install -c constraints.txt -e '.[onnx]'"
        ) from error
    if path.suffix != ".onnx" or path.is_dir():
        raise ConfigError(f"output={path} is not an .onnx file", do=f"output={path.with_suffix('.onnx')}")
    model = predictor.networks[0].to("cpu", torch.float32).eval()
    model = model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    channels = predictor.channels
    classes = len(predictor.classes)
    answers = answers_of(model, channels, classes, sizes_to_try(model))
    graph = onnx_graph(model, channels, classes)
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        log.warning("not compared with PyTorch, because onnxruntime is missing: pip install onnxruntime")
    else:
        report(compare(graph, answers))
    atomic.make_directory(path.parent)
    atomic.write_bytes(path, graph)
    atomic.write_text(path.with_suffix(".json"), json.dumps(facts(predictor, model), indent=2) + "\n")


def answers_of(
    model: nn.Module, channels: int, classes: int, sizes: list[tuple[int, int]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random images of these heights and widths, and the network's fp32 probabilities for each whole image.

    Raises ModelError if it can't take one or returns another shape.
    """
    smaller = 2 * unet_margin(*depth_and_padding(model))
    answers = []
    for height, width in sizes:
        image = torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(0))
        try:
            with torch.inference_mode():
                answer = class_probabilities(model(image).float()).numpy()
        except Exception as error:  # somebody's own network
            raise ModelError(
                f"the network can't take an image of {height} x {width}, so it can't be exported: "
                + first_line(error)
            ) from error
        check_shape("the network", answer, (2, classes, height - smaller, width - smaller))
        answers.append((image.numpy(), answer))
    return answers


def check_shape(what: str, probabilities: np.ndarray, wanted: tuple[int, ...]) -> None:
    if probabilities.shape != wanted:
        raise ModelError(f"{what} gives probabilities of shape {probabilities.shape}", allowed=str(wanted))


def compare(graph: bytes, answers: list[tuple[np.ndarray, np.ndarray]]) -> dict[tuple[int, int], float]:
    """(height, width) -> largest difference between the probabilities of onnxruntime and of the network.

    answers: from answers_of. Raises ModelError if the shapes differ.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    differences = {}
    for image, answer in answers:
        given = session.run(None, {"image": image})[0]
        check_shape("the exported graph", given, answer.shape)
        differences[image.shape[2], image.shape[3]] = float(np.abs(given - answer).max())
    return differences


def report(differences: dict[tuple[int, int], float]) -> None:
    """Log the differences in one line. Raises ModelError if they are too large for rounding."""
    largest = max(differences.values())
    if not largest <= WRONG:
        raise ModelError(
            f"the exported graph disagrees with PyTorch: probabilities differ by {largest:.2g}",
            allowed=f"{ROUNDING:g}",
        )
    sizes = ", ".join(f"{height} x {width}" for height, width in differences)
    level = logging.INFO if largest <= ROUNDING else logging.WARNING
    log.log(level, "onnxruntime and PyTorch (fp32) differ by at most %.1e: %s", largest, sizes)


def sizes_to_try(model: nn.Module) -> list[tuple[int, int]]:
    """Three small sizes with over two pixels at the lowest level; with same padding two are no multiples."""
    depth, padding = depth_and_padding(model)
    step = 2**depth
    if padding == "valid":
        least = smallest_size(model)
        return [(least, least + step), (least + 2 * step, least + step), (least + step, least)]
    return [(2 * step, 2 * step), (step + 1, 2 * step + 1), (1, 2 * step + 1)]


def facts(predictor: Predictor, model: nn.Module) -> dict[str, Any]:
    """The contents of the .json."""
    depth, padding = depth_and_padding(model)
    margin = unet_margin(depth, padding)
    mean, std = (as_list(value, predictor.channels) for value in predictor.statistics[0])
    scale = "uint8 / 255, uint16 / 65535, floats as they are; then (value - mean) / std of each channel"
    if "image" in (mean, std):
        scale += '; "image": of that channel over the whole image (std without correction; 1 where it is 0)'
    return {
        "input": {
            "name": "image",
            "shape": ["batch", predictor.channels, "height", "width"],
            "dtype": "float32",
            "scale": scale,
            "channels": predictor.data_channels,
            "mean": mean,
            "std": std,
        },
        "output": {
            "name": "probabilities",
            "shape": ["batch", len(predictor.classes), *output_sides(model)],
            "dtype": "float32",
            "sums_to_one_over": 1,
            "margin": margin,
        },
        "sizes": sizes_of(model),
        "classes": predictor.classes,
        "palette": [list(colour) for colour in predictor.palette],
        "threshold": predictor.cut,
        "size_multiple": 1 if padding == "same" else None,
        "example_size": smallest_size(model) if padding == "valid" else 4 * 2**depth,
        "output_is_smaller_by": 2 * margin,
    }


def sizes_of(model: nn.Module) -> dict[str, Any]:
    """Which heights and widths the graph takes, and what it does with others."""
    depth, padding = depth_and_padding(model)
    step = 2**depth
    if padding == "valid":
        return {
            "smallest": smallest_size(model),
            "step": step,
            "others": "the graph fails at a Reshape, whose message names the next larger side that fits",
        }
    least = f", at least {step} x {2 * step}" if isinstance(model, UNet) else ""
    return {
        "smallest": 1,
        "step": 1,
        "others": "none: any height and width fits",
        "inside": f"the graph repeats the last row and column up to a multiple of {step}{least}, "
        "and crops the result",
    }


def as_list(value: object, channels: int) -> list[float] | str:
    """mean or std of each channel; "image" stays: of each whole image."""
    if isinstance(value, str):
        return value
    numbers = np.broadcast_to(np.asarray(value, np.float64), (channels,))
    return [float(number) for number in numbers]
