"""Every problem of a composed configuration, found without torch and without stopping at the first."""

import copy
import dataclasses
import math
import operator
import os
import re
from collections.abc import Container, Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unet_exp.config.components import COMPONENTS, NormalizationConfig
from unet_exp.config.cross_checks import find_conflicts, number_problem
from unet_exp.config.problems import Problem
from unet_exp.config.schema import LABELS, Config
from unet_exp.config.suggestions import unknown_key
from unet_exp.config.typed import converted, default_of, object_of
from unet_exp.errors import did_you_mean

ALLOW_VARIABLE = "UNET_EXP_ALLOW"
ALLOWED_TARGETS = {
    "model": ("unet_exp.models.", "torch.nn.", "monai.networks.nets.", "segmentation_models_pytorch."),
    "loss": ("unet_exp.losses.", "torch.nn."),
    "optimizer": ("torch.optim.",),
    "scheduler": ("torch.optim.lr_scheduler.",),
    "transform": ("unet_exp.data.transforms.", "unet_exp.data.warp.", "unet_exp.data.intensities."),
    "metrics": ("torchmetrics.",),
}
GROUPS = ("model", "loss", "optimizer", "scheduler")  # each one node with a _target_
UNKNOWN = "is not a known key"  # until `named` says what was meant
FITS = {"minimum": operator.ge, "above": operator.gt, "maximum": operator.le, "below": operator.lt}
BOUNDS = {"minimum": "at least", "above": "above", "maximum": "at most", "below": "below"}


def allowed_prefixes(group: str) -> tuple[str, ...]:
    """Where the targets of a group may come from; one's own packages by the environment variable."""
    packages = os.environ.get(ALLOW_VARIABLE, "").split(",")
    return ALLOWED_TARGETS[group] + tuple(f"{name.strip()}." for name in packages if name.strip())


def find_problems(cfg: DictConfig, first_start: bool = True, conflicts: bool = True) -> list[str]:
    """Each problem in one sentence with what to do; an empty list for a config that can run.

    first_start: see config.check. conflicts: also of values that do not fit each other, or this machine.
    """
    absent = absent_keys(cfg)
    if absent:
        return absent
    try:
        values: Any = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        return [unresolved(error)]
    return problems_of_values(values, first_start, conflicts)


def problems_of_values(values: dict[str, Any], first_start: bool = True, conflicts: bool = True) -> list[str]:
    """As find_problems, of plain values with every key there and every reference resolved."""
    problems = list(node_problems(values, Config, ""))
    for group in GROUPS:
        problems += target_problems(values[group], group, group)
    problems += transform_problems(values["transform"])
    for name, node in values["metrics"].items():
        problems += target_problems(node, "metrics", f"metrics.{name!s}")
    if conflicts:
        broken = {problem.key for problem in problems}
        fitting = find_conflicts(without(values, broken), first_start)
        problems += [problem for problem in fitting if problem.key not in broken]
    return [str(problem) for problem in named(problems, values)]


def absent_keys(keys: Container[str]) -> list[str]:
    """A sentence for each key of the first level that is not there."""
    names = [field.name for field in dataclasses.fields(Config)]
    return [
        f"{name} is not there; give it a value" for name in names if name not in keys and name not in LABELS
    ]


def unresolved(error: OmegaConfBaseException) -> str:
    """Which reference leads nowhere, and why."""
    said = str(error).splitlines()[0]
    unset = re.search(r"Environment variable '(.*)' not found", said)
    text = f"the environment variable {unset[1]} is not set" if unset else said
    return ": ".join(filter(None, (getattr(error, "full_key", None), text)))


def task_problems(cfg: DictConfig, schema: type) -> list[str]:
    """As find_problems, of the keys of a task."""
    try:
        values: Any = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        return [unresolved(error)]
    return [str(problem) for problem in named(node_problems(values, schema, ""), values)]


def named(problems: Iterable[Problem], values: Any) -> list[Problem]:
    """The problems, those of unknown keys with the key that was probably meant. values: the whole config."""
    problems = list(problems)
    unknown = {problem.key for problem in problems if problem.text == UNKNOWN}
    known = [key for key in known_keys(values) if key not in unknown] if unknown else []
    return [
        Problem(problem.key, unknown_key(problem.key, known)) if problem.key in unknown else problem
        for problem in problems
    ]


def known_keys(values: dict[str, Any], prefix: str = "") -> list[str]:
    """Every dotted key of nested mappings, and what our own classes among them take."""
    schema = COMPONENTS.get(str(values.get("_target_")))
    keys = [f"{prefix}{field.name}" for field in dataclasses.fields(schema)] if schema else []
    for key, value in values.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, dict):
            keys += known_keys(value, f"{prefix}{key}.")
    return keys


def without(values: dict[str, Any], broken: set[str]) -> Config:
    """The config with stand-ins for broken values, so that the rest can be checked."""
    values = copy.deepcopy(values) if broken else dict(values)
    for key in broken:
        *path, last = key.split(".")
        node = values
        for name in path:
            node = node[name] if isinstance(node, dict) and name in node else {}
        if isinstance(node, dict):
            node.pop(last, None)
    for name, value in {"lr": 1.0, "batch_size": 1, "epochs": 1, "seed": 0}.items():
        values.setdefault(name, value)
    for name in ("num_workers", "threads", "device"):
        values.setdefault(name, "auto")
    return object_of(Config, values)


