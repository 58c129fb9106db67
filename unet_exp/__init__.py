"""An experiment bench for U-Nets. Importing it imports nothing else, so that the command line stays quick."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unet_exp.inference.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["load_run"]


def load_run(run_dir: str | Path, device: str = "auto", weights: str = "best") -> "Predictor":
    """A trained run, ready for images: unet_exp.load_run(DIR).predict(image) gives class indices H x W.

    image: H x W or H x W x C as stored, uint8, uint16 or float. weights: best or last.
    Raises unet_exp.errors.CheckpointError for what is no trained run.
    """
    from unet_exp.tasks.load import load_run

    return load_run(run_dir, device, weights)
