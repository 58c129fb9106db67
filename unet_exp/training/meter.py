"""What a pass counts: losses and scores of its batches, fetched from a GPU while it computes the next one."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import record_function

from unet_exp.data.loaders import Batch, Loader
from unet_exp.errors import TrainingError
from unet_exp.training import distributed
from unet_exp.training.state import Sums
from unet_exp.training.tracker import Tracker


@dataclass
class Entry:
    """A batch with its mean loss and confusion. copied: the CUDA event after which both are on the CPU."""

    batch: Batch
    loss: Tensor
    counts: Tensor
    copied: Any = None


class Meter:
    """Sums, progress and steps.csv of one pass through a split. alone: other ranks are not asked for theirs.

    On the CPU, and with several ranks, a batch is entered at once; on one GPU when the next batch is on its
    way, so that nobody waits for the GPU. `finish` enters what is left: before a checkpoint, and at the end.
    Raises TrainingError for a loss that is not a number: on the CPU before it reaches the weights, on a GPU
    one step later, always before a checkpoint.
    """

    def __init__(
        self, sums: Sums, tracker: Tracker, loader: Loader, split: str, epoch: int, alone: bool = False
    ) -> None:
        self.sums = sums
        self.tracker = tracker
        self.loader = loader
        self.split = split
        self.epoch = epoch
        self.alone = alone
        self.entries: deque[Entry] = deque()
        self.step_loss = 0.0
        self.losses = deque[float]()
        self.steps: deque[tuple[int, float, str]] = deque()

    @record_function("bookkeeping")
    def add(self, batch: Batch, loss: Tensor, counts: Tensor) -> None:
        """A batch with its mean loss, and its confusion K x K (rows: labels, columns: predictions)."""
        entry = Entry(batch, loss.detach(), counts)
        if loss.is_cuda and distributed.size() == 1:
            entry.loss = entry.loss.to("cpu", non_blocking=True)
            entry.counts = counts.to("cpu", non_blocking=True)
            entry.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            entry.copied.record()
        self.entries.append(entry)
        while len(self.entries) > (entry.copied is not None):
            self.enter(self.entries.popleft())

    def step_done(self, step: int, lr: float, digest: str) -> None:
        """An optimizer step; its line of steps.csv follows when its loss is here. digest: of the weights."""
        self.steps.append((step, lr, digest))
        self.write_steps()

    def finish(self) -> None:
        while self.entries:
            self.enter(self.entries.popleft())

    def enter(self, entry: Entry) -> None:
        if entry.copied is not None:
            entry.copied.synchronize()
        batch = entry.batch
        loss = entry.loss.item()
        samples = batch.samples
        counts = entry.counts
        if not math.isfinite(loss):
            raise self.not_finite(loss, batch)
        if not self.alone:
            loss, samples, counts = distributed.sum_of_batch(loss, samples, counts)
        self.step_loss += loss * (samples / batch.step_samples)
        self.sums.add(loss, samples, counts)
        self.tracker.batch(self.split, self.epoch, batch.number, len(self.loader), self.sums.mean_loss())
        if batch.ends_step:
            self.losses.append(self.step_loss)
            self.step_loss = 0.0
            self.write_steps()

    def write_steps(self) -> None:
        """A line for each step whose loss is here."""
        while self.steps and self.losses:
            step, lr, digest = self.steps.popleft()
            self.tracker.step(self.epoch, step, self.losses.popleft(), lr, digest)

    def not_finite(self, value: float, batch: Batch) -> TrainingError:
        items = self.loader.dataset.samples.items
        names = ", ".join(items[index].name for index in batch.sample["index"].tolist())
        of = "the validation of " if self.split == "val" else ""
        return TrainingError(
            f"the loss is {value} in {of}epoch {self.epoch}, batch {batch.number} of {len(self.loader)}, "
            f"on the images {names}",
            do="a smaller lr, trainer.clip_norm=1, or trainer.precision=fp32; and look at these images",
        )
