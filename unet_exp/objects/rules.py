"""From the probabilities of a network to objects, by the rule that its run has stored."""

import dataclasses
from typing import Any

import numpy as np

from unet_exp.objects.cells import find_cells
from unet_exp.objects.joining import Joining
from unet_exp.objects.targets import object_maps
from unet_exp.objects.watershed import ObjectRule, find_objects

Rule = ObjectRule | Joining


def maps_of(probabilities: np.ndarray, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """Interior and foreground, H x W each, of probabilities K x H x W."""
    kind = rule.target if isinstance(rule, ObjectRule) else "binary"
    return object_maps(probabilities, kind)


def objects_of_maps(interior: np.ndarray, foreground: np.ndarray, rule: Rule) -> np.ndarray:
    """Object numbers int32 H x W, from 1 on, 0 for none."""
    if isinstance(rule, Joining):
        return find_cells(interior, rule)[0]
    return find_objects(interior, foreground, rule)


def objects_of(probabilities: np.ndarray, rule: Rule) -> np.ndarray:
    """Object numbers int32 H x W, from 1 on, 0 for none, of probabilities K x H x W."""
    return objects_of_maps(*maps_of(probabilities, rule), rule)


def read_rule(stored: dict[str, Any]) -> Rule:
    """The rule of what dataclasses.asdict made of it, among other values."""
    if "weights" in stored:
        mean, scale, weights = (tuple(stored[name]) for name in ("mean", "scale", "weights"))
        return Joining(mean, scale, weights, stored["bias"])
    return ObjectRule(**{field.name: stored[field.name] for field in dataclasses.fields(ObjectRule)})
