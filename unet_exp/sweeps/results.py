"""What a sweep found: sweep.csv, the ranking over seeds and folds, and the lines at its end."""

import csv
import io
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from unet_exp.messages import program, say, shown_path
from unet_exp.rundir import atomic
from unet_exp.rundir.sweep_directory import (
    JOB_LOG,
    REPEATS,
    SHOWN,
    SWEEP_CSV,
    SWEEP_PNG,
    Job,
    Row,
    columns,
    read_rows,
)

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
    head = [
        "job",
        "state",
        *keys,
        "monitor",
        "best",
        *names,
        "best_epoch",
        "epoch",
        "seconds",
        "reason",
        "log",
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, head, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        found = row.progress
        writer.writerow(
            {
                "job": row.job.name,
                "state": found.state,
                **{key: row.job.overrides.get(key, "") for key in keys},
                "monitor": row.job.monitor,
                "best": "" if found.best is None else repr(found.best),
                **{name: repr(found.scores[name]) if name in found.scores else "" for name in names},
                "best_epoch": found.best_epoch or "",
                "epoch": found.epoch,
                "seconds": f"{found.seconds:.1f}",
                "reason": (found.reason.splitlines() or [""])[0],
                "log": f"{row.job.name}/{JOB_LOG}",
            }
        )
    atomic.write_text(sweep_dir / SWEEP_CSV, text.getvalue())
    return rows


def score_names(rows: list[Row]) -> list[str]:
    """The scores that jobs have at their end beside the monitored metric."""
    return list(dict.fromkeys(name for row in rows for name in row.progress.scores))


def write_ranking(sweep_dir: Path, settings: list[Setting]) -> None:
    """ranking.csv: for each setting how many jobs, minutes of training, and mean and sd of every score."""
    names = score_names([row for each in settings for row in each.rows])
    monitor = settings[0].rows[0].job.monitor
    columns = [f"{name}{ending}" for name in (monitor, *names) for ending in ("", "_sd")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*settings[0].values, "jobs", "minutes", *columns])
    for each in settings:
        cells = [f"{each.mean:.4f}", number_text(each.sd)]
        for name in names:
            found = [row.progress.scores[name] for row in each.rows if name in row.progress.scores]
            cells.append(number_text(statistics.fmean(found) if found else math.nan))
            cells.append(number_text(statistics.stdev(found) if len(found) > 1 else math.nan))
        writer.writerow([*each.values.values(), len(each.rows), f"{each.seconds / 60:.2f}", *cells])
    atomic.write_text(sweep_dir / RANKING, text.getvalue())


def number_text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def ranking(rows: list[Row]) -> list[Setting]:
    """Settings by the mean of their monitored metric, the best first; ties by fewer seconds.

    The sd is the sample standard deviation (n - 1) over seeds and folds.
    """
    keys = [key for key in columns(rows) if key not in REPEATS]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.counts:
            groups.setdefault(tuple(row.job.overrides.get(key, "") for key in keys), []).append(row)
    settings = []
    for values, members in groups.items():
        scores = [row.score for row in members]
        sd = statistics.stdev(scores) if len(scores) > 1 else math.nan
        seconds = statistics.fmean(row.progress.seconds for row in members)
        place = dict(zip(keys, values, strict=True))
        settings.append(Setting(place, members, statistics.fmean(scores), sd, seconds))
    lower = any(row.job.mode == "min" for row in rows)
    return sorted(settings, key=lambda each: (each.mean if lower else -each.mean, each.seconds))


def best_job(settings: list[Setting]) -> Job:
    """Of the best setting, the best job."""
    rows = settings[0].rows
    lower = rows[0].job.mode == "min"
    return min(rows, key=lambda row: (row.score if lower else -row.score, row.progress.seconds)).job


def ranking_lines(settings: list[Setting], monitor: str) -> list[str]:
    """The ranking as a table."""
    keys = list(settings[0].values)
    repeats = any(len(each.rows) > 1 for each in settings)
    names = [name for name in SHOWN if name in score_names([row for each in settings for row in each.rows])]
    head = ["rank", *keys, monitor, *(["sd", "n"] if repeats else []), *names, "seconds"]
    body = []
    for rank, each in enumerate(settings[:MOST_ROWS], start=1):
        sd = ["" if math.isnan(each.sd) else f"{each.sd:.4f}", str(len(each.rows))] if repeats else []
        found = [[row.progress.scores.get(name, math.nan) for row in each.rows] for name in names]
        more = [number_text(statistics.fmean(values)) for values in found]
        body.append([str(rank), *each.values.values(), f"{each.mean:.4f}", *sd, *more, f"{each.seconds:.0f}"])
    cells = [head, *body]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    rest = len(settings) - MOST_ROWS
    return [*lines, *([f"... and {rest} more"] if rest > 0 else [])]


def monitors(rows: list[Row]) -> list[str]:
    return sorted({row.job.monitor for row in rows})


def say_results(sweep_dir: Path) -> None:
    """sweep.csv, the ranking, sweep.png, the best job and how to run it again."""
    rows = write_csv(sweep_dir)
    settings = ranking(rows)
    where = shown_path(sweep_dir)
    if not settings:
        say(f"no job finished; {where}/{SWEEP_CSV} has the rows")
        return
    if len(monitors(rows)) > 1:
        say(f"warning: the jobs monitor different metrics ({', '.join(monitors(rows))})")
    write_ranking(sweep_dir, settings)
    from unet_exp.plots import sweep

    sweep.plot_sweep(rows, sweep_dir / SWEEP_PNG)
    say("\n".join(["", *ranking_lines(settings, settings[0].rows[0].job.monitor), ""]))
    best = best_job(settings)
    say(f"best:    {shown_path(best.directory)}")
    say(f"again:   {program()} from_run={shown_path(best.directory)}")
    say(f"open:    {where}/{SWEEP_PNG}, {where}/{SWEEP_CSV}, or tensorboard --logdir {where}")
