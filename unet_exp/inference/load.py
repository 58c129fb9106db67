"""A finished run read back: its config as it ran, its weights, and a Predictor made of them."""

import dataclasses
import glob
import logging
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from unet_exp.config import saved
from unet_exp.config.cross_checks import allowed_heads
from unet_exp.config.label_map import label_map, palette
from unet_exp.config.paths import expanded
from unet_exp.config.problems import again_with
from unet_exp.config.resolve import check_values
from unet_exp.config.saved import place
from unet_exp.config.schema import Config
from unet_exp.config.task_schema import PredictConfig
from unet_exp.data.stats import Values
from unet_exp.errors import CheckpointError, ConfigError, DataError
from unet_exp.inference.any_size import AnySize
from unet_exp.inference.predictor import Predictor
from unet_exp.models.folding import folded
from unet_exp.models.unet import UNet
from unet_exp.objects.rules import Rule, read_rule
from unet_exp.objects.watershed import ObjectRule
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.provenance import starts
from unet_exp.rundir.sweep_directory import RECORD
from unet_exp.training import build, checkpoint, machine, setup

log = logging.getLogger("unet_exp")
HALF = (0.5, 0.5)


def run_dirs(text: str) -> list[Path]:
    """One run, or several: between commas, found by a pattern, or the folds of a sweep.

    Raises ConfigError for a sweep that is none over folds.
    """
    path = expanded(text)
    if (path / layout.FOLDS).exists():
        return [path / name for name in atomic.read_json(path / layout.FOLDS)["runs"]]
    if not layout.is_run(path) and any(path.glob(f"*/{RECORD}")):
        raise ConfigError(
            f"{path} is a sweep without {layout.FOLDS}, so it is no predictor",
            allowed="a job of it, or a sweep over folds that has ended",
            do=f"python run.py task=summary sweep_dir={path}",
        )
    if path.exists():
        return [path]
    dirs = []
    for part in text.strip("[]").split(","):
        pattern = str(expanded(part.strip()))
        matches = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
        if not matches:
            raise ConfigError(
                f"run={part} finds no directory", allowed="a run directory, or several: run=A,B"
            )
        dirs += [Path(match) for match in matches]
    return dirs


def load_ensemble(run_dirs: list[Path], device: str, weights: str, precision: str = "auto") -> Predictor:
    """One run, or several of the same classes, as one Predictor. Raises CheckpointError if they differ in
    these."""
    configs = [in_precision(run_config(path, device), precision) for path in run_dirs]
    for path, config in zip(run_dirs, configs, strict=True):
        for what in ("classes", "label_map"):
            if getattr(config.data, what) != getattr(configs[0].data, what):
                raise CheckpointError(
                    f"{path} and {run_dirs[0]} differ in data.{what}", do="use runs of one kind"
                )
        targets = config.data.target, configs[0].data.target
        if config.data.labels_are != "classes" and targets[0] != targets[1]:
            raise CheckpointError(
                f"{path} and {run_dirs[0]} differ in data.target", do="use runs of one kind"
            )
        if config.model["in_channels"] != configs[0].model["in_channels"]:
            raise CheckpointError(f"{path} and {run_dirs[0]} differ in the channels of their images")
    networks = [load_model(config, path, weights) for config, path in zip(configs, run_dirs, strict=True)]
    thresholds = thresholds_of(run_dirs[0], weights) if len(run_dirs) == 1 else HALF
    rules = object_rules_of(configs[0], run_dirs[0], weights)
    return predictor_of(configs, networks, thresholds, values_seen(run_dirs), rules)


def values_seen(run_dirs: list[Path]) -> list[Values]:
    """The value ranges of the training images, for those runs that recorded them."""
    seen = []
    for path in run_dirs:
        with suppress(KeyError, TypeError, ValueError):  # a run that did not
            values = starts(path)[-1]["data"]["train"]["values"]
            seen.append(Values(*(float(values[name]) for name in ("low", "high", "span"))))
    return seen


def thresholds_of(run_dir: Path, weights: str) -> tuple[float, float]:
    """What the run chose for these weights, plain and with tta."""
    if not (run_dir / layout.THRESHOLD).exists():
        return HALF
    contents = checkpoint.load(run_dir / layout.CHECKPOINTS / f"{weights}.pt")
    stored = stored_thresholds(run_dir, checkpoint.weights_sha256(contents))
    if stored is None:
        log.warning("%s is of other weights than %s.pt, so the threshold is 0.5", layout.THRESHOLD, weights)
    return stored or HALF


def object_rules_of(config: Config, run_dir: Path, weights: str) -> tuple[Rule, Rule] | None:
    """How the run makes objects of its maps, plain and with tta; None for a run on classes."""
    if config.data.labels_are == "classes" and not config.trainer.learn_borders:
        return None
    path = run_dir / layout.OBJECTS
    if path.exists():
        stored = atomic.read_json(path)
        contents = checkpoint.load(run_dir / layout.CHECKPOINTS / f"{weights}.pt")
        if stored.get("weights_sha256") == checkpoint.weights_sha256(contents):
            try:
                return read_rule(stored["plain"]), read_rule(stored["tta"])
            except KeyError as error:
                raise CheckpointError(
                    f"{path} lacks {error}: it was written by another version, or changed by hand",
                    do=f"remove it, and let the run choose anew: rm {path}; python run.py resume={run_dir}",
                ) from error
    if config.trainer.learn_borders:
        log.warning("%s is missing or of other weights, so cells are not found", path.name)
        return None
    log.warning("%s is missing or of other weights, so objects are made by fixed thresholds", path.name)
    rule = ObjectRule(target=config.data.target)
    return rule, rule


