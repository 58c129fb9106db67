"""Scores from one confusion matrix summed over a whole set: rows are the label, columns the prediction."""

import torch
from torch import Tensor


def predict_classes(logits: Tensor) -> Tensor:
    """Class indices N x 1 x H x W (int64) of logits N x C x H x W.

    One logit: class 1 where sigmoid > 0.5, which is where the logit is above 0. Several: the largest.
    """
    if logits.shape[1] == 1:
        return (logits > 0).long()
    return logits.argmax(dim=1, keepdim=True)


def confusion(prediction: Tensor, label: Tensor, classes: int) -> Tensor:
    """Pixel counts, int64 classes x classes. prediction: integer, label: integer or float class indices."""
    pairs = label.long() * classes + prediction
    return torch.bincount(pairs.flatten(), minlength=classes**2).reshape(classes, classes)


def scores(matrix: Tensor, classes: list[str]) -> dict[str, float]:
    """dice, iou (means over the classes that occur) and dice_<class>, iou_<class>.

    Dice = 2 TP / (2 TP + FP + FN), IoU = TP / (TP + FP + FN) per class. A class that is neither in
    the labels nor in the predictions is nan and left out of the mean.
    """
    counts = matrix.double().cpu()
    hit = counts.diag()
    either = counts.sum(0) + counts.sum(1) - hit
    values = {"dice": 2 * hit / (either + hit), "iou": hit / either}
    means = {name: float(torch.nanmean(value)) for name, value in values.items()}
    each = {
        f"{name}_{label}": float(value[index])
        for name, value in values.items()
        for index, label in enumerate(classes)
    }
    return means | each
