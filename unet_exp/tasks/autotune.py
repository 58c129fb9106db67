"""task=autotune: what trains fastest here, tried for a minute or two on the user's own network and data."""

import dataclasses
import gc
import logging
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from unet_exp import errors
from unet_exp.config.schema import Config
from unet_exp.data.samples import Samples
from unet_exp.errors import UserError
from unet_exp.messages import counted
from unet_exp.training import build, loop, machine, setup
from unet_exp.training.parts import Parts

log = logging.getLogger("unet_exp")
SECONDS = 90.0  # for everything but the compiler
SECONDS_EACH = 4.0  # for one setting, after its first step
COMPILE_SECONDS = 120.0  # with the compiler, which takes 20 to 60 seconds on two cores
CLEAR = 1.05  # a ratio below this is noise, and no line to paste

SAME = "the same results"
REMARKS = {
    "trainer.precision": "other roundings: compare the scores of a few seeds",
    "trainer.channels_last": "other roundings",
    "trainer.compile": "other roundings, and no promise of equal bits",
    "threads": "other roundings",
    "batch_size": "another training: lr has to be found again",
}


@dataclass(frozen=True)
class Timing:
    """One setting: what was typed, seconds a step (median), images a second, share of waiting for data."""

    override: str
    step: float
    speed: float
    wait: float


def autotune(config: Config) -> None:
    """Prints a table of settings against the config as it is, and lines to paste. Writes nothing."""
    config = setup.settle_machine(config)
    setup.prepare_torch(config)
    data = setup.read_samples(config, setup.find_items(config))
    config = setup.settle_data(config, data)
    started = time.perf_counter()
    timings = []
    images = counted(len(data["train"].items), "training image")
    print(
        f"{config.device}, {images}, batches of {config.batch_size}; "
        f"at most {SECONDS + COMPILE_SECONDS:.0f} s"
    )
    print(f"{'setting':<34}{'ms a step':>10}{'images/s':>10}{'data wait':>11}{'ratio':>8}", flush=True)
    base = measured(config, data, "as it is")
    say(base, base)
    for override, trial in settings(config, data):
        left = SECONDS - (time.perf_counter() - started)
        if left <= 0 and not trial.trainer.compile:
            print(f"{override:<34}{'no time left':>20}", flush=True)
            continue
        try:
            with errors.in_words("autotune"):
                timings.append(measured(trial, data, override))
        except UserError as error:
            print(f"{override:<34}  {str(error).splitlines()[0][:43]}", flush=True)
            continue
        finally:
            restore(config)
        say(timings[-1], base)
    advise(base, timings, config)


def settings(config: Config, data: dict[str, Samples]) -> Iterator[tuple[str, Config]]:
    """What is tried, one knob at a time, the likeliest first."""
    trainer = config.trainer
    workers = int(config.num_workers)
    names = ["fp32", "bf16"] if config.device != "mps" else ["fp32"]
    for name in names:
        if name != trainer.precision:
            yield f"trainer.precision={name}", with_trainer(config, precision=name)
    yield (
        f"trainer.channels_last={str(not trainer.channels_last).lower()}",
        with_trainer(config, channels_last=not trainer.channels_last),
    )
    for number in sorted({0, 1, 2} - {workers}):
        yield f"num_workers={number}", dataclasses.replace(config, num_workers=number)
    if config.device == "cpu":
        cores = int(machine.decide_threads("auto", 1))
        for number in sorted({1, max(cores // 2, 1), cores} - {int(config.threads)}, reverse=True):
            yield f"threads={number}", dataclasses.replace(config, threads=number)
    for size in (config.batch_size // 2, 2 * config.batch_size, 4 * config.batch_size):
        if 1 <= size <= len(data["train"].items):
            yield f"batch_size={size}", dataclasses.replace(config, batch_size=size)
    compiler = config.device != "cpu" or any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++")))
    if not trainer.compile and compiler:
        yield "trainer.compile=true", with_trainer(config, compile=True)


def with_trainer(config: Config, **changes: Any) -> Config:
    return dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, **changes))


def measured(config: Config, data: dict[str, Samples], override: str) -> Timing:
    """Seconds of whole steps as the loop takes them: batch, forward, backward, update, scores."""
    machine.set_up(config.seed, config.trainer.deterministic, int(config.threads))
    parts = build.build_parts(config, data)
    parts.model.train()
    batches = endless(parts)
    steps: list[float] = []
    images = 0
    waits: list[float] = []
    until = float("inf")
    while len(steps) < 3 or (time.perf_counter() < until and len(steps) < 200):
        began = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - began
        _, label, logits, loss = loop.forward(parts.trained, parts, batch)
        loop.backward(loss, parts)
        loop.optimizer_step(parts, config.trainer)
        loop.counts(logits, label, parts)
        loss.item()  # waits for a GPU
        if until == float("inf"):  # the first step builds kernels, starts workers, or compiles
            until = time.perf_counter() + SECONDS_EACH
            continue
        steps.append(time.perf_counter() - began)
        waits.append(waited)
        images += len(label)  # the last batch of an epoch may be short
    del parts, batches
    gc.collect()
    return Timing(override, statistics.median(steps), images / sum(steps), sum(waits) / sum(steps))


def endless(parts: Parts) -> Iterator[dict[str, Any]]:
    epoch = 0
    while True:
        yield from parts.train.epoch(epoch)
        epoch += 1


def restore(config: Config) -> None:
    """Threads and kernels as the config has them; a full GPU gives back what the last setting took."""
    machine.set_up(config.seed, config.trainer.deterministic, int(config.threads))
    if config.device.startswith("cuda"):
        torch.cuda.empty_cache()


def say(timing: Timing, base: Timing) -> None:
    numbers = f"{1000 * timing.step:>10.0f}{timing.speed:>10.1f}{timing.wait:>11.1%}"
    print(f"{timing.override:<34}{numbers}{timing.speed / base.speed:>8.2f}", flush=True)


def advise(base: Timing, timings: list[Timing], config: Config) -> None:
    """The lines that were clearly faster, one for each knob, and what they change beside the speed."""
    best: dict[str, Timing] = {}
    for timing in sorted(timings, key=lambda one: one.speed):
        if timing.speed >= CLEAR * base.speed:
            best[timing.override.partition("=")[0]] = timing
    print()
    if not best:
        print(f"nothing was over {CLEAR - 1:.0%} faster than the config as it is: leave it")
        return
    print(f"over {CLEAR - 1:.0%} more images a second, each tried alone (more does not mean better scores):")
    for knob, timing in sorted(best.items(), key=lambda item: -item[1].speed):
        print(f"  {timing.override}    # {timing.speed / base.speed:.2f} times; {REMARKS.get(knob, SAME)}")
