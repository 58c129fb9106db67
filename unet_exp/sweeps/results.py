"""What a sweep found: sweep.csv, the ranking over seeds and folds, and the lines at its end."""

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_exp.messages import program, say, shortened_lines, shown_path
from unet_exp.rundir.sweep_directory import (
    JOB_LOG,
    REPEATS,
    SHOWN,
    SWEEP_CSV,
    SWEEP_PNG,
    Job,
    Row,
    columns,
    mean_and_sd,
    read_rows,
)
from unet_exp.rundir.tables import write_table

MOST_ROWS = 20  # of the ranking on the terminal
RANKING = "ranking.csv"


@dataclass(frozen=True)
class Setting:
    """The jobs that differ in their seed or fold only. values: of the other axes. sd: nan for one job."""

    values: dict[str, str]
    rows: list[Row]
    mean: float
    sd: float
    seconds: float


def write_csv(sweep_dir: Path) -> list[Row]:
    """sweep.csv anew: a row for each job, by name. Paths are relative to the sweep."""
    rows = read_rows(sweep_dir)
    keys = columns(rows)
    names = score_names(rows)
    end = ["best_epoch", "epoch", "seconds", "reason", "log"]
    head = ["job", "state", *keys, "monitor", "best", *names, *end]
    write_table(sweep_dir / SWEEP_CSV, head, [cells_of(row) for row in rows])
    return rows


def cells_of(row: Row) -> dict[str, Any]:
    """The row of a job in sweep.csv."""
    progress = row.progress
    scores = {name: repr(value) for name, value in progress.scores.items()}
    return {
        **row.job.overrides,
        **scores,
        "job": row.job.name,
        "state": progress.state,
        "monitor": row.job.monitor,
        "best": "" if progress.best is None else repr(progress.best),
        "best_epoch": progress.best_epoch or "",
        "epoch": progress.epoch,
        "seconds": f"{progress.seconds:.1f}",
        "reason": progress.reason,
        "log": f"{row.job.name}/{JOB_LOG}",
    }


def score_names(rows: list[Row]) -> list[str]:
    """The scores that jobs have at their end beside the monitored metric."""
    return list(dict.fromkeys(name for row in rows for name in row.progress.scores))


def write_ranking(sweep_dir: Path, settings: list[Setting]) -> None:
    """ranking.csv: for each setting how many jobs, minutes of training, and mean and sd of every score."""
    names = score_names(jobs_of(settings))
    rows = []
    for setting in settings:
        row = {**setting.values, "jobs": len(setting.rows), "minutes": f"{setting.seconds / 60:.2f}"}
        for name in (None, *names):
            mean, sd = mean_and_sd(setting.rows, name)
            column = name or setting.rows[0].job.monitor
            row |= {column: number_text(mean), f"{column}_sd": number_text(sd)}
        rows.append(row)
    write_table(sweep_dir / RANKING, list(rows[0]), rows)


def jobs_of(settings: list[Setting]) -> list[Row]:
    return [row for setting in settings for row in setting.rows]


def number_text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


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


def best_job(settings: list[Setting]) -> Job:
    """Of the best setting, the best job."""
    rows = settings[0].rows
    lower = rows[0].job.mode == "min"
    return min(rows, key=lambda row: (row.score if lower else -row.score, row.progress.seconds)).job


def ranking_lines(settings: list[Setting], monitor: str) -> list[str]:
    """The ranking as a table."""
    repeats = any(len(setting.rows) > 1 for setting in settings)
    names = [name for name in SHOWN if name in score_names(jobs_of(settings))]
    cells = [["rank", *settings[0].values, monitor, *(["sd", "n"] if repeats else []), *names, "seconds"]]
    for rank, setting in enumerate(settings, start=1):
        spread = [number_text(setting.sd), str(len(setting.rows))] if repeats else []
        means = [number_text(mean_and_sd(setting.rows, name)[0]) for name in names]
        score = f"{setting.mean:.4f}"
        cells.append([str(rank), *setting.values.values(), score, *spread, *means, f"{setting.seconds:.0f}"])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return shortened_lines(lines, 1 + MOST_ROWS)


def say_results(sweep_dir: Path) -> None:
    """sweep.csv, the ranking, sweep.png, the best job and how to run it again."""
    rows = write_csv(sweep_dir)
    settings = ranking(rows)
    where = shown_path(sweep_dir)
    if not settings:
        say(f"no job finished; {where}/{SWEEP_CSV} has the rows")
        return
    monitors = sorted({row.job.monitor for row in rows})
    if len(monitors) > 1:
        say(f"warning: the jobs monitor different metrics ({', '.join(monitors)})")
    write_ranking(sweep_dir, settings)
    from unet_exp.plots import sweep

    sweep.plot_sweep(rows, sweep_dir / SWEEP_PNG)
    say("\n".join(["", *ranking_lines(settings, settings[0].rows[0].job.monitor), ""]))
    best = best_job(settings)
    say(f"best:    {shown_path(best.directory)}")
    say(f"again:   {program()} from_run={shown_path(best.directory)}")
    say(f"open:    {where}/{SWEEP_PNG}, {where}/{SWEEP_CSV}, or tensorboard --logdir {where}")
