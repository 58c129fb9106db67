"""From a typed config to objects: the one place that turns a _target_ into a class, if it is allowed."""

import dataclasses
import importlib
import inspect
import math
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from unet_exp.checks import ALLOW_VARIABLE, allowed_heads, allowed_prefixes
from unet_exp.data.datasets import Samples, SegmentationDataset, check_batches, load_samples
from unet_exp.data.loaders import EpochBatches, Loader
from unet_exp.data.splits import Item, Splits, decide_mode, find_splits
from unet_exp.data.transforms import Compose
from unet_exp.errors import ConfigError, DataError, ModelError, UserError
from unet_exp.models.unet import UNet, center_crop
from unet_exp.schema import Config
from unet_exp.training import precision
from unet_exp.training.loop import Parts


def build(node: dict[str, Any], group: str, **known: Any) -> Any:
    """An object from a node with a _target_, `known` added to its arguments.

    Raises ConfigError for a target that is not a class of the group's allowed places, and for arguments
    that the class does not take.
    """
    target = node["_target_"]
    cls = find_class(target, group)
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    parameters = inspect.signature(cls).parameters
    taken = ", ".join(name for name in parameters if name not in known)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        unknown = [key for key in arguments if key not in parameters]
        if unknown:
            raise ConfigError(f"{group}: {target} does not take {', '.join(unknown)}", allowed=taken)
    if group == "loss":  # class weights are numbers in YAML, and tensors to torch
        tensors = {key: torch.tensor(arguments[key]) for key in ("weight", "pos_weight")
                   if arguments.get(key) is not None}  # fmt: skip
        arguments |= tensors
    try:
        return cls(**known, **arguments)
    except UserError:
        raise
    except Exception as error:  # constructors of other packages raise what they like
        raise ConfigError(
            f"{group}: {target} refuses its arguments: {first_line(error)}", allowed=f"its arguments: {taken}"
        ) from error


def find_class(target: str, group: str) -> type:
    """The class of a dotted path, if it comes from a place that the group allows."""
    prefixes = allowed_prefixes(group)
    module, _, name = target.rpartition(".")
    if not target.startswith(prefixes):
        raise ConfigError(f"{group}._target_ {target} is not allowed", allowed=", ".join(prefixes))
    if os.environ.get(ALLOW_VARIABLE) and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a module beside the data, as python -m would find it
    try:
        cls = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise ConfigError(
            f"{group}._target_ {target} can't be imported: {first_line(error)}",
            do="check the dotted path of the class, and that its package can be found",
        ) from error
    # torch.optim.os.system starts with an allowed prefix; the class's own module tells the truth.
    if not isinstance(cls, type) or not f"{cls.__module__}.".startswith(prefixes):
        raise ConfigError(
            f"{group}._target_ {target} is not a class of {', '.join(f'{p}*' for p in prefixes)}"
        )
    return cls


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def decide_machine(config: Config) -> Config:
    """Replace the 'auto' of device, precision, memory format, threads and mode by what this machine has."""
    device = precision.decide_device(config.device)
    trainer = dataclasses.replace(
        config.trainer,
        precision=precision.decide_precision(config.trainer.precision, device),
        channels_last=precision.decide_channels_last(config.trainer.channels_last, device),
        mode={"auto": "min" if config.trainer.monitor == "loss" else "max"}.get(
            config.trainer.mode, config.trainer.mode
        ),
    )
    return dataclasses.replace(
        config, device=str(device), threads=precision.decide_threads(config.threads), trainer=trainer
    )


def find_items(config: Config) -> Splits:
    """Which samples train and validate, nothing of them read yet. Raises DataError."""
    splits = find_splits(config.data)
    overfit = config.trainer.overfit_samples
    if overfit is not None:
        splits["train"] = splits["val"] = splits["train"][:overfit]
    return splits


def data_files(config: Config, splits: Splits) -> dict[str, Path]:
    """The files of the train and val items, named PART/PATH relative to data.root; drawn items have none."""
    return {
        f"{part}/{Path(os.path.relpath(path, config.data.root or '')).as_posix()}": path
        for part in ("train", "val")
        for item in splits[part]
        if isinstance(item, Item)
        for path in (item.image, item.label)
    }


def read_data(config: Config, splits: Splits) -> dict[str, Samples]:
    """The samples of train and val, every file read and checked. Raises DataError."""
    overfit = config.trainer.overfit_samples
    data = {
        part: load_samples(splits[part], part, config.data.cache, config.data.cache_limit_mb)
        for part in ("train", "val")
    }
    if data["train"].channels != data["val"].channels:
        raise DataError(
            f"train images have {data['train'].channels} channels, val images have {data['val'].channels}",
            do="save all of them as grey or all as RGB",
        )
    crop = config.transform["train"].get("crop", {}).get("size") if overfit is None else None
    check_batches(data["train"], "train", config.batch_size, crop)
    return data


def decide_from_data(config: Config, data: dict[str, Samples]) -> Config:
    """Replace what the data answers: channels, workers, cache, split, and the schedule's total_steps."""
    model = dict(config.model)
    channels = {"in_channels": data["train"].channels, "out_channels": allowed_heads(config)[0]}
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
        workers = 0 if in_ram else min(2, precision.decide_threads("auto"))
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
    cache = "ram" if data["train"].pairs is not None else "none"
    split = dataclasses.replace(config.data.split, mode=decide_mode(config.data))
    return dataclasses.replace(
        config,
        model=model,
        num_workers=workers,
        scheduler=scheduler,
        data=dataclasses.replace(config.data, cache=cache, split=split),
    )


