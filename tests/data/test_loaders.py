"""Batches: every sample once, and nothing but (seed, epoch) decides their order and content."""

import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from unet_exp.data.datasets import SegmentationDataset
from unet_exp.data.items import SyntheticItem
from unet_exp.data.loaders import EpochBatches, Loader
from unet_exp.data.samples import Samples
from unet_exp.data.stats import look_at
from unet_exp.data.transforms import Compose, Normalization, RandomCrop, RandomFlip, RandomRotate90, ToTensor

AUGMENT = Compose([RandomCrop(8), RandomFlip(), RandomRotate90(), Normalization(0.5, 0.5), ToTensor()])


def make(
    count: int = 11, batch: int = 4, seed: int = 3, workers: int = 0, shuffle: bool = True, **more: Any
) -> Loader:
    rng = np.random.default_rng(0)
    image = rng.integers(256, size=(count, 12, 12, 1), dtype=np.uint8)
    items = [SyntheticItem(str(i), "membranes", 0, i, 12) for i in range(count)]
    pairs = [(one, (one > 127).astype(np.uint8)) for one in image]
    facts = [look_at(*pair, item) for pair, item in zip(pairs, items, strict=True)]
    samples = Samples(items, list(pairs), [(12, 12)] * count, 1, "", facts)
    dataset = SegmentationDataset(samples, AUGMENT, seed)
    return Loader(dataset, EpochBatches(count, batch, seed, shuffle, **more), workers, pin_memory=False)


def order(loader: Loader, epoch: int, start: int = 0) -> list[list[int]]:
    return [batch["index"].tolist() for batch in loader.epoch(epoch, start)]


def flat(batches: list[list[int]]) -> list[int]:
    return [index for batch in batches for index in batch]


def assert_same(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> None:
    assert len(one) == len(two) > 0
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys() == {"input", "label", "index"}
        assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("count", "batch", "sizes"), [(11, 4, [4, 4, 3]), (8, 4, [4, 4]), (3, 1, [1, 1, 1])])
def test_every_sample_once(count: int, batch: int, sizes: list[int], shuffle: bool) -> None:
    loader = make(count, batch, shuffle=shuffle)
    assert len(loader) == len(sizes)
    for epoch in range(3):
        batches = order(loader, epoch)
        assert [len(indices) for indices in batches] == sizes
        assert sorted(flat(batches)) == list(range(count))
        assert shuffle or flat(batches) == list(range(count))


def test_batch_holds_what_it_says() -> None:
    loader = make()
    for batch in loader.epoch(1):
        size = len(batch["index"])
        assert batch["input"].shape == batch["label"].shape == (size, 1, 8, 8)
        assert batch["input"].dtype == batch["label"].dtype == torch.float32
        assert torch.equal(batch["label"], (batch["input"] > 0).float())  # 127/255 is the last below 0
        for place, index in enumerate(batch["index"].tolist()):
            assert torch.equal(batch["input"][place], loader.dataset[1, index]["input"])


def test_order_is_a_function_of_seed_and_epoch() -> None:
    loader = make()
    orders = {(seed, epoch): order(make(seed=seed), epoch) for seed in (0, 1, 2) for epoch in (0, 1, 2)}
    as_text = [str(batches) for batches in orders.values()]
    assert len(set(as_text)) == 9
    random.seed(1)
    torch.manual_seed(1)
    assert order(make(seed=1), 2) == orders[1, 2]  # whatever came before, and whatever else is drawn
    assert order(loader, 2) == order(make(), 2)
    assert order(loader, 0) == order(make(), 0)


def test_order_does_not_depend_on_the_batch_size() -> None:
    assert flat(order(make(batch=4), 1)) == flat(order(make(batch=3), 1))


def test_augmentation_changes_with_epoch_seed_and_index() -> None:
    def crops(seed: int, epoch: int) -> list[bytes]:
        dataset = make(seed=seed).dataset
        dataset.samples.pairs[:] = [dataset.samples.pairs[0]] * 11  # type: ignore[index]
        return [dataset[epoch, index]["input"].numpy().tobytes() for index in range(11)]

    assert crops(3, 0) == crops(3, 0)
    assert len(set(crops(3, 0))) > 5  # equal images, each augmented in its own way
    for other in (crops(3, 1), crops(4, 0)):
        assert sum(a != b for a, b in zip(crops(3, 0), other, strict=True)) >= 8


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_start_leaves_out_the_first_batches(start: int) -> None:
    whole = list(make().epoch(1))
    rest = list(make().epoch(1, start))
    assert len(rest) == 3 - start
    if rest:
        assert_same(rest, whole[start:])


def test_start_is_forgotten_with_the_next_epoch() -> None:
    loader = make()
    assert len(order(loader, 0, start=2)) == 1
    assert order(loader, 1) == order(make(), 1)


def test_workers_do_not_matter() -> None:
    alone, helped = make(), make(workers=2)
    for epoch in (0, 1):
        assert_same(list(helped.epoch(epoch)), list(alone.epoch(epoch)))
    assert_same(list(helped.epoch(1, start=1)), list(alone.epoch(1, start=1)))


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_leaves_torchs_own_numbers_alone(workers: int) -> None:
    """Else the worker count, or a restart within an epoch, would change the dropout masks."""
    loader = make(count=4, workers=workers)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for epoch in (0, 1):
        assert len(order(loader, epoch)) == 1
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("limit", "batches"), [(1, 1), (2, 2), (3, 3), (99, 3), (None, 3)])
def test_limit(limit: int | None, batches: int) -> None:
    loader = make(limit=limit)
    assert len(loader) == batches
    assert order(loader, 0) == order(make(), 0)[:batches]
    assert order(loader, 0, start=1) == order(make(), 0)[1:batches]


@pytest.mark.parametrize(("count", "batch", "limit"), [(11, 4, None), (8, 4, None), (11, 4, 2), (5, 1, 3)])
def test_batch_samples(count: int, batch: int, limit: int | None) -> None:
    batches = EpochBatches(count, batch, seed=0, shuffle=True, limit=limit)
    sizes = [len(chosen) for chosen in batches]
    assert len(sizes) == len(batches)
    for first in range(len(sizes)):
        for last in range(first + 1, len(sizes) + 1):
            assert batches.batch_samples(first, last) == sum(sizes[first:last]), (first, last)


# A process that is killed as soon as it has forked one that loads samples.
KILLED_EARLY = """
import multiprocessing, os, signal, time
from unet_exp.data.loaders import start_worker

def work(parent):
    start_worker(0)
    print("joined", flush=True)
    while parent == os.getppid():
        time.sleep(0.01)
    start_worker(0)
    print("left behind", flush=True)

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    context.Process(target=work, args=(os.getpid(),)).start()
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_worker_whose_run_was_killed_at_once_does_not_wait_for_ever() -> None:
    """The pipe of the output closes when the last of the two has ended."""
    done = subprocess.run([sys.executable, "-c", KILLED_EARLY], capture_output=True, text=True, timeout=60)
    assert done.returncode == -9
    assert done.stdout.split() == ["joined"]
