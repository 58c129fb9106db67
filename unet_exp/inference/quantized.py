"""int8 for prediction: its ranges from training images, and what it costs from validation images."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unet_exp.inference.backends import Engine
from unet_exp.inference.load import run_config
from unet_exp.inference.of_split import parts_with, samples_of
from unet_exp.inference.scores import Network, score
from unet_exp.metrics.confusion import class_scores
from unet_exp.rundir import layout
from unet_exp.training import checkpoint
from unet_exp.training.parts import Parts

log = logging.getLogger("unet_exp")
MOST_IMAGES = 32  # to calibrate with
LARGEST = 512  # side of the part of each that is used, in pixels


def quantize(engines: Sequence[Engine], runs: Sequence[Path], weights: str, threshold: float) -> list[Any]:
    """Give each engine int8 weights. Returns, and logs, the Dice on its run's validation images, and torch's.

    weights: best or last. Raises DataError where the data of the runs is not there.
    """
    losses = []
    for engine, run_dir in zip(engines, runs, strict=True):
        config = run_config(run_dir, "cpu")
        trainer = dataclasses.replace(config.trainer, limit_val_batches=None, overfit_samples=None)
        config = dataclasses.replace(config, trainer=trainer, num_workers=0)
        contents = checkpoint.load(run_dir / layout.CHECKPOINTS / f"{weights}.pt")
        training, _ = parts_with(config, samples_of(config, "train"), contents, tta=False)
        engine.quantize(calibration_images(training))
        parts, network = parts_with(config, samples_of(config, "val"), contents, tta=False)
        before, after = (dice(parts, one, threshold) for one in (network, engine))
        log.info(
            "int8: Dice %.4f on %d validation images, by torch (%s) %.4f: %s",
            after,
            len(parts.val.dataset),
            config.trainer.precision,
            before,
            run_dir,
        )
        losses.append({"dice": after, "dice_of_torch": before})
    return losses


def calibration_images(parts: Parts) -> list[np.ndarray]:
    """Normalised training images, 1 x C x h x w, without augmentation."""
    images: list[np.ndarray] = []
    for batch in parts.val.epoch(0):
        images += [image[None, :, :LARGEST, :LARGEST].numpy() for image in batch["input"]]
        if len(images) >= MOST_IMAGES:
            break
    return images[:MOST_IMAGES]


def dice(parts: Parts, network: Network, threshold: float) -> float:
    """The mean over the classes, each over all pixels."""
    matrices = score(parts, network, "val", keep_maps=False, threshold=threshold).predicted
    return float(torch.nanmean(class_scores(torch.stack(matrices).sum(0))["dice"]))
