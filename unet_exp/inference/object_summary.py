"""The objects of a split in scores: what task=evaluate prints and writes of them."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from unet_exp.config.schema import Config
from unet_exp.data.samples import Samples
from unet_exp.inference.load import object_rules_of
from unet_exp.metrics.confusion import shown
from unet_exp.objects.meter import CountedObjects, ObjectMeter
from unet_exp.objects.scores import EVENTS, NOTHING, Fate, mean_scores, object_scores

SHOWN = ("f1", "precision", "recall", "ap", "ap50", "pq", "aji", "seg")


def object_meter(config: Config, run_dir: Path, weights: str, tta: bool) -> ObjectMeter | None:
    """Counts objects as task=predict makes them; None for a run on classes."""
    rules = object_rules_of(config, run_dir, weights) if config.data.labels_are != "classes" else None
    return None if rules is None else ObjectMeter(rules[tta], keep_fates=True)


def object_summary(objects: CountedObjects) -> dict[str, Any]:
    """The scores of all images together, their means over the images, and how many true objects were found,
    missed, split and merged."""
    counts = [objects.counts[index] for index in sorted(objects.counts)]
    events = Counter(fate.event for fates in objects.fates.values() for fate in fates)
    return {
        "pooled": object_scores(sum(counts, NOTHING)),
        "mean": mean_scores(counts),
        "events": {event: events[event] for event in EVENTS},
    }


def object_rows(objects: CountedObjects, samples: Samples) -> list[dict[str, Any]]:
    """What became of each true object."""
    rows = []
    for index, fates in sorted(objects.fates.items()):
        rows += [{"image": samples.items[index].name, **dataclasses.asdict(fate)} for fate in fates]
    return rows or [dict.fromkeys(("image", *Fate.__dataclass_fields__), "")]


def object_image_rows(objects: CountedObjects, samples: Samples) -> list[dict[str, Any]]:
    """The scores of each image."""
    return [
        {"name": item.name, **object_scores(objects.counts[index])}
        for index, item in enumerate(samples.items)
    ]


def object_lines(summary: dict[str, Any], as_trained: dict[str, float] | None = None) -> list[str]:
    """What the terminal shows of object_summary. as_trained: scores by the fixed rule of the validations."""
    table = {"mean of images": summary["mean"], "pooled": summary["pooled"]}
    if as_trained:
        table["mean, fixed rule"] = as_trained
    lines = [f"{'objects':<16}" + "".join(f"{name:>{width(name)}}" for name in SHOWN)]
    for name, scores in table.items():
        cells = [f"{shown(scores[key]) if key in scores else '':>{width(key)}}" for key in SHOWN]
        lines.append(f"{name:<16}{''.join(cells)}".rstrip())
    events = ", ".join(f"{count} {event}" for event, count in summary["events"].items())
    pooled = summary["pooled"]
    lines.append(f"{pooled['objects_true']:.0f} true objects: {events}")
    predicted = f"{pooled['objects_predicted']:.0f} predicted"
    return [*lines, f"{predicted}; count error {shown(summary['mean']['count_error'])}"]


def width(name: str) -> int:
    return max(len(name), 6) + 1
