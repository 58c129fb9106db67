"""Pictures of a comparison: the validations of all runs over each other, and the differences."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from unet_exp.comparison.differences import Pair, letter
from unet_exp.comparison.recipes import Scored
from unet_exp.plots.style import RECIPES, WIDTH, save
from unet_exp.rundir import layout
from unet_exp.rundir.tables import read_csv

PANE = (7.0, 3.4)  # inches
MOST_WORDS = 34  # letters of a recipe in a legend


def plot_comparison(path: Path, scored: Scored, pairs: Sequence[Pair]) -> None:
    """comparison.png: validations of all runs on the left, differences on the right."""
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot_validations(left, scored)
    plot_result(right, scored, pairs)
    save(figure, path)


def comparison_figures(scored: Scored, pairs: Sequence[Pair]) -> tuple[Figure, Figure]:
    """Both halves of comparison.png as pictures of their own."""
    figures = Figure(figsize=PANE, layout="constrained"), Figure(figsize=PANE, layout="constrained")
    plot_validations(figures[0].subplots(), scored)
    plot_result(figures[1].subplots(), scored, pairs)
    return figures


def plot_result(axes: Any, scored: Scored, pairs: Sequence[Pair]) -> None:
    if pairs:
        plot_differences(axes, scored, pairs)
    else:
        plot_means(axes, scored)


def plot_validations(axes: Any, scored: Scored) -> None:
    """What each run monitored at its validations, a colour for each recipe."""
    metric = ""
    for index, recipe in enumerate(scored.recipes):
        for number, run in enumerate(recipe.runs):
            metric = str(run.settings.get("trainer.monitor"))
            file = run.directory / layout.METRICS
            rows = [row for row in read_csv(file) if row["split"] == "val"] if file.exists() else []
            values = [float(row.get(metric) or "nan") for row in rows]
            axes.plot(
                [int(row["epoch"]) for row in rows],
                values,
                color=colour_of(index),
                lw=1.1,
                alpha=0.9 if len(recipe.runs) == 1 else 0.6,
                marker="o" if len(values) < 15 else None,
                ms=3,
                label=shortened(f"{letter(index)}  {recipe.label}") if number == 0 else None,
            )
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{metric} of the validation split")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)


def plot_differences(axes: Any, scored: Scored, pairs: Sequence[Pair]) -> None:
    """Each difference with its interval, beside 0."""
    for place, pair in enumerate(pairs):
        one = pair.difference
        if not math.isnan(one.low):
            axes.plot([one.low, one.high], [place, place], color=colour_of(pair.second), lw=2)
        axes.plot([one.mean], [place], "o", color=colour_of(pair.second), ms=7)
    axes.axvline(0, color="0.3", lw=0.9)
    axes.set_yticks(range(len(pairs)), [f"{letter(p.second)} - {letter(p.first)}" for p in pairs])
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    axes.set_xlabel(f"difference of {scored.score}, with 95 % interval")
    axes.grid(alpha=0.25, axis="x")
    axes.spines[["top", "right"]].set_visible(False)


def plot_means(axes: Any, scored: Scored) -> None:
    """The score of each training, where there is one recipe."""
    for index, values in enumerate(scored.values):
        axes.plot(values.mean(1), [index] * len(values), "o", color=colour_of(index), alpha=0.7)
    axes.set_yticks(range(len(scored.values)), [letter(index) for index in range(len(scored.values))])
    axes.set_xlabel(scored.score)


def colour_of(index: int) -> str:
    return RECIPES[index % len(RECIPES)]


def shortened(text: str) -> str:
    return text if len(text) <= MOST_WORDS else f"{text[: MOST_WORDS - 1]}\u2026"
