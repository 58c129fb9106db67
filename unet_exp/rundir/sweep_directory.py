"""What the directory of a sweep holds: its jobs, how far they are, and a row of each. No Hydra, no torch."""

import math
import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unet_exp.errors import CheckpointError
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.tables import read_table

RECORD = layout.JOB
JOB_LOG = "job.log"
SWEEP_CSV = "sweep.csv"
SWEEP_PNG = "sweep.png"
SEARCH_PNG = "search.png"
RANKING_CSV = "ranking.csv"
POINT = "point"  # the axis of points that have names
DONE = ("finished", "pruned")  # not run again by the same command
FOLD = "data.fold"
REPEATS = ("seed", FOLD)  # axes that repeat a setting, so that it gets a mean and an sd
SHOWN = ("v_rand_tta", "v_info_tta")  # of the scores, on the terminal


@dataclass(frozen=True)
class Job:
    """name: its folder in the sweep. overrides: what the sweep set. monitor, mode, epochs: of its config."""

    directory: Path
    overrides: dict[str, str]
    monitor: str
    mode: str
    epochs: int
    axes: list[str] = field(default_factory=list)  # the keys whose values the sweep goes through

    @property
    def name(self) -> str:
        return self.directory.name

    def record(self) -> dict[str, Any]:
        """What job.json holds."""
        return {
            "overrides": self.overrides,
            "axes": self.axes,
            "monitor": self.monitor,
            "mode": self.mode,
            "epochs": self.epochs,
        }


def read_jobs(sweep_dir: Path) -> list[Job]:
    """All jobs of a sweep, by name, numbers in it by size. Raises CheckpointError for a damaged job.json."""
    directories = [path.parent for path in sweep_dir.glob(f"*/{RECORD}")]
    return [read_job(directory) for directory in sorted(directories, key=lambda path: by_number(path.name))]


def read_job(directory: Path) -> Job:
    path = directory / RECORD
    try:
        return Job(directory=directory, **atomic.read_json(path))
    except TypeError as error:
        raise CheckpointError(f"{path} is not the record of a job", do="remove it; run again") from error


def by_number(name: str) -> list[tuple[float, str]]:
    """A sort key for words with numbers in them: seed-9 before seed-10, lr-1e-05 before lr-0.001."""
    words = re.split(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", name)
    return [(float(word), "") if at % 2 else (-math.inf, word) for at, word in enumerate(words)]


@dataclass(frozen=True)
class Progress:
    """state: waiting, running, finished, pruned, interrupted or failed. best: of the monitored metric.

    reason: why it failed or was pruned, one line.
    """

    state: str
    epoch: int
    best: float | None
    best_epoch: int
    seconds: float
    reason: str
    scores: dict[str, float] = field(default_factory=dict)  # of the end: trainer.choose_threshold


_ended: dict[tuple[Path, int, int], Progress] = {}  # by status.json, its time and size


def progress(job: Job) -> Progress:
    """How far a job is, from its status.json and, while it runs, from its metrics.csv. What has ended is read
    once, as long as its status.json stays as it is."""
    try:
        stat = (job.directory / layout.STATUS).stat()
    except OSError:
        return read_progress(job)
    key = job.directory, stat.st_mtime_ns, stat.st_size
    if key not in _ended:
        found = read_progress(job)
        if found.state not in DONE:
            return found
        _ended[key] = found
    return _ended[key]


def read_progress(job: Job) -> Progress:
    status = layout.read_status(job.directory)
    state = str(status.get("state", "waiting"))
    reason = "".join(str(status.get("error", "")).splitlines()[:1])
    if state in DONE:
        best = status.get("best_metric")
        return Progress(
            state,
            int(status["epoch"]),
            best,
            int(status["best_epoch"]),
            float(status["seconds"]),
            reason,
            status.get("scores", {}),
        )
    scores = validations(job)
    numbers = [(epoch, score) for epoch, score in scores if not math.isnan(score)]
    sign = 1 if job.mode == "min" else -1
    best_epoch, best = min(numbers, key=lambda pair: (sign * pair[1], pair[0]), default=(0, None))
    seconds = sum(float(row["seconds"]) for row in read_table(job.directory / layout.TIMING))
    return Progress(state, scores[-1][0] if scores else 0, best, best_epoch, seconds, reason)


def validations(job: Job) -> list[tuple[int, float]]:
    """(epoch, monitored metric) of each validation so far."""
    rows = read_table(job.directory / layout.METRICS)
    return [(int(row["epoch"]), float(row[job.monitor])) for row in rows if row["split"] == "val"]


@dataclass(frozen=True)
class Row:
    """One job with its place in the sweep."""

    job: Job
    progress: Progress

    @property
    def score(self) -> float:
        return math.nan if self.progress.best is None else self.progress.best

    def values(self, keys: list[str]) -> tuple[str, ...]:
        """What the sweep set these keys to, "" where it left one alone."""
        return tuple(self.job.overrides.get(key, "") for key in keys)

    @property
    def counts(self) -> bool:
        """Whether the ranking takes it."""
        return self.progress.state == "finished" and not math.isnan(self.score)


def read_rows(sweep_dir: Path) -> list[Row]:
    return [Row(job, progress(job)) for job in read_jobs(sweep_dir)]


def columns(rows: list[Row]) -> list[str]:
    """The axes of the sweep, and whatever else its jobs were given differently."""
    keys = list(dict.fromkeys(key for row in rows for key in (*row.job.axes, *row.job.overrides)))
    axes = {key for row in rows for key in row.job.axes}
    return [k for k in keys if k in axes or len({row.job.overrides.get(k, "") for row in rows}) > 1]


def mean_and_sd(rows: list[Row], name: str | None = None) -> tuple[float, float]:
    """Of the monitored metric, or of the score of this name, over the jobs that have it; nan where there are
    too few. The sd is the sample standard deviation (n - 1)."""
    scores = [row.score if name is None else row.progress.scores.get(name) for row in rows]
    values = [score for score in scores if score is not None]
    mean = statistics.fmean(values) if values else math.nan
    return mean, statistics.stdev(values) if len(values) > 1 else math.nan
