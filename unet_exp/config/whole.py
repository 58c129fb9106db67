"""A saved config as plain values: references resolved, today's defaults filled in. Fast, for many of them."""

import dataclasses
import re
from copy import deepcopy
from typing import Any

import yaml
from omegaconf import OmegaConf

from unet_exp.config.checks import GROUPS
from unet_exp.config.components import COMPONENTS
from unet_exp.config.schema import LABELS, Config

REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, a tenth of the time


def without_labels(values: dict[str, Any]) -> dict[str, Any]:
    """Values without the keys that only name a run: they are no part of what it does."""
    return {key: value for key, value in values.items() if key not in LABELS}


def complete(values: dict[str, Any]) -> dict[str, Any]:
    """A config with the schema's default for every missing key, without transform steps that are null."""
    full = with_defaults(values, Config)
    for group in GROUPS:
        full[group] = with_target(full[group])
    full["metrics"] = {name: with_target(node) for name, node in full["metrics"].items()}
    steps = full["transform"]
    parts = {
        part: {name: with_target(step) for name, step in steps[part].items() if step}
        for part in ("train", "eval")
    }
    full["transform"] = {**steps, **parts}
    return full


def with_target(node: dict[str, Any]) -> dict[str, Any]:
    schema = COMPONENTS.get(str(node.get("_target_")))
    return dict(node) if schema is None else with_defaults(node, schema)


def with_defaults(values: dict[str, Any], schema: type) -> dict[str, Any]:
    full = dict(values)
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(field.type):
            full[field.name] = with_defaults(full.get(field.name) or {}, field.type)  # type: ignore[arg-type]
        elif field.name not in full:
            factory = field.default_factory
            default = field.default if factory is dataclasses.MISSING else factory()
            if default != "???":
                full[field.name] = deepcopy(default)
    return full


def plain(value: Any) -> Any:
    """The value for JSON: 1.0 becomes 1, and keys become strings."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def resolved(values: dict[str, Any]) -> dict[str, Any]:
    """A frozen config with its references resolved: `${a.b}` here, which is fast, others by OmegaConf."""

    def follow(node: Any, depth: int = 0) -> Any:
        if isinstance(node, dict):
            return {key: follow(value, depth) for key, value in node.items()}
        if isinstance(node, list):
            return [follow(value, depth) for value in node]
        reference = REFERENCE.fullmatch(node) if isinstance(node, str) else None
        if reference is None or depth > 9:
            if isinstance(node, str) and "${" in node:
                raise LookupError(node)
            return node
        target: Any = values
        for name in reference[1].split("."):
            target = target[name]
        return follow(target, depth + 1)

    try:
        return dict(follow(values))
    except (LookupError, TypeError):
        return dict(OmegaConf.to_container(OmegaConf.create(values), resolve=True))  # type: ignore[arg-type]
