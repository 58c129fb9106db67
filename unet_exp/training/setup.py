"""What the machine and the data decide of a config: every "auto", the samples, weights and statistics."""

import dataclasses
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

from unet_exp.config.cross_checks import allowed_heads
from unet_exp.config.label_map import label_map
from unet_exp.config.resolve import resolved_yaml
from unet_exp.config.schema import LOWER_IS_BETTER, Config
from unet_exp.data.class_weights import pixels_of, warn_of_rare_classes, with_weights
from unet_exp.data.items import Item
from unet_exp.data.loaders import EpochBatches
from unet_exp.data.names import below
from unet_exp.data.samples import ONE_KIND, Samples, load_samples
from unet_exp.data.split_checks import check_batches, refuse_duplicates, warn_of_divided_objects
from unet_exp.data.splits import Splits, as_csv, decide_mode, find_splits
from unet_exp.data.stats import better_statistics, mean_and_std, unit_range, values_of
from unet_exp.errors import ConfigError, DataError
from unet_exp.messages import counted, shortened, shown_path
from unet_exp.rundir import atomic, fingerprint, layout, provenance
from unet_exp.rundir.directory import Origin, RunDirectory
from unet_exp.training import machine, ranks
from unet_exp.training.announce import say_what_changed
from unet_exp.training.state import State

log = logging.getLogger("unet_exp")


def settle_machine(config: Config) -> Config:
    """Replace the 'auto' of device, precision, memory format, threads and mode by what this machine has."""
    device = machine.decide_device(config.device)
    trainer = dataclasses.replace(
        config.trainer,
        devices=max(config.trainer.devices, ranks.launched()),
        precision=machine.decide_precision(config.trainer.precision, device),
        channels_last=machine.decide_channels_last(config.trainer.channels_last, device),
        fused=machine.decide_fused(config.trainer.fused, device),
        allocator=machine.decide_allocator(config.trainer.allocator, device),
        mode={"auto": "min" if config.trainer.monitor in LOWER_IS_BETTER else "max"}.get(
            config.trainer.mode, config.trainer.mode
        ),
    )
    return dataclasses.replace(
        config,
        device=str(device),
        threads=machine.decide_threads(config.threads, trainer.devices),
        trainer=trainer,
    )


def prepare_torch(config: Config) -> None:
    """Put torch and this process into the state that the config, without 'auto', asks for."""
    machine.set_up(config.seed, config.trainer.deterministic, int(config.threads))
    machine.set_allocator(config.trainer.allocator)


def find_items(config: Config, left_out: list[Path] | None = None) -> Splits:
    """Which samples train and validate; no file is read yet. Raises DataError.

    left_out: receives the images that data.unlabelled=skip leaves out; their number is logged.
    """
    unlabelled: list[Path] = []
    splits = find_splits(config.data, unlabelled)
    if unlabelled:
        names = shortened([path.name for path in unlabelled], 3)
        count = counted(len(unlabelled), "image")
        log.info("left out %s without a label (data.unlabelled=skip): %s", count, names)
    if left_out is not None:
        left_out += unlabelled
    overfit = config.trainer.overfit_samples
    if overfit is not None:
        splits["train"] = splits["val"] = splits["train"][:overfit]
    return splits


class Files(NamedTuple):
    """The files of a run: its splits, images without a label, their fingerprint, and what changed since."""

    splits: Splits
    left_out: list[Path]
    fingerprint: dict[str, Any]
    changed: list[str]


def find_files(config: Config, run: RunDirectory, origin: Origin, fresh: bool) -> Files:
    """Which files a run reads. fresh: no checkpoint goes on.

    Raises DataError if they are not those that a continued or replayed run had.
    """
    left_out: list[Path] = []
    splits = find_items(config, left_out)
    known = fingerprint.known_files(origin.path)
    files = fingerprint_files(config, splits, known, fresh)
    changed = [] if known is None else fingerprint.changes(known, files)
    if known is None and (not fresh or origin.replay is not None):
        log.warning("%s is missing, so nobody knows whether the data is the same", layout.FINGERPRINT)
    if origin.resumes or origin.replay is not None:
        fingerprint.refuse_changes(changed, shown_path(origin.path or run.path))
    return Files(splits, left_out, files, changed)


def fingerprint_files(
    config: Config, splits: Splits, known: dict[str, Any] | None, first_start: bool
) -> dict[str, Any]:
    """The fingerprint of the train and val files, by SPLIT/PATH from data.root; generated items have none.

    And of the file of model.weights, which decides of a run as much. After the first start nobody reads that
    one any more, so what was known of it stays. known: an earlier fingerprint of the run.
    """
    weights = config.model.get("weights") if first_start else None
    paths = {f"{fingerprint.WEIGHTS}{Path(weights).name}": Path(weights)} if weights else {}
    paths |= {
        f"{split}/{below(path, config.data.root)}": path
        for split in ("train", "val")
        for item in splits[split]
        if isinstance(item, Item)
        for path in item.files
    }
    kept = "" if first_start else fingerprint.WEIGHTS
    limit = config.data.fingerprint_limit_mb
    return fingerprint.fingerprint(paths, limit, known, kept, config.data.cache_dir)


