"""The settings of a sweep by their scores over seeds and folds."""

import statistics
from dataclasses import dataclass

from unet_exp.rundir.sweep_directory import REPEATS, Row, columns, mean_and_sd


@dataclass(frozen=True)
class Setting:
    """The jobs that differ in their seed or fold only. values: of the other axes. sd: nan for one job."""

    values: dict[str, str]
    rows: list[Row]
    mean: float
    sd: float
    seconds: float


def ranking(rows: list[Row]) -> list[Setting]:
    """Settings by the mean of their monitored metric over seeds and folds, the best first; ties by fewer
    seconds."""
    keys = [key for key in columns(rows) if key not in REPEATS]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.counts:
            groups.setdefault(row.values(keys), []).append(row)
    settings = []
    for values, members in groups.items():
        seconds = statistics.fmean(row.progress.seconds for row in members)
        place = dict(zip(keys, values, strict=True))
        settings.append(Setting(place, members, *mean_and_sd(members), seconds))
    lower = any(row.job.mode == "min" for row in rows)
    return sorted(settings, key=lambda setting: (setting.mean if lower else -setting.mean, setting.seconds))
