"""Which samples there are: files found and paired. Which of them train, validate and test: splits.py."""

import csv
import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from unet_exp.data.formats import IMAGE_SUFFIXES, TIFF, count_pages
from unet_exp.errors import DataError
from unet_exp.schema import DataConfig


@dataclass(frozen=True)
class Item:
    """One sample on disk: its name, its two files, the page where they are stacks.

    part: what a csv list puts it into. group: what has to stay together. window: top, bottom, left, right of
    the part of an image that is a sample of its own.
    """

    name: str
    image: Path
    label: Path
    page: int | None = None
    part: str | None = None
    group: str | None = None
    window: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class DrawnItem:
    """One sample that is drawn: see data.membranes."""

    name: str
    seed: int
    index: int
    size: int
    part: str | None = None
    group: str | None = None
    window: tuple[int, int, int, int] | None = None


class UnpairedError(DataError):
    """Files without a partner. items: the pairs that there are."""

    def __init__(self, what: str, do: str, items: list[Item]) -> None:
        super().__init__(what, do=do)
        self.items = items


def image_items(folder: Path, data: DataConfig) -> list[Item]:
    """images/NAME.png with labels/NAME.png, paired by name, data.label_suffix or data.pair_regex."""
    folders = (folder / data.images, folder / data.labels)
    for name, path in zip(("images", "labels"), folders, strict=True):
        if not path.is_dir():
            hint = ""
            if (folder / data.image_stack).is_file():
                hint = f"{data.image_stack} is there: add data.kind=tiff_stack"
            above = next(one for one in path.parents if one.is_dir())
            raise DataError(
                f"{path.parent} has no folder {path.name}", allowed=f"found in {above}: {listing(above)}",
                do=hint or f"name the folder of the {name}: data.{name}=NAME",
            )  # fmt: skip
    images, labels = (files_in(path, IMAGE_SUFFIXES) for path in folders)
    suffix = data.label_suffix
    if suffix and folders[0].resolve() == folders[1].resolve():
        images = [path for path in images if not path.stem.endswith(suffix)]
        labels = [path for path in labels if path.stem.endswith(suffix)]
    strange = [path.name for path in labels if not path.stem.endswith(suffix)]
    if strange:
        raise DataError(
            f"labels in {folders[1]} without data.label_suffix={suffix}: {shortened(strange)}",
            do="correct data.label_suffix, or move them away",
        )
    cut = len(suffix)
    pairs = paired(
        by_name(images, folders[0], data.pair_regex, 0),
        by_name(labels, folders[1], data.pair_regex, cut),
        folder,
    )
    return [page for item in pairs for page in pages_of(item)]


def pages_of(item: Item) -> list[Item]:
    """The item itself, or one for each page where its image and label are TIFFs of several pages."""
    pages = [count_pages(path) if path.suffix.lower() in TIFF else 1 for path in (item.image, item.label)]
    if pages == [1, 1]:
        return [item]
    if pages[0] != pages[1]:
        raise DataError(
            f"{item.image} has {pages[0]} pages, but {item.label} has {pages[1]}",
            allowed="one label page for each image page",
        )
    return [replace(item, name=f"{item.name}_{page:03d}", page=page) for page in range(pages[0])]


def csv_items(folder: Path, data: DataConfig) -> list[Item]:
    """The rows of a csv list: image,label (paths from data.root), and perhaps split and group."""
    path = folder / data.csv
    if not path.is_file():
        raise DataError(
            f"{path} is not there",
            allowed=f"found in {folder}: {listing(folder)}",
            do="name it: data.csv=FILE",
        )
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            rows = list(csv.DictReader(file, delimiter=max(",;\t", key=header.count)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} can't be read: {error}", do="save it as UTF-8 text") from error
    columns = list(rows[0]) if rows else []
    if not {"image", "label"} <= set(columns):
        raise DataError(
            f"{path} has the columns {', '.join(map(str, columns)) or 'none'}",
            allowed="image,label and perhaps split (train, val, test) and group, named in the first line",
        )
    items, problems = [], []
    for number, row in enumerate(rows, start=2):
        files = [folder / (row[key] or "") for key in ("image", "label")]
        gone = [str(file) for file in files if not file.is_file()]
        part = (row.get("split") or "").strip() or None
        if gone:
            problems.append(f"line {number}: {' and '.join(gone)} is not there")
        elif "split" in columns and part not in ("train", "val", "test"):
            problems.append(f"line {number}: split is {part!r}; allowed: train, val, test")
        name = Path(row["image"] or "").with_suffix("").as_posix()
        items.append(Item(name, files[0], files[1], part=part, group=row.get("group")))
    if problems:
        more = [f"  and {len(problems) - 10} more"] if len(problems) > 10 else []
        raise DataError("\n".join([f"{path} can't be used", *(f"  {line}" for line in problems[:10]), *more]))
    return [page for item in items for page in pages_of(item)]


def npy_items(folder: Path, data: DataConfig) -> list[Item]:
    """The lecture's layout: input_000.npy with label_000.npy."""
    named: dict[str, dict[str, Path]] = {"input": {}, "label": {}}
    for path in files_in(folder, (".npy",)):
        found = re.fullmatch(r"(input|label)_(.+)", path.stem)
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


def files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of these kinds, sorted, with links that lead nowhere; without folders and hidden files."""
    with os.scandir(folder) as entries:
        names = [
            entry.name for entry in entries
            if entry.is_file(follow_symlinks=False) or (entry.is_symlink() and not os.path.isdir(entry.path))
        ]  # fmt: skip
    wanted = [n for n in names if not n.startswith(".") and os.path.splitext(n)[1].lower() in suffixes]
    return [folder / name for name in sorted(wanted, key=natural)]


def by_name(paths: list[Path], folder: Path, regex: str | None, cut: int) -> dict[str, Path]:
    """Files by the name they pair by: what the regex finds, or the stem without its last `cut` letters.

    Raises DataError for names that the regex does not find, and for two files of one name.
    """
    names = [path.stem[: len(path.stem) - cut] for path in paths]
    if regex is not None:
        found = [re.search(regex, path.name) for path in paths]
        lost = [path.name for path, match in zip(paths, found, strict=True) if not match]
        if lost:
            raise DataError(
                f"data.pair_regex={regex} finds nothing in {shortened(lost)} of {folder}",
                do="correct it, or move these files away",
            )
        names = [match[1] or "" for match in found if match]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        both = [path.name for path, name in zip(paths, names, strict=True) if name == twice[0]]
        what = f"{twice[0]}.*" if regex is None else twice[0]
        raise DataError(
            f"{folder} holds more than one file named {what}: {shortened(both)}", do="keep one of them"
        )
    return dict(zip(names, paths, strict=True))


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key by which slice 2 comes before slice 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


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
        raise UnpairedError(
            "\n".join([f"files without a partner in {folder}", *lines]),
            "give both the same name (endings may differ), or move them away",
            [Item(stem, path, labels[stem]) for stem, path in images.items() if stem in labels],
        )
    return [Item(stem, path, labels[stem]) for stem, path in images.items()]


def listing(folder: Path) -> str:
    return shortened(sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())) or "nothing"


def shortened(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
