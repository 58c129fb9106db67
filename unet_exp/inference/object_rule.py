"""How a trained run makes objects of its maps: the rule that is best on the validation samples."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from unet_exp.inference.best import best_parts, networks
from unet_exp.inference.scores import Network
from unet_exp.losses import class_probabilities
from unet_exp.models.unet import center_crop
from unet_exp.objects.scores import ObjectCounts, count_objects, mean_scores, object_scores
from unet_exp.objects.targets import object_maps
from unet_exp.objects.watershed import ObjectRule, confident, find_objects
from unet_exp.rundir import atomic, layout
from unet_exp.training.image_scores import add_columns
from unet_exp.training.loop import forward
from unet_exp.training.parts import Parts

log = logging.getLogger("unet_exp")
Maps = tuple[np.ndarray, np.ndarray, np.ndarray]  # interior, foreground, true numbers
CHOICES: dict[str, tuple[float, ...]] = {
    "dip": (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7),
    "foreground": (0.3, 0.4, 0.5, 0.6, 0.7),
    "confidence": (0.0, 0.7, 0.8, 0.85, 0.9, 0.95),
    "smallest": (5, 10, 20, 40),
}


def choose_object_rule(run_dir: Path, parts: Parts) -> dict[str, float]:
    """Writes objects.json: the rule with the highest mean AP on the validation samples, by best.pt.

    Plain, and for the mean over symmetries. The scores, those of the mean ending in _tta, are returned.
    """
    best = best_parts(run_dir, parts)
    if best is None:
        return {}
    parts, sha256 = best
    stored: dict[str, Any] = {"metric": "ap", "weights_sha256": sha256}
    scores: dict[str, float] = {}
    columns: dict[str, list[float]] = {}
    for name, ending, network in networks(parts):
        rule, counts = best_rule(parts, network, name)
        reached = mean_scores(counts)
        of_images = [object_scores(count) for count in counts]
        columns |= {f"object_{key}{ending}": [one[key] for one in of_images] for key in ("ap", "f1")}
        stored[name] = dataclasses.asdict(rule) | {"ap": reached["ap"], "f1": reached["f1"]}
        scores |= {f"object_{key}{ending}": reached[key] for key in ("ap", "f1")}
    add_columns(run_dir, columns)
    atomic.write_json(run_dir / layout.OBJECTS, stored)
    shown = [f"AP {stored[name]['ap']:.4f}, F1 {stored[name]['f1']:.4f}" for name in ("plain", "tta")]
    log.info("objects of the validation samples: %s; with tta %s", *shown)
    return scores


def best_rule(parts: Parts, network: Network, name: str) -> tuple[ObjectRule, list[ObjectCounts]]:
    """rule_for the validation samples, and the counts of each of them by it."""
    assert parts.objects is not None
    return rule_for(maps_of(parts, network, name), parts.objects, name)


def rule_for(maps: list[Maps], fixed: ObjectRule, name: str) -> tuple[ObjectRule, list[ObjectCounts]]:
    """The rule with the highest mean AP, chosen value by value from the fixed one on, until none is better;
    and the counts of each map by it."""
    scored: dict[ObjectRule, list[ObjectCounts]] = {}
    best = fixed
    before = None
    while best != before:
        before = best
        for field, values in CHOICES.items():
            rules = [dataclasses.replace(best, **{field: value}) for value in values]  # type: ignore[arg-type]
            rules = [best, *(rule for rule in rules if rule != best)]  # which a tie leaves in place
            missing = [rule for rule in rules if rule not in scored]
            words = f"objects, {name}, {field}"
            scored |= score_rules(missing, maps, words)
            best = max(rules, key=lambda rule: mean_scores(scored[rule])["ap"])
    return best, scored[best]


def score_rules(
    rules: list[ObjectRule], maps: list[Maps], words: str
) -> dict[ObjectRule, list[ObjectCounts]]:
    """The counts of each map by each rule; those that differ by confidence alone divide it once."""
    counts = dict[ObjectRule, list[ObjectCounts]]((rule, []) for rule in rules)
    for interior, foreground, true in tqdm(maps, words, leave=False, disable=None, ncols=79):
        divided: dict[ObjectRule, np.ndarray] = {}
        for rule in rules:
            unsure = dataclasses.replace(rule, confidence=0.0)
            if unsure not in divided:
                divided[unsure] = find_objects(interior, foreground, unsure)
            objects = confident(divided[unsure], foreground, rule.confidence)
            counts[rule].append(count_objects(true, objects))
    return counts


def maps_of(parts: Parts, network: Network, name: str) -> list[Maps]:
    """Interior and foreground probability, and the true numbers, H x W of each validation image, in the order
    of the split."""
    assert parts.objects is not None
    target = parts.objects.target
    batches = tqdm(parts.val.epoch(0), f"maps, {name}", len(parts.val), leave=False, disable=None, ncols=79)
    maps: dict[int, Maps] = {}
    with torch.inference_mode():
        for batch in batches:
            _, _, logits, _ = forward(network, parts, batch)
            probabilities = class_probabilities(logits).cpu().numpy()
            objects = center_crop(batch["objects"], *logits.shape[-2:])[:, 0].to(torch.int32).numpy()
            for index, image, numbers in zip(batch["index"].tolist(), probabilities, objects, strict=True):
                maps[index] = (*object_maps(image, target), numbers)
    return [maps[index] for index in sorted(maps)]
