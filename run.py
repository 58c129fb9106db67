"""Train a U-Net from composed YAML: python run.py lr=1e-3 batch_size=8

Reads top to bottom as what a run is. torch is imported inside train(), so that --help and --cfg stay quick.
"""

import logging
import math
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from unet_exp.cli import process, startup_patches
from unet_exp.config.resolve import changeable, resolved_yaml
from unet_exp.config.schema import Config
from unet_exp.errors import UserError
from unet_exp.rundir import layout, signals
from unet_exp.rundir.directory import Origin, Outcome, RunDirectory
from unet_exp.rundir.signals import Stop

if TYPE_CHECKING:
    from unet_exp.training.parts import Parts
    from unet_exp.training.state import State

log = logging.getLogger("unet_exp")


def train(config: Config, run: RunDirectory, origin: Origin) -> Outcome:
    """One run, top to bottom. Every rank runs this; what only one can know, rank 0 decides, and it writes."""
    with signals.held():  # an import cut in its middle leaves a broken module
        from unet_exp.training import announce, build, distributed, profiling, setup
        from unet_exp.training.checkpoint import Checkpoints, load_newest, set_damaged_best_aside
        from unet_exp.training.distributed import decided
        from unet_exp.training.loop import fit
        from unet_exp.training.resume import restore
        from unet_exp.training.state import State
        from unet_exp.training.tracker import Tracker

        startup_patches.spare_compiler()
    is_first = distributed.rank() == 0
    saved = decided(load_newest, run.checkpoints) if origin.resumes else None
    done: Outcome | None = decided(announce.nothing_to_do, run, config, saved, origin)
    if done is not None:
        return done

    given = changeable(config)
    config = decided(setup.settle_machine, config)  # every "auto" of the machine
    distributed.check(config)
    setup.prepare_torch(config)  # seed, determinism, threads, allocator
    with startup_patches.no_garbage():
        files = decided(setup.find_files, config, run, origin, saved is None)
        data = setup.read_samples(config, files.splits)  # every file read and checked
    config = setup.settle_data(config, data)  # channels, class weights, number of steps

    parts = build.build_parts(config, data, first_start=saved is None)
    build.check_model(parts)  # one sample through the network
    state = restore(parts, saved, config.epochs) if saved else State.new(config)
    if is_first:
        set_damaged_best_aside(run.checkpoints, state.best_epoch)
        setup.describe(run, origin, config, given, state, files, data)
        announce.say_what_runs(config, parts, state.step)

    # Other ranks do the same work, and write nothing.
    keep = config.trainer.keep if is_first else None
    tracker = Tracker(run.path, config, state, build.denormalization(config), origin.replay, not is_first)
    checkpoints = Checkpoints(run.checkpoints, resolved_yaml(config), keep)
    with closing(tracker), closing(checkpoints), signals.stop_on_signals(obey=is_first) as stop:
        stop.after_epoch = origin.until_epoch
        stop.prune = pruner_of(run, config) if is_first else None
        profiled = config.trainer.profile and is_first and origin.replay is None
        (profiling.fit_profiled if profiled else fit)(parts, config, state, tracker, checkpoints, stop)
    return conclude(run, origin, config, parts, state, stop) if is_first else Outcome("finished")


def pruner_of(run: RunDirectory, config: Config) -> Callable[[int, float], str] | None:
    """What a search says to each validation, if this run is a trial of one."""
    if not (run / layout.TRIAL).exists():
        return None
    from unet_exp.sweeps.trial import pruner

    return pruner(run.path, config.trainer.monitor)


def conclude(
    run: RunDirectory, origin: Origin, config: Config, parts: "Parts", state: "State", stop: Stop
) -> Outcome:
    """What follows training: the threshold and the plots that are asked for, and the last status."""
    from unet_exp.training.announce import say_where
    from unet_exp.training.loop import is_finished

    best = math.nan if state.best_metric is None else state.best_metric
    facts = {
        "epoch": state.epoch,
        "step": state.step,
        "best_metric": state.best_metric,
        "monitor": config.trainer.monitor,
        "best_epoch": state.best_epoch,
        "seconds": state.seconds,
    }
    if stop.prune_reason:
        run.write_status("pruned", **facts, error=stop.prune_reason)
        log.info("%s", stop.prune_reason)
        return Outcome("pruned")
    if stop.requested and (origin.replay is not None or not is_finished(state, config)):
        run.write_status("interrupted", **facts)
        log.info("stopped in epoch %d after step %d", state.epoch + 1, state.step)
        return Outcome("interrupted", best, stop.signal)
    scores: dict[str, float] = {}
    if origin.replay is None:  # a proof needs no pictures
        if config.trainer.choose_threshold is not None:
            from unet_exp.inference.threshold import choose_threshold

            scores = choose_threshold(run.path, config, parts)
        if config.trainer.learn_borders:
            from unet_exp.inference.cell_borders import learn_borders

            scores |= learn_borders(run.path, parts)
        if parts.objects is not None:
            from unet_exp.inference.object_rule import choose_object_rule

            scores |= choose_object_rule(run.path, parts)
        if config.trainer.plots:  # after the threshold: samples.png shows what predict would write
            plot(run, config, parts, state.best_epoch, scores.get("threshold", 0.5))
        say_where(run.path, config, parts, state)
    run.write_status("finished", **facts, scores=scores)
    if origin.replay is None and config.trainer.report and not (run / layout.JOB).exists():
        report(run)  # a sweep has one of its own
    return Outcome("finished", best)


def report(run: RunDirectory) -> None:
    """report.html, of what is on disk by now."""
    try:
        from unet_exp.report.run import report_run

        report_run(run.path)
    except UserError:  # a full disk
        raise
    except Exception as error:
        log.warning("the report could not be written: %s: %s", type(error).__name__, error)


def plot(run: RunDirectory, config: Config, parts: "Parts", best_epoch: int, threshold: float) -> None:
    """plots/; all is saved by now, so that a picture is no reason to fail."""
    try:
        from unet_exp.plots.run import plot_run

        plot_run(run.path, config, parts, best_epoch, threshold)
    except UserError:  # a full disk
        raise
    except Exception as error:
        log.warning("the pictures could not be plotted: %s: %s", type(error).__name__, error)


if __name__ == "__main__":
    process.end(lambda: process.main(train))
