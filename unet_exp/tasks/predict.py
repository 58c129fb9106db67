"""task=predict: masks, pictures and probability maps of images, one after another, of any size."""

import errno
import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from unet_exp import errors
from unet_exp.config.label_map import COLOURS
from unet_exp.config.paths import expanded
from unet_exp.config.task_schema import PredictConfig
from unet_exp.data.channels import open_image
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.inference import object_files
from unet_exp.inference.folds import load_any
from unet_exp.inference.inputs import Job, find_images, plan
from unet_exp.inference.load import run_config, run_dirs
from unet_exp.inference.object_files import (
    ObjectMaps,
    collect_objects,
    find_and_repair,
    object_settings,
    pixel_size_of,
    wants_objects,
    write_objects,
)
from unet_exp.inference.pictures import overlay_rows, save_picture, visible_rows
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.work_files import ProbabilityMaps, remove_leftovers, work_file
from unet_exp.messages import shortened
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.fingerprint import SAMPLED, hash_file
from unet_exp.training import checkpoint
from unet_exp.training.machine import decide_allocator, set_allocator

log = logging.getLogger("unet_exp")
MAPS = "probabilities"
FOLDERS = ("visible", "overlays", MAPS, object_files.FOLDER, object_files.REPAIRED)
MASKS = (".png", ".tif")
MOST_PNG = 100_000_000  # pixels; larger masks are TIFFs, which can be written by rows
SETTINGS = "predict.json"


def predict(options: PredictConfig) -> None:
    """Writes output/NAME.png (class indices) and, as asked, visible/, overlays/ and probabilities/.

    Exits with 1 when a file could not be predicted; the others are. Raises UserError for what concerns all.
    """
    dirs = run_dirs(options.run)
    place = expanded(options.run) if (expanded(options.run) / layout.FOLDS).exists() else dirs[0]
    output = expanded(options.output) if options.output else default_output(options.input, place)
    data = run_config(dirs[0], options.device).data
    paths = find_images(options.input, output, data, dirs[0])
    if output.exists() and any(path.parent.resolve() == output.resolve() for path in paths):
        raise ConfigError("output is the folder of the images", do="choose another: output=DIR")
    jobs, problems = plan(paths)
    predictor = load_any(options.run, options.device, options.weights).with_options(
        tta=options.tta,
        threshold=None if options.threshold == "auto" else options.threshold,
        tile=options.tile,
        overlap=options.overlap,
        batch=options.batch_size,
    )
    set_allocator(decide_allocator("auto", predictor.precision.device))
    kind = kind_of_maps(options, predictor)
    for problem in problems:
        log.error("error: %s", problem)
    with nothing_left_of_nothing(output):
        atomic.make_directory(output)
        due = remember(options, settings_of(options, kind, predictor), output, jobs)
        if len(predictor.classes) == 2:
            log.info("threshold %g", predictor.cut)
        num_failed, num_strange = predict_all(due, predictor, options, kind, output)
        if wants_objects(options, predictor):
            log.info("objects: %d", collect_objects(output, [job.name for job in jobs]))
    words = [
        f"{len(due) - num_failed} predicted",
        f"{len(jobs) - len(due)} already there" * (len(due) < len(jobs)),
        f"{num_strange} with values far from those of the training images" * bool(num_strange),
        f"{num_failed + len(problems)} failed" * bool(num_failed or problems),
    ]
    log.info("%s: %s", output, ", ".join(word for word in words if word))
    if num_failed or problems:
        sys.exit(1)


def default_output(given: str, run_dir: Path) -> Path:
    """RUN_DIR/predictions/ and the name of the folder that the images are in."""
    path = expanded(given)
    folder = path if path.is_dir() else path.parent
    return run_dir / "predictions" / (folder.resolve().name or "images")


def predict_all(
    jobs: list[Job], predictor: Predictor, options: PredictConfig, kind: str | None, output: Path
) -> tuple[int, int]:
    """How many failed, and how many have values far from those of the training images, said once."""
    num_failed = 0
    num_strange = 0
    with logging_redirect_tqdm(tqdm_class=tqdm), tqdm(jobs, "predicting", disable=None, ncols=79) as bar:
        for job in bar:
            try:
                with errors.in_words("predict"):
                    remark = predict_one(job, predictor, options, kind, output, bar)
            except UserError as error:
                num_failed += 1
                log.error("error: %s", error)
                continue
            num_strange += remark is not None
            if remark is not None and num_strange == 1:
                log.warning("%s", remark)
    return num_failed, num_strange


@contextmanager
def nothing_left_of_nothing(output: Path) -> Iterator[None]:
    """If no mask was written in the end, remove the new folders and predict.json."""
    new = layout.missing_directories(output)
    try:
        yield
    finally:
        if not masks_in(output):
            with suppress(OSError):  # not there
                os.unlink(output / SETTINGS)
            for folder in [*(output / name for name in FOLDERS), *new[::-1]]:
                with suppress(OSError):  # not empty, or not there
                    folder.rmdir()


def masks_in(output: Path) -> bool:
    return any(True for ending in MASKS for _ in output.glob(f"*{ending}"))


def kind_of_maps(options: PredictConfig, predictor: Predictor) -> str | None:
    """float32, uint16, or None for no probability maps."""
    asked = options.probabilities
    if asked == "auto":
        asked = predictor.logits_per_pixel == 1
    return {True: "float32", False: None}.get(asked, asked)


