"""task=evaluate: a run's weights on a split: scores over the set, per image, and of the EM challenge."""

import dataclasses
import json
import logging
import math
from pathlib import Path
from typing import Any

import torch

from unet_exp.config.label_map import label_map, palette
from unet_exp.config.paths import expanded
from unet_exp.config.schema import Config
from unet_exp.config.task_schema import EvaluateConfig
from unet_exp.data.datasets import Samples, load_samples
from unet_exp.errors import DataError
from unet_exp.inference.load import check_root, run_config, stored_thresholds
from unet_exp.inference.object_summary import object_line, object_meter, object_rows, object_summary
from unet_exp.inference.samples import averaged, predict_sample
from unet_exp.inference.scores import Network, SplitScores, em_table, score
from unet_exp.messages import counted
from unet_exp.metrics import em
from unet_exp.metrics.confusion import NAMES, class_scores, image_means, scores, shown
from unet_exp.objects.meter import ObjectMeter
from unet_exp.objects.scores import object_scores
from unet_exp.plots import run
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.tables import write_table
from unet_exp.training import build, checkpoint, setup
from unet_exp.training.parts import Parts
from unet_exp.training.state import State

log = logging.getLogger("unet_exp")
MEMBRANES = ("membrane", "membranes", "boundary", "border")


def evaluate(options: EvaluateConfig) -> None:
    """Prints a table and writes evaluation.json, classes.csv, images.csv, em.csv and worst.png.

    Raises CheckpointError, DataError.
    """
    run_dir = expanded(options.run)
    config = run_config(run_dir, options.device)
    if options.data.root is not None:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=options.data.root))
    free = dataclasses.replace(config.trainer, limit_val_batches=None, overfit_samples=None)
    config = dataclasses.replace(config, trainer=free, num_workers=0)
    setup.prepare_torch(config)
    contents = checkpoint.load(run_dir / layout.CHECKPOINTS / f"{options.weights}.pt")
    samples = samples_of(config, options.split)
    parts, network = parts_with(config, samples, contents, options.tta)
    wants_em = wants_em_scores(options, config)
    threshold = active_threshold(run_dir, checkpoint.weights_sha256(contents), options.tta)
    objects = object_meter(config, run_dir, options.weights, options.tta)
    scored = score(parts, network, options.split, wants_em, threshold, objects)
    folder = expanded(options.output) if options.output else run_dir / "evaluation" / name_of(options)
    atomic.make_directory(folder)

    classes = config.data.classes
    result = summary_of(scored, options, contents, classes, threshold)
    if wants_em:
        table = em_table(scored)
        best, source = choose_threshold(options, config, contents, run_dir, table)
        result["em"] = em.row_at(table, best) | {"threshold_from": source}
        at_threshold = em.row_at(table, threshold)
        result["predict"] |= {key: at_threshold[key] for key in ("v_rand", "v_info", "pixel_error")}
        write_rows(folder / "em.csv", table)
    if objects is not None:
        result["objects"] = object_summary(objects)
        write_rows(folder / "objects.csv", object_rows(objects, samples))
    atomic.write_text(folder / "evaluation.json", json.dumps(plain(result), indent=2) + "\n")
    rows = image_rows(scored, samples, classes, objects)
    write_rows(folder / "classes.csv", class_rows(scored, classes))
    write_rows(folder / "images.csv", rows)
    print(as_table(result, scored, classes))
    by = "predict_dice" if len(classes) == 2 else "dice"
    worst = sorted(range(len(rows)), key=lambda i: (rows[i][by], rows[i]["name"]))[: options.worst]
    if worst:
        plot_worst(folder / "worst.png", worst, config, parts, network, threshold)
    log.info("written: %s", folder)


def name_of(options: EvaluateConfig) -> str:
    """The folder of an evaluation, such as val_tta."""
    return options.split + "_tta" * options.tta


def summary_of(
    scored: SplitScores,
    options: EvaluateConfig,
    contents: dict[str, Any],
    classes: list[str],
    threshold: float,
) -> dict[str, Any]:
    """What evaluation.json holds beside the EM scores. predict: scores at its threshold, of two classes."""
    result: dict[str, Any] = {
        "run": str(expanded(options.run)),
        "split": options.split,
        "weights": options.weights,
        "epoch": State.from_dict(contents["state"]).epoch,
        "weights_sha256": checkpoint.weights_sha256(contents),
        "tta": options.tta,
        "images": len(scored.matrices),
        **scored.sums.metrics(classes),
        **image_means(torch.stack(scored.matrices), classes),
    }
    del result["images_per_second"]
    if len(classes) == 2:
        matrices = torch.stack(scored.predicted)
        at_threshold = scores(matrices.sum(0), classes) | image_means(matrices, classes)
        result["predict"] = {"threshold": threshold, **at_threshold}
    return result


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    write_table(path, list(rows[0]), rows)


