"""Settings that are sound but do not fit each other, this machine or its files."""

import dataclasses
import math
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from unet_exp.config.components import COMPONENTS, UNetConfig
from unet_exp.config.label_map import map_problems
from unet_exp.config.paths import decoded, is_utf8
from unet_exp.config.schema import (
    LOWER_IS_BETTER,
    OBJECT_SCORES,
    SPLIT,
    SYNTHETIC,
    TEMPLATES,
    Config,
    DataConfig,
)
from unet_exp.errors import did_you_mean
from unet_exp.messages import typed_command
from unet_exp.sizes import nearest_sizes, output_size


class Problem(NamedTuple):
    """The dotted key it is about, and what is wrong with it and what to do."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key} {self.text}"


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
    names += list(config.metrics) + list(OBJECT_SCORES) * (config.data.labels_are == "objects")
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


def data_problems(config: Config) -> Iterator[Problem]:
    """Classes, expressions and folds; then the files, where there are some."""
    data = config.data
    if not 2 <= len(data.classes) <= 254 or len(set(data.classes)) != len(data.classes):
        yield Problem("data.classes", f"is {data.classes}; allowed: two or more names, each once")
    if "ignore" in data.classes:
        yield Problem("data.classes", "names a class ignore; that word is for data.label_map")
    for name in data.classes:
        if not re.fullmatch(r"[\w-]+", name):
            yield Problem("data.classes", f"has the name {name!r}; allowed: letters, digits, _ and -")
    if data.label_map is not None:
        for text in map_problems(data.label_map, data.classes):
            yield Problem("data.label_map", text)
    for key, regex in (("data.pair_regex", data.pair_regex), ("data.split.group", data.split.group)):
        if regex is not None and (wrong := regex_problem(regex)):
            yield Problem(key, wrong)
    if data.folds is not None and data.fold >= data.folds:
        yield Problem(
            "data.fold", f"is {data.fold}; allowed with data.folds={data.folds}: 0 to {data.folds - 1}"
        )
    yield from split_problems(config)
    yield from object_problems(data)
    yield from synthetic_problems(data) if data.kind in SYNTHETIC else path_problems(data)


def object_problems(data: DataConfig) -> Iterator[Problem]:
    """Classes that do not fit what is learnt of objects."""
    if data.labels_are != "objects":
        return
    names = {"border": "background, interior and border", "binary": "background and object"}[data.target]
    if len(data.classes) != 2 + (data.target == "border"):
        yield Problem("data.classes", f"is {data.classes}; with data.target={data.target} it names {names}")
    if data.label_map is not None:
        yield Problem("data.label_map", "is for classes, and labels are objects; null")


def synthetic_problems(data: DataConfig) -> Iterator[Problem]:
    if data.kind == "membranes" and len(data.classes) != 2:
        yield Problem("data.classes", "has to be two names for data=membranes, which has two classes")
    if (data.kind == "nuclei") != (data.labels_are == "objects"):
        needed = "objects" if data.kind == "nuclei" else "classes"
        yield Problem("data.labels_are", f"is {data.labels_are!r}, but data={data.kind} has {needed}")
    if data.root is not None:
        yield Problem(
            "data.root",
            f"{data.root} is given, but data={data.kind} is generated; say how it lies: "
            "data=image_folder, csv, npy_folder, tiff_stack or isbi2012",
        )


def path_problems(data: DataConfig) -> Iterator[Problem]:
    """The folder of the data, and names in it that are not UTF-8."""
    for key in TEMPLATES[data.kind]:
        if not is_utf8(path := str(getattr(data, key))):
            yield Problem(f"data.{key}", f"{decoded(path)} is not UTF-8; rename it, or give a link to it")
    if data.root is None:
        yield Problem("data.root", f"has no value; {data.kind} needs the folder of the data: data.root=DIR")
    elif not is_utf8(data.root):
        yield Problem("data.root", f"{decoded(data.root)} is not UTF-8; rename it, or give a link to it")
    elif not os.path.isdir(data.root):
        state = "is a file" if os.path.exists(data.root) else "is not there"
        state += f"; {SPLIT} belongs into data.images and data.labels" * (SPLIT in data.root)
        yield Problem(
            "data.root",
            f"{data.root} {state} (from {Path.cwd()}); give a folder: {again_with('data.root=DIR')}",
        )


def again_with(setting: str) -> str:
    """What to type for another value: with the task and the run of the command, if it names them."""
    named = [
        word
        for word in typed_command()[1:]
        if word.partition("=")[0] in ("task", "resume", "from_run", "run")
    ]
    return " ".join([*map(shlex.quote, named), setting])


def regex_problem(regex: str) -> str | None:
    try:
        groups = re.compile(regex).groups
    except re.error as error:
        return f"is {regex!r}, which is not a regular expression: {error}"
    return None if groups == 1 else f"is {regex!r}; allowed: a regular expression with one group ( )"


def split_problems(config: Config) -> Iterator[Problem]:
    split = config.data.split
    kind = config.data.kind
    modes = {"npy_folder": ("auto", "folders"), "csv": ("auto", "blocks", "random", "listed", "column")}
    modes["image_folder"] = ("auto", "folders", "blocks", "random", "listed")
    modes = {
        "tiff_stack": ("auto", "blocks", "random", "listed"),
        "membranes": ("auto", "blocks"),
        "nuclei": ("auto", "blocks"),
    } | modes
    keys = [f"data.{key}" for key in TEMPLATES[kind]]
    plain = [key for key in keys if SPLIT not in str(getattr(config.data, key.removeprefix("data.")))]
    if len(plain) == 1 and len(keys) == 2:
        (other,) = set(keys) - set(plain)
        yield Problem(plain[0], f"has no {SPLIT}, but {other} has; give {SPLIT} in both or in none")
    elif keys and not plain:
        modes[kind] = ("auto", "folders")
    if split.mode not in modes[kind]:
        where = f" with {SPLIT} in {keys[0]}" if keys and not plain else ""
        yield Problem(
            "data.split.mode", f"is {split.mode!r}; allowed for {kind}{where}: {', '.join(modes[kind])}"
        )
    for name in ("train", "val", "test"):
        value = getattr(split, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
        if split.mode == "listed":
            good = isinstance(value, list) or value == 0
            allowed = "a list of names (with * and ?)"
        elif kind in SYNTHETIC:
            good = number and isinstance(value, int)
            allowed = "the number of images to generate"
        else:
            good = value == "rest" or (number and (isinstance(value, int) or value < 1))
            allowed = "rest, a count, or a fraction below 1"
        if not good:
            yield Problem(f"data.split.{name}", f"is {value!r}; allowed with mode {split.mode}: {allowed}")
