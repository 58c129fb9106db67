"""Values as the types of a schema want them: OmegaConf's rules, each value converted once and remembered."""

import copy
import dataclasses
import re
from functools import cache
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

Schema = TypeVar("Schema")
_known: dict[tuple[type, str, str], Any] = {}


def literal(values: Any) -> Any:
    """Values (nested mappings and lists, or one value) with each `${` escaped, so that OmegaConf keeps it."""
    if isinstance(values, dict):
        return {key: literal(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [literal(value) for value in values]
    if isinstance(values, str) and "${" in values:
        return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", values)
    return values


def converted(schema: type, name: str, value: Any) -> Any:
    """A plain value as the field's type has it: 1 becomes 1.0 where that is a float.

    Raises OmegaConfBaseException for one that is not of this type.
    """
    key = (schema, name, repr(value))
    if key not in _known:
        node = _to_write(schema)
        node[name] = literal(value)
        typed = node[name]
        _known[key] = OmegaConf.to_container(typed, resolve=True) if OmegaConf.is_config(typed) else typed
    found = _known[key]
    return copy.deepcopy(found) if isinstance(found, (dict, list)) else found


def default_of(schema: type, name: str) -> Any:
    """The field's default; "???" where there is none."""
    return "???" if OmegaConf.is_missing(_as_it_comes(schema), name) else _as_it_comes(schema)[name]


@cache
def _as_it_comes(schema: type) -> DictConfig:
    node: DictConfig = OmegaConf.structured(schema)
    return node


@cache
def _to_write(schema: type) -> DictConfig:
    node: DictConfig = OmegaConf.structured(schema)
    return node


def object_of(schema: type[Schema], values: dict[str, Any]) -> Schema:
    """The dataclass of plain values that fit it; what they lack has its default. Keys it lacks are left
    out."""
    given: dict[str, Any] = {}
    for field in dataclasses.fields(schema):  # type: ignore[arg-type]
        value = values.get(field.name)
        if dataclasses.is_dataclass(field.type):
            given[field.name] = object_of(field.type, value or {})  # type: ignore[arg-type]
        elif field.name in values:
            given[field.name] = converted(schema, field.name, value)
    return schema(**given)
