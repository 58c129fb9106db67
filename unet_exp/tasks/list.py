"""task=list: the runs below a folder as a table, on the terminal, or as a csv or json file."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

from unet_exp.comparison.catalog import cells_of, read_catalog, rows_of
from unet_exp.config.paths import expanded
from unet_exp.config.schema import LOWER_IS_BETTER
from unet_exp.config.task_schema import ListConfig
from unet_exp.errors import ConfigError, did_you_mean
from unet_exp.messages import counted, in_columns, say, shortened, shown_path
from unet_exp.rundir import atomic
from unet_exp.rundir.sweep_directory import by_number
from unet_exp.rundir.tables import write_table

COLUMNS = ("run", "name", "state", "monitor", "score", "epoch", "minutes", "time", "tags", "notes", "problem")
WIDEST = 36  # letters of a name
Row = dict[str, Any]


def list_runs(options: ListConfig) -> None:
    """Prints a line for each run, or writes them all to a file. Raises ConfigError."""
    root = expanded(options.root)
    if not root.is_dir():
        raise ConfigError(
            f"root={options.root} is no folder", allowed="a folder with runs, such as outputs or multirun"
        )
    every = rows_of(read_catalog(root), root)
    if not every:
        say(f"{shown_path(root)} holds no runs")
        return
    rows = in_order([row for row in every if options.tag is None or options.tag in row["tags"]], options.sort)
    if not rows:
        tags = sorted({tag for row in every for tag in row["tags"]})
        raise ConfigError(
            f"no run of {shown_path(root)} has the tag {options.tag}{did_you_mean(str(options.tag), tags)}",
            allowed=shortened(tags) or "none: no run has a tag; give one by tags=[WORD] when you train",
        )
    if options.output is not None:
        write(expanded(options.output), rows)
        say(f"written: {options.output}, {counted(len(rows), 'run')}")
        return
    say("\n".join(as_lines(rows, shutil.get_terminal_size((80, 24)).columns)))
    say(f"{counted(len(rows), 'run')} in {shown_path(root)}")


def in_order(rows: list[Row], sort: str | None) -> list[Row]:
    """By a column or a setting, numbers by size; by score, or the name of what was monitored: the best first.

    What has no value comes last. Raises ConfigError for a name that no run has.
    """
    if sort is None:
        return rows
    monitors = {row["monitor"] for row in rows}
    settings = {key for row in rows for key in row["settings"]}
    if sort == "score" or sort in monitors:

        def rank(row: Row) -> tuple[bool, float]:
            score = row["score"] if sort in ("score", row["monitor"]) else None
            if score is None or math.isnan(score):
                return True, 0.0
            return False, score if row["monitor"] in LOWER_IS_BETTER else -score

        return sorted(rows, key=rank)
    if sort not in COLUMNS and sort not in settings:
        known = [*COLUMNS, *sorted(monitors), *sorted(settings)]
        raise ConfigError(
            f"sort={sort} is no column{did_you_mean(sort, known)}", allowed=shortened(known, 20)
        )

    def value(row: Row) -> tuple[bool, list[tuple[float, str]]]:
        found = row[sort] if sort in COLUMNS else row["settings"].get(sort)
        return found is None, by_number(str(found))

    return sorted(rows, key=value)


def as_lines(rows: list[Row], width: int) -> list[str]:
    """The table; each line is cut to this width."""
    cells = [["run", "state", "score", "time", "settings"], *(cells_of(row) for row in rows)]
    for line in cells:
        if len(line[0]) > WIDEST:
            line[0] = f"\u2026{line[0][1 - WIDEST :]}"
    return [line if len(line) <= width else f"{line[: width - 1]}\u2026" for line in in_columns(cells)]


def write(path: Path, rows: list[Row]) -> None:
    """A csv or json file, by its ending; in csv each setting is a column."""
    if path.suffix == ".json":
        atomic.write_text(path, json.dumps(rows, indent=2, default=str) + "\n")
        return
    if path.suffix != ".csv":
        raise ConfigError(
            f"output={path} is neither csv nor json", allowed="a name that ends in .csv or .json"
        )
    settings = list(dict.fromkeys(key for row in rows for key in row["settings"]))
    flat = [
        {**{key: row[key] for key in COLUMNS}, "tags": " ".join(row["tags"]), **row["settings"]}
        for row in rows
    ]
    write_table(path, [*COLUMNS, *settings], flat)
