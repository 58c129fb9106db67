"""Train a U-Net from composed YAML: python run.py lr=1e-3 batch_size=8

Reads top to bottom as what a run is. torch is imported inside train(), so that --help and --cfg stay quick.
"""

import importlib
import logging
import math
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from unet_exp import errors, signals
from unet_exp.cli import command_line, startup_patches
from unet_exp.cli.command_line import CommandLine
from unet_exp.cli.process import end, log_to, report_failure, stay_here
from unet_exp.cli.startup_patches import quiet_threads, survive_lost_readers, survive_odd_names
from unet_exp.config.hydra_hooks import register
from unet_exp.config.resolve import changeable, check, check_resume, check_task, save_resolved
from unet_exp.config.saved import CARRIED, load_saved, save_composed
from unet_exp.config.schema import Config
from unet_exp.config.task_schema import TASK_SCHEMAS
from unet_exp.errors import ConfigError, UserError
from unet_exp.messages import resume_command, shown_path
from unet_exp.rundir import atomic, layout, lock, provenance
from unet_exp.sweeps.jobs import stop_with_parent
from unet_exp.training import ranks
from unet_exp.training.announce import say_from_the_start, say_what_changed, say_what_runs, say_where

if TYPE_CHECKING:
    from unet_exp.rundir.tables import Recorded

log = logging.getLogger("unet_exp")
command = CommandLine([])  # set once, before Hydra starts


