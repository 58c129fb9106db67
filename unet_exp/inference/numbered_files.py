"""Objects as files: a folder of numbered images, NAME.tif, that task=predict wrote and somebody corrected."""

import logging
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp import errors
from unet_exp.config.schema import IGNORE
from unet_exp.data.formats import IMAGE_SUFFIXES, WHOLE, open_array, read_window, to_unit
from unet_exp.data.items import Item, by_name, files_in
from unet_exp.data.labels import object_numbers
from unet_exp.data.names import composed, natural
from unet_exp.data.problems import Failed, all_problems
from unet_exp.data.samples import Samples, open_pair
from unet_exp.errors import DataError
from unet_exp.inference.cell_borders import mean_of
from unet_exp.inference.worst_objects import Scene
from unet_exp.messages import counted, shortened
from unet_exp.metrics.em import rand_and_info, true_segments
from unet_exp.objects.meter import CountedObjects

log = logging.getLogger("unet_exp")


def numbered_files(folder: Path) -> dict[str, Path]:
    """Name (in composed Unicode) -> file. Raises DataError for a folder without any."""
    if not folder.is_dir():
        raise DataError(f"objects={folder} is no folder", allowed="a folder of numbered images, NAME.tif")
    if (folder / "objects").is_dir():  # what is beside it are the masks of predict
        raise DataError(
            f"objects={folder} is a folder of predictions", do=f"name the folder in it: {folder / 'objects'}"
        )
    files = by_name(files_in(folder, IMAGE_SUFFIXES), folder, None, 0)
    if not files:
        raise DataError(f"objects={folder} holds no image", allowed="numbered images, NAME.tif")
    return {composed(name): path for name, path in files.items()}


def read_numbers(path: Path, size: tuple[int, int], image: Path | str) -> np.ndarray:
    """int32 H x W, 0 for no object. size: of its image. Raises DataError for other sizes, for fractions."""
    source = open_array(path, label=True)
    if source.shape[:2] != size:
        raise DataError(
            f"{path} is {source.shape[0]} x {source.shape[1]}, but {image} is {size[0]} x {size[1]}",
            do="correct the numbered image in its full size, without crop or scale",
        )
    return object_numbers(read_window(source, WHOLE, path), str(path))[..., 0]


def say_pieces(numbers: np.ndarray, path: Path) -> None:
    """Warn of numbers that have several pieces, which a correction may have left."""
    from skimage.measure import label

    pieces = label(numbers)  # type: ignore[no-untyped-call]
    _, first = np.unique(pieces, return_index=True)
    of_pieces = Counter(numbers.ravel()[first].tolist())
    several = [str(number) for number, count in sorted(of_pieces.items()) if number and count > 1]
    if several:
        log.warning("%s: objects of several pieces: %s", path, shortened(several))


def score_files(samples: Samples, paths: list[Path]) -> CountedObjects:
    """Numbered images, one for each sample, against the numbers in the labels."""
    objects = CountedObjects(keep_fates=True)
    for index, true, numbers in read_pairs(samples, paths):
        objects.count(index, true, numbers)
    return objects


def score_cell_files(samples: Samples, paths: list[Path]) -> list[dict[str, Any]]:
    """name, v_rand, v_info and cells of each sample, where class 1 of two is the cells between membranes."""
    rows = []
    for index, label, numbers in read_pairs(samples, paths):
        truth = np.where(label == IGNORE, 0, true_segments(label == 1))
        v_rand, v_info = rand_and_info(truth, numbers)  # nan where the label has no cell
        cells = len(np.unique(numbers[numbers > 0]))
        rows.append({"name": samples.items[index].name, "v_rand": v_rand, "v_info": v_info, "cells": cells})
    return rows


def cell_summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """v_rand and v_info as means over the images that have them, and the number of cells."""
    scores = [(row["v_rand"], row["v_info"]) for row in rows if not math.isnan(row["v_rand"])]
    return mean_of(scores) | {"cells": float(sum(row["cells"] for row in rows))}


def read_pairs(samples: Samples, paths: list[Path]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Index, label and numbers, H x W each, of each sample. Raises DataError of all files that do not fit."""
    problems: list[Failed] = []
    for index, (item, path) in enumerate(zip(samples.items, paths, strict=True)):
        try:
            _, label = labelled(samples, index)
            numbers = read_numbers(path, label.shape, item.name)
        except DataError as error:
            errors.pass_on(error)
            problems.append((item, error))
            continue
        yield index, label, numbers
    if problems:
        raise all_problems(problems, len(samples.items), samples.labels)


def scene_of_file(samples: Samples, paths: list[Path], index: int) -> Scene:
    """A sample with its true numbers and those of its numbered image."""
    image, true = labelled(samples, index)
    return Scene(to_unit(image), true, read_numbers(paths[index], true.shape, samples.items[index].name))


def labelled(samples: Samples, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image H x W x C as stored, and its label H x W: int32 numbers, or uint8 class indices."""
    item = samples.items[index]
    image, label = open_pair(item, samples.labels) if samples.pairs is None else samples.pairs[index]
    return read_window(image, WHOLE, item.name), np.asarray(label[WHOLE])[..., 0]


def files_of_samples(samples: Samples, split: str, folder: Path) -> list[Path]:
    """The numbered image of each sample, under a name that task=predict would give it.

    Raises DataError for samples without one.
    """
    files = numbered_files(folder)
    names = [next((name for name in names_of(item) if name in files), None) for item in samples.items]
    missing = [item.name for item, name in zip(samples.items, names, strict=True) if name is None]
    if missing:
        lacking = f"{counted(len(missing), 'sample')} of {split}: {shortened(missing)}"
        raise DataError(
            f"objects={folder} lacks {lacking}",
            allowed=f"NAME.tif for each; there are {shortened(list(files))}",
            do="add them, or choose another split=",
        )
    used = [name for name in names if name is not None]
    twice = [name for name, count in Counter(used).items() if count > 1]
    if twice:
        both = [item.name for item, name in zip(samples.items, used, strict=True) if name == twice[0]]
        raise DataError(
            f"{files[twice[0]]} fits several samples of {split}: {shortened(both)}",
            do=f"name the numbered images {shortened([names_of(item)[0] for item in samples.items], 3)}",
        )
    others = sorted(files.keys() - set(used), key=natural)
    if others:
        log.info(
            "left out: %s that no sample of %s has (%s)",
            counted(len(others), "file"),
            split,
            shortened(others, 3),
        )
    return [files[name] for name in used]


def names_of(item: Any) -> list[str]:
    """What the predicted objects of a sample may be called: by the sample, or by the file of its image."""
    names = [item.name.replace("/", "_")]
    if isinstance(item, Item):
        page = "" if item.page is None else f"_{item.page:03d}"
        names += [f"{item.image.stem}{page}", f"{item.image.name}{page}"]
    return [composed(name) for name in names]
