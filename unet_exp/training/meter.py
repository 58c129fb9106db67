"""What a pass counts: losses and scores of its batches, fetched from a GPU while it computes the next one."""

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.profiler import record_function

from unet_exp.errors import TrainingError
from unet_exp.training import distributed
from unet_exp.training.state import Sums

if TYPE_CHECKING:
    from unet_exp.data.loaders import Loader
    from unet_exp.training.tracker import Tracker


@dataclass
class Entry:
    """One batch. share: of the update it belongs to (1 without accumulation); ends_update: its last batch."""

    number: int
    batch: dict[str, Any]
    loss: Tensor
    counts: Tensor
    samples: int
    group: int
    ends_update: bool
    copied: Any = None  # the CUDA event after which loss and counts are on the CPU


class Meter:
    """Sums, progress and steps.csv of one pass through a split. alone: other ranks are not asked for theirs.

    On the CPU, and with several ranks, a batch is entered at once; on one GPU when the next batch is on its
    way, so that nobody waits for the GPU. `finish` enters what is left: before a checkpoint, and at the end.
    Raises TrainingError for a loss that is not a number: on the CPU before it reaches the weights, on a GPU
    one update later, always before a checkpoint.
    """

    def __init__(
        self, sums: Sums, tracker: "Tracker", loader: "Loader", split: str, epoch: int, alone: bool = False
    ) -> None:
        self.sums = sums
        self.tracker = tracker
        self.loader = loader
        self.split = split
        self.epoch = epoch
        self.total = len(loader)
        self.alone = alone
        self.entries: deque[Entry] = deque()
        self.group_loss = 0.0
        self.losses = deque[float]()
        self.updates: deque[tuple[int, float, str]] = deque()

    @record_function("bookkeeping")
    def add(
        self,
        number: int,
        batch: dict[str, Any],
        loss: Tensor,
        counts: Tensor,
        samples: int,
        group: int,
        ends_update: bool = False,
    ) -> None:
        """A batch: its mean loss and confusion, the samples of this rank, those of the whole update."""
        entry = Entry(number, batch, loss.detach(), counts, samples, group, ends_update)
        if loss.is_cuda and distributed.size() == 1:
            entry.loss, entry.counts = (
                value.to("cpu", non_blocking=True) for value in (entry.loss, entry.counts)
            )
            entry.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            entry.copied.record()
        self.entries.append(entry)
        while len(self.entries) > (entry.copied is not None):
            self.enter(self.entries.popleft())

    def update_done(self, step: int, lr: float, digest: str) -> None:
        self.updates.append((step, lr, digest))
        self.write_steps()

    def finish(self) -> None:
        while self.entries:
            self.enter(self.entries.popleft())

    def enter(self, entry: Entry) -> None:
        if entry.copied is not None:
            entry.copied.synchronize()
        value = entry.loss.item()
        if not math.isfinite(value):
            raise self.not_finite(value, entry)
        found = value, entry.samples, entry.counts
        loss, samples, counts = found if self.alone else distributed.total(*found)
        self.group_loss += loss * (samples / entry.group)
        self.sums.add(loss, samples, counts)
        self.tracker.batch(self.split, self.epoch, entry.number, self.total, self.sums.mean_loss())
        if entry.ends_update:
            self.losses.append(self.group_loss)
            self.group_loss = 0.0
            self.write_steps()

    def write_steps(self) -> None:
        """A line for each update whose loss is here."""
        while self.updates and self.losses:
            step, lr, digest = self.updates.popleft()
            self.tracker.step(self.epoch, step, self.losses.popleft(), lr, digest)

    def not_finite(self, value: float, entry: Entry) -> TrainingError:
        names = ", ".join(self.loader.dataset.samples.items[i].name for i in entry.batch["index"].tolist())
        of = "the validation of " if self.split == "val" else ""
        return TrainingError(
            f"the loss is {value} in {of}epoch {self.epoch}, batch {entry.number} of {self.total}, "
            f"on the images {names}",
            do="a smaller lr, trainer.clip_norm=1, or trainer.precision=fp32; and look at these images",
        )