def train(
    config: Config,
    run_dir: Path,
    origin: Path | None = None,
    replay: "Recorded | None" = None,
    until_epoch: int | None = None,
) -> float:
    """One run: data, parts, fit, pictures; returns the best metric.

    origin: the run that is continued (run_dir itself), or that this one starts again. replay: the rows that
    every update has to meet, until_epoch: how far; without pictures, for proofs.
    """
    with signals.deferred():
        from unet_exp.data import splits
        from unet_exp.rundir import fingerprint
        from unet_exp.tasks.finish import finish, is_threshold_due
        from unet_exp.training import build, checkpoint, distributed, followers, profiling, setup
        from unet_exp.training.loop import fit, is_finished
        from unet_exp.training.resume import restore
        from unet_exp.training.state import State, Sums
        from unet_exp.training.tracker import Tracker

    resuming = origin == run_dir
    folder = run_dir / layout.CHECKPOINTS
    state = State(Sums(len(config.data.classes)), config.epochs)
    lock.lock(run_dir)
    lock.remove_leftovers(run_dir)
    found = checkpoint.load_newest(folder) if resuming else None
    if found is not None:
        state = State.from_dict(found[0]["state"])
        if state.epoch > config.epochs:
            raise ConfigError(f"epochs is {config.epochs}, but this run has {state.epoch} behind it")
        finished = is_finished(state, config) and layout.read_status(run_dir).get("state") == "finished"
        if finished and not is_threshold_due(run_dir, config):
            limit = "" if state.epoch == config.epochs else ", by trainer.early_stop or trainer.max_minutes"
            log.info(
                "%s is finished (epoch %d of %d%s): nothing to do",
                shown_path(run_dir),
                state.epoch,
                config.epochs,
                limit,
            )
            return math.nan if state.best_metric is None else state.best_metric
    elif resuming:
        say_from_the_start(run_dir)

    given = changeable(config)
    config = setup.decide_machine(config)
    distributed.check(config)
    setup.set_up(config)
    left_out: list[Path] = []
    items = setup.find_items(config, left_out)
    known = fingerprint.known_files(origin)
    files = setup.fingerprint_files(config, items, known, first_start=found is None)
    changed = [] if known is None else fingerprint.changes(known, files)
    if known is None and (found is not None or replay is not None):
        log.warning("%s is missing, so nobody knows whether the data is the same", layout.FINGERPRINT)
    if resuming or replay is not None:
        fingerprint.refuse_changes(changed, shown_path(origin or run_dir))
    data = setup.read_data(config, items)
    config = setup.decide_from_data(config, data)

    with followers.followed(config.trainer.devices, run_dir):
        distributed.hand_over((config, found, until_epoch, run_dir))
        parts = build.build_parts(config, data, first_start=found is None)
        build.check_model(parts)
        if found is not None:
            state = restore(parts, *found, config.epochs)
            checkpoint.set_damaged_best_aside(folder, state.best_epoch)

        environment = setup.describe_start(run_dir, config, given, state, files, data)
        if origin is not None and replay is None:
            say_what_changed(origin, resuming, config, environment, changed)
        atomic.make_directory(folder)
        # In this order a kill in between leaves nothing that the next start would read wrongly.
        atomic.write_json(run_dir / layout.FINGERPRINT, files)
        atomic.write_text(run_dir / layout.SPLIT, splits.as_csv(items, config.data.root, left_out))
        save_resolved(config, run_dir / layout.RESOLVED_CONFIG)
        provenance.write_environment(run_dir, environment)
        layout.write_status(run_dir, "running", epoch=state.epoch, step=state.step)
        trainer = config.trainer
        denorm = build.denormalization(config)
        tracker = Tracker(run_dir, config, state, denorm, replay)
        yaml = (run_dir / layout.RESOLVED_CONFIG).read_text(encoding="utf-8")
        checkpoints = checkpoint.Checkpoints(folder, yaml, trainer.keep)
        say_what_runs(config, parts, state.step)
        tracker.hparams(config)
        with (
            closing(tracker),
            closing(checkpoints),
            signals.stop_on_signals() as stop,
        ):
            stop.after_epoch = until_epoch
            if (run_dir / layout.TRIAL).exists():
                from unet_exp.sweeps import trial

                stop.prune = trial.pruner(run_dir, trainer.monitor)
            train_loop = profiling.fit_profiled if trainer.profile and replay is None else fit
            train_loop(parts, config, state, tracker, checkpoints, stop)

    facts = {
        "epoch": state.epoch,
        "step": state.step,
        "best_metric": state.best_metric,
        "monitor": trainer.monitor,
        "best_epoch": state.best_epoch,
        "seconds": state.seconds,
    }
    if stop.pruned:
        layout.write_status(run_dir, "pruned", **facts, error=stop.pruned)
        log.info("%s", stop.pruned)
        return math.nan
    if stop.requested and replay is not None:
        print("stopped; nothing is proven")
        sys.exit(128 + stop.signal)
    if stop.requested and not is_finished(state, config):
        layout.write_status(run_dir, "interrupted", **facts)
        log.info("stopped in epoch %d after update %d; everything is saved", state.epoch + 1, state.step)
        log.info("continue: %s", resume_command(run_dir))
        sys.exit(128 + stop.signal)
    scores = {}
    if replay is None:
        scores = finish(run_dir, config, parts, state.best_epoch)
        say_where(run_dir, config, state)
    layout.write_status(run_dir, "finished", **facts, scores=scores)
    return math.nan if state.best_metric is None else state.best_metric


def follow() -> None:
    """A process other than the first of a run on several devices: the same loop, in silence."""
    signals.leave_to_the_first()
    from unet_exp.training import build, distributed, followers, setup
    from unet_exp.training.loop import fit
    from unet_exp.training.resume import restore
    from unet_exp.training.state import State, Sums

    with followers.following() as (config, found, until_epoch, run_dir):
        setup.set_up(config)
        data = setup.read_data(config, setup.find_items(config))
        parts = build.build_parts(config, data, first_start=found is None)
        state = State(Sums(len(config.data.classes)), config.epochs)
        if found is not None:
            state = restore(parts, found[0], found[1], config.epochs)
        quiet = distributed.SilentTracker(), distributed.NoCheckpoints(run_dir, "", 0)
        fit(parts, config, state, *quiet, signals.Stop(after_epoch=until_epoch))


