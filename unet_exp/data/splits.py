"""Which samples there are and which of them train, validate and test."""

import re
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp.data.formats import IMAGE_SUFFIXES, count_pages
from unet_exp.errors import DataError
from unet_exp.schema import DataConfig, SplitConfig

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Item:
    """One sample on disk: its name, its two files, and the page where they are stacks."""

    name: str
    image: Path
    label: Path
    page: int | None = None


@dataclass(frozen=True)
class DrawnItem:
    """One sample that is drawn: see data.membranes."""

    name: str
    seed: int
    index: int
    size: int


Splits = dict[str, list[Any]]  # part -> Items or DrawnItems, in the order of their names


def find_splits(data: DataConfig) -> Splits:
    """Every part's samples. Raises DataError naming files that are missing or left over."""
    if data.kind == "membranes":
        return split_items(drawn_items(data), data.split)
    folder = Path(data.root or "")
    if not folder.is_dir():
        raise DataError(
            f"data.root={data.root} is no folder", do="give the folder of the data: data.root=DIR"
        )
    if data.kind == "tiff_stack":
        return split_items(stack_items(folder, data), data.split)
    if decide_mode(data) != "folders":
        return split_items(image_items(folder, data), data.split)
    parts = {part: folder / part for part in PARTS}
    if not parts["train"].is_dir() or not parts["val"].is_dir():
        raise DataError(
            f"{folder} has no folders train and val", allowed=f"found there: {listing(folder)}",
            do="make train/ and val/ (and test/), or read the folder with data=image_folder",
        )  # fmt: skip
    read = npy_items if data.kind == "npy_folder" else image_items
    return {part: read(path, data) if path.is_dir() else [] for part, path in parts.items()}


def decide_mode(data: DataConfig) -> str:
    """What data.split.mode=auto means: folders where there is a train/, else contiguous blocks."""
    if data.split.mode != "auto":
        return data.split.mode
    parted = data.kind == "image_folder" and (Path(data.root or "") / "train").is_dir()
    return "folders" if parted or data.kind == "npy_folder" else "blocks"


def drawn_items(data: DataConfig) -> list[DrawnItem]:
    counts = [getattr(data.split, part) for part in PARTS]
    if not all(isinstance(count, int) for count in counts):
        raise DataError(
            f"data.split for drawn images is {counts}", allowed="whole numbers of train, val and test images"
        )
    return [DrawnItem(f"membranes_{i:04d}", data.seed, i, data.size) for i in range(sum(counts))]


def image_items(folder: Path, data: DataConfig) -> list[Item]:
    """images/NAME.png with labels/NAME.png, paired by name without its ending."""
    folders = (folder / data.images, folder / data.labels)
    for name, path in zip(("images", "labels"), folders, strict=True):
        if not path.is_dir():
            hint = ""
            if (folder / data.image_stack).is_file():
                hint = f"{data.image_stack} is there: add data.kind=tiff_stack"
            raise DataError(
                f"{folder} has no folder {path.name}", allowed=f"found there: {listing(folder)}",
                do=hint or f"name the folder of the {name}: data.{name}=NAME",
            )  # fmt: skip
    images, labels = (by_stem(path, IMAGE_SUFFIXES) for path in folders)
    return paired(images, labels, folder)


def npy_items(folder: Path, data: DataConfig) -> list[Item]:
    """The lecture's layout: input_000.npy with label_000.npy."""
    files = by_stem(folder, (".npy",))
    named: dict[str, dict[str, Path]] = {"input": {}, "label": {}}
    for stem, path in files.items():
        found = re.fullmatch(r"(input|label)_(.+)", stem)
        if found:
            named[found[1]][found[2]] = path
    return paired(named["input"], named["label"], folder)


def stack_items(folder: Path, data: DataConfig) -> list[Item]:
    """Page i of the image stack with page i of the label stack."""
    stacks = (folder / data.image_stack, folder / data.label_stack)
    for path in stacks:
        if not path.is_file():
            raise DataError(
                f"{path} is not there", allowed=f"found in {folder}: {listing(folder)}",
                do="set data.image_stack and data.label_stack to the names of the two TIFF files",
            )  # fmt: skip
    pages = [count_pages(path) for path in stacks]
    if pages[0] != pages[1]:
        raise DataError(
            f"{stacks[0]} has {pages[0]} pages, but {stacks[1]} has {pages[1]}",
            allowed="one label page for each image page",
        )
    return [Item(f"{page:02d}", *stacks, page) for page in range(pages[0])]


