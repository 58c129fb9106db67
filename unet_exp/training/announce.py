"""What a run says in words: what starts, where it lies, how to go on, and why it failed."""

import dataclasses
import logging
import math
from pathlib import Path
from typing import Any

from unet_exp import messages
from unet_exp.config import saved
from unet_exp.config.schema import Config
from unet_exp.errors import CheckpointError, ConfigError
from unet_exp.messages import logdir, program, shown_path
from unet_exp.metrics.confusion import shown
from unet_exp.rundir import atomic, layout, provenance
from unet_exp.rundir.directory import Origin, Outcome, RunDirectory
from unet_exp.rundir.tables import read_table
from unet_exp.training.checkpoint import Saved
from unet_exp.training.loop import is_finished
from unet_exp.training.parts import Parts
from unet_exp.training.state import State

log = logging.getLogger("unet_exp")


def say_what_runs(config: Config, parts: Parts, done: int) -> None:
    number = sum(weight.numel() for weight in parts.model.parameters())
    name = str(config.model["_target_"]).rpartition(".")[2]
    log.info(
        "%s, %s parameters, on %s (%s, %d threads)",
        name,
        f"{number:,}",
        config.device,
        config.trainer.precision,
        config.threads,
    )
    samples = [len(loader.dataset) for loader in (parts.train, parts.val)]
    log.info("%s: %d training and %d validation images", config.data.kind, *samples)
    log.info(
        "dice: %s; best.pt is saved at the %s", meaning_of_dice(config.data.classes), what_is_best(config)
    )
    if done:
        log.info("continuing after step %d", done)


def meaning_of_dice(classes: list[str]) -> str:
    """'mean of background and cell'; for more than four classes only their number."""
    if len(classes) > 4:
        return f"mean of {len(classes)} classes (those that occur)"
    return f"mean of {', '.join(classes[:-1])} and {classes[-1]}"


def what_is_best(config: Config) -> str:
    """When best.pt is saved: 'highest dice' or 'last validation'."""
    trainer = config.trainer
    if trainer.best_by == "last":
        return "last validation"
    return f"{'lowest' if trainer.mode == 'min' else 'highest'} {trainer.monitor}"


def nothing_to_do(run: RunDirectory, config: Config, saved: Saved | None, origin: Origin) -> Outcome | None:
    """The outcome of a run that is finished already, which is said; None where there is something to train.

    Raises ConfigError for a run that is beyond config.epochs.
    """
    if saved is None:
        if origin.resumes:
            say_from_the_start(run.path)
        return None
    state = saved.state
    if state.epoch > config.epochs:
        raise ConfigError(f"epochs is {config.epochs}, but this run has {state.epoch} behind it")
    if run.status().get("state") != "finished" or not is_finished(state, config):
        return None
    if is_threshold_due(run.path, config):
        return None
    limit = "" if state.epoch == config.epochs else ", by trainer.early_stop or trainer.max_minutes"
    shown = shown_path(run.path)
    log.info("%s is finished (epoch %d of %d%s): nothing to do", shown, state.epoch, config.epochs, limit)
    return Outcome("finished", math.nan if state.best_metric is None else state.best_metric)


def is_threshold_due(run_dir: Path, config: Config) -> bool:
    """Whether a run is asked for a threshold that it has not chosen."""
    wanted = config.trainer.choose_threshold
    path = run_dir / layout.THRESHOLD
    return wanted is not None and (not path.exists() or atomic.read_json(path).get("metric") != wanted)


def say_from_the_start(run_dir: Path) -> None:
    """A run that was cut off before its first checkpoint begins again.

    Raises CheckpointError if it has scores of later epochs: then its checkpoints were taken away.
    """
    metrics = run_dir / layout.METRICS
    # A header and two epochs: the first checkpoint may still be on its way when the second epoch ends.
    if metrics.exists() and metrics.read_text(encoding="utf-8").count("\n") > 5:
        raise CheckpointError(
            f"{run_dir / layout.CHECKPOINTS} holds no checkpoint, but {layout.METRICS} has epochs",
            do="put last.pt back, or start anew with from_run=RUN_DIR",
        )
    log.info("no checkpoint was written yet: starting from the first step")


def say_what_changed(
    origin: Path, resuming: bool, config: Config, environment: dict[str, Any], files: list[str]
) -> None:
    """Against the run that is continued or started again; a run that is continued should find nothing new."""
    changed = saved.config_changes(origin, dataclasses.asdict(config))
    other = files + provenance.environment_changes(origin, environment)
    if not resuming:
        log.info(messages.as_lines(f"against {shown_path(origin)}:", changed or ["the same configuration"]))
    elif changed:
        log.info(messages.as_lines("changed since the last start:", changed))
    if other:
        log.warning(messages.as_lines("also other than there, so equal bits are not promised:", other))


def say_where(run_dir: Path, config: Config, state: State) -> None:
    if state.best_metric is not None:
        log.info(
            "%s %s %.4f in epoch %d, %.0f s",
            "last" if config.trainer.best_by == "last" else "best",
            config.trainer.monitor,
            state.best_metric,
            state.best_epoch,
            state.seconds,
        )
        say_each_class(run_dir, config, state.best_epoch)
    shown = shown_path(run_dir)
    log.info("run:  %s", shown)
    picture = f"{shown}/{layout.PLOTS}/samples.png, or " if config.trainer.plots else ""
    log.info("open: %stensorboard --logdir %s", picture, logdir(run_dir))
    log.info("next: %s from_run=%s lr=%g", program(), shown, config.lr / 2)


def say_each_class(run_dir: Path, config: Config, epoch: int) -> None:
    """Log the Dice of each class at the best epoch, for up to four classes."""
    rows = [row for row in read_table(run_dir / layout.METRICS) if row["split"] == "val"]
    found = next((row for row in rows if int(row["epoch"]) == epoch), None)
    if found is not None and len(config.data.classes) <= 4:
        each = [f"{name} {shown(float(found[f'dice_{name}']))}" for name in config.data.classes]
        log.info("dice of each class at the best epoch: %s", ", ".join(each))
