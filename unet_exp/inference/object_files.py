"""Objects of an image that is predicted: their maps while it is under way, then numbers and measurements."""

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from unet_exp.config.label_map import COLOURS
from unet_exp.config.task_schema import PredictConfig
from unet_exp.data.formats import Source
from unet_exp.data.pixel_size import read_pixel_size
from unet_exp.errors import ConfigError
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.work_files import WorkArray, written_whole
from unet_exp.objects.cells import find_cells, repaired
from unet_exp.objects.joining import Joining
from unet_exp.objects.measure import measure_objects
from unet_exp.objects.rules import Rule, maps_of, objects_of_maps
from unet_exp.rundir.tables import read_csv, write_table

log = logging.getLogger("unet_exp")
FOLDER = "objects"
COLOUR_MAP = 320  # a tag of TIFF that ImageJ, unlike TIFF, knows for grey images too
REPAIRED = "repaired"


class ObjectMaps:
    """Interior and foreground probability of an image, float32 H x W, written by rows.

    large: in files that last as long as they are needed.
    """

    def __init__(self, folder: Path, size: tuple[int, int], large: bool, rule: Rule) -> None:
        self.rule = rule
        self.work = [WorkArray(folder, size, np.float32, large) for _ in range(2)]
        self.maps = [one.array for one in self.work]

    def write(self, top: int, rows: np.ndarray) -> None:
        """rows: probabilities K x h x W from row `top` on."""
        place = slice(top, top + rows.shape[1])
        self.maps[0][place], self.maps[1][place] = maps_of(rows, self.rule)

    def remove(self) -> None:
        for one in self.work:
            one.remove()

    def find(self) -> np.ndarray:
        return objects_of_maps(self.maps[0], self.maps[1], self.rule)

    def find_cells(self, joining: Joining) -> tuple[np.ndarray, np.ndarray]:
        """The cells, and the map of the interior that has their topology, float32 H x W."""
        cells, inside = find_cells(self.maps[0], joining)
        return cells, repaired(self.maps[0], cells, inside)


def find_and_repair(maps: ObjectMaps, output: Path, name: str, repair: bool) -> np.ndarray:
    """The objects. repair: of cells by learned borders also repaired/NAME.tif, float32."""
    if not isinstance(maps.rule, Joining) or not repair:
        return maps.find()
    cells, interior = maps.find_cells(maps.rule)
    with written_whole(output / REPAIRED / f"{name}.tif") as path:
        tifffile.imwrite(path, interior, compression="zlib")
    return cells


def write_objects(
    output: Path, name: str, objects: np.ndarray, image: Source, pixel_size: tuple[float, float] | None
) -> None:
    """objects/NAME.tif, the numbers, and objects/NAME.csv, a row for each object."""
    folder = output / FOLDER
    with written_whole(folder / f"{name}.tif") as path:
        write_numbers(path, objects)
        rows = measure_objects(objects, image, pixel_size)
        columns = list(rows[0]) if rows else ["number"]
        write_table(folder / f"{name}.csv", columns, rows)


def write_numbers(path: Path, objects: np.ndarray) -> None:
    """A TIFF of uint16, which ImageJ shows in colours; above 65,535 objects uint32, which it shows grey."""
    if int(objects.max(initial=0)) > np.iinfo(np.uint16).max:
        tifffile.imwrite(path, objects.astype(np.uint32))
        return
    colours = [COLOURS[0], *(COLOURS[1 + number % (len(COLOURS) - 1)] for number in range(255))]
    table = np.array(colours, np.uint16).T * 257  # of 16 bits: reds, greens, blues
    tag = (COLOUR_MAP, "H", table.size, table.ravel().tolist(), True)
    tifffile.imwrite(path, objects.astype(np.uint16), extratags=[tag])


def collect_objects(output: Path, names: list[str]) -> int:
    """The tables of all images from their objects/NAME.csv. Returns the number of objects."""
    paths = {name: output / FOLDER / f"{name}.csv" for name in names}
    return write_tables(output, {name: read_csv(path) for name, path in paths.items() if path.exists()})


def write_tables(output: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> int:
    """objects.csv, all rows with their image, and counts.csv, a row for each image. Returns the number.

    rows: of each image, by measure_objects.
    """
    everything = [{"image": name, **row} for name, of_image in rows.items() for row in of_image]
    columns = list(dict.fromkeys(key for row in everything for key in row)) or ["image", "number"]
    write_table(output / "objects.csv", columns, everything)
    counts = [{"image": name, "objects": len(of_image)} for name, of_image in rows.items()]
    write_table(output / "counts.csv", ["image", "objects"], counts)
    if any(row.get("perimeter_um") == "" for row in everything):
        log.info("perimeter_um is empty where pixels are not square")
    return len(everything)


def wants_objects(options: PredictConfig, predictor: Predictor) -> bool:
    """Raises ConfigError where objects are asked of a run that was trained on classes."""
    if options.objects is True and predictor.object_rules is None:
        raise ConfigError(
            "objects=true needs a run that was trained on objects, or with trainer.learn_borders",
            do="objects=false",
        )
    return options.objects is not False and predictor.object_rules is not None


def pixel_size_of(given: Any, path: Path) -> tuple[float, float] | None:
    """Height and width of a pixel in micrometres, as given or as stored in the file. Raises ConfigError."""
    return read_pixel_size(path) if given is None else given_pixel_size(given)


def given_pixel_size(given: Any) -> tuple[float, float]:
    """Height and width in micrometres. Raises ConfigError for what is no size."""
    sizes = given if isinstance(given, list) else [given, given]
    if len(sizes) != 2 or not all(type(size) in (int, float) and 0 < size < math.inf for size in sizes):
        raise ConfigError(f"pixel_size is {given}", allowed="micrometres, or [height,width]")
    return float(sizes[0]), float(sizes[1])


def object_settings(options: PredictConfig, predictor: Predictor) -> dict[str, Any]:
    """What the objects depend on. Raises ConfigError as wants_objects and given_pixel_size do."""
    if not wants_objects(options, predictor):
        return {}
    if options.pixel_size is not None:
        given_pixel_size(options.pixel_size)  # before the first image is predicted
    return {"objects": dataclasses.asdict(predictor.object_rule), "pixel_size": options.pixel_size}
