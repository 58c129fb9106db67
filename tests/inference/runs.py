"""Runs that several tests predict with."""

from pathlib import Path
from typing import Any

from tests.conftest import train
from tests.support import blobs, picture, save
from unet_exp.config.task_schema import PredictConfig


def folder_run(start: Path, channels: int, *overrides: str) -> Path:
    """A run on six small images that has learnt something."""
    for i in range(6):
        save(start / "data" / "images" / f"{i}.png", picture(3 * blobs(i), i, channels))
        save(start / "data" / "labels" / f"{i}.png", blobs(i))
    folder = [
        "data=image_folder",
        f"data.root={start / 'data'}",
        "trainer.plots=false",
        "trainer.log_every=0",
    ]
    return train(start / "run", *folder, "epochs=12", "lr=0.02", *overrides)


IMAGE = picture(3 * blobs(77), 77)


def options(run_dir: Path, given: Path | str, output: Path, **others: Any) -> PredictConfig:
    values = {"visible": False, "overlays": False, "probabilities": False, "device": "cpu", **others}
    return PredictConfig(run=str(run_dir), input=str(given), output=str(output), **values)


def masks(output: Path) -> list[str]:
    return sorted(path.name for path in output.glob("*.png"))
