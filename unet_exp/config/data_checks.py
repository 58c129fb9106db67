"""Settings of the data that are sound but do not fit each other, or their files."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from unet_exp.config.label_map import map_problems
from unet_exp.config.paths import decoded, is_utf8
from unet_exp.config.problems import Problem, again_with
from unet_exp.config.schema import NAME, SPLIT, SYNTHETIC, TEMPLATES, Config, DataConfig


def data_problems(config: Config) -> Iterator[Problem]:
    """Classes, expressions and folds; then the files, where there are some."""
    data = config.data
    if not 2 <= len(data.classes) <= 254 or len(set(data.classes)) != len(data.classes):
        yield Problem("data.classes", f"is {data.classes}; allowed: two or more names, each once")
    if "ignore" in data.classes:
        yield Problem("data.classes", "names a class ignore; that word is for data.label_map")
    for name in data.classes:
        if not re.fullmatch(r"[\w-]+", name):
            yield Problem("data.classes", f"has the name {name!r}; allowed: letters, digits, _ and -")
    if data.label_map is not None:
        for text in map_problems(data.label_map, data.classes):
            yield Problem("data.label_map", text)
    for key, regex in (("data.pair_regex", data.pair_regex), ("data.split.group", data.split.group)):
        if regex is not None and (wrong := regex_problem(regex)):
            yield Problem(key, wrong)
    if data.folds is not None and data.fold >= data.folds:
        yield Problem(
            "data.fold", f"is {data.fold}; allowed with data.folds={data.folds}: 0 to {data.folds - 1}"
        )
    yield from split_problems(config)
    yield from object_problems(data)
    yield from synthetic_problems(data) if data.kind in SYNTHETIC else path_problems(data)


def object_problems(data: DataConfig) -> Iterator[Problem]:
    """Classes that do not fit what is learnt of objects."""
    if data.object_value is not None and data.labels_are != "components":
        yield Problem("data.object_value", "is for data.labels_are=components")
    if data.labels_are == "classes":
        return
    names, least, most = {
        "border": ("background, interior and border", 3, 3),
        "binary": ("background and object", 2, 2),
        "distance": ("background, edge and at least one deeper level", 3, 9),
    }[data.target]
    if not least <= len(data.classes) <= most:
        yield Problem("data.classes", f"is {data.classes}; with data.target={data.target} it names {names}")
    if data.target == "distance" and not data.rim:
        yield Problem("data.rim", "is 0, the width of a level of data.target=distance; 1 or more")
    if data.label_map is not None:
        yield Problem("data.label_map", "is for classes, and labels are objects; null")


def mask_problems(data: DataConfig) -> Iterator[Problem]:
    """Folders of masks that are named in part, or read as classes."""
    paths = {"data.images": data.images, "data.labels": data.labels}
    for key, path in paths.items():
        if NAME in path and Path(path).parts.count(NAME) != 1:
            yield Problem(key, f"is {path!r}; allowed: {NAME} once, as a folder, such as masks/{NAME}")
    if NAME in data.images and NAME not in data.labels:
        yield Problem("data.labels", f"has no {NAME}, but data.images has; give {NAME} in both or in labels")
    if NAME not in data.labels:
        return
    if data.labels_are != "objects":
        given = f"is {data.labels_are!r}, but {NAME} in data.labels stands for masks of one object each"
        yield Problem("data.labels_are", f"{given}; objects")
    if data.label_suffix or data.pair_regex is not None:
        key = "data.label_suffix" if data.label_suffix else "data.pair_regex"
        yield Problem(key, f"is given, but {NAME} in data.labels is the name of the image; leave it out")


def synthetic_problems(data: DataConfig) -> Iterator[Problem]:
    if data.kind == "membranes" and len(data.classes) != 2:
        yield Problem("data.classes", "has to be two names for data=membranes, which has two classes")
    needed = "objects" if data.kind == "nuclei" else "classes"
    if data.labels_are != needed:
        yield Problem("data.labels_are", f"is {data.labels_are!r}, but data={data.kind} has {needed}")
    if data.root is not None:
        yield Problem(
            "data.root",
            f"{data.root} is given, but data={data.kind} is generated; say how it lies: "
            "data=image_folder, csv, npy_folder, tiff_stack or isbi2012",
        )


def path_problems(data: DataConfig) -> Iterator[Problem]:
    """The folder of the data, and names in it that are not UTF-8."""
    if data.kind == "image_folder":
        yield from mask_problems(data)
    for key in TEMPLATES[data.kind]:
        if not is_utf8(path := str(getattr(data, key))):
            yield Problem(f"data.{key}", f"{decoded(path)} is not UTF-8; rename it, or give a link to it")
    if data.root is None:
        yield Problem("data.root", f"has no value; {data.kind} needs the folder of the data: data.root=DIR")
    elif not is_utf8(data.root):
        yield Problem("data.root", f"{decoded(data.root)} is not UTF-8; rename it, or give a link to it")
    elif not os.path.isdir(data.root):
        state = "is a file" if os.path.exists(data.root) else "is not there"
        state += f"; {SPLIT} belongs into data.images and data.labels" * (SPLIT in data.root)
        yield Problem(
            "data.root",
            f"{data.root} {state} (from {Path.cwd()}); give a folder: {again_with('data.root=DIR')}",
        )


def regex_problem(regex: str) -> str | None:
    try:
        groups = re.compile(regex).groups
    except re.error as error:
        return f"is {regex!r}, which is not a regular expression: {error}"
    return None if groups == 1 else f"is {regex!r}; allowed: a regular expression with one group ( )"


def split_problems(config: Config) -> Iterator[Problem]:
    split = config.data.split
    kind = config.data.kind
    modes = {"npy_folder": ("auto", "folders"), "csv": ("auto", "blocks", "random", "listed", "column")}
    modes["image_folder"] = ("auto", "folders", "blocks", "random", "listed")
    modes = {
        "tiff_stack": ("auto", "blocks", "random", "listed"),
        "membranes": ("auto", "blocks"),
        "nuclei": ("auto", "blocks"),
    } | modes
    keys = [f"data.{key}" for key in TEMPLATES[kind]]
    plain = [key for key in keys if SPLIT not in str(getattr(config.data, key.removeprefix("data.")))]
    if len(plain) == 1 and len(keys) == 2:
        (other,) = set(keys) - set(plain)
        yield Problem(plain[0], f"has no {SPLIT}, but {other} has; give {SPLIT} in both or in none")
    elif keys and not plain:
        modes[kind] = ("auto", "folders")
    if split.mode not in modes[kind]:
        where = f" with {SPLIT} in {keys[0]}" if keys and not plain else ""
        yield Problem(
            "data.split.mode", f"is {split.mode!r}; allowed for {kind}{where}: {', '.join(modes[kind])}"
        )
    for name in ("train", "val", "test"):
        value = getattr(split, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
        if split.mode == "listed":
            good = isinstance(value, list) or value == 0
            allowed = "a list of names (with * and ?)"
        elif kind in SYNTHETIC:
            good = number and isinstance(value, int)
            allowed = "the number of images to generate"
        else:
            good = value == "rest" or (number and (isinstance(value, int) or value < 1))
            allowed = "rest, a count, or a fraction below 1"
        if not good:
            yield Problem(f"data.split.{name}", f"is {value!r}; allowed with mode {split.mode}: {allowed}")
