"""The scores of a run's images, read back: of its best epoch, or of an evaluation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp.config.schema import LOWER_IS_BETTER
from unet_exp.errors import CheckpointError, UserError
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.tables import Row, read_csv
from unet_exp.statistics.selection import left_out_scores

NO_SCORES = ("epoch", "name", "group")
# Shown first, in this order, of those that there are.
MAIN_SCORES = (
    "dice",
    "iou",
    "v_rand",
    "v_rand_tta",
    "v_info",
    "ap",
    "f1",
    "object_ap",
    "object_f1",
    "predict_dice",
)


@dataclass(frozen=True)
class ImageTable:
    """A row for each image. source: the file. epoch: of the weights. tta: of the mean over symmetries."""

    source: Path
    rows: list[Row]
    epoch: int | None
    tta: bool = False

    @property
    def scores(self) -> list[str]:
        """The names of the scores that it has."""
        return [name for name in self.rows[0] if name not in NO_SCORES] if self.rows else []


def read_images(run_dir: Path, split: str, tta: bool = False) -> ImageTable:
    """images.csv of the best epoch for split=val, else that of task=evaluate.

    Raises CheckpointError where there is none, or where it is of other weights than best.pt.
    """
    best = layout.read_status(run_dir).get("best_epoch")
    own = run_dir / layout.IMAGES
    if split == "val" and not tta and own.exists():
        rows = read_csv(own)
        epoch = int(rows[0]["epoch"]) if rows else None
        if best is None or epoch == best:
            return ImageTable(own, rows, epoch)
    folder = run_dir / "evaluation" / (split + "_tta" * tta)
    path = folder / layout.IMAGES
    do = f"python run.py task=evaluate run={run_dir} split={split}{' tta=true' * tta}"
    if not path.exists():
        what = f"the {split} images{' with tta' * tta}"
        raise CheckpointError(f"{run_dir} has no scores of {what} yet", do=do)
    facts = atomic.read_json(folder / "evaluation.json")
    if facts.get("weights") != "best" or (best is not None and facts.get("epoch") != best):
        raise CheckpointError(
            f"{path} is of {facts.get('weights')}.pt of epoch {facts.get('epoch')}; the best epoch is {best}",
            do=do,
        )
    return ImageTable(path, read_csv(path), facts.get("epoch"), tta)


def column(table: ImageTable, score: str) -> dict[str, float]:
    """The score of each image by its name; nan where an image has none. Raises KeyError."""
    return {row["name"]: float(row[score] or "nan") for row in table.rows}


def groups_of(table: ImageTable) -> dict[str, str]:
    """The group of each image by its name; tables of before groups were kept have the image itself."""
    return {row["name"]: row.get("group") or row["name"] for row in table.rows}


def chosen_by_others(
    run_dir: Path, table: ImageTable, settings: Mapping[str, Any], score: str
) -> dict[str, float] | None:
    """The score of each image in the epoch that the other images would have chosen, see statistics.selection.

    None where the scores of all validations were not kept, as those of a mean over symmetries never are, or
    where this score did not choose the epoch.
    """
    path = run_dir / layout.VALIDATIONS
    if table.tta or score != settings.get("trainer.monitor") or not path.exists():
        return None
    rows = read_csv(path)
    names = [row["name"] for row in table.rows]
    try:
        values = np.array([[float(row[name]) for name in names] for row in rows])
        whole = len(rows) == num_validations(run_dir) and not np.isnan(values).any()
    except (KeyError, TypeError, ValueError):  # other images, or a line that was cut off
        return None
    if not whole:
        return None
    groups = groups_of(table)
    smoothing = float(settings.get("trainer.smoothing") or 0.0)
    lower = score in LOWER_IS_BETTER
    scores = left_out_scores(values, [groups[name] for name in names], smoothing, lower)
    return dict(zip(names, scores.tolist(), strict=True))


def num_validations(run_dir: Path) -> int:
    """How many validations a run has recorded."""
    path = run_dir / layout.METRICS
    return sum(row["split"] == "val" for row in read_csv(path)) if path.exists() else 0


def was_chosen(run_dir: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the best epoch is the best of several, so that its own scores are too good."""
    return settings.get("trainer.best_by") != "last" and num_validations(run_dir) > 1


def shared_scores(tables: Sequence[ImageTable]) -> list[str]:
    """The scores that all tables have, in the order of the first."""
    if not tables:
        return []
    return [name for name in tables[0].scores if all(name in table.scores for table in tables)]


def mean_of(values: Mapping[str, float]) -> float:
    """Over the images that have the score."""
    numbers = [value for value in values.values() if not math.isnan(value)]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def images_or_none(run_dir: Path, split: str = "val") -> ImageTable | None:
    """read_images, or None where there is nothing to read."""
    try:
        return read_images(run_dir, split)
    except (UserError, KeyError, ValueError):
        return None
