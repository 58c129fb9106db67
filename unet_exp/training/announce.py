"""What a run says in words: what starts, where it lies, how to go on, and why it failed."""

import dataclasses
import logging
import math
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from unet_exp import messages
from unet_exp.config import saved
from unet_exp.config.relabel import relabel
from unet_exp.config.schema import LABELS, Config
from unet_exp.data.items import SyntheticItem
from unet_exp.data.samples import open_pair
from unet_exp.errors import CheckpointError, ConfigError
from unet_exp.messages import counted, logdir, program, shown_path
from unet_exp.metrics.confusion import shown
from unet_exp.rundir import atomic, layout, provenance
from unet_exp.rundir.directory import Origin, Outcome, RunDirectory
from unet_exp.rundir.tables import read_table
from unet_exp.training.checkpoint import Saved, numbered
from unet_exp.training.loop import is_finished
from unet_exp.training.parts import Parts
from unet_exp.training.state import State

log = logging.getLogger("unet_exp")


def say_what_runs(config: Config, parts: Parts, done: int) -> None:
    name = str(config.model["_target_"]).rpartition(".")[2]
    parameters = counted(sum(weight.numel() for weight in parts.model.parameters()), "parameter")
    threads = counted(int(config.threads), "thread")
    log.info("%s, %s, on %s (%s, %s)", name, parameters, config.device, config.trainer.precision, threads)
    images = counted(len(parts.val.dataset), "validation image")
    log.info("%s: %d training and %s", config.data.kind, len(parts.train.dataset), images)
    log.info(
        "dice: %s; best.pt is saved at the %s", meaning_of_dice(config.data.classes), what_is_best(config)
    )
    if done:
        log.info("continuing after step %d", done)
    if not sys.stdout.isatty() and not config.trainer.print_steps:
        every = counted(config.trainer.log_every, "batch", "batches")
        more = f"; in {layout.LOG} also one every {every}" if config.trainer.log_every else ""
        log.info("not a terminal: one line an epoch%s", more)


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
    if is_threshold_due(run.path, config) or are_objects_due(run.path, config):
        return None
    limit = "" if state.epoch == config.epochs else ", by trainer.early_stop or trainer.max_minutes"
    shown = shown_path(run.path)
    changed = relabel(run.path, {key: getattr(config, key) for key in LABELS})
    rest = f"its {' and '.join(changed)} changed" if changed else "nothing to do"
    log.info("%s is finished (epoch %d of %d%s): %s", shown, state.epoch, config.epochs, limit, rest)
    return Outcome("finished", math.nan if state.best_metric is None else state.best_metric)


def is_threshold_due(run_dir: Path, config: Config) -> bool:
    """Whether a run is asked for a threshold that it has not chosen."""
    wanted = config.trainer.choose_threshold
    path = run_dir / layout.THRESHOLD
    return wanted is not None and (not path.exists() or atomic.read_json(path).get("metric") != wanted)


def are_objects_due(run_dir: Path, config: Config) -> bool:
    """Whether best.pt has no rule of objects, or no borders of cells, that the run is asked for."""
    wanted = config.trainer.learn_borders or config.data.labels_are != "classes"
    has_best = (run_dir / layout.CHECKPOINTS / "best.pt").exists()
    return wanted and has_best and not (run_dir / layout.OBJECTS).exists()


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


def say_where(run_dir: Path, config: Config, parts: Parts, state: State) -> None:
    """The last lines of a run: its best score, where it lies and what it takes, and what to type next."""
    if state.best_metric is not None:
        name = f"{'last' if config.trainer.best_by == 'last' else 'best'} {config.trainer.monitor}"
        log.info("%s %.4f in epoch %d, %.0f s", name, state.best_metric, state.best_epoch, state.seconds)
        say_dice_of_classes(run_dir, config, state.best_epoch)
    place = shown_path(run_dir)
    log.info("run:  %s", place)
    say_size(run_dir, config)
    picture = f"{place}/{layout.PLOTS}/samples.png, or " if config.trainer.plots else ""
    log.info("open: %stensorboard --logdir %s", picture, logdir(run_dir))
    image = shown_path(example_image(run_dir, parts))
    log.info("next: %s task=evaluate run=%s", program(), place)
    log.info("next: %s task=predict run=%s input=%s output=%s/predicted", program(), place, image, place)


def say_size(run_dir: Path, config: Config) -> None:
    """What the numbered checkpoints take of the disk, where there are some."""
    checkpoints = numbered(run_dir / layout.CHECKPOINTS)
    if checkpoints:
        whole = sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())
        share = sum(path.stat().st_size for path in checkpoints)
        why = f"trainer.keep={config.trainer.keep}, trainer.save_every={config.trainer.save_every}"
        log.info("size: %.0f MB, %.0f MB of it epoch_NNNN.pt (%s)", whole / 1e6, share / 1e6, why)


def example_image(run_dir: Path, parts: Parts) -> Path:
    """A file for task=predict: the first validation image, written to the run where it was generated."""
    samples = parts.val.dataset.samples
    item = samples.items[0]
    if not isinstance(item, SyntheticItem):
        return Path(item.image)
    image, _ = open_pair(item, samples.labels)
    content = BytesIO()
    Image.fromarray(image[..., 0]).save(content, "PNG")
    atomic.write_bytes(run_dir / layout.EXAMPLE, content.getvalue())
    return run_dir / layout.EXAMPLE


def say_dice_of_classes(run_dir: Path, config: Config, epoch: int) -> None:
    """Log the Dice of each class at the best epoch, for up to four classes."""
    if len(config.data.classes) > 4:
        return
    for row in read_table(run_dir / layout.METRICS):
        if row["split"] == "val" and int(row["epoch"]) == epoch:
            scores = [f"{name} {shown(float(row[f'dice_{name}']))}" for name in config.data.classes]
            log.info("dice of each class at the best epoch: %s", ", ".join(scores))
