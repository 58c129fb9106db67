"""Problems of many files: each kind is reported once, with its count and one example."""

import re
import shlex
from collections.abc import Sequence
from typing import Any

from unet_exp.config.label_map import OBJECT_CLASSES, LabelMap
from unet_exp.config.quoting import setting
from unet_exp.config.schema import DataConfig
from unet_exp.data.formats import read_array
from unet_exp.data.items import Item
from unet_exp.data.label_guess import guess, shapes
from unet_exp.data.labels import Counts, LabelValuesError, values_error
from unet_exp.errors import DataError
from unet_exp.messages import counted, shortened

MOST_KINDS = 8
MOST_LOOKED_AT = 20  # labels whose regions say what their values mean
Failed = tuple[Any, DataError]  # an item and what is wrong with it


def alike(failed: Sequence[Failed], labels: LabelMap) -> list[tuple[DataError, int]]:
    """One error for each kind of problem, with the number of files that have it, in order of appearance."""
    kinds: dict[str, list[Failed]] = {}
    for item, error in failed:
        kinds.setdefault(kind_of(item, error), []).append((item, error))
    return [(together(of_kind, labels), len(of_kind)) for of_kind in kinds.values()]


def kind_of(item: Any, error: DataError) -> str:
    """The message without file names and numbers, which is equal for problems of one kind."""
    if isinstance(error, LabelValuesError):
        return "colours" if error.coloured else "values"
    text = error.what
    paths = [item.label, *item.files] if isinstance(item, Item) else []
    for name in sorted(map(str, [*paths, item.name]), key=len, reverse=True):
        text = text.replace(name, "FILE")
    return re.sub(r"\d+(\.\d+)?", "N", text)


def together(failed: Sequence[Failed], labels: LabelMap) -> DataError:
    """One error for several of a kind."""
    first = failed[0][1]
    if len(failed) == 1:
        return first
    values = [error for _, error in failed if isinstance(error, LabelValuesError)]
    if len(values) == len(failed):
        names = [error.name for error in values]
        if look_of_files(failed) == "objects":
            return numbered_objects(names)
        return values_error(names, added(error.counts for error in values), labels, values[0].coloured)
    others = few([item.name for item, _ in failed[1:]])
    return DataError(f"{first.what} ({len(failed)} such files: also {others})", first.allowed, first.do)


def look_of_files(failed: Sequence[Failed]) -> str:
    """As label_guess.guess, of some of the labels whose values are no class."""
    counts = []
    looks = []
    for item, error in failed[:MOST_LOOKED_AT]:
        assert isinstance(error, LabelValuesError)
        counts.append(error.counts)
        label = None if error.coloured else read_array(item.label, item.page, label=True)
        looks.append(None if label is None else shapes(label[..., 0]))
    return guess(counts, looks)


def numbered_objects(names: Sequence[str]) -> DataError:
    """The error for labels that number objects but are read as classes."""
    words = [
        setting("data.labels_are", "objects"),
        setting("data.classes", OBJECT_CLASSES[DataConfig.target]),
    ]
    return DataError(
        f"{len(names)} labels, such as {names[0]}, look like numbered objects, not like classes",
        do=f"find these objects:\n{shlex.join(words)}",
    )


def few(names: list[str]) -> str:
    """As many names as fit into about half a line, at least one, and the number of the others."""
    shown = names[:1]
    while len(shown) < min(4, len(names)) and len(", ".join(shown)) + len(names[len(shown)]) < 40:
        shown.append(names[len(shown)])
    return shortened(names, len(shown))


def added(counts: Any) -> Counts:
    """The pixels of each value over several labels."""
    total: Counts = {}
    for one in counts:
        for value, count in one.items():
            total[value] = total.get(value, 0) + count
    return total


def all_problems(failed: Sequence[Failed], total: int, labels: LabelMap) -> DataError:
    """One error for all files of a split that can't be used."""
    kinds = [(advised(error, count, total), count) for error, count in alike(failed, labels)]
    if len(kinds) == 1:
        error, count = kinds[0]
        head = f"{count} of {counted(total, 'file')} can't be used: " if count > 1 else ""
        return DataError(f"{head}{error.what}", error.allowed, error.do)
    lines = []
    for number, (error, _) in enumerate(kinds[:MOST_KINDS], start=1):
        lines.append(f"  {number}. {error.what}")
        lines += [f"     to do: {error.do}"] * bool(error.do)
    lines += [f"  and {len(kinds) - MOST_KINDS} other kinds"] * (len(kinds) > MOST_KINDS)
    return DataError("\n".join([f"{len(failed)} of {counted(total, 'file')} can't be used", *lines]))


def advised(error: DataError, count: int, total: int) -> DataError:
    """The error, without proposed settings if other labels may hold other values."""
    if isinstance(error, LabelValuesError) and count < total and "ignore" not in error.do:
        return DataError(
            error.what, error.allowed, "correct them, or ask what all labels hold: task=check_data"
        )
    return error
