"""What a sweep found: sweep.csv, the ranking over seeds and folds, and the lines at its end."""

import math
import time
from pathlib import Path
from typing import Any

from unet_exp.comparison.intervals import interval_of
from unet_exp.comparison.settings import Reader
from unet_exp.errors import CheckpointError, UserError
from unet_exp.messages import in_columns, program, say, shortened_lines, shown_path
from unet_exp.rundir import layout
from unet_exp.rundir.sweep_directory import (
    JOB_LOG,
    RANKING_CSV,
    SHOWN,
    SWEEP_CSV,
    SWEEP_PNG,
    Job,
    Row,
    columns,
    mean_and_sd,
    progress,
    read_jobs,
    read_rows,
)
from unet_exp.rundir.tables import write_table
from unet_exp.sweeps.folds import is_folded, say_folds, table_for_page
from unet_exp.sweeps.ranking import Setting, ranking
from unet_exp.sweeps.verdict import like_the_best, search_lines

EVERY = 1.0  # seconds between two tables of a sweep that runs
MOST_ROWS = 20  # of the ranking on the terminal


def write_csv(sweep_dir: Path) -> list[Row]:
    """sweep.csv anew: a row for each job, by name. Paths are relative to the sweep."""
    rows = read_rows(sweep_dir)
    write_rows(sweep_dir, rows)
    return rows


class LiveCsv:
    """sweep.csv while jobs run: of a job that ended its own files are read, and the table is written at most
    once a second. Whoever starts jobs writes it once more at the end (write_csv)."""

    def __init__(self, sweep_dir: Path) -> None:
        self.sweep_dir = sweep_dir
        self.rows = {row.job.name: row for row in read_rows(sweep_dir)}
        self.is_due = False
        self.written = -EVERY

    def ended(self, job: Job) -> None:
        self.rows[job.name] = Row(job, progress(job))
        self.is_due = True

    def refresh(self) -> None:
        """Write it if a job has ended and it is time. To be called again and again."""
        if self.is_due and time.monotonic() - self.written >= EVERY:
            write_rows(self.sweep_dir, list(self.rows.values()))
            self.is_due = False
            self.written = time.monotonic()


def write_rows(sweep_dir: Path, rows: list[Row]) -> None:
    keys = columns(rows)
    names = score_names(rows)
    end = ["best_epoch", "epoch", "seconds", "reason", "log"]
    head = ["job", "state", *keys, "monitor", "best", *names, *end]
    write_table(sweep_dir / SWEEP_CSV, head, [cells_of(row) for row in rows])


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


def write_ranking(sweep_dir: Path, settings: list[Setting], like_best: list[int] | None) -> None:
    """ranking.csv: for each setting how many jobs, minutes of training, of every score mean, sd and the 95 %
    interval, and whether the setting can't be told apart from the best ("" where nobody can say)."""
    monitor = settings[0].rows[0].job.monitor
    names = [name for name in score_names(jobs_of(settings)) if name != monitor]
    rows = []
    for index, setting in enumerate(settings):
        row: dict[str, Any] = {"rank": index + 1, **setting.values, "jobs": len(setting.rows)}
        row["minutes"] = f"{setting.seconds / 60:.2f}"
        for name in (None, *names):
            mean, sd = mean_and_sd(setting.rows, name)
            interval = interval_of(setting.rows, name)
            column = name or monitor
            row |= {column: number_text(mean), f"{column}_sd": number_text(sd)}
            row |= {f"{column}_low": number_text(interval.low), f"{column}_high": number_text(interval.high)}
        row["like_best"] = "" if like_best is None else "yes" if index in like_best else "no"
        rows.append(row)
    write_table(sweep_dir / RANKING_CSV, list(rows[0]), rows)


def jobs_of(settings: list[Setting]) -> list[Row]:
    return [row for setting in settings for row in setting.rows]


def number_text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def best_job(settings: list[Setting]) -> Job:
    """Of the best setting, the best job."""
    rows = settings[0].rows
    lower = rows[0].job.mode == "min"
    return min(rows, key=lambda row: (row.score if lower else -row.score, row.progress.seconds)).job


