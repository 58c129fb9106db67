"""Which program computes the networks of a predictor: as asked, or the fastest that is installed."""

import importlib.util
import logging
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from unet_exp.errors import ConfigError, ModelError
from unet_exp.inference.backends import Engine
from unet_exp.inference.predictor import Predictor

log = logging.getLogger("unet_exp")
PACKAGES = {"openvino": ("openvino",), "onnxruntime": ("onnxruntime", "onnx", "onnxscript")}
FORMATS = {"torch": ("fp32", "bf16", "fp16"), "openvino": ("fp32", "bf16", "int8"), "onnxruntime": ("fp32",)}
INSTALL = "pip install -c constraints.txt -e '.[{}]'"
TILE = 512  # side of the tile that auto measures with
GAIN = 0.95  # of torch's time, that another has to stay below
REPEATS = 3


def computed_by(backend: str, predictor: Predictor, precision: str) -> tuple[Predictor, dict[str, str]]:
    """The predictor as torch, openvino or onnxruntime computes it, or for auto the fastest; and what it is:
    backend and precision (fp32, bf16, fp16 or int8).

    precision: as asked of task=predict. In int8 its engines are still to be quantized. Raises ConfigError for
    what is not installed, or does not go together.
    """
    if backend == "auto":
        backend = fastest(predictor, precision)
    chosen = {"backend": backend, "precision": format_of(backend, predictor, precision)}
    if backend == "torch":
        return predictor, chosen
    if predictor.precision.device.type != "cpu":
        raise ConfigError(
            f"backend={backend} computes on the processor, not on {predictor.precision.device}",
            do="device=cpu, or backend=torch",
        )
    missing = missing_of(backend)
    if missing:
        raise ConfigError(f"backend={backend} needs the package {missing[0]}", do=INSTALL.format("fast"))
    if chosen["precision"] == "int8" and not installed("nncf"):
        raise ConfigError("precision=int8 needs the package nncf", do=INSTALL.format("int8"))
    engines = [Engine(backend, one, predictor.channels, chosen["precision"]) for one in predictor.networks]
    return predictor.with_options(engines=engines), chosen


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def missing_of(backend: str) -> list[str]:
    return [package for package in PACKAGES[backend] if not installed(package)]


def format_of(backend: str, predictor: Predictor, precision: str) -> str:
    """The number format of a backend. auto: that of torch, or fp32 where the backend has no other."""
    wanted = predictor.precision.name if precision == "auto" else precision
    if wanted in FORMATS[backend]:
        return wanted
    if precision == "auto":
        return "fp32"
    raise ConfigError(
        f"backend={backend} does not compute in {precision}",
        allowed=", ".join(FORMATS[backend]),
        do="backend=openvino" if precision in FORMATS["openvino"] else "precision=auto",
    )


def fastest(predictor: Predictor, precision: str) -> str:
    """torch, unless another that is installed, and has torch's number format, takes clearly less time for one
    tile of the first network."""
    if precision == "int8":
        return "openvino"
    if predictor.precision.device.type != "cpu":
        log.info("backend=auto: torch, which alone computes on %s", predictor.precision.device)
        return "torch"
    side = predictor.with_options(tile=TILE).tiling().tile
    tile = predictor.precision.to_device(torch.rand(1, predictor.channels, side, side))
    networks: dict[str, Callable[[Tensor], Tensor]] = {"torch": predictor.networks[0]}
    for backend in PACKAGES:
        number_format = predictor.precision.name
        if number_format in FORMATS[backend] and not missing_of(backend):
            engine = Engine(backend, predictor.networks[0], predictor.channels, number_format)
            engine.is_checked = True  # on an image, when it is chosen
            networks[backend] = engine
    times = {}
    for backend, network in networks.items():
        try:
            times[backend] = seconds(network, tile, predictor)
        except ModelError as error:
            log.warning("backend=auto leaves out %s: %s", backend, error.what)
    best = min(times, key=lambda name: times[name])
    best = best if times[best] < GAIN * times["torch"] else "torch"
    said = ", ".join(f"{name} {took * 1000:.0f} ms" for name, took in times.items())
    log.info("backend=auto: %s, by a tile of %d x %d (%s)", best, side, side, said)
    if len(networks) == 1:
        log.info("openvino and onnxruntime are not installed: %s", INSTALL.format("fast"))
    return best


def seconds(network: Callable[[Tensor], Tensor], tile: Tensor, predictor: Predictor) -> float:
    took = []
    with torch.inference_mode(), predictor.precision.autocast():
        for _ in range(1 + REPEATS):
            began = time.perf_counter()
            network(tile)
            took.append(time.perf_counter() - began)
    return statistics.median(took[1:])
