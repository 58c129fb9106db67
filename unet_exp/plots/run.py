"""Pictures of a finished run: curves.png from metrics.csv, samples.png from predictions."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from unet_exp.config.label_map import Colour, label_map, palette
from unet_exp.config.schema import IGNORE, Config
from unet_exp.data.transforms import Sample
from unet_exp.inference.samples import SampleResult, extreme_samples
from unet_exp.plots.curves import plot_curves
from unet_exp.plots.style import (
    BLACK_AND_WHITE,
    GREY,
    OF_TWO,
    WIDTH,
    as_seen,
    in_colour,
    save,
    unit,
)
from unet_exp.rundir import layout
from unet_exp.training import build, checkpoint
from unet_exp.training.parts import Parts

SHOWN_SAMPLES = 4
MOST_IN_LEGEND = 24
MOST_ROW_INCHES = 7.0  # height of a picture that is much higher than wide
PER_LINE = 6  # names in a line of a legend


def plot_run(
    run_dir: Path,
    config: Config,
    parts: Parts,
    best_epoch: int,
    threshold: float,
) -> None:
    """plots/curves.png, and plots/samples.png with the best weights and the threshold of predict."""
    plot_curves(run_dir, config.trainer.monitor, best_epoch)
    plot_data(run_dir, config, parts)
    best = run_dir / layout.CHECKPOINTS / checkpoint.BEST
    if not best.exists():  # no validation gave a number
        return
    checkpoint.load_weights(parts.evaluated, checkpoint.weights_of(checkpoint.load(best)), best)
    dataset = parts.val.dataset
    place = parts.precision
    results = extreme_samples(
        parts.evaluated, dataset, parts.class_names, place, count=2, threshold=threshold
    )
    path = run_dir / layout.PLOTS / "samples.png"
    colours = palette(label_map(config.data))
    plot_samples(path, results, parts.class_names, build.denormalization(config), colours, threshold)


def plot_data(run_dir: Path, config: Config, parts: Parts) -> None:
    """plots/data.png: the first training samples as the network gets them in its first epoch, with labels."""
    dataset = parts.train.dataset
    indices = range(min(len(dataset), SHOWN_SAMPLES))
    samples: list[Sample] = []
    for index in indices:
        sample = dataset[(0, index)]
        samples.append({key: sample[key].permute(1, 2, 0).numpy() for key in ("input", "label")})
    names = [dataset.samples.items[index].name for index in indices]
    colours = palette(label_map(config.data))
    denorm = build.denormalization(config)
    titles = ["image", "label"]
    path = run_dir / layout.PLOTS / "data.png"
    plot_sheet(path, samples, names, colours, denorm, titles, parts.class_names)


def plot_samples(
    path: Path,
    results: Sequence[SampleResult],
    classes: list[str],
    denorm: tuple[Any, Any],
    palette: Sequence[Colour],
    threshold: float = 0.5,
) -> None:
    """A row for each sample: input, label, probability of class 1 or predicted classes, errors.

    threshold: of two classes, which made the predictions. Rows are as high as their images; of more than two
    classes, or two in colours, a legend says which colour is which.
    """
    two = len(classes) == 2
    pictures = [picture for result in results for picture in (result.label, result.prediction)]
    plain = two and list(palette) == BLACK_AND_WHITE
    shown_classes = [] if plain else legend_of(pictures, classes, palette)
    grid = picture_grid(WIDTH, [result.label.shape for result in results], 4, shown_classes)
    for axes, result in zip(grid, results, strict=True):
        shown = as_seen(result.image, denorm)
        grey = shown.mean(axis=2)
        predicted = result.probability if two else in_colour(result.prediction, palette)
        panels = (shown, in_colour(result.label, palette), predicted, error_overlay(grey, result, two))
        for panel, picture in zip(axes, panels, strict=True):
            panel.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        say_row(axes[0], result.name, f"Dice {result.dice:.3f}")
    titles = ["input", "label", "predicted", "red: wrong"]
    if two:
        at = "" if threshold == 0.5 else f", at {threshold:.2f}"
        titles[2:] = [f"probability of {classes[1]}", f"red: missed, blue: false{at}"]
        if not shown_classes:
            titles[1] = f"label (white: {classes[1]})"
    for panel, title in zip(grid[0], titles, strict=True):
        panel.set_title(title, fontsize=9)
    save(grid[0, 0].figure, path)


def say_row(axes: Any, name: str, score: str) -> None:
    """Write name and score beside a row's first picture, or inside it if the row is too low."""
    if axes.get_position().height * axes.figure.get_figheight() > 1.6:
        axes.set_ylabel(f"{name[-30:]}\n{score}", fontsize=9)
        return
    say_inside(axes, f"{name[-24:]}  {score}")


def say_inside(axes: Any, text: str) -> None:
    """Write at the top of a picture."""
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.5}
    axes.text(0.01, 0.97, text, transform=axes.transAxes, fontsize=7, va="top", bbox=box)


