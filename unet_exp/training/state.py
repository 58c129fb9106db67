"""What a run needs, beside weights and RNG, to go on where it stopped; and the sums of one pass."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from unet_exp.config.schema import Config
from unet_exp.metrics.confusion import scores


@dataclass
class Sums:
    """Running sums over samples and pixels of one pass through a split."""

    classes: int
    loss: float = 0.0  # sum over samples
    samples: int = 0
    confusion: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))
    seconds: float = 0.0
    others: dict[str, float] = field(default_factory=dict)  # what the objects under `metrics` computed
    images: list[dict[str, Any]] = field(default_factory=list)  # of a validation: the scores of each image

    def __post_init__(self) -> None:
        if self.confusion.numel() == 0:
            self.confusion = torch.zeros(self.classes, self.classes, dtype=torch.int64)

    def add(self, loss: float, samples: int, confusion: Tensor) -> None:
        self.loss += loss * samples
        self.samples += samples
        self.confusion += confusion.cpu()

    def mean_loss(self) -> float:
        return self.loss / max(self.samples, 1)

    def metrics(self, names: list[str]) -> dict[str, float]:
        """loss, what metrics.confusion.scores gives, the other metrics, images_per_second."""
        speed = self.samples / self.seconds if self.seconds > 0 else float("nan")
        values = scores(self.confusion, names)
        return {"loss": self.mean_loss(), **values, **self.others, "images_per_second": speed}


@dataclass
class State:
    """epoch: epochs finished. step: optimizer steps. The rest: the epoch under way and the best one.

    epochs: what the schedule was laid out for. seconds: of training and validation, over all starts.
    """

    sums: Sums
    epochs: int = 0
    epoch: int = 0
    step: int = 0
    batch_in_epoch: int = 0
    best_metric: float | None = None
    best_epoch: int = 0
    smoothed: float | None = None  # trainer.monitor with trainer.smoothing, and what it was at the best epoch
    best_smoothed: float | None = None
    validations_without_best: int = 0
    seconds: float = 0.0
    saved_seconds: float = 0.0  # of the last checkpoint
    lr: float = 0.0  # of the last step

    @classmethod
    def new(cls, config: Config) -> "State":
        return cls(Sums(len(config.data.classes)), config.epochs)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "State":
        """Raises KeyError or TypeError for what state_dict did not make."""
        for name in ("epochs", "epoch", "step", "batch_in_epoch", "best_epoch", "validations_without_best"):
            if type(saved[name]) is not int:
                raise TypeError(f"{name} is {saved[name]!r}")
        return cls(**{"best_smoothed": saved["best_metric"], **saved, "sums": Sums(**saved["sums"])})
