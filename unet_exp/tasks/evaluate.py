"""task=evaluate: a run's weights on a split: scores over the set, per image, and of the EM challenge."""

import csv
import dataclasses
import io
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unet_exp import build, prepare, report, runs
from unet_exp.data.datasets import Samples, load_samples
from unet_exp.data.label_map import label_map, palette
from unet_exp.errors import DataError
from unet_exp.inference.samples import averaged, predict_sample
from unet_exp.losses import class_probabilities
from unet_exp.metrics import em
from unet_exp.metrics.confusion import (
    NAMES,
    class_scores,
    confusion_per_image,
    image_means,
    predict_classes,
    shown,
)
from unet_exp.schema import IGNORE, Config
from unet_exp.tasks.load import run_config, stored_thresholds
from unet_exp.training import checkpoint
from unet_exp.training.loop import Parts, counts, forward
from unet_exp.training.state import State, Sums
from unet_exp.verbs import EvaluateConfig

log = logging.getLogger("unet_exp")
MEMBRANES = ("membrane", "membranes", "boundary", "border")
Network = Callable[[Tensor], Tensor]


@dataclasses.dataclass
class Found:
    """Of one split: running sums, each image's confusion matrix, and what the EM scores need."""

    sums: Sums
    matrices: list[Tensor]
    maps: list[np.ndarray]  # probability of class 1, H x W float32
    labels: list[np.ndarray]  # uint8 H x W


def evaluate(options: EvaluateConfig) -> None:
    """Prints a table and writes evaluation.json, classes.csv, images.csv, em.csv and worst.png.

    Raises CheckpointError, DataError.
    """
    run_dir = Path(options.run).expanduser()
    config = run_config(run_dir, options.device)
    if options.data.root is not None:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=options.data.root))
    free = dataclasses.replace(config.trainer, limit_val_batches=None, overfit_samples=None)
    config = dataclasses.replace(config, trainer=free, num_workers=0)
    prepare.set_up(config)
    contents = checkpoint.load(run_dir / runs.CHECKPOINTS / f"{options.weights}.pt")
    samples = samples_of(config, options.split)
    parts, network = parts_with(config, samples, contents, options.tta)
    wants_em = wants_em_scores(options, config)
    found = score(parts, network, options.split, wants_em)
    name = options.split + "_tta" * options.tta
    folder = Path(options.output).expanduser() if options.output else run_dir / "evaluation" / name
    runs.make_directory(folder)

    classes = config.data.classes
    state = State.from_dict(contents["state"])
    result: dict[str, Any] = {
        "run": str(run_dir), "split": options.split, "weights": options.weights, "epoch": state.epoch,
        "weights_sha256": checkpoint.weights_sha256(contents), "tta": options.tta,
        "images": len(samples.items), **found.sums.metrics(classes),
        **image_means(torch.stack(found.matrices), classes),
    }  # fmt: skip
    del result["images_per_second"]
    if wants_em:
        table = em_table(found)
        threshold, source = choose_threshold(options, config, contents, run_dir, table)
        result["em"] = em.row_at(table, threshold) | {"threshold_from": source}
        write_rows(folder / "em.csv", table)
    runs.write_text(folder / "evaluation.json", json.dumps(plain(result), indent=2) + "\n")
    write_rows(folder / "classes.csv", class_rows(found, classes))
    rows = image_rows(found, samples, classes)
    write_rows(folder / "images.csv", rows)
    print(as_table(result, found, classes))
    worst = sorted(range(len(rows)), key=lambda i: (rows[i]["dice"], rows[i]["name"]))[: options.worst]
    if worst:
        results = [predict_sample(network, parts.val.dataset, i, classes, parts.precision) for i in worst]
        denorm, colours = build.denormalization(config), palette(label_map(config.data))
        report.draw_samples(folder / "worst.png", results, classes, denorm, colours)
    log.info("written: %s", folder)


def wants_em_scores(options: EvaluateConfig, config: Config) -> bool:
    classes = config.data.classes
    if options.em is True and len(classes) != 2:
        raise DataError("em=true needs two classes: membrane and cell", do="em=false")
    automatic = len(classes) == 2 and classes[0].lower() in MEMBRANES
    return automatic if options.em == "auto" else bool(options.em)


def samples_of(config: Config, split: str) -> Samples:
    """The samples of a split, read and checked as training does."""
    splits = prepare.find_items(config)
    items = [item for part in splits.values() for item in part] if split == "all" else splits[split]
    data = config.data
    return load_samples(items, split, data.cache, data.cache_limit_mb, label_map(data), data.window)


def parts_with(
    config: Config, samples: Samples, contents: dict[str, Any], tta: bool
) -> tuple[Parts, Network]:
    """The parts that training had, the samples in the place of its validation, and the network to ask."""
    parts = build.build_parts(config, {"train": samples, "val": samples})
    parts.evaluated.eval()
    checkpoint.load_weights(parts.evaluated, checkpoint.weights_of(contents), Path("the checkpoint"))
    return parts, averaged(parts.evaluated, parts.logits_per_pixel) if tta else parts.evaluated


