"""task=evaluate: a run's weights on a split: scores over the set, per image, and of the EM challenge."""

import dataclasses
import functools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from unet_exp.config.label_map import label_map, palette
from unet_exp.config.paths import expanded
from unet_exp.config.schema import Config
from unet_exp.config.task_schema import EvaluateConfig
from unet_exp.data.samples import Samples
from unet_exp.errors import ConfigError, DataError
from unet_exp.inference.cell_borders import score_cells
from unet_exp.inference.load import object_rules_of, run_config, stored_thresholds
from unet_exp.inference.numbered_files import (
    cell_summary,
    files_of_samples,
    scene_of_file,
    score_cell_files,
    score_files,
)
from unet_exp.inference.object_summary import (
    object_image_rows,
    object_lines,
    object_meter,
    object_rows,
    object_summary,
)
from unet_exp.inference.of_split import parts_with, samples_of
from unet_exp.inference.samples import predict_sample
from unet_exp.inference.score_tables import as_table, cell_line, class_rows, plain, rows_of_images
from unet_exp.inference.scores import Network, SplitScores, em_values, score
from unet_exp.inference.worst_objects import Scene, scene_of, tiles_of, worst_objects
from unet_exp.messages import counted
from unet_exp.metrics import em
from unet_exp.metrics.confusion import image_means, scores
from unet_exp.objects.joining import Joining
from unet_exp.objects.meter import CountedObjects
from unet_exp.plots import run
from unet_exp.plots.objects import plot_objects
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.tables import write_table
from unet_exp.training import build, checkpoint, setup
from unet_exp.training.parts import Parts
from unet_exp.training.state import State

log = logging.getLogger("unet_exp")
MEMBRANES = ("membrane", "membranes", "boundary", "border")
NOT_NORMALISED = (0.0, 1.0)  # mean and std


def evaluate(options: EvaluateConfig) -> None:
    """Prints a table and writes evaluation.json, classes.csv, images.csv, em.csv, objects.csv and worst.png.

    Raises CheckpointError, ConfigError, DataError.
    """
    run_dir = expanded(options.run)
    config = run_config(run_dir, options.device)
    if options.data.root is not None:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=options.data.root))
    if options.objects is not None:
        evaluate_files(options, expanded(options.objects), config, run_dir)
        return
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
    folder = output_folder(options, run_dir, name_of(options))

    classes = config.data.classes
    result = summary_of(scored, options, contents, classes, threshold)
    values = None
    if wants_em:
        values = em_values(scored)
        table = em.table_of(values)
        best, source = choose_threshold(options, config, contents, run_dir, table)
        result["em"] = em.row_at(table, best) | {"threshold_from": source}
        at_threshold = em.row_at(table, threshold)
        result["predict"] |= {key: at_threshold[key] for key in ("v_rand", "v_info", "pixel_error")}
        write_rows(folder / "em.csv", table)
        rules = object_rules_of(config, run_dir, options.weights)
        joining = None if rules is None else rules[options.tta]
        if isinstance(joining, Joining):
            result["cells"] = score_cells(scored, joining)
    if objects is not None:
        result["objects"] = {"rule": dataclasses.asdict(objects.rule), **object_summary(objects)}
        write_rows(folder / "objects.csv", object_rows(objects, samples))
    atomic.write_text(folder / "evaluation.json", json.dumps(plain(result), indent=2) + "\n")
    rows = rows_of_images(scored, samples, classes, config.data.split.group, objects)
    if values is not None:
        of_slices = em.of_slices(values, threshold)
        rows = [row | {name: of_slices[name][index] for name in of_slices} for index, row in enumerate(rows)]
    write_rows(folder / "classes.csv", class_rows(scored, classes))
    write_rows(folder / "images.csv", rows)
    print(as_table(result, scored, classes, config.data.symmetries))
    by = "predict_dice" if len(classes) == 2 else "dice"
    worst = sorted(range(len(rows)), key=lambda i: (rows[i][by], rows[i]["name"]))[: options.worst]
    if worst:
        plot_worst(folder / "worst.png", worst, config, parts, network, threshold)
    if objects is not None and options.worst:
        look = functools.partial(scene_of, parts, network, objects.rule)
        plot_worst_objects(folder, objects, samples, look, build.denormalization(config))
    log.info("written: %s", folder)


def evaluate_files(options: EvaluateConfig, given: Path, config: Config, run_dir: Path) -> None:
    """Scores numbered images, as somebody corrected them, in the place of the network's objects."""
    idle = ["tta=true"] * options.tta + [f"weights={options.weights}"] * (options.weights != "best")
    if idle:
        raise ConfigError(
            f"objects=DIR scores files, without the network, so {' and '.join(idle)} would change nothing",
            do=f"leave out {' and '.join(idle)}",
        )
    numbered = config.data.labels_are != "classes"
    if not numbered and not wants_em_scores(options, config):
        raise ConfigError(
            "objects=DIR needs a run that was trained on objects or on membranes",
            do="em=true, where class 0 of two parts the cells of class 1",
        )
    samples = samples_of(config, options.split, whole=True)
    paths = files_of_samples(samples, options.split, given)
    result: dict[str, Any] = {
        "run": str(run_dir),
        "split": options.split,
        "images": len(samples.items),
        "files": str(given),
    }
    lines = [f"{options.split}: {counted(len(samples.items), 'image')}, objects of {given}"]
    if numbered:
        objects = score_files(samples, paths)
        folder = output_folder(options, run_dir, f"{options.split}_corrected")
        result["objects"] = object_summary(objects)
        lines += object_lines(result["objects"])
        rows = object_image_rows(objects, samples)
        write_rows(folder / "objects.csv", object_rows(objects, samples))
        if options.worst:
            look = functools.partial(scene_of_file, samples, paths)
            plot_worst_objects(folder, objects, samples, look, NOT_NORMALISED)
    else:
        rows = score_cell_files(samples, paths)
        folder = output_folder(options, run_dir, f"{options.split}_corrected")
        result["cells"] = cell_summary(rows)
        lines.append(cell_line(result["cells"]))
    atomic.write_text(folder / "evaluation.json", json.dumps(plain(result), indent=2) + "\n")
    write_rows(folder / "images.csv", rows)
    print("\n".join(lines))
    log.info("written: %s", folder)


def output_folder(options: EvaluateConfig, run_dir: Path, name: str) -> Path:
    folder = expanded(options.output) if options.output else run_dir / "evaluation" / name
    atomic.make_directory(folder)
    return folder


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


def plot_worst_objects(
    folder: Path,
    counted_objects: CountedObjects,
    samples: Samples,
    look: Callable[[int], Scene],
    denorm: tuple[Any, Any],
) -> None:
    """worst_objects.png, unless all were found. denorm: mean and std of the images that `look` gives."""
    path = folder / "worst_objects.png"
    worst = worst_objects(counted_objects)
    if worst:
        plot_objects(path, tiles_of(worst, samples, look), denorm)
    else:
        path.unlink(missing_ok=True)  # of an earlier evaluation


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
    scored = score(parts, network, "val", keep_maps=True)
    return em.best_threshold(em.table_of(em_values(scored))), "val"