@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """What Hydra composed: a run, or a verb on finished runs. Sweeps start run_job in processes."""
    stay_here(HydraConfig.get().runtime.cwd)
    if command.task is not None:
        run_task(cfg)
        return
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    if not command.resume:
        cfg = save_composed(cfg, run_dir)
    run(cfg, run_dir, run_dir if command.resume else command.origin)


def run_job(run_dir: Path) -> None:
    """A job of a sweep, from the config that the sweep composed for it; Hydra is not asked again."""
    signals.patient = True
    stop_with_parent()
    log_to(run_dir / layout.LOG)
    again = run_dir if layout.has_started(run_dir) else None
    try:
        cfg = load_saved(run_dir, CARRIED)
    except UserError as error:
        report_failure(run_dir, str(error), alone=False)
        sys.exit(1)
    run(cfg, run_dir, again, alone=False)


def run(cfg: DictConfig, run_dir: Path, origin: Path | None, alone: bool = True) -> None:
    """Check, train, and turn what goes wrong into words, a status and an exit code. alone: not in a sweep."""
    try:
        goes_on = origin == run_dir and layout.has_checkpoints(run_dir)
        config = check(cfg, first_start=not goes_on)
        if command.saved is not None:
            check_resume(command.saved, config)
        with errors.in_words("train"):
            train(config, run_dir, origin)
    except UserError as error:
        report_failure(run_dir, str(error), alone)
        sys.exit(1)
    except KeyboardInterrupt:
        began = layout.has_checkpoints(run_dir)
        print(f"stopped; continue: {resume_command(run_dir)}" if began else "stopped before training began")
        if began:
            layout.set_state(run_dir, "interrupted")
        layout.remove_unstarted(run_dir)
        sys.exit(128 + signals.received)
    except Exception as error:
        if alone and not layout.read_status(run_dir):
            layout.remove_unstarted(run_dir)
        else:
            report_failure(run_dir, f"{type(error).__name__}: {error}", alone)
        log.exception("this is a mistake of the program, not yours")
        if alone:
            raise
        sys.exit(1)
    finally:
        lock.unlock(run_dir)


def run_task(cfg: DictConfig) -> None:
    """The verb of task=VERB, on its own small config; check_data and autotune have that of training."""
    layout.composed()
    verb = str(command.task)
    try:
        options = check_task(cfg, TASK_SCHEMAS[verb]) if verb in TASK_SCHEMAS else check(cfg)
        with signals.deferred():
            module = importlib.import_module(f"unet_exp.tasks.{verb}")
        with errors.in_words(verb):
            getattr(module, verb)(options, *([train] if verb == "reproduce" else []), **command.own)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("stopped")
        sys.exit(128 + signals.received)


def start() -> None:
    """All of a process; a signal before the run begins ends it without a word and leaves nothing."""
    signals.interrupt_on_signals()
    try:
        begin()
    except KeyboardInterrupt:
        layout.remove_unstarted()
        sys.exit(128 + signals.received)


def begin() -> None:
    """Prepare the command line, let Hydra compose and run, and turn failures into exit codes."""
    global command
    layout.remember_command(sys.argv)
    quiet_threads()
    survive_odd_names()
    survive_lost_readers()
    try:
        if ranks.is_follower():
            follow()
            return
        if sys.argv[1:2] == ["--job"]:
            run_job(Path(sys.argv[2]))
            return
        register()
        command = command_line.prepare(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
    if command.resume:
        layout.resume_here()
    sys.argv[1:] = command.argv
    startup_patches.compose_once()
    try:
        main()
    except SystemExit as stop:
        if stop.code == 1 and not layout.is_composed():
            primary = command.task if command.task in TASK_SCHEMAS else "config"
            print("\n".join(command_line.suggestions(command.argv, primary)), file=sys.stderr)
        raise


if __name__ == "__main__":
    end(start)
