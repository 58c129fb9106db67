"""task=compare: what differs between finished runs, in their settings and, with its uncertainty, their
scores."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp.comparison import differences
from unet_exp.comparison.differences import Pair, letter
from unet_exp.comparison.image_scores import MAIN_SCORES, column, mean_of, shared_scores
from unet_exp.comparison.recipes import Recipe, Scored, as_recipes, means_of, read_runs, scored, short_value
from unet_exp.comparison.settings import differing
from unet_exp.config.paths import expanded
from unet_exp.config.schema import LOWER_IS_BETTER
from unet_exp.config.task_schema import CompareConfig
from unet_exp.errors import ConfigError
from unet_exp.messages import counted, in_columns, say, shown_path, wrapped
from unet_exp.plots.comparison import plot_comparison
from unet_exp.report.comparison import report_comparison
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.found import find_runs, unfinished_lines
from unet_exp.rundir.tables import write_table

MOST_SCORES = 8  # on the terminal
MOST_SETTINGS = 16
MOST_COLUMNS = 4  # of recipes beside each other; more are one below the other
LONGEST = 20  # letters of a setting


def compare(options: CompareConfig, page: Path | None = None) -> None:
    """Prints tables; writes settings.csv, scores.csv, images.csv, differences.csv, comparison.png,
    report.html.

    page: where to write the report, and nothing else; None: into the folder. Raises CheckpointError,
    ConfigError.
    """
    texts = [options.runs] if isinstance(options.runs, str) else [str(text) for text in options.runs]
    paths = find_runs(texts)
    if len(paths) < 2:
        raise ConfigError(f"runs finds {counted(len(paths), 'run')}", allowed="two or more: runs=[A,B]")
    folder = expanded(options.output)
    if page is None and folder.suffix in (".html", ".htm"):
        raise ConfigError(
            f"output={options.output} is a page, not a folder", do="task=report runs=[A,B] writes one page"
        )
    runs = read_runs(paths, options.split, options.tta)
    recipes, lines = as_recipes(runs)
    lines = [*unfinished_lines(texts, paths), *lines]
    result = scored(recipes, score_of(options.score, recipes), options.split)
    pairs = differences.against_first(result) if len(recipes) > 1 else []
    shared = shared_scores([run.table for run in runs])
    names = [name for name in dict.fromkeys((result.score, *MAIN_SCORES)) if name in shared]
    if page is None:
        atomic.make_directory(folder)
        write_tables(folder, result, pairs)
        plot_comparison(folder / "comparison.png", result, pairs)
    report_comparison(page or folder / layout.REPORT, result, pairs, names)
    say("\n".join([*lines, *summary_lines(result, pairs)]))
    say(f"written: {shown_path(page or folder / layout.REPORT)}{'' if page else ', and tables beside it'}")


def score_of(asked: str, recipes: Sequence[Recipe]) -> str:
    """The score to test: as asked; auto: what the first run monitored if its images have it, else Dice."""
    first = recipes[0].runs[0]
    monitor = str(first.settings.get("trainer.monitor"))
    return asked if asked != "auto" else monitor if monitor in first.table.scores else "dice"


def summary_lines(result: Scored, pairs: Sequence[Pair]) -> list[str]:
    """What the terminal shows."""
    recipes = result.recipes
    letters = [letter(index) for index in range(len(recipes))]
    lines = [""]
    for name, recipe in zip(letters, recipes, strict=True):
        place = shown_path(recipe.runs[0].directory)
        more = f" and {counted(len(recipe.runs) - 1, 'more run')}" if len(recipe.runs) > 1 else ""
        lines.append(f"{name}  {recipe.label}: {place}{more}")
    few = len(recipes) <= MOST_COLUMNS
    keys = differing([recipe.runs[0].settings for recipe in recipes])
    if keys and few:
        settings = [[key, *(text(r.runs[0].settings.get(key)) for r in recipes)] for key in keys]
        lines += ["", *in_columns([["settings that differ", *letters], *settings[:MOST_SETTINGS]])]
        lines += ["the others: settings.csv"] * (len(settings) > MOST_SETTINGS)
    many = any(len(values) > 1 for values in result.values)
    what = f"means over {counted(len(result.names), 'image')}{' ± sd over trainings' * many}"
    columns = [[what, *letters], *score_cells(result)]
    rows = [list(row) for row in zip(*columns[: 1 + MOST_COLUMNS], strict=True)]
    lines += ["", *in_columns(columns if few else rows)]
    if not pairs:
        return lines
    lower = result.score in LOWER_IS_BETTER
    head = ["difference", result.score, "95 % interval", "p", *(["p, Holm"] * (len(pairs) > 1))]
    differences_shown = [
        [
            f"{letter(pair.second)} - {letter(pair.first)}",
            f"{pair.difference.mean:+.4f}",
            differences.interval_text(pair.difference),
            differences.p_text(pair.difference.p),
            *([differences.p_text(pair.p_holm)] * (len(pairs) > 1)),
        ]
        for pair in pairs
    ]
    notes = [
        *differences.verdicts(pairs, lower),
        *differences.scope_lines(result, pairs),
        *differences.caution_lines(result),
    ]
    lines += ["", *in_columns([head, *differences_shown]), ""]
    return [
        *lines,
        *(line for note in notes for line in wrapped(note)),
        *differences.more_lines(result, pairs),
    ]


def text(value: Any) -> str:
    shown = short_value(value)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}\u2026"


def score_cells(result: Scored) -> list[list[str]]:
    """The tested score first, then others that all runs have, up to MOST_SCORES; mean and sd over
    trainings."""
    cells = [[result.score, *(spread_text(values.mean(1)) for values in result.values)]]
    shared = shared_scores([run.table for recipe in result.recipes for run in recipe.runs])
    others = [name for name in MAIN_SCORES if name in shared and name != result.score]
    for name in others[: MOST_SCORES - 1]:
        cells.append([name, *(spread_text(means) for means in means_of(result, name))])
    return cells


def spread_text(values: np.ndarray) -> str:
    mean = f"{np.nanmean(values):.4f}" if not np.isnan(values).all() else "-"
    return f"{mean} ± {np.nanstd(values, ddof=1):.4f}" if len(values) > 1 else mean


def write_tables(folder: Path, result: Scored, pairs: Sequence[Pair]) -> None:
    recipes = result.recipes
    runs = [(recipe, run) for recipe in recipes for run in recipe.runs]
    keys = differing([run.settings for _, run in runs], aside=True)
    settings = [
        {"recipe": recipe.label, "run": str(run.directory)} | {key: run.settings.get(key) for key in keys}
        for recipe, run in runs
    ]
    write_table(folder / "settings.csv", list(settings[0]), settings)
    shared = shared_scores([run.table for _, run in runs])
    scores = [
        {"recipe": recipe.label, "run": str(run.directory), "seed": run.repeat[0], "fold": run.repeat[1]}
        | {name: mean_of(column(run.table, name)) for name in shared}
        for recipe, run in runs
    ]
    write_table(folder / "scores.csv", list(scores[0]), scores)
    images = [
        {"name": name, "group": result.groups[index]}
        | {
            recipe.label: float(values[:, index].mean())
            for recipe, values in zip(recipes, result.values, strict=True)
        }
        for index, name in enumerate(result.names)
    ]
    write_table(folder / "images.csv", list(images[0]), images)
    rows = [differences.row_of(result, pair) for pair in pairs]
    if rows:
        plain = [
            {k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows
        ]
        write_table(folder / "differences.csv", list(rows[0]), plain)
