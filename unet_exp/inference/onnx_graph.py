"""Trace a network by torch.export for images of any height and width, and write it as ONNX."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from unet_exp.errors import ModelError, first_line
from unet_exp.inference.any_size import OTHER_DEPTH, AnySize
from unet_exp.inference.tiles import unet_margin
from unet_exp.losses import class_probabilities
from unet_exp.models.unet import UNet
from unet_exp.sizes import nearest_sizes


class Graph(nn.Module):
    """The exported module: normalised images N x C x H x W to probabilities N x K x H x W, both float32.

    logits: those in their place. With valid padding K x (H - 2 margin) x (W - 2 margin). A graph can't branch
    on a size in Python, so the image is fitted by arithmetic on sizes, in addition to the networks' own code.
    """

    def __init__(self, model: nn.Module, logits: bool) -> None:
        super().__init__()
        self.model = model
        self.logits = logits
        self.depth, self.padding = depth_and_padding(model)
        self.step = 2**self.depth
        self.least = smallest_size(model)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        fitted = self.refuse(image) if self.padding == "valid" else self.proceed(image)
        logits = self.model.fitted_logits(fitted)[0]  # type: ignore[operator]
        result = logits.float() if self.logits else class_probabilities(logits.float())
        return result if self.padding == "valid" else result[..., :height, :width]

    def proceed(self, image: Tensor) -> Tensor:
        """The image padded at its right and bottom with its last pixels, as by UNet.fit_size and AnySize."""
        height, width = image.shape[-2:]
        # ONNX rounds the division of negative numbers differently.
        rows, columns = ((side + self.step - 1) // self.step for side in (height, width))
        if isinstance(self.model, UNet):
            # At least two multiples along one side.
            columns = torch.sym_max(columns, 3 - rows)  # type: ignore[no-untyped-call]
        for dim, (steps, side) in enumerate(((rows, height), (columns, width)), 2):
            places = torch.arange(any_number(steps, 1) * self.step).clamp(max=side - 1)
            image = image.index_select(dim, places)
        return image

    def refuse(self, image: Tensor) -> Tensor:
        """The image; for a side that does not fit, the graph fails at a reshape to the next that does."""
        fitting = []
        for side in image.shape[-2:]:
            steps = any_number((side - self.least + self.step - 1) // self.step, 0)
            fitting.append(self.least + self.step * steps)
        return image.reshape(*image.shape[:2], *fitting)


def any_number(value: int, least: int) -> Any:
    """The number itself, which torch then treats as any number from `least` on.

    A condition that holds for the example only then fails the export instead of entering the graph.
    """
    number: Any = torch.full((), value).clamp(min=least).item()
    torch._check(number >= least)  # type: ignore[no-untyped-call]
    return number


def depth_and_padding(model: nn.Module) -> tuple[int, str]:
    return (model.halvings, model.padding) if isinstance(model, UNet) else (OTHER_DEPTH, "same")


def output_sides(model: nn.Module) -> list[str]:
    """height and width of the probabilities in terms of the image's."""
    smaller = 2 * unet_margin(*depth_and_padding(model))
    return [f"{side} - {smaller}" if smaller else side for side in ("height", "width")]


def smallest_size(model: nn.Module) -> int:
    """The smallest height or width that the graph accepts."""
    depth, padding = depth_and_padding(model)
    return 1 if padding == "same" else nearest_sizes(0, depth, padding)[-1]


def onnx_graph(model: nn.Module, channels: int, classes: int, logits: bool = False) -> bytes:
    """The contents of an .onnx file. classes: of the probabilities; or the number of the logits.

    Raises ModelError where torch can't trace the network for any size.
    """
    graph = Graph(model, logits).eval()
    side = graph.least + 3 * graph.step
    example = torch.zeros(2, channels, side, side + graph.step)
    free = {0: "batch", 2: "height", 3: "width"}
    any_size = (dict.fromkeys(free, torch.export.Dim.DYNAMIC),)  # an error where one would become a number
    try:
        with quiet():
            traced = torch.export.export(graph, (example,), dynamic_shapes=any_size, strict=False)
            program = torch.onnx.export(
                traced,
                dynamo=True,
                verbose=False,
                dynamic_shapes=(free,),
                input_names=["image"],
                output_names=["logits" if logits else "probabilities"],
            )
        assert program is not None
        (given,) = program.model.graph.inputs
        (answer,) = program.model.graph.outputs
        assert given.shape is not None
        taken = [dim if isinstance(dim, int) else dim.value for dim in given.shape]
        if taken != ["batch", channels, "height", "width"]:
            raise ValueError(f"its input became {taken}")
        answer.shape = type(given.shape)(["batch", classes, *output_sides(model)])
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()  # lines of code and paths of this machine
        return bytes(program.model_proto.SerializeToString())
    except Exception as error:  # torch.export and foreign networks raise any kind
        name = type(model.model if isinstance(model, AnySize) else model).__name__
        raise ModelError(
            f"{name} can't be exported: {first_line(error)}",
            do="install the versions of constraints.txt"
            if isinstance(model, UNet)
            else "its forward must not branch on the size or the values of the image",
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, the exporters print neither log lines nor warnings."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        # On failure torch prints the whole trace.
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
