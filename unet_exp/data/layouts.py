"""Where the splits of a data set lie on disk: in train/ val/ test/, or where {split} in its paths leads."""

import dataclasses
import logging
import os
import re
import shlex
from pathlib import Path
from typing import Any

from unet_exp.config.schema import SPLIT, TEMPLATES, DataConfig
from unet_exp.data.items import Item, image_items, listing, npy_items, stack_items
from unet_exp.data.lists import csv_items
from unet_exp.data.mask_folders import exists, has_mask_folders, mask_items
from unet_exp.data.names import SPELLINGS, SPLITS, as_stored, composed
from unet_exp.errors import DataError

log = logging.getLogger("unet_exp")


def root_of(data: DataConfig) -> Path:
    root = Path(data.root or "")
    if not root.is_dir():
        raise DataError(
            f"data.root={data.root} is not a folder", do="give the folder of the data: data.root=DIR"
        )
    return root


def read_items(root: Path, data: DataConfig, left_out: list[Path] | None = None) -> list[Item]:
    """The samples of one folder, list or stack. left_out: receives the images that have no label."""
    if data.kind == "tiff_stack":
        return stack_items(root, data)
    if has_mask_folders(data):
        return mask_items(root, data, left_out)
    return {"csv": csv_items, "image_folder": image_items, "npy_folder": npy_items}[data.kind](
        root, data, left_out
    )


def split_folders(data: DataConfig, left_out: list[Path] | None = None) -> dict[str, list[Item]]:
    """The splits that have folders of their own: where {split} in the paths leads, or train/ val/ test/.

    Raises DataError for a split that is missing or exists twice. A test split without labels is left out.
    """
    root = root_of(data)
    keys = TEMPLATES[data.kind]
    lists = is_template(data)
    templates = [getattr(data, key) if lists else f"{SPLIT}/{getattr(data, key)}" for key in keys] or [SPLIT]
    paths_of = [split_paths(root, template) for template in templates]
    needed = ("train",) if data.folds else ("train", "val")
    if not lists and not set(needed) <= set(paths_of[0]):
        kind = "data=image_folder" if data.kind == "npy_folder" else "data.split.mode=blocks"
        raise DataError(
            f"{root} has no folders train and val",
            allowed=f"found there: {listing(root)}",
            do=f"make train/ and val/ (and test/), or read the folder with {kind}",
        )
    for split in needed:
        for template, paths in zip(templates, paths_of, strict=True):
            if split not in paths:
                raise missing_split(root, split, template, paths_of, keys)
    splits: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        of_split = [paths[split] for paths in paths_of if split in paths]
        labelled = len(of_split) == len(paths_of) and exists(of_split[-1])
        if split == "test" and of_split and not labelled:
            log.info("no test samples: %s lacks its %s", of_split[0], " or ".join(templates[1:]))
        elif len(of_split) == len(paths_of):
            splits[split] = items_of_split(root, of_split, data, left_out)
    return splits


def items_of_split(
    root: Path, paths: list[Path], data: DataConfig, left_out: list[Path] | None
) -> list[Item]:
    """The samples of one split. paths: its images and its labels, or the one file that has both."""
    if data.kind == "npy_folder":
        return npy_items(paths[0], data, left_out)
    below = [path.relative_to(root) if path.is_relative_to(root) else path for path in paths]
    keys: dict[str, Any] = dict(zip(TEMPLATES[data.kind], map(str, below), strict=True))
    return read_items(root, dataclasses.replace(data, **keys), left_out)


def missing_split(
    root: Path, split: str, template: str, paths_of: list[dict[str, Path]], keys: tuple[str, ...]
) -> DataError:
    """The error for a template that no path matches for train or val."""
    folder = deepest(root, template)
    do = "correct the path"
    if split == "val" and all("train" in paths for paths in paths_of):
        only = [
            f"data.{key}={os.path.relpath(paths['train'], root)}"
            for key, paths in zip(keys, paths_of, strict=True)
        ]
        do = f"make it, or take val from the training images: {shlex.join(only)} data.split.mode=blocks"
    return DataError(
        f"nothing in {root} matches {template} for {split}",
        allowed=f"{' or '.join(SPELLINGS[split])} in place of {SPLIT}; found in {folder}: {listing(folder)}",
        do=do,
    )


def is_template(data: DataConfig) -> bool:
    """Whether the paths of the set hold {split}."""
    return any(SPLIT in str(getattr(data, key)) for key in TEMPLATES[data.kind])


def split_paths(root: Path, template: str) -> dict[str, Path]:
    """The folder or file of each split that exists; {split} stands for any of its SPELLINGS, in any case.

    'images/{split}' finds images/training and images/Valid. What follows the last {split} need not exist.
    Raises DataError if two match one split, such as val/ and valid/.
    """
    path_of: dict[str, Path] = {}
    for split in SPLITS:
        paths = [root]
        for piece in Path(template).parts:
            paths = [path for folder in paths for path in spelled(folder, piece, split)]
        if len(paths) > 1:
            raise DataError(
                f"{' and '.join(map(str, paths))} are both for {split}",
                do="keep one of them, or name one folder",
            )
        if paths:
            path_of[split] = paths[0]
    return path_of


def spelled(folder: Path, piece: str, split: str) -> list[Path]:
    """The entries of the folder with this name, where {split} stands for any spelling of the split."""
    if SPLIT not in piece:
        return [as_stored(folder, piece)]
    words = "|".join(SPELLINGS[split])
    pattern = f"(?i:{words})".join(map(re.escape, composed(piece).split(SPLIT)))
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return [folder / name for name in names if re.fullmatch(pattern, composed(name))]


def deepest(root: Path, template: str) -> Path:
    """The deepest existing folder of a template before its first {split}."""
    for piece in Path(template).parts:
        if SPLIT in piece or not (root / piece).is_dir():
            break
        root = root / piece
    return root


def has_split_folders(root: Path, data: DataConfig) -> bool:
    """Whether there is a train/; other spellings do not count beside a folder of images."""
    if (root / "train").is_dir():
        return True
    return not (root / data.images).is_dir() and any(path.is_dir() for path in spelled(root, SPLIT, "train"))