def settings_of(options: PredictConfig, kind: str | None, predictor: Predictor) -> dict[str, Any]:
    """What predictions depend on besides their images."""
    files = hashlib.sha256()
    weights = []
    for run_dir in run_dirs(options.run):
        path = run_dir / layout.CHECKPOINTS / f"{options.weights}.pt"
        files.update(path.read_bytes()[-64:])
        weights.append(checkpoint.weights_sha256(checkpoint.load(path)))
    return {
        "run": [str(path.resolve()) for path in run_dirs(options.run)],
        "weights": files.hexdigest(),
        "weights_sha256": weights,
        "tta": options.tta,
        "threshold": predictor.cut,
        "tile": options.tile,
        "overlap": options.overlap,
        "probabilities": kind,
        "visible": options.visible,
        "overlays": options.overlays,
    } | object_settings(options, predictor)


def remember(options: PredictConfig, settings: dict[str, Any], output: Path, jobs: list[Job]) -> list[Job]:
    """Write predict.json: the settings of the predictions and the image of each. Returns the jobs to do.

    A mask counts as done where predict.json says that it is of this image (by its content) and these
    settings. Raises ConfigError for masks of other settings and of other images.
    """
    path = output / SETTINGS
    earlier = atomic.read_json(path) if path.exists() else None
    other = [key for key in settings if earlier and earlier.get(key) != settings[key]]
    # Runs may have moved: weights identify them, by their bits, or by the file as older versions wrote it.
    same = {"weights", "weights_sha256"} - set(other)
    other = [key for key in other if key not in ("run", "weights_sha256", "weights" if same else "")]
    if other and masks_in(output) and not options.overwrite:
        raise ConfigError(
            f"{output} holds predictions made with another {', '.join(other)}",
            do="another output=DIR, or overwrite=true",
        )
    known = {} if earlier is None or other else earlier.get("images", {})
    by_name_alone = earlier is not None and "images" not in earlier  # it was written before images were kept
    content = {file: content_of(file) for file in {job.path for job in jobs}}
    due = []
    taken = []
    images = {}
    for job in jobs:
        before = known.get(job.name)
        file = str(job.path.resolve())
        images[job.name] = {"file": file, "page": job.page, "sha256": content[job.path]}
        if options.overwrite or not any(os.path.exists(mask) for mask in masks_of(output, job)):
            due.append(job)
        elif before is None and not by_name_alone:
            taken.append(f"{job.name} (which {SETTINGS} does not know)")
        elif before is not None and before["sha256"] != content[job.path]:
            if before["file"] != file:
                taken.append(f"{job.name} (of {before['file']})")
            due.append(job)
    if taken:
        raise ConfigError(
            f"{output} holds masks of other images under the names {shortened(taken, 3)}",
            do="another output=DIR, or overwrite=true",
        )
    for job in due:
        for mask in masks_of(output, job):
            with suppress(OSError):  # not there
                os.unlink(mask)
    atomic.write_text(path, json.dumps(settings | {"images": known | images}, indent=2) + "\n")
    return due


def masks_of(output: Path, job: Job) -> list[Path]:
    """The paths that its mask may have, depending on its size."""
    return [output / f"{job.name}{ending}" for ending in MASKS]


def content_of(path: Path) -> str | None:
    """A hash of parts of a file; None if it can't be read, which is reported when it is its turn."""
    with suppress(DataError):
        return hash_file(path, SAMPLED)
    return None


def predict_one(
    job: Job, predictor: Predictor, options: PredictConfig, kind: str | None, output: Path, bar: "tqdm[Any]"
) -> str | None:
    """Write all files of one image, the mask last. Returns what predict_rows returns. Raises UserError."""
    image = open_image(job.path, job.page, predictor.data_channels)
    size = (image.shape[0], image.shape[1])
    name = str(job.path) if job.page is None else f"{job.path} page {job.page}"
    large = size[0] * size[1] > MOST_PNG
    try:
        mask = work_file(output, size, large)
        object_maps = (
            ObjectMaps(output, size, large, predictor.object_rule)
            if wants_objects(options, predictor)
            else None
        )
        maps = None if kind is None else ProbabilityMaps(output / MAPS, len(predictor.classes), size, kind)

        def write(top: int, rows: np.ndarray) -> None:
            mask[top : top + rows.shape[1]] = predictor.classes_of(rows)
            if maps is not None:
                maps.write(top, rows)
            if object_maps is not None:
                object_maps.write(top, rows)

        remark = predictor.predict_rows(image, write, tiles_shown(bar, job.name, predictor, size), name)
        if maps is not None:
            maps.finish(job.name)
        objects = None
        if object_maps is not None:
            objects = find_and_repair(object_maps, output, job.name, repair=kind is not None)
            write_objects(output, job.name, objects, image, pixel_size_of(options.pixel_size, job.path))
        if options.visible:
            save_picture(output / "visible", job.name, *visible_rows(mask, predictor), large)
        if options.overlays:
            if objects is None:
                overlay = overlay_rows(image, mask, predictor.palette, job.path)
            else:
                overlay = overlay_rows(image, objects, COLOURS[1:], job.path, numbered=True)
            save_picture(output / "overlays", job.name, *overlay, large)
        save_picture(output, job.name, mask.shape, lambda rows: np.asarray(mask[rows]), large)
        return remark
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DataError(
                f"{name}: the names of its predictions are too long for the file system",
                do="shorten its name",
            ) from error
        raise atomic.cannot_write(output / job.name, error) from error
    finally:
        remove_leftovers([output, *(output / folder for folder in FOLDERS)])


def tiles_shown(
    bar: "tqdm[Any]", name: str, predictor: Predictor, size: tuple[int, int]
) -> Callable[[int], None]:
    """What shows in the bar how many tiles of an image are done, if it has several."""
    tiles = predictor.count_tiles(size)
    done = 0

    def progress(number: int) -> None:
        nonlocal done
        done += number
        if tiles > 1:
            bar.set_postfix_str(f"{name}: {done}/{tiles} tiles")

    return progress