def build_parts(config: Config, data: dict[str, Samples]) -> Parts:
    """Everything fit() needs. The config has no 'auto' left."""
    place = precision.Precision(
        torch.device(config.device), config.trainer.precision, bool(config.trainer.channels_last)
    )
    train, val = build_loaders(config, data)
    model = build(config.model, "model").to(place.device)
    if place.channels_last:
        model = model.to(memory_format=torch.channels_last)
    ema = None
    if config.trainer.ema_decay is not None:
        average = get_ema_multi_avg_fn(config.trainer.ema_decay)  # type: ignore[no-untyped-call]
        ema = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
    if config.trainer.compile:
        if place.device.type == "cpu" and not any(
            map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))
        ):
            raise ConfigError(
                "trainer.compile needs a C++ compiler", do="install g++, or trainer.compile=false"
            )
        model.compile()
    optimizer = build(config.optimizer, "optimizer", params=model.parameters())
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ConfigError(
            f"optimizer: {config.optimizer['_target_']} needs a closure, which the loop has not"
        )
    scheduler = dict(config.scheduler)
    interval = str(scheduler.pop("interval"))
    return Parts(
        model=model,
        loss=build(config.loss, "loss").to(place.device),
        optimizer=optimizer,
        scheduler=build(scheduler, "scheduler", optimizer=optimizer),
        scheduler_interval=interval,
        ema=ema,
        precision=place,
        scaler=place.scaler(),
        train=train,
        val=val,
        classes=config.data.classes,
        logits_per_pixel=allowed_heads(config)[0],
    )


def check_model(parts: Parts) -> None:
    """Refuse, before anything is written, a network that can't take the samples or gives other logits.

    Raises ModelError. One training and one validation sample pass through; all sizes are checked for a UNet.
    """
    for loader in (parts.train, parts.val):
        sample = loader.dataset[(0, 0)]
        image, label = (parts.precision.to_device(sample[key][None]) for key in ("input", "label"))
        try:
            with torch.inference_mode(), parts.precision.autocast():
                logits = parts.model.eval().forward(image).float()  # not compiled, which would take long
        except UserError:
            raise
        except Exception as error:  # somebody's own network
            raise ModelError(
                f"the model can't take an image of shape {tuple(image.shape)}: {first_line(error)}",
                do="check its settings, or the size of the images",
            ) from error
        wanted = parts.logits_per_pixel
        if logits.ndim != 4 or logits.shape[1] != wanted:
            raise ModelError(
                f"the model gives logits of shape {tuple(logits.shape)}",
                allowed=f"batch x {wanted} x height x width for {len(parts.classes)} classes and this loss",
            )
        check_loss(parts.loss, logits, center_crop(label, *logits.shape[-2:]))
        sizes = loader.dataset.samples.sizes
        if isinstance(parts.model, UNet) and image.shape[-2:] == sizes[0]:  # not cropped
            for height, width in set(sizes):
                parts.model.fit_size(torch.empty(1, parts.model.in_channels, height, width))


def check_loss(loss: nn.Module, logits: torch.Tensor, label: torch.Tensor) -> None:
    name = type(loss).__name__
    do = "loss=bce for one logit, loss=cross_entropy for one per class; loss.reduction must be a mean"
    try:
        value = loss(logits, label)
    except Exception as error:
        shapes = f"{tuple(logits.shape)} and labels {tuple(label.shape)}"
        raise ModelError(f"{name} can't take logits {shapes}: {first_line(error)}", do=do) from error
    if value.ndim or not value.isfinite():
        raise ModelError(f"{name} gives {value.tolist() if value.ndim == 0 else tuple(value.shape)}",
                         allowed="one finite number", do=do)  # fmt: skip


def build_loaders(config: Config, data: dict[str, Samples]) -> tuple[Loader, Loader]:
    """Training: shuffled and augmented. Validation: in order, plain; one by one where sizes differ."""
    trainer, pin = config.trainer, config.device.startswith("cuda")
    augment = build_transform(config.transform["train" if trainer.overfit_samples is None else "eval"])
    plain = build_transform(config.transform["eval"])
    val_batch = config.batch_size if len(set(data["val"].sizes)) == 1 else 1
    loaders = []
    for part, transform, batch_size, shuffle, limit in (
        ("train", augment, config.batch_size, True, trainer.limit_train_batches),
        ("val", plain, val_batch, False, trainer.limit_val_batches),
    ):
        dataset = SegmentationDataset(data[part], transform, config.seed)
        batches = EpochBatches(len(dataset), batch_size, config.seed, shuffle, limit)
        loaders.append(Loader(dataset, batches, int(config.num_workers), pin))
    return loaders[0], loaders[1]


def build_transform(steps: dict[str, dict[str, Any]]) -> Compose:
    transforms: Sequence[Any] = [build(step, "transform") for step in steps.values()]
    return Compose(transforms)


def build_normalization(config: Config) -> tuple[float, float]:
    """mean and std that undo the evaluation transform's Normalization, (0, 1) if it has none."""
    for step in config.transform["eval"].values():
        if step["_target_"].endswith(".Normalization"):
            return float(step["mean"]), float(step["std"])
    return 0.0, 1.0
