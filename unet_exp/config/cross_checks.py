"""Settings that are sound but do not fit each other, this machine or its files."""

import dataclasses
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unet_exp.config.components import COMPONENTS, UNetConfig
from unet_exp.config.data_checks import data_problems
from unet_exp.config.problems import Problem, again_with
from unet_exp.config.schema import (
    LOWER_IS_BETTER,
    OBJECT_SCORES,
    SYNTHETIC,
    Config,
)
from unet_exp.errors import did_you_mean
from unet_exp.sizes import nearest_sizes, output_size


def number_problem(value: Any) -> str | None:
    """Optimizers differ, but these arguments are numbers of at least zero in all of them."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"is {value!r}; allowed: a number of at least 0"
    return None if math.isfinite(value) and value >= 0 else f"is {value}; allowed: at least 0"


def find_conflicts(config: Config, first_start: bool = True) -> Iterator[Problem]:
    """Settings that are sound but do not fit each other, this machine or its files.

    first_start: the run has no weights of its own yet, so the file of model.weights has to be there.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        yield Problem("device", f"is {config.device!r}; allowed: auto, cpu, cuda, cuda:N, mps")
    yield from size_problems(config)
    yield from data_problems(config)
    yield from monitor_problems(config)
    yield from loss_problems(config)
    yield from threshold_problems(config)
    weights = config.model.get("weights")
    if first_start and weights is not None and not os.path.isfile(str(weights)):
        where = f"{weights} is not there (from {Path.cwd()})"
        why = "give the .pt or .safetensors that it starts from"
        yield Problem("model.weights", f"{where}; {why}: {again_with('model.weights=FILE')}")
    head = config.model.get("out_channels")
    heads = allowed_heads(config)
    if isinstance(head, int) and head not in heads:
        classes = len(config.data.classes)
        yield Problem(
            "model.out_channels", f"is {head}; allowed for {classes} classes and this loss: {heads[0]}"
        )


def monitor_problems(config: Config) -> Iterator[Problem]:
    """What trainer.monitor names, and which way it is better."""
    names = metric_names(config.data.classes)
    for name in config.metrics:
        if name in names or not re.fullmatch(r"[\w-]+", name):
            yield Problem(
                f"metrics.{name}", "is not allowed as a name: letters, digits, _ and -, not one in use"
            )
    names += list(config.metrics) + list(OBJECT_SCORES) * (config.data.labels_are != "classes")
    monitor = config.trainer.monitor
    mode = config.trainer.mode
    if monitor not in names:
        hint = did_you_mean(monitor, names)
        yield Problem("trainer.monitor", f"is {monitor!r}; allowed: {', '.join(names)}{hint}")
    elif monitor in config.metrics:
        if mode == "auto":
            yield Problem(
                "trainer.mode", f"is auto, but nobody knows whether more {monitor} is better; min or max"
            )
    elif mode not in ("auto", "min" if monitor in LOWER_IS_BETTER else "max"):
        yield Problem("trainer.mode", f"is {mode!r}, but a better {monitor} is the other way; use auto")
    if config.trainer.best_by == "last" and (config.trainer.early_stop or config.trainer.smoothing):
        yield Problem("trainer.best_by", "is last, so early_stop and smoothing have nothing to do; monitor")


def threshold_problems(config: Config) -> Iterator[Problem]:
    chosen = config.trainer.choose_threshold
    names = config.data.classes
    by = ["dice", *(f"dice_{name}" for name in names), "v_rand"]
    if chosen is not None and len(names) != 2:
        yield Problem("trainer.choose_threshold", f"is for two classes, not {len(names)}; null")
    elif chosen is not None and chosen not in by:
        hint = did_you_mean(chosen, by)
        yield Problem("trainer.choose_threshold", f"is {chosen!r}; allowed: {', '.join(by)}, null{hint}")
    if config.trainer.learn_borders and (len(names) != 2 or config.data.labels_are != "classes"):
        yield Problem("trainer.learn_borders", "is for two classes, membrane and cell; false")