def describe(
    run: RunDirectory,
    origin: Origin,
    config: Config,
    given: dict[str, Any],
    state: State,
    files: Files,
    data: dict[str, Samples],
) -> None:
    """What this start is, in files: fingerprint, split.csv, config, environment.json, status.

    given: the knobs that a later start may change, as given. In this order a kill in between leaves nothing
    that the next start would read wrongly.
    """
    flags = machine.flags(config.device)
    facts = provenance.describe(run.path, config.device, int(config.threads), **flags)
    facts |= {"epochs": config.epochs, "from_epoch": state.epoch, "from_step": state.step, "given": given}
    facts["data"] = {"files": fingerprint.summary(files.fingerprint)} | {
        split: {"images": len(samples.items), "sha256": samples.sha256}
        | {"values": dataclasses.asdict(values_of(samples.facts))}
        for split, samples in data.items()
    }
    if origin.path is not None and origin.replay is None:
        say_what_changed(origin.path, origin.resumes, config, facts, files.changed)
    atomic.make_directory(run.checkpoints)
    atomic.write_json(run / layout.FINGERPRINT, files.fingerprint)
    atomic.write_text(run / layout.SPLIT, as_csv(files.splits, config.data.root, files.left_out))
    atomic.write_text(run / layout.RESOLVED_CONFIG, resolved_yaml(config))
    provenance.write_environment(run.path, facts)
    run.write_status("running", epoch=state.epoch, step=state.step)


def read_samples(config: Config, splits: Splits) -> dict[str, Samples]:
    """The samples of train and val, every file read and checked. Raises DataError."""
    overfit = config.trainer.overfit_samples
    labels = label_map(config.data)
    cache = (config.data.cache, config.data.cache_limit_mb)
    folder = config.data.cache_dir
    data = {
        "train": load_samples(splits["train"], "train", *cache, labels, None, folder),
        "val": load_samples(splits["val"], "val", *cache, labels, config.data.window, folder),
    }
    if data["train"].channels != data["val"].channels:
        raise DataError(
            f"train images have {counted(data['train'].channels, 'channel')}, "
            f"val images have {data['val'].channels}",
            do=ONE_KIND,
        )
    if overfit is None:
        refuse_duplicates(data, allow=config.data.duplicates == "allow")
    warn_of_range(config, data["train"])
    warn_of_rare_classes(data, config.data.classes)
    warn_of_divided_objects(data["train"])
    size, margin = (None, 0) if overfit else crop_size(config)
    check_batches(data["train"], "train", config.batch_size, size, margin)
    return data


def crop_size(config: Config) -> tuple[int | None, int]:
    """Of the training crop: its size (None: none that is fixed), its margin that may lie outside an image."""
    crop = config.transform["train"].get("crop") or {}
    return crop.get("size") or None, crop.get("margin") or 0


def warn_of_range(config: Config, train: Samples) -> None:
    """Warn in one line if Normalization has the mean and std for [0, 1] but the images have another range."""
    steps = [s for s in config.transform["eval"].values() if s["_target_"].endswith(".Normalization")]
    better = better_statistics(train.facts)
    if any(step["mean"] == step["std"] == 0.5 for step in steps) and better:
        low, high = unit_range(train.facts)
        mixed = ", images of one type less than those of another" * (better == "image")
        log.warning(
            "the training images hold %.3g to %.3g%s, but transform.mean=0.5 is made for 0 to 1; "
            "better: transform.mean=%s transform.std=%s",
            low,
            high,
            mixed,
            better,
            better,
        )


def settle_data(config: Config, data: dict[str, Samples]) -> Config:
    """Replace what the data answers: channels, workers, cache, split, and the schedule's total_steps."""
    model = dict(config.model)
    head = allowed_heads(config)[0]
    # "classes" is segmentation_models_pytorch's word for out_channels.
    channels = {"in_channels": data["train"].channels, "out_channels": head, "classes": head}
    for key, value in channels.items():
        if model.get(key) == "auto":
            model[key] = value
    if model.get("in_channels", channels["in_channels"]) != channels["in_channels"]:
        raise ConfigError(
            f"model.in_channels is {model['in_channels']}, but the images have {channels['in_channels']}",
            do="model.in_channels=auto",
        )
    workers = config.num_workers
    if workers == "auto":
        in_ram = all(samples.pairs is not None for samples in data.values())
        workers = 0 if in_ram else min(2, machine.decide_threads("auto", 1))
    batches = EpochBatches(
        len(data["train"].items), config.batch_size, 0, False, config.trainer.limit_train_batches
    )
    steps = config.epochs
    if config.scheduler["interval"] == "step":
        steps *= math.ceil(len(batches) / config.trainer.accumulate)
    words = {"total_steps": steps, "monitor_mode": config.trainer.mode}
    scheduler = {
        key: words.get(value, value) if isinstance(value, str) else value
        for key, value in config.scheduler.items()
    }
    split = dataclasses.replace(config.data.split, mode=decide_mode(config.data))
    return dataclasses.replace(
        config,
        model=model,
        num_workers=workers,
        scheduler=scheduler,
        loss=with_weights(config.loss, pixels_of(data["train"])),
        transform=with_statistics(config, data["train"]),
        data=dataclasses.replace(config.data, cache=data["train"].kept, split=split),
    )


def with_statistics(config: Config, train: Samples) -> dict[str, Any]:
    """The transforms with the training images' mean and std in place of the word train."""
    words = dict(zip(("mean", "std"), mean_and_std(train.facts), strict=True))

    def decided(step: dict[str, Any]) -> dict[str, Any]:
        return step | {k: [round(float(v), 6) for v in words[k]] for k in words if step.get(k) == "train"}

    transforms = {
        phase: {name: decided(step) for name, step in config.transform[phase].items()}
        for phase in ("train", "eval")
    }
    channels = train.channels
    for step in transforms["eval"].values():
        for key in ("mean", "std"):
            if isinstance(step.get(key), list) and len(step[key]) not in (1, channels):
                raise ConfigError(
                    f"transform.{key} has {counted(len(step[key]), 'number')}, "
                    f"but the images have {counted(channels, 'channel')}",
                    allowed="one number, or one per channel",
                )
    return {**config.transform, **transforms}
