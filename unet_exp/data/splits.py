"""Which samples train, validate and test."""

import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp.config.schema import SYNTHETIC, DataConfig, SplitConfig
from unet_exp.data.items import Item, SyntheticItem
from unet_exp.data.layouts import has_split_folders, is_template, read_items, root_of, split_folders
from unet_exp.data.lists import LEFT_OUT, has_splits
from unet_exp.data.names import SPLITS, as_stored, below, composed, natural
from unet_exp.errors import DataError
from unet_exp.messages import counted, shortened
from unet_exp.rundir.tables import csv_text

Splits = dict[str, list[Any]]  # split -> its items, in the order of their names


def find_splits(data: DataConfig, left_out: list[Path] | None = None) -> Splits:
    """The samples of every split. Raises DataError naming files that are missing or left over.

    left_out: takes the images without a label that data.unlabelled=skip leaves out.
    """
    if decide_mode(data) == "folders":
        splits: Splits = dict(split_folders(data, left_out))
    else:
        splits = split_items(all_items(data, left_out), data)
    if data.channels != "stored":
        splits = {
            name: [with_channels(item, data.channels) for item in items] for name, items in splits.items()
        }
    return splits if data.folds is None else fold(splits, data)


def with_channels(item: Any, rule: str) -> Any:
    if isinstance(item, Item):
        return replace(item, channels=rule)
    if rule != "grey":
        raise DataError(
            f"data.channels={rule} is for files; the generated images are grey", do="data.channels=stored"
        )
    return item


def all_items(data: DataConfig, left_out: list[Path] | None = None) -> list[Any]:
    """All samples of a data set without folders for its splits."""
    return (
        list(synthetic_items(data)) if data.kind in SYNTHETIC else read_items(root_of(data), data, left_out)
    )


def decide_mode(data: DataConfig) -> str:
    """What data.split.mode=auto means: folders (or {split} in the paths) or the column split, else blocks."""
    if data.split.mode != "auto":
        return data.split.mode
    if is_template(data):
        return "folders"
    root = Path(data.root or "")
    if data.kind == "csv":
        return "column" if has_splits(as_stored(root, data.csv)) else "blocks"
    parted = data.kind == "image_folder" and has_split_folders(root, data)
    return "folders" if parted or data.kind == "npy_folder" else "blocks"


def synthetic_items(data: DataConfig) -> list[SyntheticItem]:
    counts = [getattr(data.split, name) for name in SPLITS]
    if not all(isinstance(count, int) for count in counts):
        raise DataError(
            f"data.split for generated images is {counts}",
            allowed="whole numbers of train, val and test images",
        )
    return [
        SyntheticItem(f"{data.kind}_{i:04d}", data.kind, data.seed, i, data.size) for i in range(sum(counts))
    ]


def split_items(items: list[Any], data: DataConfig) -> Splits:
    """Deal out samples, or whole groups of them, by the split's mode.

    Raises DataError when the numbers do not add up.
    """
    split = data.split
    mode = decide_mode(data)
    if mode == "listed":
        return listed_split(items, split)
    if mode == "column":
        return {name: [item for item in items if item.split == name] for name in SPLITS}
    units = grouped(items, split)
    order = list(range(len(units)))
    if mode == "random":
        order = np.random.default_rng(split.seed).permutation(len(units)).tolist()
    counts = split_counts(split, len(units))
    rest = [name for name, count in counts.items() if count is None]
    taken = sum(count for count in counts.values() if count is not None)
    if len(rest) > 1 or taken > len(units):
        asked = ", ".join(f"{name}={getattr(split, name)}" for name in SPLITS)
        total = counted(len(units), "image" if len(units) == len(items) else "group")
        raise DataError(
            f"data.split asks for {asked}, but the data has {total}",
            allowed="counts that fit, one at most may be 'rest'",
        )
    splits: Splits = {}
    start = 0
    for name in SPLITS:
        count = counts[name]
        stop = start + (len(units) - taken if count is None else count)
        splits[name] = [item for i in sorted(order[start:stop]) for item in units[i]]
        start = stop
    return splits


def grouped(items: list[Any], split: SplitConfig) -> list[list[Any]]:
    """Samples that have to stay together, in the order of their first; without groups each is alone.

    Raises DataError for names in which data.split.group finds nothing.
    """
    groups = [group_of(item, split.group) for item in items]
    lost = [item.name for item, group in zip(items, groups, strict=True) if split.group and group is None]
    if lost:
        raise DataError(f"data.split.group={split.group} finds nothing in {shortened(lost)}")
    units: dict[str, list[Any]] = {}
    for item, group in zip(items, groups, strict=True):
        units.setdefault(item.name if group is None else group, []).append(item)
    return list(units.values())


