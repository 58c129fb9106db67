"""The files of one image that is predicted: filled by rows, then finished; whole or not at all."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from unet_exp import errors
from unet_exp.config.label_map import COLOURS
from unet_exp.config.task_schema import PredictConfig
from unet_exp.data.formats import Source
from unet_exp.errors import DataError
from unet_exp.inference import object_files
from unet_exp.inference.inputs import Job
from unet_exp.inference.object_files import (
    ObjectMaps,
    find_and_repair,
    pixel_size_of,
    wants_objects,
    write_objects,
)
from unet_exp.inference.pictures import overlay_rows, save_picture, visible_rows
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.work_files import ProbabilityMaps, WorkArray
from unet_exp.rundir import atomic

MAPS = "probabilities"
FOLDERS = ("visible", "overlays", MAPS, object_files.FOLDER, object_files.REPAIRED)
MASKS = (".png", ".tif")
MOST_PNG = 100_000_000  # pixels; larger masks are TIFFs, which can be written by rows


class Outputs:
    """Takes the probabilities of an image by rows, and makes all files of them. kind: of the maps, or None.

    Call remove() in the end, whatever happened.
    """

    def __init__(
        self,
        output: Path,
        job: Job,
        image: Source,
        predictor: Predictor,
        options: PredictConfig,
        kind: str | None,
    ) -> None:
        self.output = output
        self.job = job
        self.image = image
        self.predictor = predictor
        self.options = options
        self.size = (image.shape[0], image.shape[1])
        self.large = self.size[0] * self.size[1] > MOST_PNG
        self.objects: ObjectMaps | None = None
        self.maps: ProbabilityMaps | None = None
        self.mask = WorkArray(output, self.size, np.uint8, self.large)
        try:
            if wants_objects(options, predictor):
                self.objects = ObjectMaps(output, self.size, self.large, predictor.object_rule)
            if kind is not None:
                self.maps = ProbabilityMaps(output / MAPS, len(predictor.classes), self.size, kind)
        except BaseException:
            self.remove()
            raise

    def write(self, top: int, rows: np.ndarray) -> None:
        """rows: probabilities K x h x W from row `top` on."""
        self.mask.array[top : top + rows.shape[1]] = self.predictor.classes_of(rows)
        if self.maps is not None:
            self.maps.write(top, rows)
        if self.objects is not None:
            self.objects.write(top, rows)

    def finish(self) -> None:
        """Write all files, the mask last: where it is, the image counts as predicted."""
        name = self.job.name
        mask = self.mask.array
        if self.maps is not None:
            self.maps.finish(name)
        numbers = None
        if self.objects is not None:
            numbers = find_and_repair(self.objects, self.output, name, repair=self.maps is not None)
            size = pixel_size_of(self.options.pixel_size, self.job.path)
            write_objects(self.output, name, numbers, self.image, size)
        if self.options.visible:
            shown = visible_rows(mask, self.predictor)
            save_picture(self.output / "visible", name, *shown, self.large)
        if self.options.overlays:
            if numbers is None:
                shown = overlay_rows(self.image, mask, self.predictor.palette, self.job.path)
            else:
                shown = overlay_rows(self.image, numbers, COLOURS[1:], self.job.path, numbered=True)
            save_picture(self.output / "overlays", name, *shown, self.large, photograph=True)
        save_picture(self.output, name, mask.shape, lambda rows: np.asarray(mask[rows]), self.large)

    def remove(self) -> None:
        """What is under way or was needed on the way."""
        for one in (self.mask, self.objects, self.maps):
            if one is not None:
                one.remove()


def name_of(job: Job) -> str:
    return str(job.path) if job.page is None else f"{job.path} page {job.page}"


@contextmanager
def said_of(job: Job, output: Path) -> Iterator[None]:
    """Inside, what can't be written, or runs out, raises UserError in words about this image."""
    with errors.in_words("predict"):
        try:
            yield
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise DataError(
                    f"{name_of(job)}: the names of its predictions are too long for the file system",
                    do="shorten its name",
                ) from error
            raise atomic.cannot_write(output / job.name, error) from error
