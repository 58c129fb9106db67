"""The process around a run: streams, log, exit."""

import atexit
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from unet_exp.errors import UserError
from unet_exp.rundir import layout


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


def report_failure(run_dir: Path, message: str, alone: bool) -> None:
    """Say why on stderr and in run.log; remove a single run that never began, else note it in status.json."""
    print(f"error: {message}", file=sys.stderr)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.emit(log.makeRecord(log.name, logging.ERROR, __file__, 0, f"error: {message}", (), None))
    status = layout.read_status(run_dir)
    if alone and not status and not layout.is_resuming():
        layout.remove_unstarted(run_dir)
    elif not layout.is_resuming() or status.get("state") == "running":
        try:
            layout.write_status(run_dir, "failed", error=message)
        except UserError as error:  # a full disk, most likely what failed before
            print(f"error: {error}", file=sys.stderr)


log = logging.getLogger("unet_exp")
