"""Batches whose order and content are a function of (seed, epoch), whatever the number of workers."""

import math
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from unet_exp.data.datasets import SegmentationDataset
from unet_exp.data.transforms import Sample
from unet_exp.rundir.signals import leave_signals_to_the_parent


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Lists of (epoch, index), the samples of one batch each; the last may be short.

    Set `epoch` and `start` (batches to leave out, for a run that goes on within an epoch) before iterating.
    limit: batches per epoch at most. rank, ranks: with several processes, which part of each batch is dealt
    out here; a training batch (shuffled) with nothing for this rank gives a stand-in that must not count.
    sizes: height and width of each sample that is validated, if they differ (`by_size`).
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        seed: int,
        shuffle: bool,
        limit: int | None = None,
        rank: int = 0,
        ranks: int = 1,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.rank = rank
        self.ranks = ranks
        self.limit = limit
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.num_batches = min(math.ceil(samples / batch_size), limit or samples)
        self.fewer = 0
        self.sizes = sizes
        self.dealt: list[list[int]] = []
        if not shuffle:  # of what there is to validate every ranks-th sample, in batches of its own
            shared = range(min(samples, self.num_batches * batch_size))
            of_ranks = [by_size(shared[one::ranks], batch_size, sizes) for one in range(ranks)]
            self.dealt = of_ranks[rank]
            self.num_batches = len(self.dealt)
            self.fewer = max(map(len, of_ranks)) - self.num_batches  # batches than another rank has
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        if not self.shuffle:
            for batch in self.dealt[self.start :]:
                yield [(self.epoch, index) for index in batch]
            return
        order = np.random.default_rng((0, self.seed, self.epoch)).permutation(self.samples)
        for number in range(self.start, self.num_batches):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            dealt = chosen[self.rank :: self.ranks]
            yield [(self.epoch, int(index)) for index in (dealt if len(dealt) else chosen[:1])]

    def batch_samples(self, first: int, last: int) -> int:
        """How many samples the batches first..last-1 hold."""
        return min(last * self.batch_size, self.samples) - first * self.batch_size

    def own_samples(self, batch: int) -> int:
        """How many of a batch (counted from 0) are dealt out here."""
        return len(range(self.rank, self.batch_samples(batch, batch + 1), self.ranks))


def by_size(
    indices: Sequence[int], batch_size: int, sizes: Sequence[tuple[int, int]] | None
) -> list[list[int]]:
    """Batches of samples of equal size, in the order in which the sizes first occur.

    With sizes, no batch has more pixels than the largest sample, which has to fit into memory anyway.
    sizes=None: all samples have one size.
    """
    if sizes is None or batch_size == 1:
        return [list(indices[start : start + batch_size]) for start in range(0, len(indices), batch_size)]
    alike: dict[tuple[int, int], list[int]] = {}
    for index in indices:
        alike.setdefault(sizes[index], []).append(index)
    largest = max(height * width for height, width in sizes)
    batches = []
    for (height, width), group in alike.items():
        most = min(batch_size, largest // (height * width))
        batches += by_size(group, most, None)
    return batches


@dataclass(frozen=True)
class Batch:
    """One batch and its place in the epoch.

    number: from 1. samples: how many are this rank's, 0 for a stand-in. step_samples: of the whole optimizer
    step, over its batches and ranks. weight: of the batch's mean loss, so that a step's gradient is the mean
    over step_samples (gradients are averaged over ranks). ends_step: the last batch of its step.
    """

    number: int
    sample: Sample
    samples: int
    step_samples: int
    weight: float
    ends_step: bool


def start_worker(worker: int) -> None:
    """First in each process that loads samples; ends it where the run was killed before it got here."""
    leave_signals_to_the_parent(worker)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():
        os._exit(1)  # torch's watchdog would take its new parent for the run, and wait for ever


class Loader:
    """A DataLoader with its EpochBatches; workers, where there are any, stay alive between epochs."""

    def __init__(
        self, dataset: SegmentationDataset, batches: EpochBatches, num_workers: int, pin_memory: bool
    ) -> None:
        self.dataset = dataset
        self.batches = batches
        self.loader: DataLoader[Sample] = DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=num_workers,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            worker_init_fn=start_worker,
            generator=torch.Generator(),  # its draws would otherwise shift dropout's
        )

    def alone(self) -> "Loader":
        """For one process that goes through all of what several of them share, in order."""
        shared = self.batches
        batches = EpochBatches(shared.samples, shared.batch_size, 0, False, shared.limit, sizes=shared.sizes)
        return Loader(self.dataset, batches, 0, False)

    def __len__(self) -> int:
        return len(self.batches)

    def steps(self, epoch: int, start: int, accumulate: int) -> Iterator[Batch]:
        """As epoch(), each with its place in the steps of `accumulate` batches; the last may be shorter."""
        batches = self.batches
        for index, sample in enumerate(self.epoch(epoch, start), start=start):
            first = index // accumulate * accumulate
            last = min(first + accumulate, len(self))
            step_samples = batches.batch_samples(first, last) if batches.shuffle else len(sample["index"])
            # What is validated is dealt out in batches of its own.
            samples = batches.own_samples(index) if batches.shuffle else len(sample["index"])
            weight = samples * batches.ranks / step_samples
            yield Batch(index + 1, sample, samples, step_samples, weight, ends_step=index + 1 == last)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Sample]:
        """The batches of an epoch (counted from 0), from batch `start` on."""
        self.batches.epoch = epoch
        self.batches.start = start
        return iter(self.loader)
