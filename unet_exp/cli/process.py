"""The process around a run: what its command line asks for, streams, failures in words, exit codes."""

import atexit
import contextlib
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from unet_exp import errors
from unet_exp.cli import command_line, startup_patches
from unet_exp.cli.command_line import CommandLine
from unet_exp.config.hydra_hooks import register
from unet_exp.config.resolve import check, check_resume, check_task
from unet_exp.config.saved import CARRIED, load_saved, save_composed
from unet_exp.config.schema import Config
from unet_exp.config.task_schema import TASK_SCHEMAS
from unet_exp.errors import UserError
from unet_exp.messages import resume_command, write_to_log
from unet_exp.rundir import layout, signals
from unet_exp.rundir.directory import Origin, Outcome, RunDirectory
from unet_exp.training import ranks

log = logging.getLogger("unet_exp")
Train = Callable[[Config, RunDirectory, Origin], Outcome]
FUNCTIONS = {"list": "list_runs", "power": "power_of_sweep"}  # of tasks, where it is not named as its module
CONF = str(Path(__file__).resolve().parents[2] / "conf")


def main(train: Train) -> int:
    """All of a process: a run, a job of a sweep, another rank, a task, a sweep. Returns its exit code."""
    signals.interrupt_on_signals()
    startup_patches.streams_and_threads()
    try:
        if ranks.is_follower():
            return follow(train)
        if sys.argv[1:2] == ["--warm"]:
            from unet_exp.sweeps import warm

            job = warm.serve(int(sys.argv[2]))
            return 0 if job is None else run_job(job, train)
        if sys.argv[1:2] == ["--job"]:
            return run_job(Path(sys.argv[2]), train)
        register()
        command = command_line.prepare(sys.argv[1:])
        sys.argv[1:] = command.argv
        startup_patches.compose_once()
        startup_patches.read_yaml_in_words()
        startup_patches.hide_targets_in_help()
        startup_patches.compose_in_words(looking=bool(command_line.SHOWING & set(command.argv)))
        return composed(command, train)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before anything began
        return 128 + signals.process.received


def composed(command: CommandLine, train: Train) -> int:
    """Let Hydra compose, and do what was asked for. Sweeps start run_job in processes."""
    codes: list[int] = []

    @hydra.main(config_path=CONF, config_name="config", version_base="1.3")
    def with_config(cfg: DictConfig) -> None:
        codes.append(-1)  # Hydra accepted the command line
        stay_here(HydraConfig.get().runtime.cwd)
        if command.task is not None:
            codes[0] = run_task(cfg, command, train)
            return
        run = RunDirectory(Path(HydraConfig.get().runtime.output_dir))
        if not command.resume:
            cfg = save_composed(cfg, run.path)
        codes[0] = attend(train, cfg, run, Origin(command.origin, command.resume), command.saved)

    with_config()
    return codes[0] if codes else 0


def attend(
    train: Train,
    cfg: DictConfig,
    run: RunDirectory,
    origin: Origin,
    saved: DictConfig | None = None,
    alone: bool = True,
) -> int:
    """Check, train, and turn what goes wrong into words, a status and an exit code. alone: not in a sweep.

    saved: the config of the run that is continued.
    """
    try:
        run.lock()
        signals.process.release()
        run.remove_leftovers()
        goes_on = origin.resumes and layout.has_checkpoints(run.path)
        config = check(cfg, first_start=not goes_on)
        if saved is not None:
            check_resume(saved, config)
        with errors.in_words("train"):
            outcome = on_all_ranks(train, config, run, origin)
        if outcome.state == "interrupted":
            log.info("everything is saved; continue: %s", resume_command(run.path))
        return outcome.exit_code
    except UserError as error:
        report_failure(run, origin, str(error), alone)
        return 1
    except KeyboardInterrupt:
        return stopped(run)
    except Exception as error:
        if alone and not run.status():
            run.remove_unstarted()
        else:
            report_failure(run, origin, f"{type(error).__name__}: {error}", alone)
        log.exception("this is a mistake of the program, not yours")
        if alone:
            raise
        return 1
    finally:
        run.unlock()