def picture_grid(
    width: float, shapes: Sequence[tuple[int, ...]], columns: int, legend: Sequence[tuple[str, Any]] = ()
) -> Any:
    """Axes rows x columns for pictures of a figure `width` inches wide, each row as high as its pictures.

    shapes: height and width in pixels of each row's pictures. legend: names and colours, drawn at the bottom.
    """
    left = 0.045
    right = 0.995
    gap = 0.06
    top = 0.3
    panel = (width * (right - left) - gap * (columns - 1)) / columns
    heights = [min(panel * shape[0] / shape[1], MOST_ROW_INCHES) for shape in shapes]
    below = 0.05 + 0.22 * -(-len(legend) // PER_LINE)
    total = top + sum(heights) + gap * (len(heights) - 1) + below
    figure = Figure(figsize=(width, total))
    grid = figure.subplots(
        len(heights),
        columns,
        squeeze=False,
        gridspec_kw={
            "height_ratios": heights,
            "hspace": gap / (sum(heights) / len(heights)),
            "wspace": gap / panel,
            "left": left,
            "right": right,
            "top": 1 - top / total,
            "bottom": below / total,
        },
    )
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    if legend:
        add_legend(figure, legend)
    return grid


def add_legend(figure: Figure, legend: Sequence[tuple[str, Any]]) -> None:
    """Names and colours at the bottom of a figure."""
    patches = [Patch(facecolor=colour, edgecolor="0.4", linewidth=0.5) for _, colour in legend]
    names = [name if len(name) <= 20 else f"{name[:19]}\u2026" for name, _ in legend]
    figure.legend(
        patches,
        names,
        loc="lower center",
        ncol=min(PER_LINE, len(legend)),
        fontsize=8,
        frameon=False,
        borderaxespad=0.1,
        columnspacing=1.2,
        handlelength=1.4,
    )


def legend_of(
    indices_shown: Iterable[np.ndarray], classes: Sequence[str], palette: Sequence[Colour]
) -> list[tuple[str, Any]]:
    """Names and colours of the classes; of more than MOST_IN_LEGEND those that are in the pictures."""
    present = np.unique(np.concatenate([np.unique(picture) for picture in indices_shown]))
    indices = list(range(len(classes)))
    if len(classes) > MOST_IN_LEGEND:
        indices = [int(index) for index in present if index < len(classes)][:MOST_IN_LEGEND]
    legend = [(classes[index], unit(palette[index])) for index in indices]
    return [*legend, *([("ignored", (GREY,) * 3)] if IGNORE in present else [])]


def plot_sheet(
    path: Path,
    samples: Sequence[Sample],
    names: Sequence[str],
    palette: Sequence[Colour],
    denorm: tuple[Any, Any],
    titles: Sequence[str],
    classes: Sequence[str] = (),
) -> None:
    """A column for each sample: the image, and below it the image with its label over it.

    classes: their names, for a legend of the colours.
    """
    images = [in_three(sample, denorm) for sample in samples]
    columns = [(image, with_label(image, one, palette)) for image, one in zip(images, samples, strict=True)]
    plot_columns(path, columns, names, titles, legend_of_labels(samples, palette, classes))


def plot_augmented(
    path: Path,
    samples: Sequence[Sequence[Sample]],
    names: Sequence[str],
    palette: Sequence[Colour],
    denorm: tuple[Any, Any],
    classes: Sequence[str] = (),
) -> None:
    """A column for each sample, a row for each epoch: what the network would be shown, label over it.

    classes: as in plot_sheet.
    """
    columns = [[with_label(in_three(one, denorm), one, palette) for one in epochs] for epochs in samples]
    titles = [f"epoch {epoch}" for epoch in range(1, len(samples[0]) + 1)]
    legend = legend_of_labels([epochs[0] for epochs in samples], palette, classes)
    plot_columns(path, columns, names, titles, legend)


def plot_columns(
    path: Path,
    columns: Sequence[Sequence[np.ndarray]],
    names: Sequence[str],
    titles: Sequence[str],
    legend: Sequence[tuple[str, Any]],
) -> None:
    """Pictures in columns with a name above and in rows with a title, all as high as the highest."""
    shape = max((column[0].shape[:2] for column in columns), key=lambda shape: float(shape[0] / shape[1]))
    grid = picture_grid(2.1 * len(columns) + 0.3, [shape] * len(titles), len(columns), legend)
    for number, (column, name) in enumerate(zip(columns, names, strict=False)):
        for axes, picture in zip(grid[:, number], column, strict=True):
            axes.imshow(picture, vmin=0, vmax=1, interpolation="nearest")
        grid[0, number].set_title(name[-22:], fontsize=8)
    for axes, title in zip(grid[:, 0], titles, strict=True):
        axes.set_ylabel(title, fontsize=9)
    save(grid[0, 0].figure, path)


def legend_of_labels(
    samples: Sequence[Sample], palette: Sequence[Colour], classes: Sequence[str]
) -> list[tuple[str, Any]]:
    """legend_of for labels over their images, where of two classes only the second has a colour."""
    legend = legend_of([sample["label"] for sample in samples], classes, palette) if classes else []
    return [(classes[1], unit(OF_TWO[1])), *legend[2:]] if len(classes) == 2 else legend


def in_three(sample: Sample, denorm: tuple[Any, Any]) -> np.ndarray:
    """The sample's image as a picture H x W x 3."""
    picture = as_seen(sample["input"], denorm)
    return np.asarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))


def with_label(image: np.ndarray, sample: Sample, palette: Sequence[Colour]) -> np.ndarray:
    """The image with every class but 0 in its colour; of two classes the second in red."""
    label = sample["label"][..., 0]
    colours = palette if len(palette) > 2 else OF_TWO
    return np.asarray(
        np.where((label != 0)[..., None], 0.55 * image + 0.45 * in_colour(label, colours), image)
    )


def error_overlay(grey: np.ndarray, result: SampleResult, two: bool) -> np.ndarray:
    """H x W x 3: the image, faded, with wrong pixels in colour."""
    overlay = np.repeat(0.35 + 0.55 * grey[..., None], 3, axis=2)
    wrong = (result.prediction != result.label) & (result.label != IGNORE)
    overlay[wrong] = (0.84, 0.15, 0.16)
    if two:
        overlay[wrong & (result.prediction == 1)] = (0.12, 0.37, 0.78)
    return overlay
