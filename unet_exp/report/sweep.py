"""The report of a sweep: its ranking with intervals, what is chance, pictures, and every job."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from unet_exp.comparison.settings import Reader, differing
from unet_exp.config.schema import LABELS
from unet_exp.messages import counted, duration, shown_path
from unet_exp.report import methods
from unet_exp.report.html import bullets, code, page, paragraph, picture, section, table, text
from unet_exp.report.run import settings_table, shown, split_counts
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.provenance import starts
from unet_exp.rundir.sweep_directory import RANKING_CSV, REPEATS, SEARCH_PNG, SWEEP_PNG, Row, read_rows
from unet_exp.rundir.tables import read_csv

MOST_SETTINGS = 50
MOST_JOBS = 200
SPREADS = ("_sd", "_low", "_high")
PAIRWISE = (
    " Settings were compared pair by pair by a t test with two levels, images and trainings, p adjusted by "
    "Holm's method."
)


def report_sweep(
    sweep_dir: Path,
    verdict: str,
    remark: str = "",
    pooled: tuple[list[list[str]], str] | None = None,
    path: Path | None = None,
) -> Path:
    """Writes the report of a sweep and returns its path.

    verdict: what can be told apart, "" where nothing was compared. remark: what else to know of the result.
    pooled: of folds the scores as cells, with their heads, and what they are.
    """
    rows = read_rows(sweep_dir)
    finished = [row for row in rows if row.counts]
    labels = Reader().labels(rows[0].job.directory)
    name = labels["name"] or f"Sweep {sweep_dir.resolve().name}"
    first = finished[0].job.directory if finished else rows[0].job.directory
    environment = starts(first)[-1] if (first / layout.ENVIRONMENT).exists() else {}
    settings = Reader().settings(first)
    varied = differing([Reader().settings(row.job.directory) for row in rows[:MOST_JOBS]], aside=True)
    shared = {key: value for key, value in settings.items() if key not in varied}
    images = split_counts(first)
    packages = environment.get("packages") or {}
    words, sources = methods.training_sentences(
        settings, images, packages, str(environment.get("cpu") or "an unknown machine")
    )
    monitor = rows[0].job.monitor
    alt = f"{monitor} of each setting, with 95 % intervals over seeds"
    done = f"{len(finished)} of {counted(len(rows), 'job')} finished"
    values = [tuple(v for k, v in row.job.overrides.items() if k not in REPEATS) for row in finished]
    several = len(set(values)) > 1
    repeated = len(set(values)) < len(values)
    tests = ["t", "Holm"] * bool(verdict and repeated and several)
    content = page(
        str(name),
        [
            paragraph(f"<strong>{text(verdict)}</strong>", "lead") if verdict else "",
            paragraph(text(remark)) if remark else "",
            paragraph(text(f"{done}, {shown_path(sweep_dir)}")),
            paragraph(text(labels["notes"])) if labels["notes"] else "",
            section(
                "What was asked",
                paragraph(f"Varied: {text(', '.join(axes_of(rows)) or 'nothing')}"),
                paragraph(f"Given to all jobs: {code(given_to_all(rows) or 'nothing')}"),
                settings_table(shared),
            ),
            pooled_section(pooled),
            section(
                "Ranking",
                ranking_table(sweep_dir / RANKING_CSV, monitor),
                picture(sweep_dir / SWEEP_PNG, alt),
            ),
            section(
                "Search", picture(sweep_dir / SEARCH_PNG, f"{monitor} of each trial, and the best so far")
            ),
            section("Jobs", jobs_table(rows)),
            section(
                "Methods",
                paragraph(
                    text(
                        f"For each setting, unless it was varied: {words}"
                        + " Intervals are Student's t over seeds or folds." * repeated
                        + PAIRWISE * bool(verdict and repeated and several)
                    )
                ),
                bullets([text(source) for source in methods.citations([*sources, *tests])]),
            ),
            section(
                "Again", bullets([f"{code('python run.py from_run=' + shown_path(first))}: one of its jobs"])
            ),
        ],
    )
    path = path or sweep_dir / layout.REPORT
    atomic.write_text(path, content)
    return path


def pooled_section(pooled: tuple[list[list[str]], str] | None) -> str:
    if pooled is None:
        return ""
    (head, *rows), note = pooled
    return section("Out of fold", table(["score", *head[1:]], rows, note))


def given_to_all(rows: Sequence[Row]) -> str:
    """What every job was given, as it was typed, but for labels."""
    shared: list[str] | None = None
    for row in rows[:MOST_JOBS]:
        path = row.job.directory / ".hydra/overrides.yaml"
        overrides = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else []
        words = [str(one) for one in overrides or []]
        shared = words if shared is None else [word for word in shared if word in words]
    kept = [word for word in shared or [] if word.partition("=")[0] not in LABELS]
    return " ".join(kept)


def axes_of(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row.job.axes))


def ranking_table(path: Path, monitor: str) -> str:
    """ranking.csv for people: the interval in one column."""
    if not path.exists():
        return ""
    rows = read_csv(path)
    names = list(rows[0])
    scores = [name for name in names if f"{name}_sd" in names]
    spreads = {f"{name}{ending}" for name in scores for ending in SPREADS}
    plain = [name for name in names if name not in spreads and name not in ("like_best", "rank")]
    head = ["rank", *plain, f"95 % interval of {monitor}", "like the best"]
    cells = []
    for row in rows[:MOST_SETTINGS]:
        low, high = row.get(f"{monitor}_low", ""), row.get(f"{monitor}_high", "")
        interval = f"{low} to {high}" if low else "one job"
        cells.append([row.get("rank", ""), *(row[n] for n in plain), interval, row.get("like_best") or "-"])
    return table(head, cells, "Settings, the best mean first; like the best: can't be told apart from it")


def jobs_table(rows: Sequence[Row]) -> str:
    cells = []
    for row in rows[:MOST_JOBS]:
        score = "-" if row.progress.best is None else f"{row.score:.4f}"
        seconds = duration(row.progress.seconds)
        cells.append([row.job.name, row.progress.state, score, shown(row.progress.epoch), seconds])
    more = f", the first {MOST_JOBS} of {len(rows)}" if len(rows) > MOST_JOBS else ""
    return table(["job", "state", rows[0].job.monitor, "epochs", "time"], cells, f"Jobs{more}")
