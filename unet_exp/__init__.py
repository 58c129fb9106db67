"""An experiment bench for U-Nets. Importing it imports nothing else, so that the command line stays quick."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unet_exp.inference.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["load_run"]


def load_run(
    run_dir: str | Path,
    device: str = "auto",
    weights: str = "best",
    backend: str = "torch",
    precision: str = "auto",
) -> "Predictor":
    """A trained run, ready for images: unet_exp.load_run(DIR).predict(image) gives class indices H x W.

    run_dir: of a run, or of a sweep over folds, which is the mean of its folds' networks.
    image: a path, or an array H x W or H x W x C as stored: uint8, uint16, float or bool; also a torch
    tensor, a PIL image or lists (see Predictor.predict). weights: best or last. backend: torch, openvino,
    onnxruntime or auto (the fastest that is installed). precision: auto, fp32, bf16 or int8 (openvino).
    Raises unet_exp.errors.CheckpointError for what is no trained run, ConfigError for a backend that is not
    installed; predict raises unet_exp.errors.DataError for an image that can't be used.
    """
    from unet_exp.inference.folds import load_as

    return load_as(str(run_dir), device, weights, backend, precision)[0]
