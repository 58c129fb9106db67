"""The tables of task=evaluate: rows of its csv files, and what the terminal shows."""

import math
from typing import Any

import torch

from unet_exp.config.schema import OBJECT_SCORES
from unet_exp.data.samples import Samples
from unet_exp.data.splits import clusters
from unet_exp.inference.object_summary import object_lines
from unet_exp.inference.samples import NUM_FORMS
from unet_exp.inference.scores import SplitScores
from unet_exp.messages import counted
from unet_exp.metrics.confusion import NAMES, class_scores, shown
from unet_exp.objects.meter import CountedObjects
from unet_exp.training.image_scores import image_rows


def class_rows(scored: SplitScores, classes: list[str]) -> list[dict[str, Any]]:
    """Each class's scores and pixels; of two classes also the scores at the threshold of predict."""
    matrix = scored.sums.confusion
    values = class_scores(matrix)
    predicted = class_scores(torch.stack(scored.predicted).sum(0))
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(classes):
        pixels = {"label_pixels": int(matrix[i].sum()), "predicted_pixels": int(matrix[:, i].sum())}
        rows.append({"class": name} | {key: float(values[key][i]) for key in NAMES} | pixels)
        if len(classes) == 2:
            rows[-1] |= {f"predict_{key}": float(predicted[key][i]) for key in NAMES}
    return rows


def rows_of_images(
    result: SplitScores,
    samples: Samples,
    classes: list[str],
    regex: str | None,
    objects: CountedObjects | None,
) -> list[dict[str, Any]]:
    """The rows of image_rows; of two classes also Dice and IoU at the threshold of predict, with predict_.

    regex: data.split.group.
    """
    names = [item.name for item in samples.items]
    groups = clusters(samples.items, regex)
    counts = None if objects is None else [objects.counts[index] for index in range(len(names))]
    rows = image_rows(names, groups, torch.stack(result.matrices), classes, counts)
    if len(classes) == 2:
        predicted = image_rows(names, groups, torch.stack(result.predicted), classes)
        for row, more in zip(rows, predicted, strict=True):
            row |= {f"predict_{key}": value for key, value in more.items() if key not in ("name", "group")}
    return rows


def as_table(result: dict[str, Any], scored: SplitScores, classes: list[str], symmetries: str) -> str:
    """What the terminal shows. Of two classes a second block has the scores at the threshold of predict,
    where that is not the 0.5 of training. symmetries: data.symmetries."""
    width = max(8, *(len(name) for name in classes), len("mean"))
    tta = f", mean over {NUM_FORMS[symmetries]} symmetries" if result["tta"] else ""
    predict = result.get("predict", {"threshold": 0.5})
    other = predict["threshold"] != 0.5
    at = f"{predict['threshold']:.2f}"
    weights = f"{result['weights']}.pt of epoch {result['epoch']}{tta}"
    lines = [f"{result['split']}: {counted(result['images'], 'image')}, {weights}"]
    if len(classes) == 2:
        used = "threshold 0.50, as in training" + " and predict" * (not other)
        lines.append((f"{'':<{width}} {used:<50}" + f"{f'{at}, as predict':>17}" * other).rstrip())
    head = f"{'class':<{width}} {'dice':>8} {'iou':>8} {'precision':>10} {'recall':>8} {'pixels':>12}"
    lines.append(head + f" {'dice':>8} {'iou':>8}" * other)
    means: dict[str, Any] = {"class": "mean"} | {name: result[name] for name in NAMES}
    means |= {f"predict_{name}": predict.get(name) for name in NAMES}
    for row in [*class_rows(scored, classes), means]:
        cells = [shown(row[name]) for name in NAMES]
        pixels = f"{row['label_pixels']:,}" if "label_pixels" in row else ""
        line = (
            f"{row['class']:<{width}} {cells[0]:>8} {cells[1]:>8} {cells[2]:>10} {cells[3]:>8} {pixels:>12}"
        )
        if other:
            line += f" {shown(row['predict_dice']):>8} {shown(row['predict_iou']):>8}"
        lines.append(line.rstrip())
    line = f"loss {result['loss']:.4f}; mean over images: dice {shown(result['image_dice'])}, "
    line += f"iou {shown(result['image_iou'])}"
    if other:
        line += f"; at {at}: {shown(predict['image_dice'])}, {shown(predict['image_iou'])}"
    lines.append(line)
    others = scored.sums.others
    lines += [f"{name} {shown(value)}" for name, value in others.items() if name not in OBJECT_SCORES]
    if "objects" in result:
        lines += object_lines(result["objects"], others)
    if "em" in result:
        row = result["em"]
        lines.append(em_line(row) + f", the best of {row['threshold_from']}")
        if row["threshold"] != predict["threshold"]:
            lines.append(em_line(predict) + ", as predict")
    if "cells" in result:
        lines.append(cell_line(result["cells"]) + " by learned borders")
    return "\n".join(lines)


def cell_line(cells: dict[str, float]) -> str:
    return f"V-Rand {cells['v_rand']:.4f}, V-Info {cells['v_info']:.4f} of {cells['cells']:.0f} cells"


def em_line(row: dict[str, Any]) -> str:
    numbers = f"V-Rand {row['v_rand']:.4f}, V-Info {row['v_info']:.4f}, pixel error {row['pixel_error']:.4f}"
    return f"{numbers} at {row['threshold']:.2f}"


def plain(value: Any) -> Any:
    """With null in place of nan, which JSON has not."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