def metric_names(classes: list[str]) -> list[str]:
    """The columns of metrics.csv that trainer.monitor may name."""
    kinds = ("dice", "iou", "precision", "recall")
    return ["loss", *kinds] + [f"{kind}_{name}" for kind in kinds for name in classes]


def allowed_heads(config: Config) -> list[int]:
    """Logits per pixel that fit the classes and the loss; the first is what 'auto' means."""
    classes = len(config.data.classes)
    softmax = str(config.loss.get("_target_")).endswith("CrossEntropyLoss")
    return [classes] if softmax or classes > 2 else [1]


def loss_problems(config: Config) -> Iterator[Problem]:
    """Losses that do not fit the classes or the label map, and weights that are none."""
    target = str(config.loss.get("_target_"))
    classes = config.data.classes
    binary = target.rpartition(".")[2].startswith(("BCE", "SoftMargin"))
    if binary and len(classes) > 2:
        yield Problem(
            "loss", f"{target} is for two classes, and data.classes has {len(classes)}; loss=ce or ce_dice"
        )
    ignores = isinstance(config.data.label_map, dict) and "ignore" in config.data.label_map.values()
    if ignores and target.startswith("torch.nn."):
        yield Problem(
            "loss", f"{target} would learn the ignored pixels too; loss=ce, ce_dice, dice or cross_entropy"
        )
    weights = config.loss.get("class_weights")
    words = ("inverse", "median_frequency")
    if target not in COMPONENTS or weights is None or weights in words:
        pass
    elif not isinstance(weights, list) or len(weights) != len(classes) or any(map(number_problem, weights)):
        yield Problem(
            "loss.class_weights",
            f"is {weights!r}; allowed: null, {', '.join(words)}, or {len(classes)} numbers",
        )
    if config.loss.get("pos_weight") is not None and allowed_heads(config) != [1]:
        yield Problem("loss.pos_weight", "is for two classes with one logit; use loss.class_weights")


def size_problems(config: Config) -> Iterator[Problem]:
    """Training sizes that the U-Net would have to pad; unknown for other people's models."""
    if config.model.get("_target_") != UNetConfig._target_:
        return
    known = {field.name for field in dataclasses.fields(UNetConfig)}
    unet = UNetConfig(**{key: value for key, value in config.model.items() if key in known})
    crops = {
        f"transform.train.{name}.size": step
        for name, step in (config.transform.get("train") or {}).items()
        if step and str(step.get("_target_")).endswith((".RandomCrop", ".RandomWarp")) and step.get("size")
    }
    sizes = {key: int(step["size"]) for key, step in crops.items()}
    if config.data.kind in SYNTHETIC:
        for key, step in crops.items():
            most = config.data.size + 2 * step.get("margin", 0)
            if step["size"] > most:
                yield Problem(key, f"is {step['size']}, but data.size is {config.data.size}; at most {most}")
        sizes = sizes or {"data.size": config.data.size}
    for key, step in crops.items():
        size = int(step["size"])
        margin = step.get("margin", 0)
        left = output_size(size, unet.depth, unet.padding)
        lost = 0 if left is None else (size - left) // 2
        if left is not None and margin > lost:
            key = key.replace(".size", ".margin")
            yield Problem(
                key, f"is {margin}, but the network leaves out {lost} pixels on each side; use {lost}"
            )
    if unet.padding == "valid" and unet.stride > 1:
        yield Problem("model.stride", "needs model.padding=same; use 1")
    halvings = unet.depth + unet.stride.bit_length() - 1
    for key, size in sizes.items():
        if output_size(size, halvings, unet.padding) is None:
            near = " or ".join(str(s) for s in nearest_sizes(size, halvings, unet.padding))
            why = f"2**{halvings} = {2**halvings} has to divide it" if unet.padding == "same" else "valid"
            who = f"model.depth={unet.depth}" + f" and model.stride={unet.stride}" * (unet.stride > 1)
            yield Problem(key, f"is {size}, which {who} can't use ({why}); use {near}")
