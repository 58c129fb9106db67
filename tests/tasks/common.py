"""What several tests of the tasks use."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support import save

Array = npt.NDArray[Any]


S = 32


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def unit(array: Array) -> Array:
    return array / np.float32(255)


def same(array: Array) -> Array:
    return array


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def images_in(folder: Path, *sizes: tuple[int, int]) -> Path:
    for number, size in enumerate(sizes):
        save(
            folder / f"im{number:03d}.png",
            np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8),
        )
    return folder
