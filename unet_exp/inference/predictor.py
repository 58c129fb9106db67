"""Probabilities of single samples."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from unet_exp.data.datasets import SegmentationDataset
from unet_exp.losses import class_probabilities
from unet_exp.metrics.confusion import confusion, predict_classes, scores
from unet_exp.models.unet import center_crop
from unet_exp.training.precision import Precision


@dataclass(frozen=True)
class SampleResult:
    """One sample as the network sees it. image H x W x C as the network gets it, label H x W, probability
    H x W of class 1, all float32; dice: mean over the classes that occur in it."""

    name: str
    dice: float
    image: np.ndarray
    label: np.ndarray
    probability: np.ndarray


def extreme_samples(
    model: nn.Module, dataset: SegmentationDataset, classes: list[str], precision: Precision, each: int
) -> list[SampleResult]:
    """The `each` worst and `each` best samples by Dice, worst first; all of them in a small set."""
    ranked: list[SampleResult] = []
    for index in tqdm(range(len(dataset)), "samples", leave=False, disable=None, delay=1.0):
        ranked.append(predict_sample(model, dataset, index, classes, precision))
        ranked.sort(key=lambda result: (result.dice, result.name))
        if len(ranked) > 2 * each:
            del ranked[each]  # neither among the worst nor among the best so far
    return ranked


def predict_sample(
    model: nn.Module, dataset: SegmentationDataset, index: int, classes: list[str], precision: Precision
) -> SampleResult:
    model.eval()
    sample = dataset[(0, index)]
    with torch.inference_mode(), precision.autocast():
        logits = model(precision.to_device(sample["input"][None])).float().cpu()
    label, image = (center_crop(sample[k], logits.shape[-2], logits.shape[-1]) for k in ("label", "input"))
    matrix = confusion(predict_classes(logits), label[None], len(classes))
    return SampleResult(
        name=dataset.samples.items[index].name,
        dice=scores(matrix, classes)["dice"],
        image=image.permute(1, 2, 0).numpy(),
        label=label[0].numpy(),
        probability=class_probabilities(logits)[0, 1].numpy(),
    )
