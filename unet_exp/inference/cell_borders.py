"""Which borders part two cells of a membrane map: learnt at the end of a run, from its validation samples."""

import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter1d
from tqdm import tqdm

from unet_exp.config.schema import IGNORE
from unet_exp.inference.best import best_parts, networks
from unet_exp.inference.scores import SplitScores, score
from unet_exp.metrics.em import rand_and_info, true_segments
from unet_exp.objects.cells import find_cells
from unet_exp.objects.joining import Borders, Joining, borders_of, fit_joining
from unet_exp.rundir import atomic, layout
from unet_exp.training.image_scores import add_columns
from unet_exp.training.parts import Parts

log = logging.getLogger("unet_exp")
SHIFTS = tuple(0.5 * number for number in range(-2, 7))  # of the log-odds that two fragments are one cell
NO_CELL = (math.nan, math.nan)


def learn_borders(run_dir: Path, parts: Parts) -> dict[str, float]:
    """Writes objects.json: the regression of all validation samples, by best.pt, plain and with symmetries.

    The V-Rand and V-Info of each sample by a regression of the others are returned, as means; the network has
    learnt from none of them. The shift of the log-odds is chosen on all of them, as a threshold is.
    """
    best = best_parts(run_dir, parts)
    if best is None:
        return {}
    parts, sha256 = best
    stored: dict[str, Any] = {"metric": "v_rand", "weights_sha256": sha256}
    scores: dict[str, float] = {}
    columns: dict[str, list[float]] = {}
    for name, ending, network in networks(parts):
        scored = score(parts, network, "val", keep_maps=True)
        truths = true_cells(scored)
        borders = [borders_of(interior) for interior in scored.maps]
        joining = fit_joining(borders, truths)
        if joining is None:
            log.warning("no borders are learnt: the validation samples have none of both kinds")
            return {}
        shift, of_samples = best_shift(borders, truths, f"cells, {name}")
        reached = mean_of(of_samples)
        joining = shifted(joining, shift)
        stored[name] = dataclasses.asdict(joining) | reached
        columns |= {
            f"cells_{key}{ending}": [pair[place] for pair in of_samples]
            for place, key in enumerate(("v_rand", "v_info"))
        }
        scores |= {f"cells_{key}{ending}": value for key, value in reached.items()}
    add_columns(run_dir, columns)
    atomic.write_json(run_dir / layout.OBJECTS, stored)
    shown = [
        f"V-Rand {stored[name]['v_rand']:.4f}, V-Info {stored[name]['v_info']:.4f}"
        for name in stored
        if name in ("plain", "tta")
    ]
    log.info("cells of each validation sample by borders learnt of the others: %s; with tta %s", *shown)
    return scores


def best_shift(
    borders: Sequence[Borders], truths: Sequence[np.ndarray], words: str
) -> tuple[float, list[tuple[float, float]]]:
    """The one of SHIFTS with the best V-Rand, and with it v_rand and v_info of each map by a regression that
    has not seen it: nan of a map without a cell, and of all, with the shift 0, where there are not two.

    A single large cell that is cut or joined moves V-Rand much, so the mean of each shift and its neighbours
    decides.
    """
    rows: dict[int, list[tuple[float, float]]] = {}
    for index in tqdm(range(len(borders)), words, leave=False, disable=None, ncols=79):
        others = [i for i in range(len(borders)) if i != index]
        joining = fit_joining([borders[i] for i in others], [truths[i] for i in others]) if others else None
        if joining is not None and truths[index].any():
            cells = (borders[index].cells(shifted(joining, shift)) for shift in SHIFTS)
            rows[index] = [rand_and_info(truths[index], numbers) for numbers in cells]
    if not rows:
        return 0.0, [NO_CELL] * len(borders)
    means = np.mean(list(rows.values()), axis=0)
    best = int(uniform_filter1d(means[:, 0], 3, mode="nearest").argmax())
    return SHIFTS[best], [rows[index][best] if index in rows else NO_CELL for index in range(len(borders))]


def shifted(joining: Joining, shift: float) -> Joining:
    """With this added to all log-odds of "same cell"."""
    return dataclasses.replace(joining, bias=joining.bias + shift)


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
    """The means over the slices that have a cell."""
    scored = [pair for pair in rows if pair[0] == pair[0]]
    v_rand, v_info = np.mean(scored, axis=0).tolist() if scored else NO_CELL
    return {"v_rand": v_rand, "v_info": v_info}


def true_cells(scored: SplitScores) -> list[np.ndarray]:
    """int32 H x W each: the 4-connected components of class 1; 0 on membranes and where nothing counts."""
    return [np.where(label == IGNORE, 0, true_segments(label == 1)) for label in scored.labels]