def group_of(item: Any, regex: str | None) -> str | None:
    """What data.split.group finds in a sample's name, or what its list says; None where that is nothing."""
    if regex is None:
        return item.group or None
    match = re.search(regex, item.name) or re.search(regex, composed(item.name))
    return match[1] if match else None


def clusters(items: list[Any], regex: str | None) -> list[str]:
    """Of each sample what others may share that are like it: its group, else the file of which it is a page
    or a window, else its name."""
    return [group_of(item, regex) or (file_of(item) if is_part(item) else item.name) for item in items]


def is_part(item: Any) -> bool:
    return item.window is not None or getattr(item, "page", None) is not None


def file_of(item: Any) -> str:
    """The last two words of a file's path; the name of an image that was generated."""
    path = item.image if isinstance(item, Item) else Path(item.name.partition("[")[0])
    return "/".join(path.parts[-2:])


def fold(splits: Splits, data: DataConfig) -> Splits:
    """Train and val dealt out again: block number data.fold of data.folds validates, the others train."""
    units = grouped([*splits["train"], *splits["val"]], data.split)
    assert data.folds is not None
    if len(units) < data.folds:
        count = counted(len(units), "image or group", "images or groups")
        raise DataError(f"data.folds is {data.folds}, but only {count} can be dealt out")
    units.sort(key=lambda unit: natural(unit[0].name))
    order = np.arange(len(units))
    if data.split.mode == "random":
        order = np.random.default_rng(data.split.seed).permutation(len(units))
    chosen = set(np.array_split(order, data.folds)[data.fold].tolist())
    return {
        "train": [item for i, unit in enumerate(units) if i not in chosen for item in unit],
        "val": [item for i, unit in enumerate(units) if i in chosen for item in unit],
        "test": splits["test"],
    }


def as_csv(splits: Splits, root: str | None, left_out: Sequence[Path] = ()) -> str:
    """The split as a list that data=csv reads again: image,label,split,name,page,group.

    left_out: images without a label, at the end.
    """
    rows: list[list[Any]] = []
    for name, items in splits.items():
        for item in items:
            paths = (item.image, item.label) if isinstance(item, Item) else ()
            files = [below(path, root) for path in paths] or ["", ""]
            page = "" if getattr(item, "page", None) is None else item.page
            rows.append([*files, name, item.name, page, item.group or ""])
    for path in left_out:
        rows.append([below(path, root), "", LEFT_OUT, path.stem, "", ""])
    columns = ["image", "label", "split", "name", "page", "group"]
    return csv_text(columns, [dict(zip(columns, row, strict=True)) for row in rows])


def split_counts(split: SplitConfig, total: int) -> dict[str, int | None]:
    """Samples of each split; None for 'rest'. Fractions are rounded at their common borders, so that
    fractions that sum to 1 use every sample once; beside a 'rest' a fraction gives at least one."""
    least = 1 if "rest" in (split.train, split.val, split.test) else 0
    counts: dict[str, int | None] = {}
    border = 0.0
    for name in SPLITS:
        value = getattr(split, name)
        if isinstance(value, float):
            count = round((border + value) * total) - round(border * total)
            counts[name] = max(count, least if value > 0 else 0)
            border += value
        else:
            counts[name] = None if value == "rest" else int(value)
    return counts


def listed_split(items: list[Any], split: SplitConfig) -> Splits:
    splits: Splits = {}
    split_of: dict[str, str] = {}
    forms = {item.name: composed(item.name) for item in items}
    for name in SPLITS:
        chosen: set[str] = set()
        for pattern in map(str, getattr(split, name) or []):
            matches = listed(composed(pattern), forms)
            if not matches:
                samples = shortened(list(forms))
                raise DataError(f"data.split.{name} names {pattern!r}, which is none of: {samples}")
            chosen |= matches
        splits[name] = [item for item in items if item.name in chosen]
        for sample in sorted(chosen, key=natural):
            if sample in split_of:
                raise DataError(f"{sample} is in data.split.{name} and in data.split.{split_of[sample]}")
            split_of[sample] = name
    return splits


def listed(pattern: str, forms: dict[str, str]) -> set[str]:
    """The names that match a pattern: exactly, else by * and ?, else with [ ] as in a shell."""
    exact = {name for name, form in forms.items() if form == pattern}
    literal = pattern.replace("[", "[[]")
    return exact or next(
        (names for one in (literal, pattern) if (names := {n for n, f in forms.items() if fnmatch(f, one)})),
        set(),
    )
