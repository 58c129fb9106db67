"""Which borders part two cells of a membrane map: learnt at the end of a run, from its validation samples."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from unet_exp.config.schema import IGNORE
from unet_exp.inference.best import best_parts, networks
from unet_exp.inference.scores import SplitScores, score
from unet_exp.metrics.em import rand_and_info, true_segments
from unet_exp.objects.cells import find_cells
from unet_exp.objects.joining import Joining, fit_joining
from unet_exp.rundir import atomic, layout
from unet_exp.training.parts import Parts

log = logging.getLogger("unet_exp")


def learn_borders(run_dir: Path, parts: Parts) -> dict[str, float]:
    """Writes objects.json: the regression of all validation samples, by best.pt, plain and with symmetries.

    The V-Rand and V-Info of each sample by a regression of the others are returned, as means; the network has
    learnt from none of them.
    """
    best = best_parts(run_dir, parts)
    if best is None:
        return {}
    parts, sha256 = best
    stored: dict[str, Any] = {"metric": "v_rand", "weights_sha256": sha256}
    scores: dict[str, float] = {}
    for name, ending, network in networks(parts):
        scored = score(parts, network, "val", keep_maps=True)
        truths = true_cells(scored)
        joining = fit_joining(scored.maps, truths)
        if joining is None:
            log.warning("no borders are learnt: the validation samples have none of both kinds")
            return {}
        reached = cross_fitted(scored.maps, truths, f"cells, {name}")
        stored[name] = dataclasses.asdict(joining) | reached
        scores |= {f"cells_{key}{ending}": value for key, value in reached.items()}
    atomic.write_json(run_dir / layout.OBJECTS, stored)
    shown = [
        f"V-Rand {stored[name]['v_rand']:.4f}, V-Info {stored[name]['v_info']:.4f}"
        for name in stored
        if name in ("plain", "tta")
    ]
    log.info("cells of each validation sample by borders learnt of the others: %s; with tta %s", *shown)
    return scores


def cross_fitted(maps: Sequence[np.ndarray], truths: Sequence[np.ndarray], words: str) -> dict[str, float]:
    """Mean v_rand and v_info of the maps, each by a regression that has not seen it; nan of a single one."""
    rows = []
    for index in tqdm(range(len(maps)), words, leave=False, disable=None, ncols=79):
        others = [i for i in range(len(maps)) if i != index]
        joining = fit_joining([maps[i] for i in others], [truths[i] for i in others]) if others else None
        if joining is not None and truths[index].any():
            rows.append(rand_and_info(truths[index], find_cells(maps[index], joining)[0]))
    return mean_of(rows)


def score_cells(scored: SplitScores, joining: Joining) -> dict[str, float]:
    """v_rand and v_info of the cells of a split, as means over its slices, and how many there are."""
    rows = []
    count = 0
    for interior, truth in zip(scored.maps, true_cells(scored), strict=True):
        cells = find_cells(interior, joining)[0]
        count += int(cells.max())
        if truth.any():
            rows.append(rand_and_info(truth, cells))
    return mean_of(rows) | {"cells": float(count)}


def mean_of(rows: Sequence[tuple[float, float]]) -> dict[str, float]:
    v_rand, v_info = np.mean(rows, axis=0).tolist() if rows else (float("nan"), float("nan"))
    return {"v_rand": v_rand, "v_info": v_info}


def true_cells(scored: SplitScores) -> list[np.ndarray]:
    """int32 H x W each: the 4-connected components of class 1; 0 on membranes and where nothing counts."""
    return [np.where(label == IGNORE, 0, true_segments(label == 1)) for label in scored.labels]
