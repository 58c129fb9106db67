"""Every change to Hydra, torch, logging and the interpreter that a start makes, and why."""

import errno
import io
import os
import sys
import threading
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.types import RunMode

from unet_exp.config import yaml_files


def quiet_threads() -> None:
    """A thread that can't write (TensorBoard's) says nothing itself: its next caller gets the error."""
    usual = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        ours = type(arguments.thread).__module__.startswith("tensorboard.")
        if not (ours and isinstance(arguments.exc_value, OSError)):
            usual(arguments)

    threading.excepthook = hook


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


def compose_once() -> None:
    """Hydra composes everything twice, first only to read hydra.mode, which a flag has decided here.

    Faults of the YAML files that it reads for that become one line.
    """
    yaml_files.read_in_words()
    asked = Hydra.get_mode

    def get_mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        if any(override.lstrip("+").startswith("hydra.mode=") for override in overrides):
            return asked(self, config_name, overrides)
        return RunMode.MULTIRUN if {"-m", "--multirun"} & set(sys.argv) else RunMode.RUN

    Hydra.get_mode = get_mode  # type: ignore[method-assign]


def streams_and_threads() -> None:
    """What has to hold before the first line is printed."""
    quiet_threads()
    survive_odd_names()
    survive_lost_readers()
