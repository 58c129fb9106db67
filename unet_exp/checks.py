"""Every problem of a composed configuration, found without torch and without stopping at the first."""

import dataclasses
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unet_exp.errors import did_you_mean
from unet_exp.models.sizes import nearest_sizes, output_size
from unet_exp.schema import TARGETS, Config, UNetConfig

ALLOW_VARIABLE = "UNET_EXP_ALLOW"
ALLOWED_TARGETS = {
    "model": ("unet_exp.models.", "torch.nn."),
    "loss": ("unet_exp.losses.", "torch.nn."),
    "optimizer": ("torch.optim.",),
    "scheduler": ("torch.optim.lr_scheduler.",),
    "transform": ("unet_exp.data.transforms.",),
}
GROUPS = ("model", "loss", "optimizer", "scheduler")  # each one node with a _target_
BOUNDS = {"minimum": "at least", "above": "above", "maximum": "at most", "below": "below"}


class Problem(NamedTuple):
    """The dotted key it is about, and what is wrong with it and what to do."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key} {self.text}"


def allowed_prefixes(group: str) -> tuple[str, ...]:
    """Where the targets of a group may come from; one's own packages by the environment variable."""
    own = os.environ.get(ALLOW_VARIABLE, "").split(",")
    return ALLOWED_TARGETS[group] + tuple(f"{name.strip()}." for name in own if name.strip())


def find_problems(cfg: DictConfig) -> list[str]:
    """Each problem in one sentence with what to do; an empty list for a config that can run."""
    absent = [field.name for field in dataclasses.fields(Config) if field.name not in cfg]
    if absent:
        return [f"{name} is not there; give it a value" for name in absent]
    try:
        # Without the types of nodes: what Hydra composed from UNetConfig is a mapping like any other here.
        plain = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        return [str(error).splitlines()[0]]
    assert isinstance(plain, DictConfig)
    problems = list(node_problems(plain, Config, ""))
    for group in GROUPS:
        problems += target_problems(plain[group], group, group)
    problems += transform_problems(plain.transform)
    broken = {problem.key for problem in problems}
    problems += [problem for problem in fitting_problems(without(plain, broken)) if problem.key not in broken]
    return [str(problem) for problem in problems]


def without(plain: DictConfig, broken: set[str]) -> Config:
    """The config with stand-ins for broken values, so that the rest can be checked."""
    values: Any = OmegaConf.to_container(plain)
    for key in broken:
        *path, last = key.split(".")
        node = values
        for part in path:
            node = node[part] if isinstance(node, dict) and part in node else {}
        if isinstance(node, dict):
            node.pop(last, None)
    for name, value in {"lr": 1.0, "batch_size": 1, "epochs": 1, "seed": 0}.items():
        values.setdefault(name, value)
    for name in ("num_workers", "threads", "device"):
        values.setdefault(name, "auto")
    return typed_config(values)


def typed_config(values: Any) -> Config:
    """The dataclass of values that are known to fit it."""
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), values))
    assert isinstance(config, Config)
    return config


def node_problems(node: DictConfig, schema: type, prefix: str) -> Iterator[Problem]:
    """Unknown keys, wrong types and values out of range of a node that has a schema."""
    fields = {field.name: field for field in dataclasses.fields(schema)}
    for key in map(str, node):
        if key not in fields:
            yield Problem(f"{prefix}{key}", f"is not a known key{did_you_mean(key, list(fields))}")
    typed = OmegaConf.structured(schema)
    for name, field in fields.items():
        if dataclasses.is_dataclass(field.type):
            if isinstance(node.get(name), DictConfig):
                yield from node_problems(node[name], field.type, f"{prefix}{name}.")  # type: ignore[arg-type]
            continue
        if OmegaConf.is_missing(node, name) or (name not in node and OmegaConf.is_missing(typed, name)):
            yield Problem(f"{prefix}{name}", "has no value; give one")
            continue
        try:
            if name in node:
                typed[name] = node[name]
            text = rule_problem(typed[name], field.metadata)
        except OmegaConfBaseException:
            text = f"is {node[name]!r}; allowed: {type_name(field.type)}"
        if text:
            yield Problem(f"{prefix}{name}", text)


def type_name(type_: Any) -> str:
    words = {"int": "a whole number", "float": "a number", "str": "a word", "bool": "true or false",
             "NoneType": "null", "None": "null", "list[str]": "a list of words"}  # fmt: skip
    names = [getattr(type_, "__name__", str(type_))] if isinstance(type_, type) else str(type_).split(" | ")
    return " or ".join(words.get(name.replace("typing.", ""), name) for name in names)


