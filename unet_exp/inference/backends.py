"""A trained network computed by OpenVINO or ONNX Runtime in place of torch, on a processor.

OpenVINO: https://docs.openvino.ai; ONNX Runtime: https://onnxruntime.ai; int8: NNCF,
https://github.com/openvinotoolkit/nncf.
"""

import copy
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unet_exp.errors import ModelError, first_line
from unet_exp.inference.onnx_graph import onnx_graph, quiet
from unet_exp.losses import class_probabilities
from unet_exp.models.unet import UNet
from unet_exp.training.machine import cpu_has_bf16

log = logging.getLogger("unet_exp")
WRONG = 1e-2  # of a probability, fp32 beside fp32; rounding makes less than 1e-3
FLIPPED = 1e-3  # share of the pixels that get another class
CHECKED = 512  # side of the part of the first tile that is compared, a multiple of every network's step
COMPILING = threading.Lock()  # neither tracing nor compiling one graph is for two threads at once
Compute = Callable[[np.ndarray], np.ndarray]


class Logits(nn.Module):
    """What is compiled: tiles of a size that fits to logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tiles: Tensor) -> Tensor:
        logits: Tensor = self.network.fitted_logits(tiles)[0]  # type: ignore[operator]
        return logits


class Engine:
    """A network as another program computes it: normalised float32 images N x C x H x W to logits.

    On the first image it is compared with torch, both in fp32; ModelError if they disagree. Each thread has
    a copy of its own, which computes in as many threads as torch does there.
    """

    def __init__(self, backend: str, network: nn.Module, channels: int, number_format: str) -> None:
        """network: UNet or AnySize. backend, number_format: openvino in fp32, bf16 or (once quantized) int8;
        onnxruntime in fp32."""
        plain = copy.deepcopy(network).to("cpu", torch.float32).eval()
        self.network: nn.Module = plain.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.backend = backend
        self.channels = channels
        self.number_format = number_format
        self.any_shape = isinstance(network, UNet) and network.padding == "same"
        self.graphs: dict[Any, Any] = {}
        self.quantized: Any = None
        self.is_checked = False
        self.lock = threading.Lock()
        self.of_thread = threading.local()

    def __call__(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        fitted = self.network.fit_size(image)  # type: ignore[operator]
        with torch.autocast("cpu", enabled=False):  # the caller's is for torch alone
            with self.lock:
                if not self.is_checked:
                    side = CHECKED if self.any_shape else max(height, width)
                    self.say_difference(fitted[:1, :, :side, :side])
                self.is_checked = True
            return torch.from_numpy(self.compute(fitted, self.number_format))[..., :height, :width]

    def say_difference(self, tile: Tensor) -> None:
        """Log how probabilities of one tile differ from torch's. Raises ModelError if it is no rounding."""
        with torch.inference_mode():
            logits = self.network.fitted_logits(tile)[0]  # type: ignore[operator]
        ours, theirs = (
            class_probabilities(one) for one in (logits, torch.from_numpy(self.compute(tile, "fp32")))
        )
        largest = float((ours - theirs).abs().max())
        flipped = float((ours.argmax(1) != theirs.argmax(1)).float().mean())
        line = (
            f"{self.backend} beside torch in fp32: at most {largest:.0e} apart, {flipped:.2%} of pixels flip"
        )
        if not (largest <= WRONG and flipped <= FLIPPED):
            raise ModelError(line, allowed=f"{WRONG:g} and {FLIPPED:.1%}", do="backend=torch")
        log.info("%s", line)

    def compute(self, tiles: Tensor, number_format: str) -> np.ndarray:
        compiled = self.of_thread.__dict__.setdefault("compiled", {})
        key = (number_format, None if self.any_shape else tuple(tiles.shape))
        try:
            if key not in compiled:
                with COMPILING:
                    compiled[key] = self.compiled(tiles, number_format)
            run: Compute = compiled[key]
            return run(np.ascontiguousarray(tiles.numpy()))
        except Exception as error:  # somebody's own network
            raise ModelError(
                f"{self.backend} can't compute this network: {first_line(error)}", do="backend=torch"
            ) from error

    def compiled(self, tiles: Tensor, number_format: str) -> Compute:
        if self.backend == "onnxruntime":
            if None not in self.graphs:
                with torch.inference_mode():
                    outputs = self.network(tiles[:1]).shape[1]
                self.graphs[None] = onnx_graph(self.network, self.channels, outputs, logits=True)
            return compile_onnx(self.graphs[None])
        if number_format == "int8":
            assert self.quantized is not None
            return compile_openvino(self.quantized, "bf16" if cpu_has_bf16() else "fp32")
        return compile_openvino(self.graph(tiles), number_format)

    def graph(self, tiles: Tensor) -> Any:
        """Of OpenVINO, for tiles of this shape, or of any."""
        shape = tuple(tiles.shape)
        key = None if self.any_shape else shape
        if key not in self.graphs:
            openvino = import_openvino()
            example = tiles
            if isinstance(self.network, UNet) and self.any_shape:
                shape = (-1, self.channels, -1, -1)
                side = 2 ** (self.network.halvings + 1)
                example = torch.zeros(1, self.channels, side, side)
            with quiet(), torch.inference_mode():
                traced = torch.jit.trace(Logits(self.network), example, check_trace=False)  # type: ignore[no-untyped-call]
                given = openvino.PartialShape(list(shape))
                self.graphs[key] = openvino.convert_model(traced, input=[given])
        return self.graphs[key]

    def quantize(self, images: Sequence[np.ndarray]) -> None:
        """Take int8 weights and activations; their ranges are those on these images, 1 x C x H x W each."""
        import_openvino()
        with quiet():
            import nncf

            logging.getLogger("nncf").setLevel(logging.ERROR)
            graph = self.graph(torch.from_numpy(images[0]))
            self.quantized = nncf.quantize(graph, nncf.Dataset(images), subset_size=len(images))


def import_openvino() -> Any:
    """The package, without the report about its use that it would send to its maker when it is imported."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import openvino
    return openvino


def compile_openvino(graph: Any, number_format: str) -> Compute:
    openvino = import_openvino()
    settings = {
        # Without a hint it takes bf16 wherever the chip has it.
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[number_format],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # several copies would share one core
    }
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
    return lambda tiles: np.array(request.infer([tiles], share_inputs=True)[0])


def compile_onnx(graph: bytes) -> Compute:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda tiles: np.asarray(session.run(None, {"image": tiles})[0])
