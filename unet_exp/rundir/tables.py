"""CSV files of a run: read back after a crash, appended to, compared with those of another run."""

import csv
import io
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_exp.messages import counted
from unet_exp.rundir import atomic, layout

log = logging.getLogger(__name__)
Row = dict[str, str]
STEP_COLUMNS = ["step", "epoch", "loss", "lr", "weights"]


class Difference(Exception):
    """A row in which two runs differ. where: epoch, step; columns: name -> (value before, value after)."""

    def __init__(self, where: str, columns: dict[str, tuple[str, str]]) -> None:
        self.where = where
        self.columns = columns
        super().__init__(where)

    def lines(self) -> list[str]:
        """Each differing column with both values and, for numbers, by how much."""
        return [
            f"{name}: {before} -> {after}{by_how_much(before, after)}"
            for name, (before, after) in self.columns.items()
        ]


def by_how_much(before: str, after: str) -> str:
    with suppress(ValueError):
        old = float(before)
        new = float(after)
        relative = f", relative {abs(new - old) / abs(old):.1e}" if old else ""
        return f" (by {new - old:+.3e}{relative})"
    return ""


@dataclass(frozen=True)
class Recorded:
    """Rows of a run that a replay has to meet: of steps.csv by step, of metrics.csv by (split, epoch)."""

    steps: dict[int, Row]
    metrics: dict[tuple[str, int], Row]

    def meet(self, where: str, before: Row | None, after: Row) -> None:
        """Raises Difference where a row is another or was not there."""
        if before is None:
            raise Difference(where, {"row": ("none", "one")})
        columns = {
            name: (before.get(name, ""), after[name]) for name in after if before.get(name, "") != after[name]
        }
        if columns:
            raise Difference(where, columns)


def recorded(run_dir: Path) -> Recorded:
    return Recorded(
        {int(row["step"]): row for row in read_table(run_dir / layout.STEPS)},
        {(row["split"], int(row["epoch"])): row for row in read_table(run_dir / layout.METRICS)},
    )


def read_table(path: Path) -> list[Row]:
    """The whole rows of a CSV file, none where it is absent. A torn last line is dropped with a notice."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    if text and not text.endswith("\n"):
        log.warning("%s: the last line was cut off and is dropped", path.name)
        text = text[: text.rfind("\n") + 1]
    rows = list(csv.DictReader(io.StringIO(text)))
    whole = [
        row for row in rows if None not in row and all(str(row.get(k)).isdigit() for k in ("epoch", "step"))
    ]
    if len(whole) < len(rows):
        log.warning("%s: %s dropped", path.name, counted(len(rows) - len(whole), "damaged line"))
    return whole


def read_csv(path: Path) -> list[Row]:
    """Every row of a CSV file as it is."""
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        return list(csv.DictReader(file))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A head of these columns and the rows; other keys are left out, missing ones are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """The file as a whole. Raises CheckpointError when it can't be written."""
    atomic.write_text(path, csv_text(columns, rows))


def as_text(value: Any) -> str:
    """Numbers as Python writes them, so that reading gives the same float again."""
    return repr(value) if isinstance(value, float) else str(value)


class AppendedTable:
    """A table that grows line by line; flush() puts it on disk.

    columns: among them epoch and step. Lines of an earlier start stay up to `last`, a value of column `by`.
    """

    def __init__(self, path: Path, columns: Sequence[str], by: str, last: int) -> None:
        self.kept = [row for row in read_table(path) if int(row[by]) <= last]
        write_table(path, columns, self.kept)
        self.path = path
        try:
            self.file = open(path, "a", encoding="utf-8", newline="")  # noqa: SIM115
        except OSError as error:
            raise atomic.cannot_write(path, error) from error
        self.writer = csv.DictWriter(self.file, columns, lineterminator="\n")

    def add(self, row: Row) -> None:
        try:
            self.writer.writerow(row)
        except OSError as error:
            raise atomic.cannot_write(self.path, error) from error

    def flush(self) -> None:
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise atomic.cannot_write(self.path, error) from error

    def close(self) -> None:
        with suppress(OSError):  # what could not be written was an error of add or flush already
            self.file.close()


class StepLog(AppendedTable):
    """steps.csv: a line for each step, on disk by the next checkpoint.

    last_step: steps that count from an earlier start; lines after it are dropped.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        super().__init__(path, STEP_COLUMNS, "step", last_step)
        if len(self.kept) < last_step:
            log.warning(
                "%s lacks %d of %s", path.name, last_step - len(self.kept), counted(last_step, "step")
            )
