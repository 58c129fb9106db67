"""What a run says in words: what starts, where it lies, how to go on, and why it failed."""

import atexit
import contextlib
import dataclasses
import errno
import io
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from unet_exp import compare, runs
from unet_exp.errors import CheckpointError, UserError
from unet_exp.schema import Config

if TYPE_CHECKING:
    from unet_exp.training.loop import Parts
    from unet_exp.training.state import State

log = logging.getLogger("unet_exp")
RUN_PY = Path(__file__).resolve().parents[1] / "run.py"


def say_what_runs(config: Config, parts: "Parts", done: int) -> None:
    number = sum(weight.numel() for weight in parts.model.parameters())
    name = str(config.model["_target_"]).rpartition(".")[2]
    log.info(
        "%s, %s parameters, on %s (%s, %d threads)",
        name, f"{number:,}", config.device, config.trainer.precision, config.threads,
    )  # fmt: skip
    samples = [len(loader.dataset) for loader in (parts.train, parts.val)]
    log.info("%s: %d training and %d validation images", config.data.kind, *samples)
    log.info(
        "dice: %s; best.pt is saved at the %s", meaning_of_dice(config.data.classes), what_is_best(config)
    )
    if done:
        log.info("continuing after update %d", done)


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


def say_from_the_start(run_dir: Path) -> None:
    """A run that was cut off before its first checkpoint begins again.

    Raises CheckpointError if it has scores of later epochs: then its checkpoints were taken away.
    """
    metrics = run_dir / runs.METRICS
    # A header and two epochs: the first checkpoint may still be on its way when the second epoch ends.
    if metrics.exists() and metrics.read_text(encoding="utf-8").count("\n") > 5:
        raise CheckpointError(
            f"{run_dir / runs.CHECKPOINTS} holds no checkpoint, but {runs.METRICS} has epochs",
            do="put last.pt back, or start anew with from_run=RUN_DIR",
        )
    log.info("no checkpoint was written yet: starting from the first step")


def say_what_changed(
    origin: Path, resuming: bool, config: Config, environment: dict[str, Any], files: list[str]
) -> None:
    """Against the run that is continued or started again; a run that is continued should find nothing new."""
    changed = compare.config_changes(origin, dataclasses.asdict(config))
    other = files + compare.environment_changes(origin, environment)
    if not resuming:
        log.info(compare.as_lines(f"against {shown_path(origin)}:", changed or ["the same configuration"]))
    elif changed:
        log.info(compare.as_lines("changed since the last start:", changed))
    if other:
        log.warning(compare.as_lines("also other than there, so equal bits are not promised:", other))


def say_where(run_dir: Path, config: Config, state: "State") -> None:
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
    picture = f"{shown}/{runs.PLOTS}/samples.png, or " if config.trainer.plots else ""
    log.info("open: %stensorboard --logdir %s", picture, logdir(run_dir))
    log.info("next: %s from_run=%s lr=%g", program(), shown, config.lr / 2)


def say_each_class(run_dir: Path, config: Config, epoch: int) -> None:
    """Log the Dice of each class at the best epoch, for up to four classes."""
    from unet_exp.metrics.confusion import shown
    from unet_exp.training.tables import read_table

    rows = [row for row in read_table(run_dir / runs.METRICS) if row["split"] == "val"]
    found = next((row for row in rows if int(row["epoch"]) == epoch), None)
    if found is not None and len(config.data.classes) <= 4:
        each = [f"{name} {shown(float(found[f'dice_{name}']))}" for name in config.data.classes]
        log.info("dice of each class at the best epoch: %s", ", ".join(each))


def logdir(run_dir: Path) -> str:
    """What to give to TensorBoard: the run with those beside it, but not all of a project."""
    beside = shown_path(run_dir.parent)
    return shown_path(run_dir) if beside in (".", "..") else beside


def shown_path(path: Path) -> str:
    """As short as it can be typed from here."""
    relative = os.path.relpath(path)
    return shlex.quote(relative if not relative.startswith("../..") else str(path))


def stay_here(start_dir: str) -> None:
    """Return to the start directory after hydra.job.chdir=true: all paths are relative to it."""
    if os.getcwd() != start_dir:
        os.chdir(start_dir)
        log.warning("hydra.job.chdir is ignored: all paths are relative to %s", start_dir)


def resume_command(run_dir: Path) -> str:
    return f"{program()} resume={shown_path(run_dir)}"


def program() -> str:
    return f"python {shown_path(RUN_PY)}"


def quiet_threads() -> None:
    """A thread that can't write (TensorBoard's) says nothing itself: its next caller gets the error."""
    usual = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        ours = type(arguments.thread).__module__.startswith("tensorboard.")
        if not (ours and isinstance(arguments.exc_value, OSError)):
            usual(arguments)

    threading.excepthook = hook


def log_to(path: Path) -> None:
    """Lines on stdout, and with the time in a file, as conf/settings.yaml has it for single runs."""
    console, file = (
        logging.StreamHandler(sys.stdout),
        logging.FileHandler(path, encoding="utf-8", errors="backslashreplace"),
    )
    file.setFormatter(logging.Formatter("[%(asctime)s] %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[console, file])
    logging.getLogger("matplotlib").setLevel(logging.WARNING)


def survive_odd_names() -> None:
    """Print what a terminal can't show, such as a name in another encoding, as \\x.. or \\u...."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Output(io.FileIO):
    """stdout or stderr whose reader may go away: a closed pipe, a closed terminal (EIO)."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        return len(content)


def survive_lost_readers() -> None:
    """`python run.py | head` and a closed terminal do not stop a run; run.log still takes every line."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        if not isinstance(getattr(buffer, "raw", buffer), io.FileIO):  # none at all, or a console of Windows
            continue
        stream.flush()
        raw = Output(stream.fileno(), "w", closefd=False)
        wrapped = io.TextIOWrapper(
            raw if stream.write_through else io.BufferedWriter(raw),
            stream.encoding,
            stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, wrapped)


def end(program: Callable[[], None]) -> NoReturn:
    """Run the program and leave at once: taking the interpreter apart costs 0.4 to 0.8 s after torch.

    What has registered for the exit (logging, worker processes) is done before; an exception that is no exit
    goes the long way.
    """
    code: object = 0
    try:
        program()
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


def say(text: str, end: str = "\n") -> None:
    """print, at once."""
    print(text, end=end, flush=True)


def report_failure(run_dir: Path, message: str, alone: bool) -> None:
    """Say why on stderr and in run.log; remove a single run that never began, else note it in status.json."""
    print(f"error: {message}", file=sys.stderr)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.emit(log.makeRecord(log.name, logging.ERROR, __file__, 0, f"error: {message}", (), None))
    status = runs.read_status(run_dir)
    if alone and not status and not runs.is_resuming():
        runs.remove_unstarted(run_dir)
    elif not runs.is_resuming() or status.get("state") == "running":
        try:
            runs.write_status(run_dir, "failed", error=message)
        except UserError as error:  # a full disk, most likely what failed before
            print(f"error: {error}", file=sys.stderr)
