"""The objects of a split in scores: what task=evaluate prints and writes of them."""

import dataclasses
from pathlib import Path
from typing import Any

from unet_exp.config.schema import Config
from unet_exp.data.datasets import Samples
from unet_exp.inference.load import object_rules_of
from unet_exp.metrics.confusion import shown
from unet_exp.objects.meter import ObjectMeter
from unet_exp.objects.scores import NOTHING, Fate, mean_scores, object_scores


def object_meter(config: Config, run_dir: Path, weights: str, tta: bool) -> ObjectMeter | None:
    """Counts objects as task=predict makes them; None for a run on classes."""
    rules = object_rules_of(config, run_dir, weights)
    return None if rules is None else ObjectMeter(rules[tta], keep_fates=True)


def object_summary(objects: ObjectMeter) -> dict[str, Any]:
    """The scores of all images together, and their means over the images."""
    counts = [objects.counts[index] for index in sorted(objects.counts)]
    pooled = object_scores(sum(counts, NOTHING))
    return {"rule": dataclasses.asdict(objects.rule), "pooled": pooled, "mean": mean_scores(counts)}


def object_rows(objects: ObjectMeter, samples: Samples) -> list[dict[str, Any]]:
    """What became of each true object."""
    rows = []
    for index, fates in sorted(objects.fates.items()):
        rows += [{"image": samples.items[index].name, **dataclasses.asdict(fate)} for fate in fates]
    return rows or [dict.fromkeys(("image", *Fate.__dataclass_fields__), "")]


def object_line(summary: dict[str, Any], name: str) -> str:
    scores = summary[name]
    words = [f"{key} {shown(scores[key])}" for key in ("f1", "ap", "ap50", "pq", "aji", "seg")]
    return f"objects, {name}: {', '.join(words)}"