def node_problems(node: dict[str, Any], schema: type, prefix: str) -> Iterator[Problem]:
    """Unknown keys, wrong types and values out of range of a node that has a schema."""
    fields = {field.name: field for field in dataclasses.fields(schema)}
    for key in map(str, node):
        if key not in fields:
            yield Problem(f"{prefix}{key}", UNKNOWN)
    for name, field in fields.items():
        if dataclasses.is_dataclass(field.type):
            if isinstance(node.get(name), dict):
                yield from node_problems(node[name], field.type, f"{prefix}{name}.")  # type: ignore[arg-type]
            continue
        value = node[name] if name in node else default_of(schema, name)
        if isinstance(value, str) and value == "???":
            yield Problem(f"{prefix}{name}", "has no value; give one")
            continue
        try:
            text = rule_problem(converted(schema, name, value), field.metadata)
        except OmegaConfBaseException:
            text = f"is {node[name]!r}; allowed: {type_name(field.type)}"
        if text:
            yield Problem(f"{prefix}{name}", text)


def type_name(type_: Any) -> str:
    words = {
        "int": "a whole number",
        "float": "a number",
        "str": "a word",
        "bool": "true or false",
        "NoneType": "null",
        "None": "null",
        "list[str]": "a list of words",
        "list[float]": "a list of numbers",
    }
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
    if "pair" in rules:
        rest = {name: rule for name, rule in rules.items() if name != "pair"}
        good = len(value) == 2 and value[0] <= value[1] and all(map(math.isfinite, value))
        wrong = not good or any(rule_problem(one, rest) for one in value)
        allowed = "".join(f", {BOUNDS[name]} {bound:g}" for name, bound in bounds.items())
        return f"is {list(value)}; allowed: two numbers, the smaller first{allowed}" if wrong else None
    if not bounds:
        return None
    if isinstance(value, str):
        return None if value == "auto" else f"is {value!r}; allowed: auto or a number"
    fits = math.isfinite(value) and all(FITS[name](value, bound) for name, bound in bounds.items())
    allowed = " and ".join(f"{BOUNDS[name]} {bound:g}" for name, bound in bounds.items())
    return None if fits else f"is {value}; allowed: {allowed}"


def target_problems(node: Any, group: str, key: str) -> Iterator[Problem]:
    """Problems of one node that names a class: its _target_, and its arguments where they are ours."""
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        yield Problem(f"{key}._target_", "is missing; give the dotted path of a class")
        return
    target = node["_target_"]
    prefixes = allowed_prefixes(group)
    if not target.startswith(prefixes):
        yield Problem(
            f"{key}._target_",
            f"{target!r} is not allowed; allowed: {', '.join(f'{p}*' for p in prefixes)}; "
            f"for a package of your own set {ALLOW_VARIABLE}={target.split('.')[0]}",
        )
    for name, value in node.items():
        if name != "_target_" and "'_target_':" in str(value):
            yield Problem(f"{key}.{name!s}", "holds a _target_ of its own, which is not allowed here")
    if target in COMPONENTS:
        yield from node_problems(node, COMPONENTS[target], f"{key}.")
        if target == NormalizationConfig._target_:
            yield from statistic_problems(node, key)
        return
    for name in ("lr", "weight_decay", "momentum"):
        if name in node and (text := number_problem(node[name])):
            yield Problem(f"{key}.{name}", text)
    if group == "scheduler":
        # The plateau one waits for a validation.
        allowed = ("epoch",) if target.endswith(".ReduceLROnPlateau") else ("step", "epoch")
        if node.get("interval") not in allowed:
            yield Problem(f"{key}.interval", f"is {node.get('interval')!r}; allowed: {' or '.join(allowed)}")


def statistic_problems(node: dict[str, Any], key: str) -> Iterator[Problem]:
    """transform.mean and std: numbers, or a word that both have."""
    values: dict[str, Any] = {name: node[name] for name in ("mean", "std") if name in node}
    for name, value in values.items():
        numbers = value if isinstance(value, list) and value else [value]
        good = all(
            isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n) for n in numbers
        )
        if value not in ("train", "image") and not (good and (name == "mean" or min(numbers) > 0)):
            above = " above 0" if name == "std" else ""
            yield Problem(
                f"{key}.{name}", f"is {value!r}; allowed: a number{above}, one per channel, train, image"
            )
            return
    words = {value if isinstance(value, str) else None for value in values.values()}
    if len(words) > 1:
        yield Problem(
            f"{key}.mean", f"is {values.get('mean')!r} with std {values.get('std')!r}; give both alike"
        )


def transform_problems(node: Any) -> Iterator[Problem]:
    known = ["train", "eval", "mean", "std"]
    for key in map(str, node):
        if key not in known:
            yield Problem(f"transform.{key}", UNKNOWN)
    for phase in ("train", "eval"):
        steps = node.get(phase)
        if not isinstance(steps, dict):
            yield Problem(f"transform.{phase}", "is missing; give a mapping of named steps")
            continue
        active = {f"transform.{phase}.{name!s}": step for name, step in steps.items() if step is not None}
        for key, step in active.items():
            if isinstance(step, dict) and "_target_" not in step:
                steps_here = ", ".join(
                    str(name) for name, other in steps.items() if other and "_target_" in other
                )
                yield Problem(key, f"is not a step here ({steps_here}); another transform= may have it")
                continue
            yield from target_problems(step, "transform", key)
            if phase == "eval" and ".Random" in str(step.get("_target_")):
                yield Problem(key, "is random; validation never augments, so remove it")
        targets = [str(step.get("_target_")) for step in active.values()]
        if not targets or not targets[-1].endswith(".ToTensor"):
            yield Problem(f"transform.{phase}", "has to end with unet_exp.data.transforms.ToTensor")
