"""Pixels of each class in the training images: weights of the loss, and which classes are rare."""

import logging
import statistics
from typing import Any

import numpy as np

from unet_exp.data.samples import Samples
from unet_exp.data.stats import RARE
from unet_exp.errors import DataError

log = logging.getLogger("unet_exp")


def pixels_of(samples: Samples) -> list[int]:
    """Pixels of each class in a split."""
    # An image that is cut into windows counts once.
    counts = [
        facts.pixels
        for item, facts in zip(samples.items, samples.facts, strict=True)
        if item.window is None or (item.window[0] == 0 and item.window[2] == 0)
    ]
    return [int(count) for count in sum(counts, np.zeros(256, np.int64))[: len(samples.labels.classes)]]


def warn_of_rare_classes(data: dict[str, Samples], classes: list[str]) -> None:
    """One line for each class that has under 0.1 % of the training pixels, or none in a split."""
    for split, samples in data.items():
        pixels = pixels_of(samples)
        for name, count in zip(classes, pixels, strict=True):
            share = count / max(sum(pixels), 1)
            if not count:
                end = "it can't be learnt" if split == "train" else "its scores will be nan"
                log.warning("class %s is absent from %s: %s", name, split, end)
            elif split == "train" and share < RARE:
                log.warning(
                    "class %s has only %.3f %% of the training pixels; loss.class_weights=median_frequency, "
                    "loss=ce_dice or transform=crop transform.train.crop.foreground=0.33 help",
                    name,
                    100 * share,
                )


def with_weights(loss: dict[str, Any], pixels: list[int]) -> dict[str, Any]:
    """The loss with numbers in place of inverse, median_frequency and auto, from the training pixels.

    inverse: 1 / frequency, scaled to a mean of 1 over the classes that occur; median_frequency: median
    frequency / frequency (Eigen and Fergus, 2015, arXiv:1411.4734). A class without pixels gets 0.
    """
    loss = dict(loss)
    frequency = [count / max(sum(pixels), 1) for count in pixels]
    occurring = [value for value in frequency if value > 0]
    if loss.get("class_weights") in ("inverse", "median_frequency"):
        top = statistics.median(occurring) if loss["class_weights"] == "median_frequency" else 1.0
        weights = [top / value if value else 0.0 for value in frequency]
        if loss["class_weights"] == "inverse":
            weights = [weight * len(occurring) / sum(weights) for weight in weights]
        loss["class_weights"] = [round(weight, 6) for weight in weights]
    if loss.get("pos_weight") == "auto":
        if not all(pixels):
            raise DataError(
                "loss.pos_weight=auto needs both classes in the training images", do="give a number"
            )
        loss["pos_weight"] = round(pixels[0] / pixels[1], 6)
    return loss
