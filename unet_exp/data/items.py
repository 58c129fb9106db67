"""Which samples there are: files found and paired. Which of them train, validate and test: splits.py."""

import logging
import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from unet_exp.config.schema import DataConfig
from unet_exp.data.formats import IMAGE_SUFFIXES, TIFF, count_pages
from unet_exp.data.names import (
    IGNORED_FILES,
    OTHER_PICTURES,
    Key,
    as_stored,
    composed,
    ending,
    ends_with,
    natural,
    not_read,
    numbered,
    partners,
    refuse_other_encodings,
)
from unet_exp.data.pairing import numbers_that_pair
from unet_exp.errors import DataError
from unet_exp.messages import counted, shortened

log = logging.getLogger("unet_exp")


@dataclass(frozen=True, slots=True)
class Item:
    """One sample on disk: its name, its two files, the page where they are stacks.

    split: what a csv list puts it into. group: what has to stay together. window: top, bottom, left, right of
    the part of an image that is a sample of its own. channels: as data.channels. masks: of its objects, one
    for each, where the label is the folder of them.
    """

    name: str
    image: Path
    label: Path
    page: int | None = None
    split: str | None = None
    group: str | None = None
    window: tuple[int, int, int, int] | None = None
    channels: str = "stored"
    masks: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of the sample."""
        return (self.image, *(self.masks or (self.label,)))


@dataclass(frozen=True, slots=True)
class SyntheticItem:
    """One sample that is generated. kind: membranes (data/synthetic.py) or nuclei (data/nuclei.py)."""

    name: str
    kind: str
    seed: int
    index: int
    size: int
    split: str | None = None
    group: str | None = None
    window: tuple[int, int, int, int] | None = None


class UnpairedError(DataError):
    """Files without a partner. items: the pairs that were found."""

    def __init__(self, what: str, do: str, items: list[Item]) -> None:
        super().__init__(what, do=do)
        self.items = items


def image_items(folder: Path, data: DataConfig, left_out: list[Path] | None = None) -> list[Item]:
    """images/NAME.png with labels/NAME.png, paired by name, data.label_suffix or data.pair_regex.

    left_out: takes the images without a label where data.unlabelled=skip.
    """
    folders = (as_stored(folder, data.images), as_stored(folder, data.labels))
    for name, path in zip(("images", "labels"), folders, strict=True):
        if not path.is_dir():
            hint = ""
            if (folder / data.image_stack).is_file():
                hint = f"{data.image_stack} is there: add data.kind=tiff_stack"
            above = next(one for one in path.parents if one.is_dir())
            raise DataError(
                f"{path.parent} has no folder {path.name}",
                allowed=f"found in {above}: {listing(above)}",
                do=hint or f"name the folder of the {name}: data.{name}=NAME",
            )
    images, labels = (files_in(path, IMAGE_SUFFIXES) for path in folders)
    suffix = data.label_suffix
    regex = data.pair_regex
    same = folders[0].resolve() == folders[1].resolve()
    if same and not suffix:
        raise DataError(
            f"images and labels are both in {folders[0]}: {shortened([path.name for path in images])}",
            do="say how the names of the labels end: data.label_suffix=_mask",
        )
    if suffix and same:
        images = [path for path in images if not ends_with(path.stem, suffix)]
        labels = [path for path in labels if ends_with(path.stem, suffix)]
    strange = [path.name for path in labels if not ends_with(path.stem, suffix)]
    if strange:
        raise DataError(
            f"labels in {folders[1]} without data.label_suffix={suffix}: {shortened(strange)}",
            do="correct data.label_suffix, or move them away",
        )
    named = by_name(images, folders[0], regex, 0), by_name(labels, folders[1], regex, len(composed(suffix)))
    pairs = paired(*named, folders[:1] if same else folders, data, left_out)
    say_what_is_not_read(folders[0])
    return [page for item in pairs for page in pages_of(item)]


def pages_of(item: Item) -> list[Item]:
    """The item itself, or one for each page where its image and label are TIFFs of several pages."""
    pages = [count_pages(path) if path.suffix.lower() in TIFF else 1 for path in (item.image, item.label)]
    if pages == [1, 1]:
        return [item]
    if pages[0] != pages[1]:
        raise DataError(
            f"{item.image} has {counted(pages[0], 'page')}, but {item.label} has {pages[1]}",
            allowed="one label page for each image page",
        )
    return [replace(item, name=f"{item.name}_{page:03d}", page=page) for page in range(pages[0])]


def npy_items(folder: Path, data: DataConfig, left_out: list[Path] | None = None) -> list[Item]:
    """The lecture's layout: input_000.npy with label_000.npy. left_out: as image_items."""
    named: dict[str, dict[str, Path]] = {"input": {}, "label": {}}
    for path in files_in(folder, (".npy",)):
        match = re.fullmatch(r"(input|label)_(.+)", path.stem)
        if match:
            named[match[1]][match[2]] = path
    return paired(named["input"], named["label"], (folder,), data, left_out)


def stack_items(folder: Path, data: DataConfig) -> list[Item]:
    """Page i of the image stack with page i of the label stack."""
    stacks = (as_stored(folder, data.image_stack), as_stored(folder, data.label_stack))
    for path in stacks:
        if not path.is_file():
            raise DataError(
                f"{path} is not there",
                allowed=f"found in {folder}: {listing(folder)}",
                do="set data.image_stack and data.label_stack to the names of the two TIFF files",
            )
    pages = [count_pages(path) for path in stacks]
    if pages[0] != pages[1]:
        raise DataError(
            f"{stacks[0]} has {counted(pages[0], 'page')}, but {stacks[1]} has {pages[1]}",
            allowed="one label page for each image page",
        )
    return [Item(f"{page:02d}", *stacks, page) for page in range(pages[0])]