def rule_problem(value: Any, rules: Any) -> str | None:
    """What a value breaks of its field's rules, or None."""
    if value is None:
        return None
    if "choices" in rules:
        choices = rules["choices"]
        if value in choices:
            return None
        words = [str(choice) for choice in choices]
        return f"is {value!r}; allowed: {', '.join(words)}{did_you_mean(str(value), words)}"
    bounds = {name: rules[name] for name in BOUNDS if name in rules}
    if not bounds:
        return None
    if isinstance(value, str):
        return None if value == "auto" else f"is {value!r}; allowed: auto or a number"
    fits = (
        math.isfinite(value)
        and value >= bounds.get("minimum", -math.inf)
        and value > bounds.get("above", -math.inf)
        and value <= bounds.get("maximum", math.inf)
        and value < bounds.get("below", math.inf)
    )
    allowed = " and ".join(f"{BOUNDS[name]} {bound:g}" for name, bound in bounds.items())
    return None if fits else f"is {value}; allowed: {allowed}"


def target_problems(node: Any, group: str, key: str) -> Iterator[Problem]:
    """Problems of one node that names a class: its _target_, and its arguments where they are ours."""
    if not isinstance(node, DictConfig) or not isinstance(node.get("_target_"), str):
        yield Problem(f"{key}._target_", "is missing; give the dotted path of a class")
        return
    target, prefixes = node["_target_"], allowed_prefixes(group)
    if not target.startswith(prefixes):
        yield Problem(
            f"{key}._target_",
            f"{target!r} is not allowed; allowed: {', '.join(f'{p}*' for p in prefixes)}; "
            f"for a package of your own set {ALLOW_VARIABLE}={target.split('.')[0]}",
        )
    for name, value in node.items():
        if name != "_target_" and "'_target_':" in str(value):
            yield Problem(f"{key}.{name!s}", "holds a _target_ of its own, which is not allowed here")
    if target in TARGETS:
        yield from node_problems(node, TARGETS[target], f"{key}.")
        return
    for name in ("lr", "weight_decay", "momentum"):
        if name in node and (text := number_problem(node[name])):
            yield Problem(f"{key}.{name}", text)
    if group == "scheduler":
        # The plateau one waits for a validation.
        allowed = ("epoch",) if target.endswith(".ReduceLROnPlateau") else ("step", "epoch")
        if node.get("interval") not in allowed:
            yield Problem(f"{key}.interval", f"is {node.get('interval')!r}; allowed: {' or '.join(allowed)}")


def number_problem(value: Any) -> str | None:
    """Optimizers differ, but these arguments are numbers of at least zero in all of them."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"is {value!r}; allowed: a number of at least 0"
    return None if math.isfinite(value) and value >= 0 else f"is {value}; allowed: at least 0"


def transform_problems(node: Any) -> Iterator[Problem]:
    known = ["train", "eval", "mean", "std"]
    for key in map(str, node):
        if key not in known:
            yield Problem(f"transform.{key}", f"is not a known key{did_you_mean(key, known)}")
    for part in ("train", "eval"):
        steps = node.get(part)
        if not isinstance(steps, DictConfig):
            yield Problem(f"transform.{part}", "is missing; give a mapping of named steps")
            continue
        active = {f"transform.{part}.{name!s}": step for name, step in steps.items() if step is not None}
        for key, step in active.items():
            yield from target_problems(step, "transform", key)
            if part == "eval" and ".Random" in str(step.get("_target_")):
                yield Problem(key, "is random; validation never augments, so remove it")
        targets = [str(step.get("_target_")) for step in active.values()]
        if not targets or not targets[-1].endswith(".ToTensor"):
            yield Problem(f"transform.{part}", "has to end with unet_exp.data.transforms.ToTensor")


def fitting_problems(config: Config) -> Iterator[Problem]:
    """Parts that are sound but do not fit each other, this machine or its files."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        yield Problem("device", f"is {config.device!r}; allowed: auto, cpu, cuda, cuda:N, mps")
    yield from size_problems(config)
    yield from data_problems(config)
    metrics = metric_names(config.data.classes)
    monitor, mode = config.trainer.monitor, config.trainer.mode
    if monitor not in metrics:
        hint = did_you_mean(monitor, metrics)
        yield Problem("trainer.monitor", f"is {monitor!r}; allowed: {', '.join(metrics)}{hint}")
    elif mode not in ("auto", "min" if monitor == "loss" else "max"):
        yield Problem("trainer.mode", f"is {mode!r}, but a better {monitor} is the other way; use auto")
    head, heads = config.model.get("out_channels"), allowed_heads(config)
    if isinstance(head, int) and head not in heads:
        classes = len(config.data.classes)
        yield Problem(
            "model.out_channels", f"is {head}; allowed for {classes} classes and this loss: {heads[0]}"
        )


