"""Find how a data set lies on disk if not as configured: folders that pair, lists, stacks."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from unet_exp.config.label_map import as_objects
from unet_exp.config.schema import NAME, SPLIT, DataConfig, SplitConfig
from unet_exp.data.formats import IMAGE_SUFFIXES, TIFF, count_pages, read_array
from unet_exp.data.items import UnpairedError
from unet_exp.data.labels import MOST_COLOURS
from unet_exp.data.lists import read_rows
from unet_exp.data.mask_folders import found_mask_folders
from unet_exp.data.names import (
    A_SPLIT,
    BEGINS_WITH_SPLIT,
    IMAGE_WORDS,
    LABEL_WORDS,
    OTHER_PICTURES,
    OUTLINES,
    SPELLINGS,
    SPLITS,
    WORD_OF,
    ending,
    has_word,
    natural,
    not_read,
    with_split,
)
from unet_exp.data.pairing import Pairing, pair
from unet_exp.data.splits import decide_mode, find_splits
from unet_exp.errors import DataError
from unet_exp.messages import shortened

DEPTH = 4
MOST_FOLDERS = 500
SplitFolders = dict[str, str]  # split of the set -> its folder or file, relative to data.root


def find_layouts(data: DataConfig) -> list[DataConfig]:
    """The likeliest way to read data.root that gives training pairs; several if they are equally likely.

    A split for testing or validation is never taken as the training set.
    """
    root = Path(data.root or "")
    plain = replace(data, images="images", labels="labels", label_suffix="", pair_regex=None)
    plain = replace(plain, split=replace(data.split, mode="auto") if has_default_counts(data) else data.split)
    folders = folders_of(root)
    for candidates in (
        lists(root, plain),
        lecture(root, folders, plain),
        mask_folders(root, folders, plain),
        stacks(root, plain),
    ):
        readable = [one for one in candidates if pairs_of(one)]
        if readable:
            return readable[:1]
    ranked = [(rank, one) for rank, one in paired_folders(root, folders, plain) if pairs_of(one)]
    best = max((rank for rank, _ in ranked), default=None)
    return [one for rank, one in ranked if rank == best]


def has_default_counts(data: DataConfig) -> bool:
    return replace(data.split, mode="auto") == SplitConfig()


def pairs_of(data: DataConfig) -> int:
    """Number of training pairs of a set read this way; 0 if it can't be."""
    try:
        return len(find_splits(data)["train"])
    except UnpairedError as error:
        return len(error.items)
    except DataError:
        return 0


def folders_of(root: Path) -> dict[str, list[str]]:
    """Folders that hold images, relative to the root, with the images' names in natural order."""
    images_of: dict[str, list[str]] = {}
    for number, (path, folders, names) in enumerate(os.walk(root)):
        relative = PurePosixPath(os.path.relpath(path, root))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if len(relative.parts) >= DEPTH:
            folders.clear()
        images = [n for n in names if n[0] != "." and os.path.splitext(n)[1].lower() in IMAGE_SUFFIXES]
        if images:
            images_of[str(relative)] = sorted(images, key=natural)
        if number > MOST_FOLDERS:
            break
    return images_of


def templates(paths: list[str]) -> dict[str, SplitFolders]:
    """Template with {split} -> the paths of its splits. A path that names no split stays as it is.

    A name that only begins with a split's (trainannot, testis) counts if the training split exists as well.
    """
    paths_of: dict[str, SplitFolders] = {}
    for path in paths:
        template, split = with_split(path, A_SPLIT)
        paths_of.setdefault(template, {})[split] = path
    for path in [of_path[""] for of_path in paths_of.values() if "" in of_path]:
        template, split = with_split(path, BEGINS_WITH_SPLIT)
        if split and any(with_split(other, BEGINS_WITH_SPLIT) == (template, "train") for other in paths):
            del paths_of[path]
            paths_of.setdefault(template, {})[split] = path
    return paths_of


