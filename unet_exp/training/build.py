"""From a typed config to objects: the one place that turns a _target_ into a class, if it is allowed."""

import importlib
import inspect
import os
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from unet_exp.config.checks import ALLOW_VARIABLE, allowed_prefixes
from unet_exp.config.cross_checks import allowed_heads
from unet_exp.config.schema import Config
from unet_exp.data.datasets import SegmentationDataset
from unet_exp.data.loaders import EpochBatches, Loader
from unet_exp.data.samples import Samples
from unet_exp.data.transforms import Compose, Crop
from unet_exp.data.warp import with_reach
from unet_exp.errors import ConfigError, ModelError, UserError, first_line
from unet_exp.models.unet import UNet, center_crop
from unet_exp.objects.watershed import ObjectRule
from unet_exp.training import distributed, machine
from unet_exp.training.checkpoint import start_from
from unet_exp.training.parts import Parts


def build(node: dict[str, Any], group: str, **known: Any) -> Any:
    """An object from a node with a _target_, `known` added to its arguments.

    Raises ConfigError for a target that is not a class of the group's allowed places, and for arguments
    that the class does not take.
    """
    target = node["_target_"]
    cls = find_class(target, group)
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    taken = check_arguments(target, group, list(arguments), known)
    if (
        target.startswith("torch.nn.") and group == "loss"
    ):  # weights are numbers in YAML, and tensors to torch
        arguments |= {
            key: torch.tensor(arguments[key])
            for key in ("weight", "pos_weight")
            if arguments.get(key) is not None
        }
    try:
        return cls(**known, **arguments)
    except UserError:
        raise
    except Exception as error:  # constructors of other packages raise what they like
        raise ConfigError(
            f"{group}: {target} refuses its arguments: {first_line(error)}", allowed=f"its arguments: {taken}"
        ) from error


def check_arguments(target: str, group: str, names: list[str], known: Collection[str] = ()) -> str:
    """The arguments of a class but for `known`, for messages. Raises ConfigError for names beyond them."""
    parameters = inspect.signature(find_class(target, group)).parameters
    taken = ", ".join(name for name in parameters if name not in (*known, "_target_"))
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        unknown = [name for name in names if name not in parameters]
        if unknown:
            raise ConfigError(f"{group}: {target} does not take {', '.join(unknown)}", allowed=taken)
    return taken


