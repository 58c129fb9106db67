"""Labelled samples through a network, one by one: their scores, and the worst and best of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from unet_exp.data.datasets import SegmentationDataset
from unet_exp.losses import class_probabilities
from unet_exp.metrics.confusion import confusion, predict_classes, scores
from unet_exp.models.unet import center_crop
from unet_exp.training.machine import Precision


@dataclass(frozen=True)
class SampleResult:
    """One sample as the network sees it. image H x W x C as the network gets it, label and prediction H x W
    (class indices, label 255 where ignored), probability H x W of class 1, all float32; dice: mean over the
    classes that occur in it."""

    name: str
    dice: float
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    probability: np.ndarray


def extreme_samples(
    model: nn.Module,
    dataset: SegmentationDataset,
    classes: list[str],
    precision: Precision,
    count: int,
    threshold: float = 0.5,
) -> list[SampleResult]:
    """The `each` worst and `each` best samples by Dice, worst first; all of them in a small set."""
    ranked: list[SampleResult] = []
    for index in tqdm(range(len(dataset)), "samples", leave=False, disable=None, delay=1.0):
        ranked.append(predict_sample(model, dataset, index, classes, precision, threshold))
        ranked.sort(key=lambda result: (result.dice, result.name))
        if len(ranked) > 2 * count:
            del ranked[count]  # neither among the worst nor among the best so far
    return ranked


def classes_at(logits: Tensor, threshold: float) -> Tensor:
    """Class indices N x 1 x H x W (int64) of logits N x C x H x W, as task=predict gives them.

    threshold: for two classes, class 1 is where its probability is above it; with more the largest wins.
    """
    if threshold == 0.5 or logits.shape[1] > 2:
        return predict_classes(logits)
    return (class_probabilities(logits)[:, 1:] > threshold).long()


def predict_sample(
    model: nn.Module | Callable[[Tensor], Tensor],
    dataset: SegmentationDataset,
    index: int,
    classes: list[str],
    precision: Precision,
    threshold: float = 0.5,
) -> SampleResult:
    if isinstance(model, nn.Module):
        model.eval()
    sample = dataset[(0, index)]
    with torch.inference_mode(), precision.autocast():
        logits = model(precision.to_device(sample["input"][None])).float().cpu()
    label, image = (center_crop(sample[k], logits.shape[-2], logits.shape[-1]) for k in ("label", "input"))
    prediction = classes_at(logits, threshold)
    matrix = confusion(prediction, label[None], len(classes))
    return SampleResult(
        name=dataset.samples.items[index].name,
        dice=scores(matrix, classes)["dice"],
        image=image.permute(1, 2, 0).numpy(),
        label=label[0].numpy(),
        prediction=prediction[0, 0].float().numpy(),
        probability=class_probabilities(logits)[0, 1].numpy(),
    )


# By data.symmetries, how many forms of an image tta averages over.
NUM_FORMS = {"none": 1, "left_right": 2, "all": 8}


def symmetric_forms(x: Tensor, symmetries: str) -> Iterator[tuple[Tensor, Callable[[Tensor], Tensor]]]:
    """The turned and mirrored forms of N x C x H x W, each with what turns a result back.

    symmetries: all eight of a square, or left_right, the image and its mirror image.
    """
    for quarters in range(4 if symmetries == "all" else 1):
        for mirrored in (False, True):
            turned = torch.rot90(x.flip(3) if mirrored else x, quarters, (2, 3))

            def back(y: Tensor, quarters: int = quarters, mirrored: bool = mirrored) -> Tensor:
                y = torch.rot90(y, -quarters, (2, 3))
                return y.flip(3) if mirrored else y

            yield turned, back


def averaged(model: nn.Module, logits_per_pixel: int, symmetries: str) -> Callable[[Tensor], Tensor]:
    """The network whose logits are those of the mean probability over the symmetries of the image."""

    def forward(image: Tensor) -> Tensor:
        turned_back = [
            back(class_probabilities(model(turned).float()))
            for turned, back in symmetric_forms(image, symmetries)
        ]
        mean = torch.stack(turned_back).mean(0).double().clamp(min=1e-12).log()
        return (mean[:, 1:] - mean[:, :1] if logits_per_pixel == 1 else mean).float()

    return forward
