"""The training loop: fit, train_one_epoch, evaluate. Functions over plain objects; read it top to bottom."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.profiler import record_function

from unet_exp.config.schema import Config, TrainerConfig
from unet_exp.losses import supervised
from unet_exp.metrics.confusion import confusion, predict_classes
from unet_exp.models.unet import center_crop
from unet_exp.signals import Stop
from unet_exp.training import distributed, machine
from unet_exp.training.checkpoint import Checkpoints, weights_sha256
from unet_exp.training.meter import Meter
from unet_exp.training.parts import Parts
from unet_exp.training.resume import contents
from unet_exp.training.state import State, Sums
from unet_exp.training.tracker import Tracker


def fit(
    parts: Parts, config: Config, state: State, tracker: Tracker, checkpoints: Checkpoints, stop: Stop
) -> None:
    """Train until config.epochs, a limit of the trainer or a signal; `state` says how far it came."""
    trainer = config.trainer
    while not (is_finished(state, config) or stop.pruned or state.epoch == stop.after_epoch):
        epoch = state.epoch + 1
        train_one_epoch(parts, config, state, tracker, checkpoints, stop)
        state.seconds, val = distributed.of_first(state.seconds), None
        if not stop.agreed and is_time_to_validate(epoch, state, config):
            val = evaluate(parts.evaluated, parts, epoch, tracker, stop)
        if stop.agreed:
            save(parts, state, tracker, checkpoints)
            return
        train_metrics = state.sums.metrics(parts.classes)
        val_metrics = None if val is None else val.metrics(parts.classes)
        best = val_metrics is not None and update_best(state, epoch, val_metrics[trainer.monitor], trainer)
        tracker.epoch("train", epoch, state.step, train_metrics, state.lr, state.sums.seconds)
        if val is not None and val_metrics is not None:
            tracker.epoch("val", epoch, state.step, val_metrics, state.lr, val.seconds)
            state.seconds += distributed.of_first(val.seconds)
        tracker.end_epoch(epoch, train_metrics, val_metrics, state.lr, best)
        end_of_epoch_schedule(parts, val_metrics[trainer.monitor] if val_metrics else None)
        state.epoch = epoch
        state.batch_in_epoch = 0
        state.sums = Sums(len(parts.classes))
        save(parts, state, tracker, checkpoints, best, numbered=is_time_to_keep(epoch, trainer))
        if val_metrics is not None:
            pruned = distributed.hand_over(stop.told(epoch, val_metrics[trainer.monitor]))
            stop.pruned = "" if is_finished(state, config) else pruned


def train_one_epoch(
    parts: Parts, config: Config, state: State, tracker: Tracker, checkpoints: Checkpoints, stop: Stop
) -> None:
    """Train the batches of an epoch that are still to do; `state` counts them and holds their sums.

    A signal is obeyed after an optimizer update, so that a checkpoint never falls between two batches
    whose gradients belong together.
    """
    parts.model.train()
    total = len(parts.train)
    accumulate = config.trainer.accumulate
    epoch = state.epoch + 1
    if state.batch_in_epoch == 0:
        machine.seed_epoch(config.seed, state.epoch, distributed.rank())
    clock = time.perf_counter()
    ledger = Meter(state.sums, tracker, parts.train, "train", epoch)
    batches = parts.train.epoch(state.epoch, start=state.batch_in_epoch)
    with tracker.progress(batches, "train", epoch, total, state.batch_in_epoch) as bar:
        for number, batch in enumerate(bar, start=state.batch_in_epoch + 1):
            first = (number - 1) // accumulate * accumulate
            group = parts.train.batches.batch_samples(first, min(first + accumulate, total))
            is_last = not number % accumulate or number == total
            own = parts.train.batches.own_samples(number - 1)
            image, label, logits, loss = forward(parts.trained, parts, batch)
            ledger.add(number, batch, loss, counts(logits, label, parts), own, group, is_last)
            backward(loss * (own * distributed.size() / group), parts)  # gradients are averaged over devices
            if tracker.wants_images("train", epoch, number):
                tracker.images("train", epoch, number, total, image, label, logits)
            if not is_last:
                continue
            state.lr = parts.optimizer.param_groups[0]["lr"]
            update(parts, config.trainer)
            state.step, state.batch_in_epoch = state.step + 1, number
            digest = weights_sha256(contents(parts)) if number == total else ""
            ledger.update_done(state.step, state.lr, digest)
            now = time.perf_counter()
            state.seconds, state.sums.seconds = state.seconds + now - clock, state.sums.seconds + now - clock
            clock = now
            checkpoints.raise_failure()
            if distributed.asked_to_stop(stop):
                break
            if is_time_to_save(state, config.trainer):
                ledger.finish()
                save(parts, state, tracker, checkpoints)
    ledger.finish()


@record_function("checkpoint")
def save(
    parts: Parts,
    state: State,
    tracker: Tracker,
    checkpoints: Checkpoints,
    best: bool = False,
    numbered: bool = False,
) -> None:
    """A checkpoint, after what the tracker knows up to here is on disk; written beside the next steps."""
    tracker.flush()
    state.saved_seconds = state.seconds
    checkpoints.save(contents(parts), state, best, numbered)


@record_function("validation")
def evaluate(model: nn.Module, parts: Parts, epoch: int, tracker: Tracker, stop: Stop) -> Sums | None:
    """Sums of the whole validation set; None if a signal came. Draws nothing from any random stream."""
    model.eval()
    distributed.same_buffers(model)
    sums = Sums(len(parts.classes))
    total = len(parts.val)
    started = time.perf_counter()
    ledger = Meter(sums, tracker, parts.val, "val", epoch, alone=True)
    for metric in parts.metrics.values():
        metric.reset()
    with torch.inference_mode(), tracker.progress(parts.val.epoch(0), "val", epoch, total) as bar:
        for number, batch in enumerate(bar, start=1):
            image, label, logits, loss = forward(model, parts, batch)
            ledger.add(number, batch, loss, counts(logits, label, parts), len(image), len(image))
            for metric in parts.metrics.values():
                metric.update(predict_classes(logits).squeeze(1), label.squeeze(1).long())
            if tracker.wants_images("val", epoch, number):
                tracker.images("val", epoch, number, total, image, label, logits)
            if distributed.size() == 1 and distributed.asked_to_stop(stop):
                return None
        ledger.finish()
    sums = distributed.sum_of(sums)
    if distributed.asked_to_stop(stop):
        return None
    sums.others = {name: float(metric.compute()) for name, metric in parts.metrics.items()}
    sums.seconds = time.perf_counter() - started
    return sums


@record_function("forward")
def forward(
    model: Callable[[Tensor], Any], parts: Parts, batch: dict[str, Any]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image, label, logits (fp32) and loss of one batch; the label is cut to the size of the logits."""
    image = parts.precision.to_device(batch["input"])
    label = parts.precision.to_device(batch["label"])
    weight = parts.precision.to_device(batch["weight"]) if "weight" in batch else None
    with parts.precision.autocast():
        outputs = model(image)
    logits = outputs.float() if isinstance(outputs, Tensor) else outputs[0].float()
    label = center_crop(label, logits.shape[-2], logits.shape[-1])
    if weight is not None:
        weight = center_crop(weight, logits.shape[-2], logits.shape[-1])
    return image, label, logits, supervised(parts.loss, outputs, label, weight)


