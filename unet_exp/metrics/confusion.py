"""Scores from one confusion matrix summed over a whole set: rows are the label, columns the prediction."""

import torch
from torch import Tensor

MOST_COMPARED = 64  # kinds of pairs up to which comparing each is cheap on a GPU
NAMES = ("dice", "iou", "precision", "recall")


def predict_classes(logits: Tensor) -> Tensor:
    """Class indices N x 1 x H x W (int64) of logits N x C x H x W.

    One logit: class 1 where sigmoid > 0.5, which is where the logit is above 0. Several: the largest.
    """
    if logits.shape[1] == 1:
        return (logits > 0).long()
    return logits.argmax(dim=1, keepdim=True)


def confusion(prediction: Tensor, label: Tensor, classes: int) -> Tensor:
    """Pixel counts, int64 classes x classes. prediction: integer, label: integer or float class indices.

    Pixels whose label is no class (255, ignored) are counted nowhere.
    """
    return confusion_per_image(prediction.reshape(1, -1), label.reshape(1, -1), classes)[0]


def confusion_per_image(prediction: Tensor, label: Tensor, classes: int) -> Tensor:
    """As confusion, for each image by itself: int64 N x classes x classes."""
    # Ignored pixels fall into one more row, which is dropped.
    rows = label.flatten(1).int().clamp(max=classes)  # int32: five times as fast as int64 on a CPU
    pairs = rows * classes + prediction.flatten(1).int()
    kinds = (classes + 1) * classes
    few = pairs.is_cuda and kinds <= MOST_COMPARED
    counts = count_by_comparing(pairs, kinds) if few else count_by_bins(pairs, kinds)
    return counts.reshape(len(rows), classes + 1, classes)[:, :classes]


def count_by_bins(values: Tensor, kinds: int) -> Tensor:
    """How often each of 0 to kinds - 1 is in each row: int64 N x kinds of int32 N x P."""
    rows = torch.arange(len(values), dtype=torch.int32, device=values.device)[:, None] * kinds
    return torch.bincount((rows + values).flatten(), minlength=len(values) * kinds).reshape(-1, kinds)


def count_by_comparing(values: Tensor, kinds: int) -> Tensor:
    """As count_by_bins, whose torch.bincount makes the CPU wait for a GPU."""
    return torch.stack([(values == kind).sum(1) for kind in range(kinds)], 1)


def scores(matrix: Tensor, classes: list[str]) -> dict[str, float]:
    """dice, iou, precision, recall (means over the classes that occur), and each as dice_<class>.

    Dice = 2 TP / (2 TP + FP + FN), IoU = TP / (TP + FP + FN), precision = TP / (TP + FP), recall =
    TP / (TP + FN), per class. A class that is neither in the labels nor in the predictions is nan and
    left out of the means; one that is in only one of them scores 0, also where the fraction is 0 / 0.
    """
    values = class_scores(matrix)
    means = {name: float(torch.nanmean(values[name])) for name in NAMES}
    of_classes = {
        f"{name}_{label}": float(values[name][index]) for name in NAMES for index, label in enumerate(classes)
    }
    return means | of_classes


def class_scores(matrix: Tensor) -> dict[str, Tensor]:
    """Per class, float64 ... x classes, of matrices ... x classes x classes; nan where it does not occur."""
    counts = matrix.double().cpu()
    hit = counts.diagonal(dim1=-2, dim2=-1)
    labelled = counts.sum(-1)
    predicted = counts.sum(-2)
    either = labelled + predicted - hit
    absent = torch.where(either == 0, torch.nan, 0.0)
    values = {
        "dice": 2 * hit / (either + hit),
        "iou": hit / either,
        "precision": hit / predicted,
        "recall": hit / labelled,
    }
    return {name: value.nan_to_num(nan=0.0) + absent for name, value in values.items()}


def image_means(matrices: Tensor, classes: list[str]) -> dict[str, float]:
    """image_dice, image_iou and image_dice_<class>: means over images, from N x classes x classes.

    An image counts for a class where it occurs in its label or its prediction; an image that has
    neither (all of it another class, or ignored) is left out of that class's mean, so an empty
    prediction of an empty label is no score at all. image_dice: the mean over the classes first.
    """
    values = class_scores(matrices)
    means = {
        f"image_{name}": float(torch.nanmean(torch.nanmean(values[name], 1))) for name in ("dice", "iou")
    }
    for name in ("dice", "iou"):
        mean = torch.nanmean(values[name], 0)
        means |= {f"image_{name}_{label}": float(mean[index]) for index, label in enumerate(classes)}
    return means


def shown(value: float) -> str:
    """Four digits, or 'absent' for a class that does not occur."""
    return "absent" if value != value else f"{value:.4f}"
