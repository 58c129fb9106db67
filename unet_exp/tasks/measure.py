"""task=measure: numbered images, such as corrected ones, measured on their images; without a run."""

import logging
from typing import Any

from tqdm import tqdm

from unet_exp import errors
from unet_exp.config.label_map import BINARY
from unet_exp.config.paths import expanded
from unet_exp.config.task_schema import MeasureConfig
from unet_exp.data.channels import open_image
from unet_exp.data.formats import IMAGE_SUFFIXES, WHOLE, read_window
from unet_exp.data.names import composed, natural
from unet_exp.data.problems import Failed, all_problems
from unet_exp.errors import DataError
from unet_exp.inference.inputs import Job, files_of, plan
from unet_exp.inference.numbered_files import numbered_files, read_numbers, say_pieces
from unet_exp.inference.object_files import pixel_size_of, write_tables
from unet_exp.messages import counted, shortened
from unet_exp.objects.measure import measure_objects
from unet_exp.rundir import atomic

log = logging.getLogger("unet_exp")


def measure(options: MeasureConfig) -> None:
    """Writes objects.csv and counts.csv. Raises ConfigError, DataError of all files that can't be used."""
    folder = expanded(options.objects)
    files = numbered_files(folder)
    images = images_of(options.input, list(files))
    rows: dict[str, list[dict[str, Any]]] = {}
    problems: list[Failed] = []
    for name, path in tqdm(files.items(), "measuring", disable=None, leave=False, ncols=79):
        job = images[name]
        try:
            image = open_image(job.path, job.page, options.channels)
            numbers = read_numbers(path, image.shape[:2], job.path)
            say_pieces(numbers, path)
            values = read_window(image, WHOLE, job.path)
            rows[name] = measure_objects(numbers, values, pixel_size_of(options.pixel_size, job.path))
        except DataError as error:
            errors.pass_on(error)
            problems.append((job, error))
    if problems:
        raise all_problems(problems, len(files), BINARY)
    output = expanded(options.output) if options.output else folder
    atomic.make_directory(output)
    number = write_tables(output, rows)
    log.info("%s in %s", counted(number, "object"), counted(len(files), "image"))
    log.info("written: %s", output)


def images_of(given: str, names: list[str]) -> dict[str, Job]:
    """The image of each numbered one, by the names that task=predict gives. Raises DataError if one lacks."""
    paths = [path for path in files_of(given) if path.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise DataError(
            f"input={given} holds no image", allowed=f"a folder or pattern of {', '.join(IMAGE_SUFFIXES)}"
        )
    jobs, problems = plan(sorted(paths, key=lambda path: natural(str(path))))
    for problem in problems:
        log.error("error: %s", problem)
    by_name = {composed(job.name): job for job in jobs}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise DataError(
            f"input={given} lacks the images of {shortened(missing)}",
            allowed=f"an image of the name of each numbered one; there are {shortened(list(by_name))}",
        )
    others = sorted(by_name.keys() - set(names), key=natural)
    if others:
        log.info("left out: %s without numbers (%s)", counted(len(others), "image"), shortened(others, 3))
    return by_name
