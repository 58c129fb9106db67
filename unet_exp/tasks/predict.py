"""task=predict: masks, pictures and probability maps of images, one after another, of any size."""

import glob
import hashlib
import json
import logging
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from unet_exp import runs
from unet_exp.data.formats import (
    IMAGE_SUFFIXES,
    TIFF,
    count_pages,
    open_array,
)
from unet_exp.data.items import natural
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.inference import tiling
from unet_exp.inference.pictures import overlay_rows, save_picture, visible_rows
from unet_exp.inference.predictor import Predictor
from unet_exp.tasks.load import load_ensemble
from unet_exp.training.precision import decide_allocator, set_allocator
from unet_exp.verbs import PredictConfig

log = logging.getLogger("unet_exp")
MOST_PNG = 100_000_000  # pixels; larger masks are TIFFs, which can be written by rows
SETTINGS = "predict.json"


@dataclass(frozen=True)
class Job:
    """One picture to predict: its file, its page, and the name of what is written."""

    path: Path
    page: int | None
    name: str


def predict(options: PredictConfig) -> None:
    """Writes output/NAME.png (class indices) and, as asked, visible/, overlays/ and probabilities/.

    Exits with 1 when a file could not be predicted; the others are. Raises UserError for what concerns all.
    """
    paths = find_images(options.input)
    predictor = load_ensemble(run_dirs(options.run), options.device, options.weights).with_options(
        tta=options.tta, threshold=None if options.threshold == "auto" else options.threshold,
        tile=options.tile, overlap=options.overlap, batch=options.batch_size,
    )  # fmt: skip
    set_allocator(decide_allocator("auto", predictor.precision.device))
    kind = kind_of_maps(options, predictor)
    output = Path(options.output).expanduser()
    if output.exists() and any(path.parent.resolve() == output.resolve() for path in paths):
        raise ConfigError("output is the folder of the images", do="choose another: output=DIR")
    runs.make_directory(output)
    remember_settings(options, kind, predictor.cut, output)
    if len(predictor.classes) == 2:
        log.info("threshold %g", predictor.cut)
    failed, done, skipped = [], 0, 0
    stems = Counter(path.stem for path in paths)
    with logging_redirect_tqdm(tqdm_class=tqdm), tqdm(paths, "predicting", disable=None, ncols=79) as bar:
        for path in bar:
            try:
                for job in jobs_of(path, stems):
                    if not options.overwrite and finished(output, job):
                        skipped += 1
                        continue
                    predict_one(job, predictor, options, kind, output, bar)
                    done += 1
            except UserError as error:
                failed.append(path)
                log.error("error: %s", error)
    words = [
        f"{done} predicted",
        f"{skipped} already there" * bool(skipped),
        f"{len(failed)} failed" * bool(failed),
    ]
    log.info("%s: %s", output, ", ".join(word for word in words if word))
    if failed:
        sys.exit(1)


def run_dirs(text: str) -> list[Path]:
    """One run, or several between commas or found by a pattern."""
    if Path(text).expanduser().exists():
        return [Path(text).expanduser()]
    found = []
    for part in text.strip("[]").split(","):
        pattern = str(Path(part.strip()).expanduser())
        matches = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
        if not matches:
            raise ConfigError(
                f"run={part} finds no directory", allowed="a run directory, or several: run=A,B"
            )
        found += [Path(match) for match in matches]
    return found


def find_images(text: str) -> list[Path]:
    """The images of a file, folder or pattern. Raises DataError where there are none."""
    path = Path(text).expanduser()
    if path.is_dir():
        with os.scandir(path) as entries:
            found = [Path(entry.path) for entry in entries if not entry.name.startswith(".")]
        found = [one for one in found if one.suffix.lower() in IMAGE_SUFFIXES and not one.is_dir()]
    elif os.path.lexists(path):
        found = [path]
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True) if not Path(name).is_dir()]
    if not found:
        raise DataError(
            f"input={text} holds no image",
            allowed=f"a file, folder or pattern of {', '.join(IMAGE_SUFFIXES)}",
        )
    names = Counter(one.name for one in found)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise DataError(f"{twice[0]} lies in several folders of input={text}", do="predict them one by one")
    return sorted(found, key=lambda one: natural(str(one)))