@record_function("backward")
def backward(loss: Tensor, parts: Parts) -> None:
    parts.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]


@record_function("optimizer")
def update(parts: Parts, trainer: TrainerConfig) -> None:
    """One optimizer update from the gradients collected so far."""
    if trainer.clip_norm is not None:
        parts.scaler.unscale_(parts.optimizer)
        nn.utils.clip_grad_norm_(parts.model.parameters(), trainer.clip_norm)
    parts.scaler.step(parts.optimizer)
    parts.scaler.update()
    parts.optimizer.zero_grad(set_to_none=True)
    if parts.ema is not None:
        parts.ema.update_parameters(parts.model)
    if parts.scheduler_interval == "step":
        parts.scheduler.step()


def end_of_epoch_schedule(parts: Parts, monitored: float | None) -> None:
    """Schedulers that count epochs; the plateau one listens to the monitored metric when there is one."""
    if isinstance(parts.scheduler, ReduceLROnPlateau):
        if monitored is not None:
            parts.scheduler.step(monitored)
    elif parts.scheduler_interval == "epoch":
        parts.scheduler.step()


def counts(logits: Tensor, label: Tensor, parts: Parts) -> Tensor:
    return confusion(predict_classes(logits.detach()), label, len(parts.classes))


def is_last_epoch(epoch: int, seconds: float, config: Config) -> bool:
    minutes = config.trainer.max_minutes
    return epoch >= config.epochs or (minutes is not None and seconds >= 60 * minutes)


def is_finished(state: State, config: Config) -> bool:
    patience = config.trainer.early_stop
    waited = patience is not None and state.validations_without_best >= patience
    return is_last_epoch(state.epoch, state.seconds, config) or waited


def is_time_to_validate(epoch: int, state: State, config: Config) -> bool:
    return epoch % config.trainer.validate_every == 0 or is_last_epoch(epoch, state.seconds, config)


def is_time_to_save(state: State, trainer: TrainerConfig) -> bool:
    """Within an epoch; after each one a checkpoint is written anyway."""
    steps = trainer.checkpoint_every_steps
    minutes = trainer.checkpoint_every_minutes
    if steps is not None and state.step % steps == 0:
        return True
    return minutes is not None and state.seconds - state.saved_seconds >= 60 * minutes


def is_time_to_keep(epoch: int, trainer: TrainerConfig) -> bool:
    return trainer.save_every > 0 and epoch % trainer.save_every == 0


def is_better(value: float, best: float | None, mode: str) -> bool:
    """nan (a class that never occurs) is never better."""
    if best is None:
        return not math.isnan(value)
    return value < best if mode == "min" else value > best


def update_best(state: State, epoch: int, value: float, trainer: TrainerConfig) -> bool:
    """Is this the epoch for best.pt? By the moving average where trainer.smoothing asks for one."""
    share = 0.0 if state.smoothed is None or math.isnan(state.smoothed) else trainer.smoothing
    state.smoothed = value if not share else share * (state.smoothed or 0.0) + (1 - share) * value
    latest = trainer.best_by == "last" and not math.isnan(value)
    if not (latest or is_better(state.smoothed, state.best_smoothed, trainer.mode)):
        state.validations_without_best += 1
        return False
    state.best_metric = value
    state.best_smoothed = state.smoothed
    state.best_epoch = epoch
    state.validations_without_best = 0
    return True
