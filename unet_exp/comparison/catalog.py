"""The runs below a folder, a row for each: what task=list shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_exp.comparison.settings import Reader, differing, most_common, shortest_names
from unet_exp.errors import UserError
from unet_exp.messages import duration
from unet_exp.rundir import layout
from unet_exp.rundir.found import walk_runs
from unet_exp.rundir.tables import read_csv

NOTHING: dict[str, Any] = {}


@dataclass(frozen=True)
class Entry:
    """A run as task=list has it. score: of the best epoch, else of the last validation; None without one.

    state: waiting where it never began. problem: why its configuration could not be read.
    """

    directory: Path
    name: str | None
    notes: str | None
    tags: list[str]
    state: str
    monitor: str
    score: float | None
    epoch: int
    seconds: float
    time: str
    settings: dict[str, Any]
    problem: str = ""


def read_catalog(root: Path) -> list[Entry]:
    """Every run below a folder, in the order of their paths; damaged ones too, with their problem."""
    reader = Reader()
    return [read_entry(path, reader) for path in walk_runs(root)]


def read_entry(run_dir: Path, reader: Reader) -> Entry:
    status = layout.read_status(run_dir)
    problem = ""
    try:
        settings = reader.as_written(run_dir)
        labels = reader.labels(run_dir)
    except UserError as error:
        settings, labels, problem = {}, NOTHING, error.what
    monitor = str(status.get("monitor") or settings.get("trainer.monitor") or "")
    score = status.get("best_metric")
    epoch = int(status.get("epoch") or 0)
    seconds = float(status.get("seconds") or 0.0)
    if "best_metric" not in status and (run_dir / layout.METRICS).exists():  # it runs, or was killed
        score, epoch, seconds = progress_of(run_dir, monitor)
    return Entry(
        directory=run_dir,
        name=labels.get("name"),
        notes=labels.get("notes"),
        tags=[str(tag) for tag in labels.get("tags") or []],
        state=str(status.get("state", "waiting")),
        monitor=monitor,
        score=score,
        epoch=epoch,
        seconds=seconds,
        time=str(status.get("time", "")),
        settings=settings,
        problem=problem,
    )


def progress_of(run_dir: Path, monitor: str) -> tuple[float | None, int, float]:
    """Score of the last validation, last epoch and seconds of a run that has not ended."""
    rows = [row for row in read_csv(run_dir / layout.METRICS) if (row.get("epoch") or "").isdigit()]
    scores = [row[monitor] for row in rows if row.get("split") == "val" and row.get(monitor)]
    timing = run_dir / layout.TIMING
    seconds = sum(float(row["seconds"] or 0) for row in read_csv(timing)) if timing.exists() else 0.0
    return float(scores[-1]) if scores else None, int(rows[-1]["epoch"]) if rows else 0, seconds


def rows_of(entries: Sequence[Entry], root: Path) -> list[dict[str, Any]]:
    """A row for each run, JSON-ready: what it is called, how it went, and in what it differs from the most
    common value of each setting; its seed and fold always, where several occur."""
    every = [entry.settings for entry in entries if entry.settings]
    keys = differing(every, aside=True, lacking=False)
    common = most_common(every, keys)
    names = shortest_names(keys)
    repeats = [key for key in ("seed", "data.fold") if key in keys]
    rows = []
    for entry in entries:
        changed = {
            names[key]: entry.settings.get(key)
            for key in keys
            if key in entry.settings and (key in repeats or entry.settings[key] != common[key])
        }
        rows.append(
            {
                "run": entry.directory.relative_to(root).as_posix(),
                "name": entry.name,
                "state": entry.state,
                "monitor": entry.monitor,
                "score": entry.score,
                "epoch": entry.epoch,
                "minutes": round(entry.seconds / 60, 2),
                "time": entry.time,
                "tags": entry.tags,
                "notes": entry.notes,
                "settings": changed,
                "problem": entry.problem,
            }
        )
    return rows


def cells_of(row: dict[str, Any]) -> list[str]:
    """A row for the terminal: name or directory, state, score, time, settings and tags."""
    score = "-" if row["score"] is None else f"{row['score']:.4f}"
    settings = " ".join(f"{key}={value}" for key, value in row["settings"].items())
    tags = " ".join(f"#{tag}" for tag in row["tags"])
    place = row["run"] if row["name"] else ""
    words = " ".join(part for part in (settings, tags, row["problem"], place) if part)
    return [row["name"] or row["run"], row["state"], score, duration(60 * row["minutes"]), words]