def jobs_of(path: Path, stems: Counter[str]) -> list[Job]:
    """One for each page; the name is the file's without its ending, unless two files share that."""
    name = path.stem if stems[path.stem] == 1 else path.name
    pages = count_pages(path) if path.suffix.lower() in TIFF and path.is_file() else 1
    if pages == 1:
        return [Job(path, None, name)]
    return [Job(path, page, f"{name}_{page:03d}") for page in range(pages)]


def finished(output: Path, job: Job) -> bool:
    """The class indices are written last."""
    return any((output / f"{job.name}{ending}").exists() for ending in (".png", ".tif"))


def kind_of_maps(options: PredictConfig, predictor: Predictor) -> str | None:
    """float32, uint16, or None for no probability maps."""
    asked = options.probabilities
    if asked == "auto":
        asked = predictor.logits_per_pixel == 1
    return {True: "float32", False: None}.get(asked, asked)


def remember_settings(options: PredictConfig, kind: str | None, threshold: float, output: Path) -> None:
    """predict.json: what these predictions were made with. Raises ConfigError if others are there."""
    weights = hashlib.sha256()
    for run_dir in run_dirs(options.run):
        weights.update((run_dir / runs.CHECKPOINTS / f"{options.weights}.pt").read_bytes()[-64:])
    settings = {
        "run": [str(path.resolve()) for path in run_dirs(options.run)], "weights": weights.hexdigest(),
        "tta": options.tta, "threshold": threshold, "tile": options.tile, "overlap": options.overlap,
        "probabilities": kind, "visible": options.visible, "overlays": options.overlays,
    }  # fmt: skip
    path = output / SETTINGS
    if path.exists() and not options.overwrite:
        there = runs.read_json(path)
        other = [key for key in settings if there.get(key) != settings[key]]
        if other:
            raise ConfigError(
                f"{output} holds predictions made with another {', '.join(other)}",
                do="another output=DIR, or overwrite=true",
            )
    runs.write_text(path, json.dumps(settings, indent=2) + "\n")


def predict_one(
    job: Job, predictor: Predictor, options: PredictConfig, kind: str | None, output: Path, bar: "tqdm[Any]"
) -> None:
    """All files of one picture, the mask last. Raises DataError, CheckpointError."""
    image = open_array(job.path, job.page)
    size = (image.shape[0], image.shape[1])
    large = size[0] * size[1] > MOST_PNG
    try:
        mask = work_file(output, job, "mask", size, np.uint8, large)
        maps = None
        if kind is not None:
            runs.make_directory(output / "probabilities")
            layers = () if len(predictor.classes) == 2 else (len(predictor.classes),)
            temporary = output / "probabilities" / f".{job.name}.{os.getpid()}.tmp"
            maps = tifffile.memmap(temporary, shape=(*layers, *size), dtype=kind, photometric="minisblack")

        def write(top: int, rows: np.ndarray) -> None:
            here = slice(top, top + rows.shape[1])
            mask[here] = predictor.classes_of(rows)
            if maps is not None:
                chosen = rows[1] if len(predictor.classes) == 2 else rows
                maps[..., here, :] = np.rint(chosen * 65535) if kind == "uint16" else chosen
                maps.flush()

        tiles = tiling.count_tiles(size, **predictor.tiling_options(size))
        state = {"done": 0}

        def progress(number: int) -> None:
            state["done"] += number
            if tiles > 1:
                bar.set_postfix_str(f"{job.name}: {state['done']}/{tiles} tiles")

        predictor.predict_rows(image, write, progress, str(job.path))
        if maps is not None:
            del maps
            os.replace(temporary, output / "probabilities" / f"{job.name}.tif")
        if options.visible:
            save_picture(output / "visible", job.name, *visible_rows(mask, predictor), large)
        if options.overlays:
            save_picture(
                output / "overlays", job.name, *overlay_rows(image, mask, predictor, job.path), large
            )
        save_picture(output, job.name, mask.shape, lambda part: np.asarray(mask[part]), large)
    except OSError as error:
        raise runs.cannot_write(output, error) from error
    finally:
        for folder in (output, *(output / name for name in ("visible", "overlays", "probabilities"))):
            for leftover in folder.glob(f".{glob.escape(job.name)}.{os.getpid()}.*"):
                leftover.unlink(missing_ok=True)


def work_file(
    output: Path, job: Job, what: str, size: tuple[int, int], dtype: Any, large: bool
) -> np.ndarray:
    """An array in memory, or in a file that lasts as long as it is needed."""
    if not large:
        return np.zeros(size, dtype)
    return np.memmap(output / f".{job.name}.{os.getpid()}.{what}", dtype, "w+", shape=size)
