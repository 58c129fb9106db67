"""Losses on logits, besides torch's own.

Shapes: logits float N x C x H x W; label float N x 1 x H x W with class indices (0.0, 1.0, ...).
C = 1 means the logit of class 1 of two. Each returns a scalar, the mean over the batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DiceLoss(nn.Module):
    """1 - soft Dice, averaged over the classes (Milletari et al., 2016, arXiv:1606.04797).

    Sums run over the whole batch, so it is not a mean over samples: gradient accumulation with it
    is close to the large batch, not equal. smooth: pixels added to both sides of the fraction.
    """

    def __init__(self, smooth: float = 1.0) -> None:
        super().__init__()
        self.smooth = smooth

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        probability = class_probabilities(logits)
        truth = torch.cat([label == index for index in range(probability.shape[1])], dim=1)
        truth = truth.to(probability.dtype)
        both = (probability * truth).sum(dim=(0, 2, 3))
        total = (probability + truth).sum(dim=(0, 2, 3))
        # Without smoothing a class that is nowhere would be 0 / 0.
        tiny = torch.finfo(total.dtype).tiny
        dice = (2 * both + self.smooth) / (total + self.smooth).clamp(min=tiny)
        return 1 - dice.mean()


class BCEDiceLoss(nn.Module):
    """(1 - dice_weight) * BCE with logits + dice_weight * DiceLoss; two classes, one logit."""

    def __init__(self, dice_weight: float = 0.5, smooth: float = 1.0) -> None:
        super().__init__()
        self.dice_weight = dice_weight
        self.dice = DiceLoss(smooth)

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        bce = F.binary_cross_entropy_with_logits(logits, label)
        dice: Tensor = self.dice(logits, label)
        return (1 - self.dice_weight) * bce + self.dice_weight * dice


class CrossEntropyLoss(nn.Module):
    """torch's cross-entropy for labels of shape N x 1 x H x W; one logit per class."""

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(logits, label.squeeze(1).long())


def class_probabilities(logits: Tensor) -> Tensor:
    """N x classes x H x W, summing to 1: sigmoid of a single logit, softmax of several."""
    if logits.shape[1] == 1:
        one = torch.sigmoid(logits)
        return torch.cat([1 - one, one], dim=1)
    return torch.softmax(logits, dim=1)
