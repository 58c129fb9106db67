"""What is trained, with what, on what."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from unet_exp.data.loaders import Loader
from unet_exp.objects.watershed import ObjectRule
from unet_exp.training.machine import Precision


@dataclass(frozen=True)
class Parts:
    """What is trained, with what, on what. scheduler_interval: step or epoch."""

    model: nn.Module
    loss: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler
    scheduler_interval: str
    ema: AveragedModel | None
    precision: Precision
    scaler: torch.amp.GradScaler
    train: Loader
    val: Loader
    class_names: list[str]
    logits_per_pixel: int
    objects: ObjectRule | None  # how validation makes objects of maps, where labels number objects
    groups: str | None  # data.split.group
    symmetries: str  # data.symmetries
    metrics: dict[str, Any]  # objects with update(prediction, label), compute() and reset(), for validation
    trained: Callable[[Tensor], Any]  # the model, or what averages its gradients over devices

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module
