"""Pictures of a finished run: curves.png from metrics.csv, samples.png from predictions.

matplotlib is imported here only, and this module only when a run ends, because it costs half a second.
"""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from unet_exp import runs
from unet_exp.data.label_map import Colour
from unet_exp.data.transforms import Sample
from unet_exp.inference.samples import SampleResult, extreme_samples
from unet_exp.schema import IGNORE, Config
from unet_exp.training import checkpoint
from unet_exp.training.loop import Parts

COLORS = {"train": "#1f77b4", "val": "#d95f02"}


def draw_run(
    run_dir: Path, config: Config, parts: Parts, best_epoch: int, denorm: tuple[Any, Any],
    palette: Sequence[Colour],
) -> None:  # fmt: skip
    """plots/curves.png, and plots/samples.png with the best weights."""
    draw_curves(run_dir, config.trainer.monitor, best_epoch)
    best = run_dir / runs.CHECKPOINTS / checkpoint.BEST
    if not best.exists():  # no validation gave a number
        return
    checkpoint.load_weights(parts.evaluated, checkpoint.weights_of(checkpoint.load(best)), best)
    results = extreme_samples(parts.evaluated, parts.val.dataset, parts.classes, parts.precision, each=2)
    draw_samples(run_dir / runs.PLOTS / "samples.png", results, parts.classes, denorm, palette)