def score(parts: Parts, network: Network, split: str, keep_maps: bool) -> Found:
    """One pass in the batches and the precision of the run's own validation."""
    found = Found(Sums(len(parts.classes)), [], [], [])
    for metric in parts.metrics.values():
        metric.reset()
    batches = tqdm(
        parts.val.epoch(0), f"scoring {split}", len(parts.val), leave=False, disable=None, ncols=79
    )
    with torch.inference_mode():
        for batch in batches:
            image, label, logits, loss = forward(network, parts, batch)
            found.sums.add(loss.item(), len(image), counts(logits, label, parts))
            prediction = predict_classes(logits)
            for metric in parts.metrics.values():
                metric.update(prediction.squeeze(1), label.squeeze(1).long())
            found.matrices += list(confusion_per_image(prediction, label, len(parts.classes)).cpu())
            if keep_maps:
                found.maps += list(class_probabilities(logits)[:, 1].cpu().numpy())
                found.labels += list(label.squeeze(1).to(torch.uint8).cpu().numpy())
    found.sums.others = {name: float(metric.compute()) for name, metric in parts.metrics.items()}
    return found


def em_table(found: Found) -> list[dict[str, float]]:
    ignored = [label == IGNORE for label in found.labels]
    return em.em_table(found.maps, [label == 1 for label in found.labels], ignore=ignored)


def choose_threshold(
    options: EvaluateConfig,
    config: Config,
    contents: dict[str, Any],
    run_dir: Path,
    table: list[dict[str, float]],
) -> tuple[float, str]:
    """The threshold that is best on the validation split, whatever split is scored, and where it is from."""
    if options.split == "val":
        return em.best_threshold(table), "val"
    own = stored_thresholds(run_dir, checkpoint.weights_sha256(contents), "v_rand")
    if own is not None:
        return own[options.tta], runs.THRESHOLD
    stored = run_dir / "evaluation" / ("val" + "_tta" * options.tta) / "evaluation.json"
    if stored.exists():
        there = runs.read_json(stored)
        if there.get("weights_sha256") == checkpoint.weights_sha256(contents) and "em" in there:
            return float(there["em"]["threshold"]), str(stored)
    own_config = run_config(run_dir, options.device)
    own_config = dataclasses.replace(own_config, trainer=config.trainer, num_workers=0)
    parts, network = parts_with(own_config, samples_of(own_config, "val"), contents, options.tta)
    return em.best_threshold(em_table(score(parts, network, "val", keep_maps=True))), "val"


def class_rows(found: Found, classes: list[str]) -> list[dict[str, Any]]:
    matrix = found.sums.confusion
    values = class_scores(matrix)
    return [
        {"class": name, **{key: float(values[key][i]) for key in NAMES}, "label_pixels": int(matrix[i].sum()),
         "predicted_pixels": int(matrix[:, i].sum())}
        for i, name in enumerate(classes)
    ]  # fmt: skip


def image_rows(found: Found, samples: Samples, classes: list[str]) -> list[dict[str, Any]]:
    """Each image's Dice and IoU: the mean over the classes that occur in it, and of each class."""
    values = class_scores(torch.stack(found.matrices))
    rows = []
    for i, item in enumerate(samples.items):
        row: dict[str, Any] = {"name": item.name}
        row |= {key: float(torch.nanmean(values[key][i])) for key in ("dice", "iou")}
        row |= {
            f"{key}_{name}": float(values[key][i][j])
            for key in ("dice", "iou")
            for j, name in enumerate(classes)
        }
        rows.append(row)
    return rows


def as_table(result: dict[str, Any], found: Found, classes: list[str]) -> str:
    """What the terminal shows."""
    width = max(8, *(len(name) for name in classes), len("mean"))
    tta = ", mean over 8 symmetries" if result["tta"] else ""
    weights = f"{result['weights']}.pt of epoch {result['epoch']}{tta}"
    lines = [
        f"{result['split']}: {result['images']} images, {weights}",
        f"{'class':<{width}} {'dice':>8} {'iou':>8} {'precision':>10} {'recall':>8} {'pixels':>12}",
    ]
    for row in [*class_rows(found, classes), {"class": "mean"} | {name: result[name] for name in NAMES}]:
        cells = [shown(row[name]) for name in NAMES]
        pixels = f"{row['label_pixels']:,}" if "label_pixels" in row else ""
        lines.append(
            f"{row['class']:<{width}} {cells[0]:>8} {cells[1]:>8} {cells[2]:>10} {cells[3]:>8} {pixels:>12}"
        )
    lines.append(f"loss {result['loss']:.4f}; mean over images: dice {shown(result['image_dice'])}, "
                 f"iou {shown(result['image_iou'])}")  # fmt: skip
    lines += [f"{name} {shown(value)}" for name, value in found.sums.others.items()]
    if "em" in result:
        row = result["em"]
        lines += [
            f"V-Rand {row['v_rand']:.4f}, V-Info {row['v_info']:.4f}, pixel error {row['pixel_error']:.4f}",
            f"at threshold {row['threshold']:.2f}, the best of {row['threshold_from']}",
        ]
    return "\n".join(lines)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    runs.write_text(path, text.getvalue())


def plain(value: Any) -> Any:
    """With null in place of nan, which JSON has not."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
