"""The curves of a run over its epochs, from metrics.csv."""

from pathlib import Path

from matplotlib.figure import Figure

from unet_exp.plots.style import BLUE, ORANGE, WIDTH, save
from unet_exp.rundir import layout
from unet_exp.rundir.tables import read_csv


def plot_curves(run_dir: Path, monitor: str, best_epoch: int) -> None:
    """plots/curves.png; see curves_figure."""
    figure = curves_figure(run_dir, monitor, best_epoch)
    if figure is not None:
        save(figure, run_dir / layout.PLOTS / "curves.png")


def curves_figure(run_dir: Path, monitor: str, best_epoch: int) -> Figure | None:
    """Loss, Dice, IoU and learning rate over epochs, the best epoch marked; None before the first epoch."""
    path = run_dir / layout.METRICS
    rows = read_csv(path) if path.exists() else []
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH, 6.4))
    figure.subplots_adjust(left=0.06, right=0.98, top=0.9, bottom=0.09, hspace=0.28, wspace=0.16)
    for axes, metric in zip(figure.subplots(2, 2).flat, ("loss", "dice", "iou", "lr"), strict=True):
        for split, color in (("train", BLUE), ("val", ORANGE)):
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
    return figure
