"""The runs of a cross-validation as one predictor: their mean, by parameters chosen out of fold.

Each validation image is predicted by the network that has not seen it, so the maps of all folds together are
those of unseen images; the threshold, the rule of objects or the borders of cells are chosen on them.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unet_exp.config.paths import expanded
from unet_exp.config.schema import Config
from unet_exp.errors import CheckpointError
from unet_exp.inference.best import networks
from unet_exp.inference.cell_borders import best_shift, mean_of, shifted, true_cells
from unet_exp.inference.fastest import computed_by
from unet_exp.inference.load import HALF, load_ensemble, run_config, run_dirs
from unet_exp.inference.object_rule import maps_of, rule_for
from unet_exp.inference.of_split import parts_with, samples_of
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.quantized import quantize
from unet_exp.inference.scores import SplitScores, score
from unet_exp.inference.threshold import best_row, dice_table, em_table
from unet_exp.objects.joining import borders_of, fit_joining
from unet_exp.objects.rules import read_rule
from unet_exp.objects.scores import mean_scores
from unet_exp.rundir import atomic, layout
from unet_exp.training import checkpoint, setup
from unet_exp.training.parts import Parts

log = logging.getLogger("unet_exp")
WAYS = ("plain", "tta")


def settle_folds(runs: Sequence[Path]) -> dict[str, Any]:
    """What folds.json holds of these runs: threshold and objects, each None where their config asks for none.

    Reads the data and predicts each validation split. Raises DataError where the data is not there.
    """
    configs = [settled(run_config(path)) for path in runs]
    first = configs[0]
    by_objects = first.data.labels_are != "classes"
    metric = first.trainer.choose_threshold
    if metric is None and not by_objects and not first.trainer.learn_borders:
        return {"threshold": None, "objects": None}
    setup.prepare_torch(first)
    every = [parts_of(path, config) for path, config in zip(runs, configs, strict=True)]
    threshold: dict[str, Any] = {"metric": metric}
    objects: dict[str, Any] = {}
    for way in WAYS:
        asked = [{name: network for name, _, network in networks(parts)}[way] for parts in every]
        if by_objects:
            maps = [one for p, n in zip(every, asked, strict=True) for one in maps_of(p, n, way)]
            fixed = every[0].objects
            assert fixed is not None
            rule, counts = rule_for(maps, fixed, f"{way}, out of fold")
            reached = mean_scores(counts)
            objects[way] = dataclasses.asdict(rule) | {"ap": reached["ap"], "f1": reached["f1"]}
        elif metric is not None or first.trainer.learn_borders:
            scored = together([score(p, n, "val", True) for p, n in zip(every, asked, strict=True)])
            if metric is not None:
                table = em_table(scored) if metric == "v_rand" else dice_table(scored, first.data.classes)
                threshold[way] = best_row(table, metric)
            if first.trainer.learn_borders:
                objects[way] = borders_out_of_fold(scored)
    return {
        "threshold": threshold if "plain" in threshold else None,
        "objects": objects if objects and all(objects.values()) else None,
    }


def settled(config: Config) -> Config:
    """As task=evaluate scores: whole splits, no workers."""
    trainer = dataclasses.replace(config.trainer, limit_val_batches=None, overfit_samples=None)
    return dataclasses.replace(config, trainer=trainer, num_workers=0)


def parts_of(run_dir: Path, config: Config) -> Parts:
    """A run's parts with the weights of best.pt, its validation samples read."""
    contents = checkpoint.load(run_dir / layout.CHECKPOINTS / checkpoint.BEST)
    return parts_with(config, samples_of(config, "val"), contents, tta=False)[0]


def together(scores: Sequence[SplitScores]) -> SplitScores:
    """The maps and labels of several splits as those of one."""
    maps = [one for of_fold in scores for one in of_fold.maps]
    labels = [one for of_fold in scores for one in of_fold.labels]
    return dataclasses.replace(scores[0], maps=maps, labels=labels)


def borders_out_of_fold(scored: SplitScores) -> dict[str, Any]:
    """The borders of cells learnt from all maps, {} where they can't be; see inference.cell_borders."""
    truths = true_cells(scored)
    borders = [borders_of(interior) for interior in scored.maps]
    joining = fit_joining(borders, truths)
    if joining is None:
        return {}
    shift, of_samples = best_shift(borders, truths, "cells, out of fold")
    return dataclasses.asdict(shifted(joining, shift)) | mean_of(of_samples)


def load_folds(
    sweep_dir: Path, device: str = "auto", weights: str = "best", precision: str = "auto"
) -> Predictor:
    """The folds of a sweep as one predictor. Raises CheckpointError where the sweep has not ended by
    folds.json, or where a run was trained again since."""
    stored = atomic.read_json(sweep_dir / layout.FOLDS)
    runs = [sweep_dir / name for name in stored["runs"]]
    if weights != "best":
        raise CheckpointError(f"weights={weights} goes with one run, not with the folds of a sweep")
    for path, epoch in zip(runs, stored["best_epochs"], strict=True):
        if layout.read_status(path).get("best_epoch") != epoch:
            raise CheckpointError(
                f"{path} was trained again since {layout.FOLDS} was written",
                do=f"python run.py task=summary sweep_dir={sweep_dir}",
            )
    predictor = load_ensemble(runs, device, weights, precision)
    threshold = stored["threshold"]
    objects = stored["objects"]
    return predictor.with_options(
        thresholds=(threshold["plain"]["threshold"], threshold["tta"]["threshold"]) if threshold else HALF,
        object_rules=(read_rule(objects["plain"]), read_rule(objects["tta"])) if objects else None,
    )


def load_any(run: str, device: str, weights: str, precision: str = "auto") -> Predictor:
    """The predictor of what run= names: a run, several (their mean), or a sweep over folds; in torch."""
    path = expanded(run)
    if (path / layout.FOLDS).exists():
        return load_folds(path, device, weights, precision)
    return load_ensemble(run_dirs(run), device, weights, precision)


def load_as(
    run: str, device: str, weights: str, backend: str, precision: str
) -> tuple[Predictor, dict[str, Any]]:
    """The predictor that computes in this backend and number format, and which they are; of int8 also what it
    changes in the Dice of the validation images. Raises ConfigError where they can't be."""
    predictor, chosen = computed_by(backend, load_any(run, device, weights, precision), precision)
    if chosen["precision"] != "int8" or predictor.engines is None:
        return predictor, chosen
    return predictor, chosen | {"int8": quantize(predictor.engines, run_dirs(run), weights, predictor.cut)}
