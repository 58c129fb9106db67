"""task=predict: masks, pictures and probability maps of images, one after another, of any size."""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from unet_exp.config.paths import expanded
from unet_exp.config.task_schema import PredictConfig
from unet_exp.data.channels import open_image
from unet_exp.data.formats import Source
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.inference.folds import load_as
from unet_exp.inference.inputs import Job, find_images, plan
from unet_exp.inference.load import run_config, run_dirs
from unet_exp.inference.object_files import collect_objects, object_settings, wants_objects
from unet_exp.inference.outputs import FOLDERS, MASKS, Outputs, name_of, said_of
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.work_files import remove_leftovers
from unet_exp.inference.workers import MOST, pool_of, submitted
from unet_exp.messages import shortened
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.fingerprint import SAMPLED, hash_file
from unet_exp.training import checkpoint
from unet_exp.training.machine import decide_allocator, decide_device, set_allocator

log = logging.getLogger("unet_exp")
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
    set_allocator(decide_allocator("auto", decide_device(options.device)))
    backend = known_backend(output) if options.backend == "auto" else None
    loaded, computed = load_as(
        options.run, options.device, options.weights, backend or options.backend, options.precision
    )
    predictor = loaded.with_options(
        tta=options.tta,
        threshold=None if options.threshold == "auto" else options.threshold,
        tile=options.tile,
        overlap=options.overlap,
        batch=options.batch_size,
    )
    kind = kind_of_maps(options, predictor)
    for problem in problems:
        log.error("error: %s", problem)
    with nothing_left_of_nothing(output):
        atomic.make_directory(output)
        due = remember(options, settings_of(options, kind, predictor) | computed, output, jobs)
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
    """How many failed, and how many have values far from those of the training images, said once.

    Small images are predicted several at a time, each by a thread of its own and its share of the cores;
    larger ones here, one after another, by all cores.
    """
    num_failed = 0
    num_strange = 0
    threads = torch.get_num_threads()
    workers = min(threads, MOST)
    most = predictor.tile**2 // workers  # pixels; so that the workers take no more memory than one tile
    remove_leftovers([output, *(output / folder for folder in FOLDERS)])

    def opened(job: Job) -> Source:
        return open_image(job.path, job.page, predictor.data_channels)

    def whole(job: Job, image: Source) -> str | None:
        shown = tiles_shown(bar, job.name, predictor, (image.shape[0], image.shape[1]))
        return predict_one(Outputs(output, job, image, predictor, options, kind), shown)

    def small(job: Job) -> tuple[Source | None, str | None]:
        """The remark on an image that is predicted by now, or one that is too large for this thread."""
        with said_of(job, output):
            image = opened(job)
            is_small = image.shape[0] * image.shape[1] <= most
            return (None, whole(job, image)) if is_small else (image, None)

    with (
        logging_redirect_tqdm(tqdm_class=tqdm),
        tqdm(total=len(jobs), desc="predicting", disable=None, ncols=79) as bar,
        pool_of(workers, max(1, threads // workers)) as pool,
    ):
        for job, future in submitted(pool, small, jobs, ahead=2 * workers):
            try:
                with said_of(job, output):
                    image, remark = (opened(job), None) if future is None else future.result()
                    if image is not None:
                        remark = whole(job, image)
                num_strange += remark is not None
                if remark is not None and num_strange == 1:
                    log.warning("%s", remark)
            except UserError as error:
                num_failed += 1
                log.error("error: %s", error)
            bar.update()
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
    if earlier is not None:  # without these it is of a version that had no others
        earlier = {"backend": "torch", "precision": settings["precision"]} | earlier
    other = [key for key in settings if earlier and earlier.get(key) != settings[key]]
    # Runs may have moved: weights identify them, by their bits, or by the file as older versions wrote it.
    same = {"weights", "weights_sha256"} - set(other)
    other = [key for key in other if key not in ("run", "weights_sha256", "int8", "weights" if same else "")]
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


def known_backend(output: Path) -> str | None:
    """That of the predictions which are already there."""
    path = output / SETTINGS
    backend: str | None = atomic.read_json(path).get("backend") if path.exists() else None
    return backend


def masks_of(output: Path, job: Job) -> list[Path]:
    """The paths that its mask may have, depending on its size."""
    return [output / f"{job.name}{ending}" for ending in MASKS]


def content_of(path: Path) -> str | None:
    """A hash of parts of a file; None if it can't be read, which is reported when it is its turn."""
    with suppress(DataError):
        return hash_file(path, SAMPLED)
    return None


def predict_one(files: Outputs, shown: Callable[[int], None]) -> str | None:
    """Predict an image and write its files. Returns what predict_rows returns. Raises UserError."""
    try:
        remark = files.predictor.predict_rows(files.image, files.write, shown, name_of(files.job))
        files.finish()
        return remark
    finally:
        files.remove()


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
