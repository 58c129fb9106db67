"""Intervals of a setting over its seeds and folds."""

import math
import statistics
from typing import Any

from unet_exp.rundir.sweep_directory import FOLD, Row
from unet_exp.statistics.difference import Interval, mean_interval


def interval_of(rows: list[Row], name: str | None = None) -> Interval:
    """Of a score over the repeats of a setting, by Student's t. name: None for the monitored one.

    Where seeds and folds are both repeated, a repeat is a seed, with the mean of its folds.
    """
    values: dict[Any, list[float]] = {}
    seeds = {row.job.overrides.get("seed", "") for row in rows}
    folds = {row.job.overrides.get(FOLD, "") for row in rows}
    for row in rows:
        score = row.score if name is None else row.progress.scores.get(name, math.nan)
        if not math.isnan(score):
            repeat = row.job.overrides.get("seed", "") if len(seeds) > 1 and len(folds) > 1 else row.job.name
            values.setdefault(repeat, []).append(score)
    return mean_interval([statistics.fmean(of_repeat) for of_repeat in values.values()])