def paired_folders(
    root: Path, images_of: dict[str, list[str]], data: DataConfig
) -> Iterator[tuple[tuple[int, ...], DataConfig]]:
    """(likelihood, data set) for each two folders whose files pair, or one folder that holds both."""
    groups = templates(list(images_of))
    for images, of_images in groups.items():
        for labels, of_labels in groups.items():
            split = next(
                (split for split in ("train", "") if split in of_images and split in of_labels), None
            )
            if split is None:
                continue
            folders = of_images[split], of_labels[split]
            pairing = pair(images_of[folders[0]], images_of[folders[1]], images == labels)
            if pairing is None or not are_labels(root, images_of, folders, pairing):
                continue
            apart = split == "train" and "val" in of_images and "val" in of_labels
            paths = (images, labels) if apart else folders
            named = has_word(labels, LABEL_WORDS) + has_word(images, IMAGE_WORDS)
            # Sets with a validation split first, then by number of pairs, names, length of the paths.
            rank = (apart, pairing.count, named, -len(PurePosixPath(labels).parts))
            yield rank, as_set(root, paths, pairing, data)


def as_set(root: Path, paths: tuple[str, str], pairing: Pairing, data: DataConfig) -> DataConfig:
    """The shortest settings: a common beginning of both paths moves to data.root."""
    pieces = [PurePosixPath(path).parts for path in paths]
    images, labels = pieces
    while images and images[:1] == labels[:1] and not {SPLIT, NAME} & {images[0]} and SPLIT not in images[0]:
        root, images, labels = root / images[0], images[1:], labels[1:]
    inner = [*images[1:], *labels[1:]]
    if images[:1] == labels[:1] == (SPLIT,) and len(images) > 1 < len(labels) and SPLIT not in "".join(inner):
        images, labels = images[1:], labels[1:]  # train/images is read without a template
    data = replace(
        data,
        kind="image_folder",
        root=str(root),
        images=str(PurePosixPath(*images)),
        labels=str(PurePosixPath(*labels)),
        label_suffix=pairing.suffix,
        pair_regex=pairing.regex,
    )
    whole = SPLIT not in data.images and not any(SPLIT in path for path in paths)
    if whole and decide_mode(data) == "folders":
        data = replace(data, split=replace(data.split, mode="blocks"))
    return data


def are_labels(
    root: Path, images_of: dict[str, list[str]], folders: tuple[str, str], pairing: Pairing
) -> bool:
    """Whether the second folder holds the labels of the first, by their names, else by one file of each."""
    images, labels = folders
    if images == labels:
        return True
    differ = [
        "/".join(piece for piece in PurePosixPath(one).parts if piece not in PurePosixPath(other).parts)
        for one, other in ((images, labels), (labels, images))
    ]
    if has_word(differ[0], LABEL_WORDS) and not has_word(differ[0], IMAGE_WORDS):
        return False
    if has_word(differ[1], LABEL_WORDS) or has_word(pairing.suffix, LABEL_WORDS):
        return True
    return holds_codes(root / labels / images_of[labels][0]) and not holds_codes(
        root / images / images_of[images][0]
    )


