"""The threshold of two classes that is best on the validation samples, chosen when a run is trained."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unet_exp.config.schema import IGNORE, Config
from unet_exp.inference.best import best_parts, networks
from unet_exp.inference.scores import SplitScores, em_values, score
from unet_exp.metrics import em
from unet_exp.metrics.confusion import class_scores
from unet_exp.rundir import atomic, layout
from unet_exp.training.image_scores import add_columns
from unet_exp.training.parts import Parts

log = logging.getLogger("unet_exp")


def choose_threshold(run_dir: Path, config: Config, parts: Parts) -> dict[str, float]:
    """Writes threshold.json as trainer.choose_threshold asks, by best.pt, plain and as mean over symmetries.

    The scores at these thresholds, those of the mean ending in _tta, are returned for status.json.
    """
    metric = str(config.trainer.choose_threshold)
    best = best_parts(run_dir, parts)
    if best is None:
        return {}
    parts, sha256 = best
    stored: dict[str, Any] = {"metric": metric, "weights_sha256": sha256}
    scores: dict[str, float] = {}
    columns: dict[str, list[float]] = {}
    for name, ending, network in networks(parts):
        scored = score(parts, network, "val", keep_maps=True)
        if metric == "v_rand":
            values = em_values(scored)
            row = best_row(em.table_of(values), metric)
            columns |= em.of_slices(values, row["threshold"], ending)
        else:
            row = best_row(dice_table(scored, parts.class_names), metric)
            columns |= dice_of_images(scored, parts.class_names, row["threshold"], ending)
            row = {name: row[name] for name in dict.fromkeys(("threshold", "dice", metric))}
        if math.isnan(row[metric]):
            log.warning(
                "no threshold is chosen: %s of the validation samples is nan (are they all "
                "of one class?); 0.5 stays",
                metric,
            )
            return {}
        stored[name] = row
        scores |= {f"{key}{ending}": value for key, value in row.items() if key != "slices"}
    add_columns(run_dir, columns)
    atomic.write_json(run_dir / layout.THRESHOLD, stored)
    shown = [f"{stored[name][metric]:.4f} at {stored[name]['threshold']:.2f}" for name in ("plain", "tta")]
    log.info("%s on the validation samples: %s; with tta %s", metric, *shown)
    return scores


def em_table(scored: SplitScores) -> list[em.Row]:
    """A row for each threshold, of the maps of a split."""
    return em.table_of(em_values(scored))


def best_row(table: list[em.Row], metric: str) -> em.Row:
    return em.row_at(table, em.best_threshold(table, metric))


def dice_of_images(
    scored: SplitScores, classes: Sequence[str], threshold: float, ending: str
) -> dict[str, list[float]]:
    """predict_dice of each image, as task=evaluate names it, and of each class."""
    pairs = zip(scored.maps, scored.labels, strict=True)
    matrices = torch.stack([matrix_at(threshold, probability, label) for probability, label in pairs])
    dice = class_scores(matrices)["dice"]
    means = {f"predict_dice{ending}": torch.nanmean(dice, 1).tolist()}
    return means | {f"predict_dice_{label}{ending}": dice[:, i].tolist() for i, label in enumerate(classes)}


def matrix_at(threshold: float, probability: np.ndarray, label: np.ndarray) -> torch.Tensor:
    """The confusion, int64 2 x 2, of one image at a threshold."""
    counted = label != IGNORE
    pairs = 2 * (label[counted] == 1) + (probability > threshold)[counted]
    return torch.from_numpy(np.bincount(pairs, minlength=4).reshape(2, 2))


def dice_table(
    scored: SplitScores, classes: Sequence[str], thresholds: Sequence[float] = em.THRESHOLDS
) -> list[em.Row]:
    """A row for each threshold: threshold, dice (the mean over the classes, each over the whole set) and
    dice_<class>."""
    rows = []
    for threshold in thresholds:
        matrix = torch.zeros(2, 2, dtype=torch.int64)
        for probability, label in zip(scored.maps, scored.labels, strict=True):
            matrix += matrix_at(threshold, probability, label)
        dice = class_scores(matrix)["dice"]
        row = {"threshold": float(threshold), "dice": float(torch.nanmean(dice))}
        rows.append(row | {f"dice_{name}": float(dice[index]) for index, name in enumerate(classes)})
    return rows
