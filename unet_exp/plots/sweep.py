"""Pictures of a sweep."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from unet_exp.comparison.intervals import interval_of
from unet_exp.plots.style import BLUE, MOST_INCHES, ONE_PANE, ORANGE, save
from unet_exp.rundir.sweep_directory import POINT, REPEATS, SHOWN, Row, by_number, columns

MOST_PANES = 12
MOST_WORDS = 8
LONGEST_WORDS = 40
WIDE = 30  # the largest by the smallest value, from where on an axis is logarithmic


def plot_sweep(rows: list[Row], path: Path) -> None:
    """sweep.png: lines for one axis, a heat map for two, small multiples for more; bars are 95 %
    intervals."""
    rows = [row for row in rows if row.counts]
    if not rows:
        return
    keys = [key for key in columns(rows) if len(values_of(rows, key)) > 1]
    axes = [key for key in keys if key not in REPEATS] or keys[:1]
    axes.sort(key=lambda key: -len(values_of(rows, key)))  # the longest are drawn within the panes
    if axes == [POINT]:
        figure = plot_points(rows, axes)
    elif len(axes) > 1 and len({row.values(axes) for row in rows}) * 2 <= cells(rows, axes):
        words = {in_words(dict(zip(axes, row.values(axes), strict=True))) for row in rows}
        several = len(words) > MOST_WORDS or max(map(len, words)) > LONGEST_WORDS
        figure = plot_scatter(rows, axes) if several else plot_points(rows, axes)
    elif len(axes) < 2:
        figure = Figure(figsize=ONE_PANE, layout="constrained")
        plot_line(figure.subplots(), rows, axes[0] if axes else "")
    else:
        figure = plot_maps(rows, axes)
    save(figure, path)


def cells(rows: list[Row], keys: list[str]) -> int:
    return math.prod(len(values_of(rows, key)) for key in keys)


def plot_scatter(rows: list[Row], keys: list[str]) -> Figure:
    """The metric over each axis alone, for jobs that are no grid, such as those of a search."""
    keys = keys[:MOST_PANES]
    wide = min(len(keys), 4)
    high = math.ceil(len(keys) / wide)
    figure = Figure(figsize=(3.4 * wide, 3.2 * high), layout="constrained")
    for axes, key in zip(figure.subplots(high, wide, squeeze=False).flat, keys, strict=False):
        values = values_of(rows, key)
        numbers = {value: number(value) for value in values}
        words = None in numbers.values()
        places: dict[str, Any] = {v: at for at, v in enumerate(values)} if words else numbers
        axes.scatter([places[row.values([key])[0]] for row in rows], [row.score for row in rows], s=18)
        if words:
            axes.set_xticks(range(len(values)), [short(value) for value in values])
            axes.set_xlim(-0.5, len(values) - 0.5)
        elif min(places.values()) > 0 and max(places.values()) / min(places.values()) >= WIDE:
            axes.set_xscale("log")
        axes.set_xlabel(key)
        axes.grid(alpha=0.25)
    figure.supylabel(rows[0].job.monitor, fontsize=10)
    return figure


def plot_points(rows: list[Row], keys: list[str]) -> Figure:
    """Settings in words, one below the other: each job a dot, their mean a line; a pane for each score."""
    names = [name for name in SHOWN if all(name in row.progress.scores for row in rows)]
    places = sorted({row.values(keys) for row in rows}, key=lambda place: by_number(" ".join(place)))
    words = [
        place[0] if keys == [POINT] else in_words(dict(zip(keys, place, strict=True))) for place in places
    ]
    size = (5.2 + 2.6 * len(names), 1.2 + 0.3 * max(len(places), 8))
    figure = Figure(figsize=size, layout="constrained")
    panes = figure.subplots(1, 1 + len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panes, [None, *names], strict=True):
        for down, place in enumerate(places):
            chosen = [row for row in rows if row.values(keys) == place]
            values = [row.score if name is None else row.progress.scores[name] for row in chosen]
            axes.scatter(values, [down] * len(values), s=16, color=BLUE, alpha=0.6, linewidths=0)
            one = interval_of(chosen, name)
            axes.plot([one.mean] * 2, [down - 0.3, down + 0.3], color="k", lw=1.5)
            axes.plot([one.low, one.high], [down] * 2, color="0.5", lw=1.2, zorder=0)
        axes.set_xlabel(name or rows[0].job.monitor)
        axes.grid(alpha=0.25)
    panes[0].set_yticks(range(len(places)), words)
    panes[0].invert_yaxis()
    return figure


def half_of(rows: list[Row]) -> tuple[float, float]:
    """The mean of the monitored metric over repeats, and half of its 95 % interval."""
    one = interval_of(rows)
    return one.mean, one.high - one.mean


def in_words(values: dict[str, str]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in values.items() if value)


def values_of(rows: list[Row], key: str) -> list[str]:
    """The values of an axis: numbers by size, words as they come."""
    values = list(dict.fromkeys(row.job.overrides.get(key, "") for row in rows))
    numbers = [number(value) for value in values]
    return values if None in numbers else sorted(values, key=float)


def number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def plot_line(axes: Any, rows: list[Row], key: str) -> None:
    """Means over an axis with the intervals of their repeats; words and seeds as points."""
    values = values_of(rows, key)
    scores = [half_of([row for row in rows if row.values([key]) == (value,)]) for value in values]
    numbers = [number(value) for value in values]
    is_line = None not in numbers and len(values) > 1 and key not in REPEATS
    places: list[Any] = numbers if is_line else list(range(len(values)))
    axes.errorbar(
        places,
        [mean for mean, _ in scores],
        [half for _, half in scores],
        fmt="o-" if is_line else "o",
        color=BLUE,
        ecolor="0.6",
        capsize=3,
    )
    if is_line and min(places) > 0 and max(places) / min(places) >= WIDE:
        axes.set_xscale("log")
    elif not is_line:
        axes.set_xticks(places, [short(value) for value in values], rotation=30 if len(values) > 5 else 0)
    if key in REPEATS:
        one = interval_of(rows)
        axes.axhline(one.mean, color="0.4", lw=0.9)
        axes.axhspan(one.low, one.high, color="0.9", zorder=0)
        interval = f"95 % interval {one.low:.4f} to {one.high:.4f}"
        axes.set_title(f"mean {one.mean:.4f}, {interval}, n {len(rows)}", fontsize=10)
    axes.set_xlabel(key or "one job")
    axes.set_ylabel(rows[0].job.monitor)
    axes.grid(alpha=0.25)


def plot_maps(rows: list[Row], keys: list[str]) -> Figure:
    """A heat map over the two longest axes for each combination of the others, all in one scale."""
    rest = keys[2:]
    panes = list(itertools.product(*(values_of(rows, key) for key in rest)))
    shown = panes[:MOST_PANES]
    wide = math.ceil(math.sqrt(len(shown)))
    high = math.ceil(len(shown) / wide)
    columns, lines = (len(values_of(rows, key)) for key in keys[:2])
    size = (max(wide * (1.6 + 0.8 * columns), 4.5) + 1, max(high * (1.1 + 0.55 * lines), 3.2))
    figure = Figure(figsize=(min(size[0], MOST_INCHES), min(size[1], MOST_INCHES)), layout="constrained")
    grid = figure.subplots(high, wide, squeeze=False)
    maps = [map_of(rows, keys, pane) for pane in shown]
    means = np.array([[[mean for mean, _ in line] for line in cells] for cells in maps])
    scale = (float(np.nanmin(means)), float(np.nanmax(means)))
    for axes, pane, cells in itertools.zip_longest(grid.flat, shown, maps):
        if pane is None:
            axes.axis("off")
            continue
        image = plot_map(axes, cells, scale)
        label_axes(axes, rows, *keys[:2])
        title = ", ".join(f"{key}={short(value)}" for key, value in zip(rest, pane, strict=True))
        axes.set_title(title, fontsize=9)
    figure.colorbar(image, ax=grid, label=rows[0].job.monitor)
    if len(panes) > len(shown):
        figure.suptitle(f"the first {len(shown)} of {len(panes)} combinations", fontsize=9)
    return figure


def map_of(rows: list[Row], keys: list[str], pane: tuple[str, ...]) -> list[list[tuple[float, float]]]:
    """Mean and half an interval over the first key across and the second down, where the others have the
    pane's values."""
    across, down = (values_of(rows, key) for key in keys[:2])
    return [
        [half_of([row for row in rows if row.values(keys) == (x, y, *pane)]) for x in across] for y in down
    ]


