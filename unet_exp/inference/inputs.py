"""The inputs of task=predict: which files, which of them are labels, their pages, the names of results."""

import glob
import logging
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unet_exp.config.paths import expanded
from unet_exp.config.schema import DataConfig
from unet_exp.data.formats import IMAGE_SUFFIXES, count_pages
from unet_exp.data.names import ends_with, natural
from unet_exp.errors import DataError, UserError
from unet_exp.messages import counted, shortened
from unet_exp.rundir import layout
from unet_exp.rundir.tables import read_csv

log = logging.getLogger("unet_exp")


@dataclass(frozen=True)
class Job:
    """One image to predict: its file, its page, and the name of its results."""

    path: Path
    page: int | None
    name: str


def find_images(text: str, output: Path, data: DataConfig, run_dir: Path) -> list[Path]:
    """The images of a file, folder or pattern, in natural order. One log line says what is left out.

    data, run_dir: of the run, whose layout tells which files are labels. Raises DataError if none remain.
    """
    path = expanded(text)
    if os.path.lexists(path) and not path.is_dir():
        return [path]  # asked for by its name, whatever it is
    paths = files_of(text)
    listed = labels_of_run(run_dir, data)
    place = output.resolve()
    several = len({one.parent for one in paths}) > 1
    out: dict[str, list[str]] = defaultdict(list)
    images = []
    for one in sorted(paths, key=lambda one: natural(str(one))):
        if one.suffix.lower() not in IMAGE_SUFFIXES:
            out["with other extensions"].append(one.name)
        elif place in one.resolve().parents and not path.is_dir():
            out[f"in {output}"].append(one.name)
        elif is_label(one, data, several) or one.resolve() in listed:
            out["labels in the layout of the run"].append(one.name)
        else:
            images.append(one)
    said = "; ".join(f"{len(names)} {why} ({shortened(names, 3)})" for why, names in out.items())
    if not images:
        raise DataError(
            f"input={text} holds no image" + f"; left out: {said}" * bool(said),
            allowed=f"a file, folder or pattern of {', '.join(IMAGE_SUFFIXES)}",
        )
    if said:
        log.info("left out: %s", said)
    return images


def files_of(text: str) -> list[Path]:
    """The file itself, or all files of a folder or pattern but hidden ones, unsorted."""
    path = expanded(text)
    if os.path.lexists(path) and not path.is_dir():
        return [path]
    if path.is_dir():
        with os.scandir(path) as entries:
            paths = [Path(entry.path) for entry in entries]
    else:
        inside = glob.escape(str(path.parent)) if path.parent.is_dir() else str(path.parent)
        paths = [Path(name) for name in glob.glob(os.path.join(inside, path.name), recursive=True)]
    return [one for one in paths if not one.name.startswith(".") and not one.is_dir()]


def is_label(path: Path, data: DataConfig, several: bool) -> bool:
    """Whether this file is a label by its name, in the layout that the run was trained on.

    several: the input has files of more than one folder, so the folder's name counts too.
    """
    if data.kind == "npy_folder":
        return path.suffix.lower() == ".npy" and path.stem.startswith("label_")
    if data.kind == "tiff_stack":
        return path.name == Path(data.label_stack).name
    if data.kind != "image_folder":
        return False
    images, labels = (Path(name.replace("{split}", "*")) for name in (data.images, data.labels))
    if images == labels:
        return bool(data.label_suffix) and ends_with(path.stem, data.label_suffix)
    return several and bool(labels.name) and path.parent.match(str(labels))


def labels_of_run(run_dir: Path, data: DataConfig) -> set[Path]:
    """The label files that the run was trained and validated with, from its split.csv."""
    if not (run_dir / layout.SPLIT).exists():
        return set()
    rows = read_csv(run_dir / layout.SPLIT)
    root = Path(data.root or "")
    images, labels = (
        {(root / row[kind]).resolve() for row in rows if row.get(kind)} for kind in ("image", "label")
    )
    return labels - images


def plan(paths: list[Path]) -> tuple[list[Job], list[UserError]]:
    """A job with a unique name for each page of each file, and the errors of files that can't be opened.

    A name is the file's without its extension; if several would share it, with the extension, the folders, or
    both. Pages add _000, _001, ... Raises DataError if names are still equal.
    """
    pages: dict[Path, int] = {}
    problems: list[UserError] = []
    for path in paths:
        try:
            pages[path] = count_pages(path)
        except UserError as error:
            problems.append(error)
    common = Path(os.path.commonpath([path.parent for path in paths]))
    level = dict.fromkeys(pages, 0)
    while True:
        jobs = [job for path in pages for job in jobs_of(path, pages[path], names(path, common)[level[path]])]
        together = defaultdict(set)
        for job in jobs:  # some file systems ignore case or the Unicode form
            together[unicodedata.normalize("NFC", job.name).casefold()].add(job.path)
        shared = {path for same in together.values() if len(same) > 1 for path in same}
        longer = {path for path in shared if level[path] < 3}
        if not longer:
            break
        level |= {path: level[path] + 1 for path in longer}
    twice = [name for name, count in Counter(job.name for job in jobs).items() if count > 1]
    if twice:
        same = [str(job.path) for job in jobs if job.name == twice[0]]
        raise DataError(
            f"predictions of {' and '.join(same)} would share the name {twice[0]}",
            do="predict them one by one, each with its own output=DIR",
        )
    renamed = [job.name for job in jobs if level[job.path]]
    if renamed:
        log.info(
            "%s would share their names, so their predictions have longer ones: %s",
            counted(len(renamed), "image"),
            shortened(renamed, 4),
        )
    return jobs, problems


def names(path: Path, common: Path) -> tuple[str, str, str, str]:
    """Possible names for the predictions of a file, shortest first."""
    folders = "".join(f"{part}_" for part in path.parent.relative_to(common).parts)
    return path.stem, path.name, f"{folders}{path.stem}", f"{folders}{path.name}"


def jobs_of(path: Path, pages: int, name: str) -> Iterator[Job]:
    if pages == 1:
        yield Job(path, None, name)
        return
    for page in range(pages):
        yield Job(path, page, f"{name}_{page:03d}")
