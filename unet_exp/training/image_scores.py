"""The scores of each validation image: images.csv of the best validation, validations.csv of every one.

With them two runs are compared later (docs/compare.md) without their networks and without the data.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unet_exp.metrics.confusion import class_scores
from unet_exp.objects.scores import ObjectCounts, object_scores
from unet_exp.rundir import layout
from unet_exp.rundir.tables import AppendedTable, read_csv, write_table

MEANS = ("dice", "iou")


def image_rows(
    names: Sequence[str],
    groups: Sequence[str],
    matrices: Tensor,
    classes: Sequence[str],
    objects: Sequence[ObjectCounts] | None = None,
) -> list[dict[str, Any]]:
    """A row for each image: name, group, dice and iou (the means over the classes that occur in it), each of
    them of every class, and the scores of its objects.

    matrices: int64 N x K x K, rows are the label. objects: the counts of each image.
    """
    values = class_scores(matrices)
    means = {key: torch.nanmean(values[key], 1).tolist() for key in MEANS}
    of_classes = {key: values[key].tolist() for key in MEANS}
    rows: list[dict[str, Any]] = []
    for index, (name, group) in enumerate(zip(names, groups, strict=True)):
        row: dict[str, Any] = {"name": name, "group": group}
        row |= {key: means[key][index] for key in MEANS}
        row |= {
            f"{key}_{label}": of_classes[key][index][place]
            for key in MEANS
            for place, label in enumerate(classes)
        }
        if objects is not None:
            row |= object_scores(objects[index])
        rows.append(row)
    return rows


class ImageLog:
    """What a run keeps of the scores of its validation images.

    monitor: the score that chooses the best epoch; validations.csv has a line for each validation with this
    score of each image, if images have it. last_epoch: of an earlier start; later lines are dropped.
    """

    def __init__(self, run_dir: Path, monitor: str, last_epoch: int) -> None:
        self.best_path = run_dir / layout.IMAGES
        self.path = run_dir / layout.VALIDATIONS
        self.monitor = monitor
        self.last_epoch = last_epoch
        self.table: AppendedTable | None = None

    def add(self, epoch: int, step: int, rows: Sequence[Mapping[str, Any]], best: bool) -> None:
        """The rows of a validation, of image_rows."""
        if best:
            rows_of_epoch = [{"epoch": epoch, **row} for row in rows]
            write_table(self.best_path, list(rows_of_epoch[0]), rows_of_epoch)
        if self.monitor not in rows[0]:
            return
        if self.table is None:
            columns = ["epoch", "step", *(str(row["name"]) for row in rows)]
            self.table = AppendedTable(self.path, columns, "epoch", self.last_epoch)
        scores = {str(row["name"]): f"{row[self.monitor]:.6f}" for row in rows}
        self.table.add({"epoch": str(epoch), "step": str(step), **scores})
        self.table.flush()

    def close(self) -> None:
        if self.table is not None:
            self.table.close()


def add_columns(run_dir: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """More scores of the images of the best validation, such as V-Rand at the threshold that was chosen.

    columns: a value for each image, in the order of the split. Nothing where there is no images.csv, as of a
    run that trained before it was kept.
    """
    path = run_dir / layout.IMAGES
    if not path.exists():
        return
    rows: list[dict[str, Any]] = list(read_csv(path))
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = repr(float(value))
    write_table(path, list(rows[0]), rows)