def draw_curves(run_dir: Path, monitor: str, best_epoch: int) -> None:
    """plots/curves.png: loss, Dice, IoU and learning rate over epochs, the best epoch marked."""
    with open(run_dir / runs.METRICS, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return
    figure = Figure(figsize=(10, 6.4))
    figure.subplots_adjust(left=0.06, right=0.98, top=0.9, bottom=0.09, hspace=0.28, wspace=0.16)
    for axes, metric in zip(figure.subplots(2, 2).flat, ("loss", "dice", "iou", "lr"), strict=True):
        for split, color in COLORS.items():
            of_split = [row for row in rows if row["split"] == split]
            epochs = [int(row["epoch"]) for row in of_split]
            values = [float(row[metric]) for row in of_split]
            if values and not (metric == "lr" and split == "val"):
                marker = "o" if len(values) < 15 else None
                axes.plot(epochs, values, color=color, marker=marker, ms=3, lw=1.4, label=split)
        if best_epoch:
            axes.axvline(best_epoch, color="0.6", lw=0.8, ls="--")
        axes.set_title({"iou": "IoU", "lr": "learning rate"}.get(metric, metric.capitalize()), fontsize=10)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if metric in ("loss", "lr"):
            axes.set_ylim(bottom=0)
        if metric == "loss":
            axes.legend(frameon=False)
    figure.supxlabel("epoch", fontsize=9)
    figure.suptitle(f"{run_dir.name}: best {monitor} in epoch {best_epoch} (dashed)", fontsize=10)
    save(figure, run_dir / runs.PLOTS / "curves.png")


def draw_samples(
    path: Path, results: Sequence[SampleResult], classes: list[str], denorm: tuple[Any, Any],
    palette: Sequence[Colour],
) -> None:  # fmt: skip
    """A row for each sample: input, label, probability of class 1 or predicted classes, errors."""
    height = 2.42 * len(results) + 0.35
    figure = Figure(figsize=(10, height))
    figure.subplots_adjust(left=0.045, right=0.995, top=1 - 0.3 / height, bottom=0.05 / height,
                           hspace=0.04, wspace=0.03)  # fmt: skip
    grid = figure.subplots(len(results), 4, squeeze=False)
    two = len(classes) == 2
    for axes, result in zip(grid, results, strict=True):
        image = np.clip(result.image * np.asarray(denorm[1]) + np.asarray(denorm[0]), 0, 1)
        grey = image.mean(axis=2)
        shown = image if image.shape[2] == 3 else grey
        found = result.probability if two else in_colour(result.prediction, palette)
        panels = (shown, in_colour(result.label, palette), found, error_overlay(grey, result, two))
        for panel, picture in zip(axes, panels, strict=True):
            panel.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
        axes[0].set_ylabel(f"{result.name[-30:]}\nDice {result.dice:.3f}", fontsize=9)
    titles = ["input", "label", "predicted", "red: wrong"]
    if two:
        titles[2:] = [f"probability of {classes[1]}", f"red: missed {classes[1]}, blue: false"]
    for panel, title in zip(grid[0], titles, strict=True):
        panel.set_title(title, fontsize=9)
    save(figure, path)


def draw_sheet(
    path: Path, samples: Sequence[Sample], names: Sequence[str], palette: Sequence[Colour],
    denorm: tuple[Any, Any], titles: Sequence[str],
) -> None:  # fmt: skip
    """A column for each sample: the image, and below it the image with its label over it."""
    figure = Figure(figsize=(2.1 * len(samples) + 0.3, 4.7))
    figure.subplots_adjust(left=0.03, right=0.995, top=0.94, bottom=0.01, hspace=0.03, wspace=0.03)
    grid = figure.subplots(2, len(samples), squeeze=False)
    for number, (sample, name) in enumerate(zip(samples, names, strict=False)):
        image = displayed(sample["input"], denorm)
        for axes, picture in zip(grid[:, number], (image, with_label(image, sample, palette)), strict=True):
            axes.imshow(picture, vmin=0, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        grid[0, number].set_title(name[-22:], fontsize=8)
    for axes, title in zip(grid[:, 0], titles, strict=True):
        axes.set_ylabel(title, fontsize=9)
    save(figure, path)


def draw_augmented(
    path: Path, samples: Sequence[Sequence[Sample]], names: Sequence[str], palette: Sequence[Colour],
    denorm: tuple[Any, Any],
) -> None:  # fmt: skip
    """A column for each sample, a row for each epoch: what the network would be shown, label over it."""
    rows = len(samples[0])
    figure = Figure(figsize=(2.1 * len(samples) + 0.3, 2.1 * rows + 0.3))
    figure.subplots_adjust(left=0.03, right=0.995, top=0.96, bottom=0.01, hspace=0.03, wspace=0.03)
    grid = figure.subplots(rows, len(samples), squeeze=False)
    for column, (of_sample, name) in enumerate(zip(samples, names, strict=False)):
        for axes, sample in zip(grid[:, column], of_sample, strict=True):
            picture = with_label(displayed(sample["input"], denorm), sample, palette)
            axes.imshow(picture, vmin=0, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        grid[0, column].set_title(name[-22:], fontsize=8)
    for row, axes in enumerate(grid[:, 0]):
        axes.set_ylabel(f"epoch {row + 1}", fontsize=9)
    save(figure, path)


def displayed(image: np.ndarray, denorm: tuple[Any, Any]) -> np.ndarray:
    """H x W x 3 in [0, 1]; what is outside that range is stretched into it."""
    picture = np.asarray(image, np.float64) * np.asarray(denorm[1]) + np.asarray(denorm[0])
    if picture.min() < -0.01 or picture.max() > 1.01 or picture.max() < 0.3:
        picture = (picture - picture.min()) / max(float(np.ptp(picture)), 1e-9)
    return np.asarray(np.clip(picture if picture.shape[2] == 3 else picture[..., :1].repeat(3, 2), 0, 1))


def with_label(image: np.ndarray, sample: Sample, palette: Sequence[Colour]) -> np.ndarray:
    """The image with every class but 0 in its colour; of two classes the second in red."""
    label = sample["label"][..., 0]
    colours = palette if len(palette) > 2 else [(0, 0, 0), (214, 39, 40)]
    return np.asarray(
        np.where((label != 0)[..., None], 0.55 * image + 0.45 * in_colour(label, colours), image)
    )


def in_colour(indices: np.ndarray, palette: Sequence[Colour]) -> np.ndarray:
    """H x W class indices as H x W x 3 in [0, 1]; ignored pixels are grey."""
    table = np.full((256, 3), 0.5)
    table[: len(palette)] = np.array(palette) / 255
    return np.asarray(table[indices.astype(np.uint8)])


def error_overlay(grey: np.ndarray, result: SampleResult, two: bool) -> np.ndarray:
    """H x W x 3: the image, faded, with wrong pixels in colour."""
    overlay = np.repeat(0.35 + 0.55 * grey[..., None], 3, axis=2)
    wrong = (result.prediction != result.label) & (result.label != IGNORE)
    overlay[wrong] = (0.84, 0.15, 0.16)
    if two:
        overlay[wrong & (result.prediction == 1)] = (0.12, 0.37, 0.78)
    return overlay


def save(figure: Figure, path: Path) -> None:
    runs.make_directory(path.parent)
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names in a script that the font has not
        figure.savefig(path, dpi=110, pil_kwargs={"compress_level": 3})