def by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files of these kinds by their name without ending, sorted. Raises DataError for two of one name."""
    found = (p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    files = sorted(found, key=natural)
    twice = [stem for stem, count in Counter(path.stem for path in files).items() if count > 1]
    if twice:
        raise DataError(f"{folder} holds more than one file named {twice[0]}.*", do="keep one of them")
    return {path.stem: path for path in files}


def natural(path: Path) -> list[tuple[int, str]]:
    """A sort key by which slice 2 comes before slice 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def paired(images: dict[str, Path], labels: dict[str, Path], folder: Path) -> list[Item]:
    """Images with the labels of the same name. Raises DataError listing those without a partner."""
    if not images and not labels:
        raise DataError(
            f"no images in {folder} (found there: {listing(folder)})",
            allowed=f"{', '.join(IMAGE_SUFFIXES)}, or input_*.npy for npy_folder",
        )
    lone_images = [path.name for stem, path in images.items() if stem not in labels]
    lone_labels = [path.name for stem, path in labels.items() if stem not in images]
    if lone_images or lone_labels:
        lines = [
            f"  {what} ({len(names)}): {shortened(names)}"
            for what, names in (
                ("images without a label", lone_images), ("labels without an image", lone_labels)
            )
            if names
        ]  # fmt: skip
        raise DataError(
            "\n".join([f"files without a partner in {folder}", *lines]),
            do="give both the same name (endings may differ), or move them away",
        )
    return [Item(stem, path, labels[stem]) for stem, path in images.items()]


def listing(folder: Path) -> str:
    return shortened(sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())) or "nothing"


def shortened(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def split_items(items: list[Any], split: SplitConfig) -> Splits:
    """Deal out samples by the split's mode. Raises DataError when the numbers do not add up."""
    if split.mode == "listed":
        return listed_split(items, split)
    order = list(range(len(items)))
    if split.mode == "random":
        order = np.random.default_rng(split.seed).permutation(len(items)).tolist()
    counts = part_counts(split, len(items))
    rest = [part for part, count in counts.items() if count is None]
    taken = sum(count for count in counts.values() if count is not None)
    if len(rest) > 1 or taken > len(items):
        asked = ", ".join(f"{part}={getattr(split, part)}" for part in PARTS)
        raise DataError(
            f"data.split asks for {asked}, but there are {len(items)} images",
            allowed="counts that fit, one part at most may be 'rest'",
        )
    parts: Splits = {}
    start = 0
    for part in PARTS:
        count = counts[part]
        stop = start + (len(items) - taken if count is None else count)
        parts[part] = [items[i] for i in sorted(order[start:stop])]
        start = stop
    return parts


def part_counts(split: SplitConfig, total: int) -> dict[str, int | None]:
    """Samples of each part; None for 'rest'. Fractions are rounded at their common borders, so that
    fractions that sum to 1 use every sample once; beside a 'rest' a fraction gives at least one."""
    least = 1 if "rest" in (split.train, split.val, split.test) else 0
    counts: dict[str, int | None] = {}
    border = 0.0
    for part in PARTS:
        value = getattr(split, part)
        if isinstance(value, float):
            count = round((border + value) * total) - round(border * total)
            counts[part] = max(count, least if value > 0 else 0)
            border += value
        else:
            counts[part] = None if value == "rest" else int(value)
    return counts


def listed_split(items: list[Any], split: SplitConfig) -> Splits:
    parts: Splits = {}
    seen: dict[str, str] = {}
    for part in PARTS:
        patterns = [str(pattern) for pattern in getattr(split, part) or []]
        for pattern in patterns:
            if not any(fnmatch(item.name, pattern) for item in items):
                names = shortened([item.name for item in items])
                raise DataError(f"data.split.{part} names {pattern!r}, which is none of: {names}")
        parts[part] = [item for item in items if any(fnmatch(item.name, p) for p in patterns)]
        for item in parts[part]:
            if item.name in seen:
                raise DataError(f"{item.name} is in data.split.{part} and in data.split.{seen[item.name]}")
            seen[item.name] = part
    return parts