def plot_map(axes: Any, cells: list[list[tuple[float, float]]], scale: tuple[float, float]) -> Any:
    """A heat map with its numbers in it, black on bright cells."""
    low, top = scale
    means = [[mean for mean, _ in line] for line in cells]
    for row, line in enumerate(cells):
        for column, (mean, half) in enumerate(line):
            text = "" if math.isnan(mean) else f"{mean:.3f}" + (f"\n±{half:.3f}" if half > 0 else "")
            color = "k" if mean > (low + top) / 2 else "w"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    return axes.imshow(means, vmin=low, vmax=top, cmap="viridis", aspect="auto")


def label_axes(axes: Any, rows: list[Row], across: str, down: str) -> None:
    xs = values_of(rows, across)
    ys = values_of(rows, down)
    axes.set_xticks(range(len(xs)), [short(x) for x in xs], rotation=30 if len(xs) > 5 else 0)
    axes.set_yticks(range(len(ys)), [short(y) for y in ys])
    axes.set_xlabel(across)
    axes.set_ylabel(down)


def short(text: str) -> str:
    return (text if len(text) <= 18 else text[:8] + "~" + text[-8:]) or "(default)"


def plot_search(points: list[tuple[int, float, str]], monitor: str, lower: bool, path: Path) -> None:
    """search.png: the metric of each trial (number, value, state), the best so far, what was pruned."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    colors = {"finished": BLUE, "pruned": ORANGE}
    for state, color in colors.items():
        chosen = [(number, value) for number, value, of in points if of == state]
        if chosen:
            numbers, values = zip(*chosen, strict=True)
            axes.scatter(numbers, values, color=color, s=24, label=state, zorder=3)
    finished = [(number, value) for number, value, of in points if of == "finished"]
    best = list(itertools.accumulate((value for _, value in finished), min if lower else max))
    axes.step(
        [number for number, _ in finished], best, where="post", color="0.4", lw=1.2, label="best so far"
    )
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("trial")
    axes.set_ylabel(monitor)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9)
    save(figure, path)
