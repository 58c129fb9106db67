"""Labels that are folders of masks, one mask for each object: which images and masks there are."""

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

from unet_exp.config.schema import NAME, DataConfig
from unet_exp.data.formats import IMAGE_SUFFIXES
from unet_exp.data.items import Item, by_name, files_in, listing, paired
from unet_exp.data.names import LABEL_WORDS, as_stored, has_word, natural, split_named
from unet_exp.errors import DataError
from unet_exp.messages import counted, shortened


def has_mask_folders(data: DataConfig) -> bool:
    return data.kind == "image_folder" and NAME in data.labels


def mask_items(root: Path, data: DataConfig, left_out: list[Path] | None = None) -> list[Item]:
    """The samples of a set whose labels lie in masks/{name}/*.png or in {name}/masks/*.png.

    Raises DataError for images without masks. left_out: as image_items.
    """
    images = named_images(root, data.images)
    folders = named_folders(root, data.labels)
    where = (folder_of(as_stored(root, data.images)), folder_of(as_stored(root, data.labels)))
    return with_masks(paired(images, folders, where, data, left_out))


def with_masks(items: list[Item]) -> list[Item]:
    """The samples, those whose label is a folder with its masks. Raises DataError for folders without any."""
    in_folders = [item for item in items if item.label.is_dir()]
    masks_of = {item.label: tuple(files_in(item.label, IMAGE_SUFFIXES)) for item in in_folders}
    empty = [str(folder) for folder, masks in masks_of.items() if not masks]
    if empty:
        raise DataError(
            f"{counted(len(empty), 'folder')} without masks: {shortened(empty, 3)}",
            do="put a mask for each object there; for an image without objects one that is 0 everywhere",
        )
    return [replace(item, masks=masks_of.get(item.label, ())) for item in items]


def named_images(root: Path, path: str) -> dict[str, Path]:
    """Name -> image: the files of a folder or, where the path has {name}, the only file of each folder."""
    if NAME not in path:
        folder = as_stored(root, path)
        if not folder.is_dir():
            raise no_folder(root, path, "images")
        return by_name(files_in(folder, IMAGE_SUFFIXES), folder, None, 0)
    images = {}
    for name, folder in named_folders(root, path).items():
        files = files_in(folder, IMAGE_SUFFIXES)
        if len(files) > 1:
            raise DataError(
                f"{folder} holds {len(files)} images: {shortened([one.name for one in files], 3)}",
                allowed=f"one, as data.images={path} names a folder for each image",
            )
        if files:
            images[name] = files[0]
    return images


def named_folders(root: Path, path: str) -> dict[str, Path]:
    """Name -> folder, for each that exists with this name in the place of {name}, in natural order."""
    parts = Path(path).parts
    below = parts[parts.index(NAME) + 1 :]
    above = folder_of(as_stored(root, path))
    if not above.is_dir():
        raise no_folder(root, path, "labels")
    names = [folder.name for folder in above.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    folders = {name: above.joinpath(name, *below) for name in sorted(names, key=natural)}
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def folder_of(path: Path) -> Path:
    """The part of a path before {name}; the whole path if it has none."""
    return next((parent for parent in path.parents if path.relative_to(parent).parts[0] == NAME), path)


def exists(path: Path) -> bool:
    """Whether there is this path, for some name if it has {name}."""
    above = folder_of(path)
    if above == path or not above.is_dir():
        return path.exists()
    below = path.relative_to(above).parts[1:]
    return any(folder.joinpath(*below).exists() for folder in above.iterdir())


def no_folder(root: Path, path: str, kind: str) -> DataError:
    return DataError(
        f"{root} has no folder {path}", allowed=f"found there: {listing(root)}", do=f"correct data.{kind}"
    )


def named_groups(files_of: dict[str, list[str]]) -> dict[str, dict[str, int]]:
    """Path with {name} for one of its folders -> name -> number of files, where several names fit."""
    groups: dict[str, dict[str, int]] = {}
    for path, files in files_of.items():
        parts = PurePosixPath(path).parts
        for index, name in enumerate(parts):
            if split_named(name) is None:
                template = str(PurePosixPath(*parts[:index], NAME, *parts[index + 1 :]))
                groups.setdefault(template, {})[name] = len(files)
    return {template: counts for template, counts in groups.items() if len(counts) > 1}


def found_mask_folders(files_of: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Paths (images, labels) where a folder of masks belongs to each image, those of most images first.

    files_of: folder -> names of the files in it. A path of labels has a word for them, as masks/{name} has,
    and some of its folders hold several files. Images have these names, or are alone in folders of these.
    """
    groups = named_groups(files_of)
    alone = {path: set(counts) for path, counts in groups.items() if set(counts.values()) == {1}}
    beside = {path: {os.path.splitext(name)[0] for name in files} for path, files in files_of.items()}
    ranked = []
    for labels, counts in groups.items():
        if not has_word(labels, LABEL_WORDS) or max(counts.values()) == 1:
            continue
        for images, names in (alone | beside).items():
            num_pairs = len(names & set(counts))
            if images != labels and num_pairs >= max(2, 0.5 * len(counts)):
                ranked.append((num_pairs, images, labels))
    ranked.sort(key=lambda one: -one[0])
    return [(images, labels) for _, images, labels in ranked]
