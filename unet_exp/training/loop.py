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
from unet_exp.metrics.confusion import confusion, confusion_per_image, predict_classes
from unet_exp.models.unet import center_crop
from unet_exp.rundir.signals import Stop
from unet_exp.training import distributed, machine
from unet_exp.training.checkpoint import Checkpoints, weights_sha256
from unet_exp.training.distributed import agree_on_epoch, agree_on_step
from unet_exp.training.meter import Meter
from unet_exp.training.other_scores import OtherScores
from unet_exp.training.parts import Parts
from unet_exp.training.resume import contents
from unet_exp.training.state import State, Sums
from unet_exp.training.tracker import Tracker


def fit(
    parts: Parts, config: Config, state: State, tracker: Tracker, checkpoints: Checkpoints, stop: Stop
) -> None:
    """Train until config.epochs, a limit of the trainer or a signal; `state` says how far it came."""
    monitor = config.trainer.monitor
    while not (is_finished(state, config) or stop.prune_reason or state.epoch == stop.after_epoch):
        epoch = state.epoch + 1
        train_one_epoch(parts, config, state, tracker, checkpoints, stop)
        val = None
        if not stop.agreed and is_time_to_validate(epoch, state, config):
            val = evaluate(parts.evaluated, parts, epoch, tracker, stop)
        if stop.agreed:  # the sums of the epoch so far are part of the state
            save(parts, state, tracker, checkpoints)
            return

        # What the epoch gave, in metrics.csv before a checkpoint can know of it.
        train_metrics = state.sums.metrics(parts.class_names)
        val_metrics = None if val is None else val.metrics(parts.class_names)
        tracker.epoch("train", epoch, state.step, train_metrics, state.lr, state.sums.seconds)
        best = False
        if val is not None and val_metrics is not None:
            best = update_best(state, epoch, val_metrics[monitor], config.trainer)
            tracker.epoch("val", epoch, state.step, val_metrics, state.lr, val.seconds)
            state.seconds += val.seconds
            tracker.images_scored(epoch, state.step, val.images, best)
        tracker.end_epoch(epoch, train_metrics, val_metrics, state.lr, best)

        # The state stands at the start of the next epoch when it is saved.
        end_of_epoch_schedule(parts, val_metrics[monitor] if val_metrics else None)
        state.epoch = epoch
        state.batch_in_epoch = 0
        state.sums = Sums(len(parts.class_names))
        save(parts, state, tracker, checkpoints, best, numbered=is_time_to_keep(epoch, config.trainer))
        if val_metrics is not None:
            agree_on_epoch(stop, why_pruned(stop, state, config, val_metrics[monitor]))


def train_one_epoch(
    parts: Parts, config: Config, state: State, tracker: Tracker, checkpoints: Checkpoints, stop: Stop
) -> None:
    """Train the batches of an epoch that are still to do; `state` counts them and holds their sums.

    A signal is obeyed after an optimizer step, so that a checkpoint never falls between two batches whose
    gradients belong together.
    """
    parts.model.train()
    epoch = state.epoch + 1
    if state.batch_in_epoch == 0:  # within an epoch, the checkpoint has brought the generators' states
        machine.seed_epoch(config.seed, state.epoch, parts.train.batches.rank)
    meter = Meter(state.sums, tracker, parts.train, "train", epoch)
    batches = parts.train.steps(state.epoch, state.batch_in_epoch, config.trainer.accumulate)
    clock = time.perf_counter()
    with tracker.progress(batches, "train", epoch, len(parts.train), state.batch_in_epoch) as bar:
        for batch in bar:
            # The step's gradient is the mean over all its samples, whatever batches and ranks they are in.
            image, label, logits, loss = forward(parts.trained, parts, batch.sample)
            meter.add(batch, loss, counts(logits, label, parts))
            backward(loss * batch.weight, parts)
            if tracker.wants_images("train", epoch, batch.number):
                tracker.images("train", epoch, batch.number, len(parts.train), image, label, logits)
            if not batch.ends_step:
                continue

            # The rate that this step used is on record, not the one that the scheduler sets for the next.
            state.lr = parts.optimizer.param_groups[0]["lr"]
            optimizer_step(parts, config.trainer)
            state.step += 1
            state.batch_in_epoch = batch.number
            is_last = batch.number == len(parts.train)
            meter.step_done(state.step, state.lr, weights_sha256(contents(parts)) if is_last else "")
            clock = count_seconds(state, clock)

            # Here nothing is half done: the place to stop, and to save.
            checkpoints.raise_failure()
            if agree_on_step(stop, state):
                break
            if is_time_to_save(state, config.trainer):
                meter.finish()
                save(parts, state, tracker, checkpoints)
    meter.finish()


def count_seconds(state: State, since: float) -> float:
    """Add the time since then to the run's and the epoch's; returns now."""
    now = time.perf_counter()
    state.seconds += now - since
    state.sums.seconds += now - since
    return now


def why_pruned(stop: Stop, state: State, config: Config, value: float) -> str:
    """A search's reason to give the run up after a validation, or ""; a run that is finished has none."""
    if stop.prune is None:
        return ""
    reason = stop.prune(state.epoch, value)  # asked in any case: the search learns the value by it
    return "" if is_finished(state, config) else reason


@record_function("checkpoint")
def save(
    parts: Parts,
    state: State,
    tracker: Tracker,
    checkpoints: Checkpoints,
    best: bool = False,
    numbered: bool = False,
) -> None:
    """A checkpoint, after steps.csv is on disk up to here.

    A thread writes it beside the next steps; the caller of fit closes `checkpoints`, which waits for it.
    """
    tracker.flush()
    state.saved_seconds = state.seconds
    checkpoints.save(contents(parts), state, best, numbered)


@record_function("validation")
def evaluate(model: nn.Module, parts: Parts, epoch: int, tracker: Tracker, stop: Stop) -> Sums | None:
    """Sums of the whole validation set; None if a signal came. Takes nothing from any random stream."""
    started = time.perf_counter()
    model.eval()
    distributed.share_buffers(model)
    sums = Sums(len(parts.class_names))
    meter = Meter(sums, tracker, parts.val, "val", epoch, alone=True)
    others = OtherScores(parts)
    batches = parts.val.steps(0, 0, 1)
    with torch.inference_mode(), tracker.progress(batches, "val", epoch, len(parts.val)) as bar:
        for batch in bar:
            image, label, logits, loss = forward(model, parts, batch.sample)
            matrices = counts_of_images(logits, label, parts)
            meter.add(batch, loss, matrices.sum(0))
            others.add(batch.sample, label, logits, matrices)
            if tracker.wants_images("val", epoch, batch.number):
                tracker.images("val", epoch, batch.number, len(parts.val), image, label, logits)
            if stop.requested and parts.val.batches.ranks == 1:  # several ranks agree at the end
                break
        meter.finish()
        others.finish()
    sums = distributed.sum_of_pass(sums)
    sums.seconds = distributed.broadcast(time.perf_counter() - started)
    if distributed.agree_on_stop(stop):
        return None
    sums.others = others.scores()
    sums.images = others.images()
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
def optimizer_step(parts: Parts, trainer: TrainerConfig) -> None:
    """One optimizer step from the gradients collected so far."""
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
    return confusion(predict_classes(logits.detach()), label, len(parts.class_names))


def counts_of_images(logits: Tensor, label: Tensor, parts: Parts) -> Tensor:
    """As counts, N x K x K for N images, which sum to the same."""
    return confusion_per_image(predict_classes(logits), label, len(parts.class_names))


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