def stopped(run: RunDirectory) -> int:
    """The exit code of a run that a second signal ended at once, or one outside the loop.

    Says how to continue it, or removes what never began.
    """
    if layout.has_started(run.path):
        print(f"stopped at once; continue from the last checkpoint: {resume_command(run.path)}")
        layout.set_state(run.path, "interrupted")
    else:
        print("stopped before training began")
    run.remove_unstarted()
    return 128 + signals.process.received


def on_all_ranks(train: Train, config: Config, run: RunDirectory, origin: Origin) -> Outcome:
    """train(), after the other ranks of a run on several devices were started."""
    if ranks.launched() == 1 and config.trainer.devices == 1:
        return train(config, run, origin)
    with signals.held():
        from unet_exp.training import launch
    with launch.rank_0(config.trainer.devices, run.path, (config, origin)):
        return train(config, run, origin)


def follow(train: Train) -> int:
    """A rank other than 0: the same train(), in silence. Rank 0 tells it when to stop."""
    signals.leave_to_rank_0()
    from unet_exp.training import launch

    with launch.other_rank() as (run_dir, (config, origin)):
        train(config, RunDirectory(run_dir), origin)
    return 0


def run_job(run_dir: Path, train: Train) -> int:
    """A job of a sweep, from the config that the sweep composed for it; Hydra is not asked again."""
    from unet_exp.sweeps.jobs import stop_with_parent

    signals.process.patient = True
    stop_with_parent()
    log_to(run_dir / layout.LOG)
    run = RunDirectory(run_dir)
    origin = Origin(run_dir, resumes=True) if layout.has_started(run_dir) else Origin()
    try:
        cfg = load_saved(run_dir, CARRIED)
    except UserError as error:
        report_failure(run, origin, str(error), alone=False)
        return 1
    return attend(train, cfg, run, origin, alone=False)


def run_task(cfg: DictConfig, command: CommandLine, train: Train) -> int:
    """task=NAME, on its own small config; check_data and autotune have that of training."""
    task = str(command.task)
    signals.process.release()
    try:
        options = check_task(cfg, TASK_SCHEMAS[task]) if task in TASK_SCHEMAS else check(cfg)
        with signals.held():
            module = importlib.import_module(f"unet_exp.tasks.{task}")
            startup_patches.spare_compiler()
        with errors.in_words(task):
            function = getattr(module, FUNCTIONS.get(task, task))
            function(options, *([train] if task == "reproduce" else []), **command.beside)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped")
        return 128 + signals.process.received
    return 0


def stay_here(start_dir: str) -> None:
    """Return to the start directory after hydra.job.chdir=true: all paths are relative to it."""
    if os.getcwd() != start_dir:
        os.chdir(start_dir)
        log.warning("hydra.job.chdir is ignored: all paths are relative to %s", start_dir)


def log_to(path: Path) -> None:
    """Lines on stdout, and with the time in a file, as conf/settings.yaml has it for single runs."""
    console = logging.StreamHandler(sys.stdout)
    file = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    file.setFormatter(logging.Formatter("[%(asctime)s] %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[console, file])
    logging.getLogger("matplotlib").setLevel(logging.WARNING)


def end(program: Callable[[], int]) -> NoReturn:
    """Run the program and leave at once: taking the interpreter apart costs 0.4 to 0.8 s after torch.

    What has registered for the exit (logging, worker processes) is done before; an exception that is no exit
    goes the long way.
    """
    try:
        code: object = program()
    except SystemExit as stop:
        code = stop.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    if hasattr(signal, "SIGCHLD"):  # torch's handler raises where a loading process is ended on the way out
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a pipe whose reader has gone
            stream.flush()
    os._exit(int(str(code)))


def report_failure(run: RunDirectory, origin: Origin, message: str, alone: bool) -> None:
    """Say why on stderr and in run.log; remove a single run that never began, else note it in status.json."""
    print(f"error: {message}", file=sys.stderr)
    write_to_log(f"error: {message}", logging.ERROR)
    status = run.status()
    resumes = origin.resumes and alone
    if alone and not status and not resumes:
        run.remove_unstarted()
    elif not resumes or status.get("state") == "running":
        try:
            run.write_status("failed", error=message)
        except UserError as error:  # a full disk, most likely what failed before
            print(f"error: {error}", file=sys.stderr)
