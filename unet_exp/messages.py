"""What is said on the terminal, in one voice."""

import logging
import os
import shlex
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

RUN_PY = Path(__file__).resolve().parents[1] / "run.py"


def logdir(run_dir: Path) -> str:
    """What to give to TensorBoard: the run with those beside it, but not all of a project."""
    beside = shown_path(run_dir.parent)
    return shown_path(run_dir) if beside in (".", "..") else beside


def shown_path(path: Path) -> str:
    """As short as it can be typed from here."""
    relative = os.path.relpath(path)
    return shlex.quote(relative if not relative.startswith("../..") else str(path))


def resume_command(run_dir: Path) -> str:
    return f"{program()} resume={shown_path(run_dir)}"


def program() -> str:
    return f"python {shown_path(RUN_PY)}"


def say(text: str, end: str = "\n") -> None:
    """print, at once."""
    print(text, end=end, flush=True)


def write_to_log(text: str, level: int = logging.INFO) -> None:
    """A line of run.log alone."""
    record = logging.makeLogRecord({"name": "unet_exp", "levelno": level, "msg": text})
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def counted(number: int, noun: str, plural: str = "") -> str:
    """'1 thread', '2 threads', '0 batches'. plural: where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """'45s', '12m' or '3.4h'."""
    if seconds < 99.5:
        return f"{seconds:.0f}s"
    minutes = seconds / 60
    return f"{minutes:.0f}m" if minutes < 99.5 else f"{minutes / 60:.1f}h"


def as_lines(title: str, lines: Iterable[str]) -> str:
    """A title and below it the lines, indented."""
    return "\n".join([title, *(f"  {line}" for line in lines)])


def in_columns(cells: Sequence[Sequence[str]], between: str = "  ") -> list[str]:
    """Rows of cells as lines, each column as wide as its longest cell."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        between.join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def wrapped(line: str, width: int = 80) -> list[str]:
    """A line as lines of at most this width; what follows the first is indented. Words, such as paths, stay
    whole."""
    return textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def shortened(names: list[str], most: int = 10, between: str = ", ") -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def numbered(title: str, lines: list[str], most: int = 10) -> str:
    """A title and below it the lines, numbered, at most `most` of them."""
    rows = [f"{number}. {line}" for number, line in enumerate(lines[:most], start=1)]
    return as_lines(title, [*rows, *([f"and {len(lines) - most} more"] if len(lines) > most else [])])


def shortened_lines(lines: list[str], most: int) -> list[str]:
    """For a list that is shown one below the other."""
    return [*lines[:most], *([f"... and {len(lines) - most} more"] if len(lines) > most else [])]


def typed_command() -> list[str]:
    """The command line as it was typed, from run.py on, whatever was made of it for Hydra."""
    return sys.orig_argv[sys.orig_argv.index(sys.argv[0]) :] if sys.argv[0] in sys.orig_argv else sys.argv