def how_to_install(error: Exception) -> str | None:
    """What to type for a package that is not there, where it is one that an option of conf/ names."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    package = (missing or "").partition(".")[0]
    return {
        "monai": "pip install -c constraints.txt -e '.[zoo]'",
        "segmentation_models_pytorch": "pip install segmentation-models-pytorch, with torchvision",
    }.get(package)


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
            do=how_to_install(error)
            or "check the dotted path of the class, and that its package can be found",
        ) from error
    # torch.optim.os.system starts with an allowed prefix; the class's own module tells the truth.
    if not isinstance(cls, type) or not f"{cls.__module__}.".startswith(prefixes):
        raise ConfigError(
            f"{group}._target_ {target} is not a class of {', '.join(f'{p}*' for p in prefixes)}"
        )
    return cls


def build_model(config: Config) -> nn.Module:
    """The network of a config, with fresh weights."""
    model: nn.Module = build({k: v for k, v in config.model.items() if k != "weights"}, "model")
    return model


def build_parts(config: Config, data: dict[str, Samples], first_start: bool = False) -> Parts:
    """Everything fit() needs. The config has no 'auto' left. first_start: with model.weights, if given."""
    place = machine.Precision(
        torch.device(distributed.device_of_rank(config.device)),
        config.trainer.precision,
        bool(config.trainer.channels_last),
    )
    train, val = build_loaders(config, data)
    model = build_model(config)
    if first_start and config.model.get("weights"):
        start_from(model, Path(config.model["weights"]))
    model = model.to(place.device)
    if place.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = None
    if config.trainer.ema_decay is not None:
        average = get_ema_multi_avg_fn(config.trainer.ema_decay)  # type: ignore[no-untyped-call]
        ema = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
    if config.trainer.compile:
        refuse_missing_compiler(place.device)
        model.compile()
    optimizer = build_optimizer(config, model)
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
        class_names=config.data.classes,
        logits_per_pixel=allowed_heads(config)[0],
        objects=None if config.data.labels_are == "classes" else ObjectRule(target=config.data.target),
        groups=config.data.split.group,
        symmetries=config.data.symmetries,
        metrics={name: build_metric(name, node, config, place) for name, node in config.metrics.items()},
        trained=distributed.wrap(model, config.device, config.trainer.sync_batchnorm),
    )


def refuse_missing_compiler(device: torch.device) -> None:
    """Raises ConfigError where torch.compile finds no C++ compiler, which it needs on a CPU."""
    compilers = (os.environ.get("CXX", "g++"), "clang++")
    if device.type == "cpu" and not any(map(shutil.which, compilers)):
        raise ConfigError("trainer.compile needs a C++ compiler", do="install g++, or trainer.compile=false")


def build_optimizer(config: Config, model: nn.Module) -> Any:
    """Raises ConfigError for one that asks for the loss again, as LBFGS does."""
    optimizer = build(config.optimizer, "optimizer", params=model.parameters(), **fused_argument(config))
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        target = config.optimizer["_target_"]
        raise ConfigError(f"optimizer: {target} needs a closure, which the loop has not")
    return optimizer


def fused_argument(config: Config) -> dict[str, Any]:
    """fused=True for a torch optimizer that has it, unless the user names an implementation himself."""
    target = config.optimizer["_target_"]
    if not config.trainer.fused or {"fused", "foreach"} & config.optimizer.keys():
        return {}
    has = "fused" in inspect.signature(find_class(target, "optimizer")).parameters
    return {"fused": True} if has and target.startswith("torch.optim.") else {}


def build_metric(name: str, node: dict[str, Any], config: Config, place: machine.Precision) -> Any:
    """A metric of another package. Raises ConfigError if it lacks a method, or needs objects and has none."""
    metric = build(node, "metrics")
    lacking = [
        method for method in ("update", "compute", "reset") if not callable(getattr(metric, method, None))
    ]
    if lacking:
        raise ConfigError(
            f"metrics.{name}: {node['_target_']} has no {', '.join(lacking)}",
            allowed="update(prediction, label), compute() and reset(), as torchmetrics has",
        )
    objects = inspect.signature(metric.update).parameters.get("objects")
    if objects is not None and objects.default is objects.empty and config.data.labels_are == "classes":
        raise ConfigError(
            f"metrics.{name}: {node['_target_']} compares objects, but data.labels_are=classes",
            do="data.labels_are=objects, or another metric",
        )
    if hasattr(metric, "sync_on_compute"):  # torchmetrics; here each rank sees all images
        metric.sync_on_compute = False
    return metric.to(place.device) if isinstance(metric, nn.Module) else metric


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
                allowed=f"batch x {wanted} x height x width for {len(parts.class_names)} classes, this loss",
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
        raise ModelError(
            f"{name} gives {value.tolist() if value.ndim == 0 else tuple(value.shape)}",
            allowed="one finite number",
            do=do,
        )


def build_loaders(config: Config, data: dict[str, Samples]) -> tuple[Loader, Loader]:
    """Training: shuffled and augmented. Validation: not augmented; in order where sizes are equal, else in
    batches of equal size, or one by one where metrics of other packages have to see that order."""
    trainer = config.trainer
    pin = config.device.startswith("cuda")
    crop, augment = build_transform(config.transform["train" if trainer.overfit_samples is None else "eval"])
    _, plain = build_transform(config.transform["eval"])
    differ = len(set(data["val"].sizes)) > 1
    sizes = data["val"].sizes if differ and not config.metrics else None
    val_batch = 1 if differ and config.metrics else trainer.val_batch_size or config.batch_size
    loss = config.loss
    weights = (float(loss["w0"]), float(loss["sigma"])) if loss.get("w0") else None
    objects = data["train"].labels.objects
    reach = 0
    if crop is not None and objects is not None:
        crop, reach = with_reach(crop, objects.reach)
    loaders = []
    for split, transform, batch_size, shuffle, limit in (
        ("train", augment, config.batch_size, True, trainer.limit_train_batches),
        ("val", plain, val_batch, False, trainer.limit_val_batches),
    ):
        cropped = (crop, weights, reach) if split == "train" else (None, weights, 0)
        dataset = SegmentationDataset(data[split], transform, config.seed, *cropped)
        shared = distributed.rank(), distributed.size(), sizes if split == "val" else None
        batches = EpochBatches(len(dataset), batch_size, config.seed, shuffle, limit, *shared)
        loaders.append(Loader(dataset, batches, int(config.num_workers), pin))
    return loaders[0], loaders[1]


def build_transform(steps: dict[str, dict[str, Any]]) -> tuple[Crop | None, Compose]:
    """A crop that comes first, which is cut from the file itself, and the other steps."""
    transforms: list[Any] = [build(step, "transform") for step in steps.values()]
    if transforms and isinstance(transforms[0], Crop):
        return transforms[0], Compose(transforms[1:])
    return None, Compose(transforms)


def normalization(config: Config) -> tuple[Any, Any]:
    """mean and std of the evaluation transform's Normalization, (0, 1) if it has none."""
    for step in config.transform["eval"].values():
        if step["_target_"].endswith(".Normalization"):
            return step["mean"], step["std"]
    return 0.0, 1.0


def denormalization(config: Config) -> tuple[Any, Any]:
    """mean and std that undo it for pictures."""
    mean, std = normalization(config)
    # What each image was shifted by is not kept; three standard deviations are black and white.
    return (0.5, 1 / 6) if mean == "image" else (mean, std)