def ranking_lines(settings: list[Setting], monitor: str) -> list[str]:
    """The ranking as a table."""
    repeats = any(len(setting.rows) > 1 for setting in settings)
    names = [name for name in SHOWN if name in score_names(jobs_of(settings))]
    spread_head = ["sd", "95 % interval", "n"] if repeats else []
    cells = [["rank", *settings[0].values, monitor, *spread_head, *names, "seconds"]]
    for rank, setting in enumerate(settings, start=1):
        spread = []
        if repeats:
            one = interval_of(setting.rows)
            shown = "" if math.isnan(one.low) else f"[{one.low:.4f}, {one.high:.4f}]"
            spread = [number_text(setting.sd), shown, str(len(setting.rows))]
        means = [number_text(mean_and_sd(setting.rows, name)[0]) for name in names]
        score = f"{setting.mean:.4f}"
        cells.append([str(rank), *setting.values.values(), score, *spread, *means, f"{setting.seconds:.0f}"])
    return shortened_lines(in_columns(cells), 1 + MOST_ROWS)


def say_results(sweep_dir: Path) -> None:
    """sweep.csv, the ranking and what of it is chance, sweep.png, and how to go on with the best."""
    rows = write_csv(sweep_dir)
    settings = ranking(rows)
    where = shown_path(sweep_dir)
    if not settings:
        say(f"no job finished; {where}/{SWEEP_CSV} has the rows")
        return
    monitors = sorted({row.job.monitor for row in rows})
    if len(monitors) > 1:
        say(f"warning: the jobs monitor different metrics ({', '.join(monitors)})")
    verdict = write_tables(sweep_dir, rows, settings)
    say("\n".join(["", *ranking_lines(settings, settings[0].rows[0].job.monitor), ""]))
    if verdict:
        say(verdict)
    if any((row.job.directory / layout.TRIAL).exists() for row in rows):
        say("\n".join(search_lines(sweep_dir, len(settings))))
    if is_folded(settings[0].rows):
        say_folds(sweep_dir, settings[0].rows)
    else:
        best = best_job(settings)
        say(f"best:    {shown_path(best.directory)}")
        say(f"again:   {program()} from_run={shown_path(best.directory)}")
    say_report(sweep_dir, rows, settings, verdict)
    say(f"open:    {where}/{SWEEP_PNG}, {where}/{SWEEP_CSV}, or tensorboard --logdir {where}")


def say_report(sweep_dir: Path, rows: list[Row], settings: list[Setting], verdict: str) -> None:
    """report.html, unless the jobs' trainer.report says no; a warning where it can't be made."""
    try:
        if Reader().settings(rows[0].job.directory).get("trainer.report") is False:
            return
        path = make_report(sweep_dir, rows, settings, verdict)
    except Exception as error:  # a damaged file of one job must not hide what the others found
        name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        say(f"warning: no report: {name}{error}")
    else:
        say(f"report:  {shown_path(path)}")


def report_of_sweep(sweep_dir: Path, path: Path | None = None) -> Path:
    """report.html of a sweep, its tables and picture made anew. Raises CheckpointError for what is no
    sweep."""
    if not read_jobs(sweep_dir):
        raise CheckpointError(
            f"{sweep_dir} holds no jobs of a sweep", allowed="a directory such as multirun/lr_batch"
        )
    rows = write_csv(sweep_dir)
    settings = ranking(rows)
    verdict = write_tables(sweep_dir, rows, settings) if settings else ""
    return make_report(sweep_dir, rows, settings, verdict, path)


def make_report(
    sweep_dir: Path, rows: list[Row], settings: list[Setting], verdict: str, path: Path | None = None
) -> Path:
    from unet_exp.report.sweep import report_sweep

    is_search = any((row.job.directory / layout.TRIAL).exists() for row in rows)
    remark = search_lines(sweep_dir, len(settings))[0] if is_search and settings else ""
    pooled = table_for_page(settings[0].rows) if settings else None
    return report_sweep(sweep_dir, verdict, remark, pooled, path)


def write_tables(sweep_dir: Path, rows: list[Row], settings: list[Setting]) -> str:
    """ranking.csv and sweep.png; returns the line on what of the ranking is chance."""
    like_best, verdict = like_the_best([setting.rows for setting in settings], labels_of(settings))
    write_ranking(sweep_dir, settings, like_best)
    from unet_exp.plots import sweep

    sweep.plot_sweep(rows, sweep_dir / SWEEP_PNG)
    return verdict


def labels_of(settings: list[Setting]) -> list[str]:
    return [", ".join(f"{k}={v}" for k, v in one.values.items() if v) or "all jobs" for one in settings]