def metric_names(classes: list[str]) -> list[str]:
    """The columns of metrics.csv that trainer.monitor may name."""
    return ["loss", "dice", "iou"] + [f"{m}_{name}" for m in ("dice", "iou") for name in classes]


def allowed_heads(config: Config) -> list[int]:
    """Logits per pixel that fit the classes and the loss; the first is what 'auto' means."""
    classes = len(config.data.classes)
    softmax = str(config.loss.get("_target_")).endswith("CrossEntropyLoss")
    return [classes] if softmax or classes > 2 else [1]


def size_problems(config: Config) -> Iterator[Problem]:
    """Training sizes that the U-Net would have to pad; unknown for other people's models."""
    if config.model.get("_target_") != UNetConfig._target_:
        return
    known = {field.name for field in dataclasses.fields(UNetConfig)}
    unet = UNetConfig(**{key: value for key, value in config.model.items() if key in known})
    sizes = {
        f"transform.train.{name}.size": step["size"]
        for name, step in (config.transform.get("train") or {}).items()
        if step and str(step.get("_target_")).endswith(".RandomCrop") and "size" in step
    }
    if config.data.kind == "membranes":
        for key, size in sizes.items():
            if size > config.data.size:
                yield Problem(key, f"is {size}, but data.size is {config.data.size}; crop at most that")
        sizes = sizes or {"data.size": config.data.size}
    for key, size in sizes.items():
        if output_size(size, unet.depth, unet.padding) is None:
            near = " or ".join(str(s) for s in nearest_sizes(size, unet.depth, unet.padding))
            why = f"2**{unet.depth} = {2**unet.depth} has to divide it" if unet.padding == "same" else "valid"
            yield Problem(key, f"is {size}, which model.depth={unet.depth} can't use ({why}); use {near}")


def data_problems(config: Config) -> Iterator[Problem]:
    data = config.data
    if len(data.classes) != 2 or len(set(data.classes)) != 2:
        yield Problem("data.classes", f"is {data.classes}; allowed: two names, of label 0 and of label 1")
    for name in data.classes:
        if not re.fullmatch(r"[\w-]+", name):
            yield Problem("data.classes", f"has the name {name!r}; allowed: letters, digits, _ and -")
    yield from split_problems(config)
    if data.kind == "membranes":
        if data.root is not None:
            yield Problem("data.root", f"{data.root} is given, but data=membranes is drawn; say how it lies: "
                          "data=image_folder, npy_folder, tiff_stack or isbi2012")  # fmt: skip
        return
    if data.root is None:
        yield Problem("data.root", f"has no value; {data.kind} needs the folder of the data: data.root=DIR")
    elif not os.path.isdir(data.root):
        found = "is a file" if os.path.exists(data.root) else "is not there"
        yield Problem("data.root", f"{data.root} {found} (from {Path.cwd()}); give a folder: data.root=DIR")


def split_problems(config: Config) -> Iterator[Problem]:
    split, kind = config.data.split, config.data.kind
    modes = {"npy_folder": ("auto", "folders"), "image_folder": (split.mode,)}
    modes = {"tiff_stack": ("auto", "blocks", "random", "listed"), "membranes": ("auto", "blocks")} | modes
    if split.mode not in modes[kind]:
        yield Problem("data.split.mode", f"is {split.mode!r}; allowed for {kind}: {', '.join(modes[kind])}")
    for part in ("train", "val", "test"):
        value = getattr(split, part)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
        if split.mode == "listed":
            good, allowed = isinstance(value, list) or value == 0, "a list of names (with * and ?)"
        elif kind == "membranes":
            good, allowed = number and isinstance(value, int), "the number of images to draw"
        else:
            good = value == "rest" or (number and (isinstance(value, int) or value < 1))
            allowed = "rest, a count, or a fraction below 1"
        if not good:
            yield Problem(f"data.split.{part}", f"is {value!r}; allowed with mode {split.mode}: {allowed}")