def holds_codes(path: Path) -> bool:
    """Whether a file has so few values or colours that it may be a label."""
    try:
        array = read_array(
            path, 0 if path.suffix.lower() in TIFF and count_pages(path) > 1 else None, label=True
        )
    except DataError:
        return False
    values = np.unique(array.reshape(-1, array.shape[2]), axis=0)
    return bool(len(values) <= min(MOST_COLOURS, max(2, array.shape[0] * array.shape[1] // 16)))


def lists(root: Path, data: DataConfig) -> Iterator[DataConfig]:
    """csv files in the root with the columns image and label."""
    for path in sorted(root.glob("*.csv")):
        with suppress(DataError):  # of another encoding, for instance
            if {"image", "label"} <= set(read_rows(path)[0]):
                yield replace(data, kind="csv", csv=path.name)


def lecture(root: Path, images_of: dict[str, list[str]], data: DataConfig) -> Iterator[DataConfig]:
    """train/input_000.npy with train/label_000.npy, and so on."""
    for folder, names in images_of.items():
        kinds = {name.partition("_")[0] for name in names if name.endswith(".npy")}
        if PurePosixPath(folder).name.lower() in SPELLINGS["train"] and {"input", "label"} <= kinds:
            yield replace(data, kind="npy_folder", root=str((root / folder).parent))


def mask_folders(root: Path, files_of: dict[str, list[str]], data: DataConfig) -> Iterator[DataConfig]:
    """A folder of masks for each image, one mask for each object."""
    paths_of: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}  # two templates -> split -> two paths
    for images, labels in found_mask_folders(files_of):
        of_images, split = with_split(images, A_SPLIT)
        of_labels, other = with_split(labels, A_SPLIT)
        if split == other:
            paths_of.setdefault((of_images, of_labels), {})[split] = (images, labels)
    for both, of_split in paths_of.items():
        apart = {"train", "val"} <= set(of_split)
        paths = both if apart else of_split.get("train", of_split.get(""))
        if paths is not None:
            yield as_set(root, paths, Pairing(0), as_objects(data))


def stacks(root: Path, data: DataConfig) -> Iterator[DataConfig]:
    """Two TIFFs in the root with equal numbers of pages, images and labels; or two for each split."""
    names = [path.name for path in sorted(root.glob("*")) if path.suffix.lower() in TIFF and path.is_file()]
    if len(names) > 16:
        return
    groups = templates(names)
    for images, of_images in groups.items():
        for labels, of_labels in groups.items():
            split = next(
                (split for split in ("train", "") if split in of_images and split in of_labels), None
            )
            if split is None or not has_word(labels, LABEL_WORDS) or has_word(images, LABEL_WORDS):
                continue
            files = root / of_images[split], root / of_labels[split]
            try:
                pages = [count_pages(path) for path in files]
            except DataError:
                continue
            if pages[0] == pages[1] > 1:
                apart = split == "train" and "val" in of_images and "val" in of_labels
                one, other = (images, labels) if apart else (files[0].name, files[1].name)
                yield replace(data, kind="tiff_stack", image_stack=one, label_stack=other)


def described(data: DataConfig) -> str:
    """Where the images and their labels lie, in words."""
    if data.kind == "csv":
        return f"the list {data.csv} in {data.root}"
    if data.kind == "npy_folder":
        return f"input_*.npy and label_*.npy in the folders of {data.root}"
    if data.kind == "tiff_stack":
        return f"stacks in {data.root}: {data.image_stack} with {data.label_stack}"
    parted = decide_mode(data) == "folders" and SPLIT not in data.images
    images, labels = (f"{SPLIT}/{path}" if parted else path for path in (data.images, data.labels))
    text = f"images in {images}, labels in {labels}"
    if images == labels:
        text = f"images and labels in {'it' if images == '.' else images}"
    if NAME in data.labels:
        text += ", a mask for each object"
    return f"{data.root}: {text}" + f" (NAME{data.label_suffix})" * bool(data.label_suffix)


def split_of_a_set(root: Path) -> tuple[str, Path] | None:
    """The split of a larger data set that a folder is by its name, and that set's folder; else None."""
    here = root.resolve()
    for folder in (here, here.parent):  # .../test, or .../test/images
        split = WORD_OF.get(folder.name.lower())
        if split is None:
            continue
        beside = {WORD_OF.get(path.name.lower()) for path in folder.parent.iterdir() if path.is_dir()}
        if beside & set(SPLITS) - {split}:
            return split, Path(os.path.relpath(folder.parent)) if not root.is_absolute() else folder.parent
    return None


def folders_found(root: Path) -> str:
    """The folders below the root with the number of images in each."""
    folders = [f"{folder}/ {len(names)}" for folder, names in folders_of(root).items()]
    return shortened(folders, 12) or "no images of a kind that is read"


def others_found(root: Path, most: int = 3) -> list[str]:
    """'masks/: 6 .gif, such as 00.gif (save them as png)' of folders with formats that are not read."""
    lines: list[str] = []
    for path, folders, names in islice(os.walk(root), MOST_FOLDERS):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        words = not_read(name for name in sorted(names) if ending(name) in OTHER_PICTURES | OUTLINES)
        if words and len(lines) < most:
            lines.append(f"{os.path.relpath(path, root)}/: {words}")
    return lines