def run_config(run_dir: Path, device: str = "auto") -> Config:
    """config_resolved.yaml, checked, on this machine's device; data.root as the run's own start meant it."""
    if not layout.is_run(run_dir):
        raise CheckpointError(
            f"{run_dir} is not a run directory: {layout.SAVED_CONFIG} is missing",
            allowed="a directory that a run made, such as outputs/DATE/TIME",
        )
    if not (run_dir / layout.RESOLVED_CONFIG).exists():
        raise CheckpointError(f"{run_dir} never trained: {layout.RESOLVED_CONFIG} is missing")
    values = saved.resolved(run_dir)
    root = values["data"]["root"]
    # Whether the data is still there is not asked by predictions.
    anywhere = {**values["data"], "root": "." if root else None}
    config = check_values({**values, "data": anywhere})
    if root:
        known = starts(run_dir) if (run_dir / layout.ENVIRONMENT).exists() else []
        root = place(root, run_dir, known[-1]["start_dir"]) if known else root
    trainer = dataclasses.replace(config.trainer, allocator="auto")  # no result depends on it
    here = machine.decide_device(device)
    if here.type != torch.device(config.device).type:
        trainer = dataclasses.replace(trainer, precision="auto", channels_last="auto")
    data = dataclasses.replace(config.data, root=root)
    return setup.settle_machine(dataclasses.replace(config, device=str(here), data=data, trainer=trainer))


def in_precision(config: Config, precision: str) -> Config:
    """fp32, bf16; for auto and int8 (of which another program takes care) as it is."""
    if precision in ("auto", "int8"):
        return config
    return dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, precision=precision))


def check_root(config: Config) -> None:
    """Raises DataError, with what to type, if the folder of the data is gone."""
    root = config.data.root
    if root is not None and not Path(root).is_dir():
        where = again_with("data.root=DIR")
        raise DataError(f"data.root {root} is not there", do=f"name the folder: {where}")


def stored_thresholds(run_dir: Path, sha256: str, metric: str | None = None) -> tuple[float, float] | None:
    """Of threshold.json, plain and for the mean over symmetries; None unless it is of these weights.

    metric: and by this score.
    """
    if not (run_dir / layout.THRESHOLD).exists():
        return None
    stored = atomic.read_json(run_dir / layout.THRESHOLD)
    if stored.get("weights_sha256") != sha256 or metric not in (None, stored["metric"]):
        return None
    return float(stored["plain"]["threshold"]), float(stored["tta"]["threshold"])


def load_model(config: Config, run_dir: Path, weights: str) -> nn.Module:
    """The network of a run with its weights (the moving average where there is one), on its device."""
    path = run_dir / layout.CHECKPOINTS / {"best": checkpoint.BEST, "last": checkpoint.LAST}[weights]
    contents = checkpoint.load(path)
    place = precision_of(config)
    model: nn.Module = build.build_model(config)
    checkpoint.load_weights(model, checkpoint.weights_of(contents), path)
    model = model.to(place.device).eval()
    if place.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def for_prediction(config: Config, network: nn.Module) -> nn.Module:
    """The network for images of any size; ours with folded normalisations where it computes in fp32.

    There probabilities change by about 1e-5. In bf16 folded weights are rounded to other values, and the
    masks of a small network had a Dice that differed by 0.002 from what task=evaluate said of it.
    """
    if not isinstance(network, UNet):
        return AnySize(network)
    return folded(network) if config.trainer.precision == "fp32" else network


def precision_of(config: Config) -> machine.Precision:
    trainer = config.trainer
    return machine.Precision(torch.device(config.device), trainer.precision, bool(trainer.channels_last))


def predictor_of(
    configs: list[Config],
    networks: list[nn.Module],
    thresholds: tuple[float, float],
    seen: list[Values],
    rules: tuple[Rule, Rule] | None = None,
) -> Predictor:
    config = configs[0]
    return Predictor(
        networks=[for_prediction(one, network) for one, network in zip(configs, networks, strict=True)],
        precision=precision_of(config),
        classes=config.data.classes,
        palette=palette(label_map(config.data)),
        data_channels=next((one.data.channels for one in configs if one.data.channels != "stored"), "stored"),
        channels=int(config.model["in_channels"]),
        statistics=[build.normalization(one) for one in configs],
        logits_per_pixel=allowed_heads(config)[0],
        thresholds=thresholds,
        tile=PredictConfig.tile,
        overlap=PredictConfig.overlap,
        batch=PredictConfig.batch_size,
        tta=PredictConfig.tta,
        symmetries=config.data.symmetries,
        seen=seen,
        object_rules=rules,
    )
