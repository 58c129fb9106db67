"""Pictures of a finished run: curves.png from metrics.csv, samples.png from predictions.

matplotlib is imported here only, and this module only when a run ends, because it costs half a second.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from unet_exp import runs
from unet_exp.inference.predictor import SampleResult, extreme_samples
from unet_exp.schema import Config
from unet_exp.training import checkpoint
from unet_exp.training.loop import Parts

COLORS = {"train": "#1f77b4", "val": "#d95f02"}


def draw_run(
    run_dir: Path, config: Config, parts: Parts, best_epoch: int, denorm: tuple[float, float]
) -> None:
    """plots/curves.png, and plots/samples.png with the best weights."""
    draw_curves(run_dir, config.trainer.monitor, best_epoch)
    best = run_dir / runs.CHECKPOINTS / checkpoint.BEST
    if not best.exists():  # no validation gave a number
        return
    checkpoint.load_weights(parts.evaluated, checkpoint.weights_of(checkpoint.load(best)), best)
    results = extreme_samples(parts.evaluated, parts.val.dataset, parts.classes, parts.precision, each=2)
    draw_samples(run_dir, results, parts.classes, denorm)


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
    run_dir: Path, results: Sequence[SampleResult], classes: list[str], denorm: tuple[float, float]
) -> None:
    """plots/samples.png: input, label, probability of class 1 and errors, worst sample first."""
    height = 2.42 * len(results) + 0.35
    figure = Figure(figsize=(10, height))
    figure.subplots_adjust(left=0.045, right=0.995, top=1 - 0.3 / height, bottom=0.05 / height,
                           hspace=0.04, wspace=0.03)  # fmt: skip
    grid = figure.subplots(len(results), 4, squeeze=False)
    for axes, result in zip(grid, results, strict=True):
        image = np.clip(result.image * denorm[1] + denorm[0], 0, 1)
        grey = image.mean(axis=2)
        shown = image if image.shape[2] == 3 else grey
        truth, found = result.label > 0.5, result.probability > 0.5
        for panel, picture in zip(
            axes, (shown, truth, result.probability, error_overlay(grey, truth, found)), strict=True
        ):
            panel.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
        axes[0].set_ylabel(f"{result.name}\nDice {result.dice:.3f}", fontsize=9)
    titles = ("input", f"label (white: {classes[1]})", f"probability of {classes[1]}",
              f"red: missed {classes[1]}, blue: false")  # fmt: skip
    for panel, title in zip(grid[0], titles, strict=True):
        panel.set_title(title, fontsize=9)
    save(figure, run_dir / runs.PLOTS / "samples.png")


def error_overlay(grey: np.ndarray, truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """H x W x 3: the image, faded, with wrong pixels in colour."""
    overlay = np.repeat(0.35 + 0.55 * grey[..., None], 3, axis=2)
    overlay[truth & ~found] = (0.84, 0.15, 0.16)
    overlay[~truth & found] = (0.12, 0.37, 0.78)
    return overlay


def save(figure: Figure, path: Path) -> None:
    runs.make_directory(path.parent)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)