def files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files with these extensions, sorted, dangling links included; without folders and hidden files.

    Raises DataError for names that are not UTF-8.
    """
    wanted = [name for name in names_in(folder) if os.path.splitext(name)[1].lower() in suffixes]
    refuse_other_encodings(wanted, str(folder))
    return [folder / name for name in sorted(wanted, key=natural)]


def names_in(folder: Path) -> list[str]:
    """The names of all files, unsorted, except hidden ones and those that file managers leave."""
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.is_file(follow_symlinks=False) or (entry.is_symlink() and not os.path.isdir(entry.path))
        ]
    return [name for name in names if not name.startswith(".") and name.lower() not in IGNORED_FILES]


def passed_over(folder: Path) -> list[str]:
    """The names of the files that are not read because of their extension."""
    return sorted(
        name for name in names_in(folder) if os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES
    )


def say_what_is_not_read(folder: Path) -> None:
    """Log one line on images in formats that are not read: they may be half of the data set."""
    if words := not_read(name for name in passed_over(folder) if ending(name) in OTHER_PICTURES):
        log.info("not read in %s: %s", folder, words)


def by_name(paths: list[Path], folder: Path, regex: str | None, cut: int) -> dict[str, Path]:
    """Files by the name they pair by: what the regex finds, or the stem without its last `cut` letters.

    Raises DataError for names that the regex does not find, and for two files of one name.
    """
    names = [composed(path.stem)[:-cut] if cut else path.stem for path in paths]
    if regex is not None:
        matches = [re.search(regex, path.name) or re.search(regex, composed(path.name)) for path in paths]
        lost = [path.name for path, match in zip(paths, matches, strict=True) if not match]
        if lost:
            raise DataError(
                f"data.pair_regex={regex} finds nothing in {shortened(lost)} of {folder}",
                do="correct it, or move these files away",
            )
        names = [match[1] or "" for match in matches if match]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        both = [path.name for path, name in zip(paths, names, strict=True) if name == twice[0]]
        what = f"{twice[0]}.*" if regex is None else twice[0]
        raise DataError(
            f"{folder} holds more than one file named {what}: {shortened(both)}", do="keep one of them"
        )
    return dict(zip(names, paths, strict=True))


def paired(
    images: dict[str, Path],
    labels: dict[str, Path],
    folders: tuple[Path, ...],
    data: DataConfig,
    left_out: list[Path] | None,
) -> list[Item]:
    """Images with the labels of the same name, or number. folders: those of both, for the message.

    Raises DataError listing those without a partner. With data.unlabelled=skip images without a label go to
    left_out.
    """
    if not images and not labels:
        raise nothing_found(folders)
    keys: list[Key] = [composed] if data.pair_regex is None else [composed, numbered]
    label_of = partners(images, labels, keys)
    items = [Item(name, path, labels[label_of[name]]) for name, path in images.items() if name in label_of]
    lone_images = {name: path for name, path in images.items() if name not in label_of}
    taken = set(label_of.values())
    lone_labels = {name: path for name, path in labels.items() if name not in taken}
    if data.unlabelled == "skip" and items and not lone_labels:
        if left_out is not None:
            left_out += lone_images.values()
        return items
    if not lone_images and not lone_labels:
        return items
    do = "give both the same name (extensions may differ), or move them away"
    if lone_images and not lone_labels and items:
        do += f", or train on the other {len(items)}: data.unlabelled=skip"
    elif data.pair_regex is None and (regex := numbers_that_pair(images, labels)):
        do += f", or pair by number: 'data.pair_regex={regex}'"
    lines = lines_of_unpaired(lone_images, lone_labels, folders)
    where = " and ".join(map(str, folders))
    raise UnpairedError("\n".join([f"files without a partner in {where}", *lines]), do, items)


def nothing_found(folders: tuple[Path, ...]) -> DataError:
    """The error for folders of images and labels that hold neither."""
    below = any(path.is_dir() for path in folders[0].iterdir())
    return DataError(
        "; ".join([f"no images in {folders[0]} (found there: {listing(folders[0])})", *not_read_in(folders)]),
        allowed=f"{', '.join(IMAGE_SUFFIXES)}, or input_*.npy for npy_folder",
        do="folders below it are not read: name one, or list the files (data=csv)" if below else "",
    )


def lines_of_unpaired(
    images: dict[str, Path], labels: dict[str, Path], folders: tuple[Path, ...]
) -> list[str]:
    """What is said of the files that have no partner."""
    lines = [
        f"  {what} ({len(lone)}): {shortened([path.name for path in lone.values()])}"
        for what, lone in (("images without a label", images), ("labels without an image", labels))
        if lone
    ]
    lines += [f"  {line}" for line in not_read_in(folders)]
    label_in_small_letters = {name.lower(): path.name for name, path in labels.items()}
    pairs = [
        (path.name, label_in_small_letters[name.lower()])
        for name, path in images.items()
        if name.lower() in label_in_small_letters
    ]
    return lines + [f"  {image} and {label} differ in capitals only" for image, label in pairs[:3]]


def not_read_in(folders: tuple[Path, ...]) -> list[str]:
    """A line on the files of each folder that are not read because of their extension."""
    return [f"not read in {path}: {words}" for path in folders if (words := not_read(passed_over(path)))]


def listing(folder: Path) -> str:
    return shortened(sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())) or "nothing"