def plot_worst(
    path: Path, indices: list[int], config: Config, parts: Parts, network: Network, threshold: float
) -> None:
    classes = parts.class_names
    dataset = parts.val.dataset
    results = [predict_sample(network, dataset, i, classes, parts.precision, threshold) for i in indices]
    colours = palette(label_map(config.data))
    run.plot_samples(path, results, classes, build.denormalization(config), colours, threshold)


def active_threshold(run_dir: Path, sha256: str, tta: bool) -> float:
    """The threshold of task=predict for these weights of two classes: the run's, else 0.5."""
    stored = stored_thresholds(run_dir, sha256)
    return 0.5 if stored is None else stored[tta]


def wants_em_scores(options: EvaluateConfig, config: Config) -> bool:
    classes = config.data.classes
    if options.em is True and len(classes) != 2:
        raise DataError("em=true needs two classes: membrane and cell", do="em=false")
    automatic = len(classes) == 2 and classes[0].lower() in MEMBRANES
    return automatic if options.em == "auto" else bool(options.em)


def samples_of(config: Config, split: str) -> Samples:
    """The samples of a split, read and checked as training does."""
    check_root(config)
    splits = setup.find_items(config)
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
    thresholds = stored_thresholds(run_dir, checkpoint.weights_sha256(contents), "v_rand")
    if thresholds is not None:
        return thresholds[options.tta], layout.THRESHOLD
    stored = run_dir / "evaluation" / name_of(dataclasses.replace(options, split="val")) / "evaluation.json"
    if stored.exists():
        earlier = atomic.read_json(stored)
        if earlier.get("weights_sha256") == checkpoint.weights_sha256(contents) and "em" in earlier:
            return float(earlier["em"]["threshold"]), str(stored)
    own_config = run_config(run_dir, options.device)
    own_config = dataclasses.replace(own_config, trainer=config.trainer, num_workers=0)
    parts, network = parts_with(own_config, samples_of(own_config, "val"), contents, options.tta)
    return em.best_threshold(em_table(score(parts, network, "val", keep_maps=True))), "val"


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


def image_rows(
    result: SplitScores, samples: Samples, classes: list[str], objects: ObjectMeter | None
) -> list[dict[str, Any]]:
    """Each image's Dice and IoU: the mean over the classes that occur in it, and of each class; of two
    classes also those at the threshold of predict; and the scores of its objects."""
    kinds = {"": result.matrices} | ({"predict_": result.predicted} if len(classes) == 2 else {})
    values = {prefix: class_scores(torch.stack(matrices)) for prefix, matrices in kinds.items()}
    rows = []
    for i, item in enumerate(samples.items):
        row: dict[str, Any] = {"name": item.name}
        for prefix, scored in values.items():
            row |= {f"{prefix}{key}": float(torch.nanmean(scored[key][i])) for key in ("dice", "iou")}
            row |= {
                f"{prefix}{key}_{name}": float(scored[key][i][j])
                for key in ("dice", "iou")
                for j, name in enumerate(classes)
            }
        if objects is not None:
            row |= object_scores(objects.counts[i])
        rows.append(row)
    return rows


def as_table(result: dict[str, Any], scored: SplitScores, classes: list[str]) -> str:
    """What the terminal shows. Of two classes a second block has the scores at the threshold of predict,
    where that is not the 0.5 of training."""
    width = max(8, *(len(name) for name in classes), len("mean"))
    tta = ", mean over 8 symmetries" if result["tta"] else ""
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
    lines += [f"{name} {shown(value)}" for name, value in scored.sums.others.items()]
    if "objects" in result:
        of_objects = result["objects"]["pooled"]
        lines += [object_line(result["objects"], name) for name in ("mean", "pooled")]
        lines[-1] += (
            f"; {of_objects['objects_predicted']:.0f} predicted, {of_objects['objects_true']:.0f} true"
        )
    if "em" in result:
        row = result["em"]
        lines.append(em_line(row) + f", the best of {row['threshold_from']}")
        if row["threshold"] != predict["threshold"]:
            lines.append(em_line(predict) + ", as predict")
    return "\n".join(lines)


def em_line(row: dict[str, Any]) -> str:
    numbers = f"V-Rand {row['v_rand']:.4f}, V-Info {row['v_info']:.4f}, pixel error {row['pixel_error']:.4f}"
    return f"{numbers} at {row['threshold']:.2f}"


def plain(value: Any) -> Any:
    """With null in place of nan, which JSON has not."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
