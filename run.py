"""Train a U-Net from composed YAML: python run.py lr=1e-3 batch_size=8

Reads top to bottom as what a run is. torch is imported inside train(), so that --help and --cfg stay quick.
"""

import logging
import math
import sys
from contextlib import closing
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from unet_exp import commandline, runs, signals
from unet_exp.commandline import CommandLine
from unet_exp.config import check, check_resume, register, save_resolved
from unet_exp.console import report_failure, resume_command, say_what_runs, say_where, shown_path
from unet_exp.errors import ConfigError, UserError
from unet_exp.schema import Config

log = logging.getLogger("unet_exp")
command = CommandLine([])  # set once, before Hydra starts
failures: list[Path] = []  # jobs of a sweep that failed while the others went on


def train(config: Config, run_dir: Path, saved: DictConfig | None) -> float:
    """One run: data, parts, fit, pictures; returns the best metric. saved: config of a run to continue."""
    with signals.deferred():
        from unet_exp import build
        from unet_exp.training import checkpoint, determinism
        from unet_exp.training.loop import fit, is_finished, restore
        from unet_exp.training.state import State, Sums
        from unet_exp.training.tracking import Tracker

    last = run_dir / runs.CHECKPOINTS / checkpoint.LAST
    state = State(Sums(len(config.data.classes)))
    contents = None
    if saved is not None:
        check_resume(saved, config)
        contents = checkpoint.load(last)
        state = State.from_dict(contents["state"])
        if state.epoch > config.epochs:
            raise ConfigError(f"epochs is {config.epochs}, but this run has {state.epoch} behind it")
        if is_finished(state, config) and runs.read_status(run_dir).get("state") == "finished":
            limit = "" if state.epoch == config.epochs else ", by trainer.early_stop or trainer.max_minutes"
            done = f"epoch {state.epoch} of {config.epochs}{limit}"
            log.info("%s is finished (%s): nothing to do", shown_path(run_dir), done)
            return math.nan if state.best_metric is None else state.best_metric

    config = build.decide_machine(config)
    determinism.set_up(config.seed, config.trainer.deterministic, int(config.threads))
    data = build.read_data(config)
    config = build.decide_from_data(config, data)
    parts = build.build_parts(config, data)
    build.check_model(parts)
    if contents is not None:
        state = restore(parts, contents, last)

    environment = runs.describe_environment(config.device, int(config.threads))
    environment["data"] = {
        part: {"images": len(samples.items), "sha256": samples.sha256} for part, samples in data.items()
    }
    runs.write_status(run_dir, "running", epoch=state.epoch)
    runs.write_environment(run_dir, environment)
    save_resolved(config, run_dir / runs.RESOLVED_CONFIG)
    trainer = config.trainer
    denorm = build.build_normalization(config)
    tracker = Tracker(
        run_dir,
        classes=config.data.classes,
        epochs=config.epochs,
        log_every=trainer.log_every,
        images_every=trainer.images_every,
        images_max=trainer.images_max,
        images_each_batch=trainer.images_each_batch,
        denorm=denorm,
        validate_every=trainer.validate_every,
        first_epoch=state.epoch,
        within_epoch=state.batch_in_epoch > 0,
    )
    yaml = (run_dir / runs.RESOLVED_CONFIG).read_text(encoding="utf-8")
    checkpoints = checkpoint.Checkpoints(run_dir / runs.CHECKPOINTS, yaml, trainer.keep)
    say_what_runs(config, parts, state.epoch)
    tracker.hparams(build.hparams(config))
    with closing(tracker), parts.precision.memory_errors(), signals.stop_on_signals() as stop:
        fit(parts, config, state, tracker, checkpoints, stop)

    facts = {"epoch": state.epoch, "step": state.step, "best_metric": state.best_metric,
             "monitor": trainer.monitor, "best_epoch": state.best_epoch,
             "seconds": state.seconds}  # fmt: skip
    if stop.requested and not is_finished(state, config):
        runs.write_status(run_dir, "interrupted", **facts)
        log.info("stopped in epoch %d after update %d; everything is saved", state.epoch + 1, state.step)
        log.info("continue: %s", resume_command(run_dir))
        sys.exit(128 + stop.signal)
    from unet_exp import report  # matplotlib takes half a second, so only now

    report.draw_run(run_dir, config, parts, state.best_epoch, denorm)
    runs.write_status(run_dir, "finished", **facts)
    say_where(run_dir, config, state)
    return math.nan if state.best_metric is None else state.best_metric


@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(cfg: DictConfig) -> float:
    """One job; returns the best metric for sweeps. A failed job of a sweep leaves the others running."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    alone = HydraConfig.get().mode == RunMode.RUN
    try:
        return train(check(cfg), run_dir, command.saved)
    except UserError as error:
        report_failure(run_dir, str(error), alone)
        if alone:
            sys.exit(1)
        failures.append(run_dir)
        return math.nan
    except KeyboardInterrupt:
        began = runs.has_checkpoints(run_dir)
        print(f"stopped; continue: {resume_command(run_dir)}" if began else "stopped before training began")
        if began:
            runs.set_state(run_dir, "interrupted")
        runs.remove_unstarted(run_dir)
        sys.exit(128 + signals.received)
    except Exception as error:
        if alone and not runs.read_status(run_dir):
            runs.remove_unstarted(run_dir)
        else:
            report_failure(run_dir, f"{type(error).__name__}: {error}", alone)
        log.exception("this is a mistake of the program, not yours")
        if alone:
            raise
        failures.append(run_dir)
        return math.nan


def start() -> None:
    """Prepare the command line, let Hydra compose and run, and turn failures into exit codes."""
    global command
    signals.interrupt_on_signals()
    runs.remember_command(sys.argv)
    register()
    try:
        command = commandline.prepare(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
    if command.resume is not None:
        runs.resume_here()
    sys.argv[1:] = command.argv
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(128 + signals.received)
    except SystemExit as stop:
        if stop.code == 1 and not runs.is_composed():
            print("\n".join(commandline.suggestions(command.argv)), file=sys.stderr)
        raise
    if failures:
        count = f"{len(failures)} job{'s' * (len(failures) > 1)}"
        sys.exit(f"error: {count} failed: " + ", ".join(map(shown_path, failures)))


if __name__ == "__main__":
    start()
