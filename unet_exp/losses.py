"""Losses on logits.

Shapes: logits float N x C x H x W; label float N x 1 x H x W with class indices (0.0, 1.0, ...), 255 for
pixels to ignore. C = 1 means the logit of class 1 of two. Each returns a scalar: the mean over the pixels
that count (weighted by the class weights, if given), 0 where none counts. weight: float N x 1 x H x W, what
each pixel weighs in the cross-entropy besides (see data.weight_map). Defaults of the arguments:
config.components.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unet_exp.config.schema import IGNORE


class CELoss(nn.Module):
    """Cross-entropy: binary of a single logit, softmax of several.

    class_weights: one per class; the mean is divided by the sum of the weights, as torch does.
    pos_weight: single logit only, factor of the pixels of class 1 (as torch's BCEWithLogitsLoss, whose
    mean it leaves divided by the number of pixels). w0, sigma: of the weight maps that come with the samples.
    """

    weights: Tensor | None

    def __init__(
        self,
        class_weights: Sequence[float] | None,
        pos_weight: float | None,
        w0: float,
        sigma: float,
    ) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("weights", weights, persistent=False)
        self.pos_weight = pos_weight
        self.w0 = w0
        self.sigma = sigma

    def forward(self, logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        counted = label != IGNORE
        index = torch.where(counted, label, 0.0).squeeze(1).long()
        share = counted.squeeze(1).to(logits.dtype)
        if self.weights is not None:
            # The paper adds what the map holds to the weight of the class.
            share = share * (
                self.weights[index] if weight is None else self.weights[index] + weight.squeeze(1)
            )
        elif weight is not None:
            share = share * (1 + weight.squeeze(1))
        if logits.shape[1] == 1:
            positive = (
                None if self.pos_weight is None else torch.tensor(self.pos_weight, device=logits.device)
            )
            values = F.binary_cross_entropy_with_logits(
                logits.squeeze(1), index.to(logits.dtype), reduction="none", pos_weight=positive
            )
        else:
            values = F.cross_entropy(logits, index, reduction="none")
        return (values * share).sum() / share.sum().clamp(min=torch.finfo(share.dtype).tiny)


class CrossEntropyLoss(CELoss):
    """The same for networks with one logit per class, also for two classes."""

    def __init__(self, class_weights: Sequence[float] | None, w0: float, sigma: float) -> None:
        super().__init__(class_weights, None, w0, sigma)


class DiceLoss(nn.Module):
    """1 - soft Dice, averaged over the classes (Milletari et al., 2016, arXiv:1606.04797).

    Sums run over the whole batch, so it is not a mean over samples: gradient accumulation with it
    is close to the large batch, not equal. smooth: pixels added to both sides of the fraction.
    """

    def __init__(self, smooth: float) -> None:
        super().__init__()
        self.smooth = smooth

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        probability = class_probabilities(logits) * (label != IGNORE)
        truth = torch.cat([label == index for index in range(probability.shape[1])], dim=1)
        truth = truth.to(probability.dtype)
        both = (probability * truth).sum(dim=(0, 2, 3))
        total = (probability + truth).sum(dim=(0, 2, 3))
        # Without smoothing a class that is nowhere would be 0 / 0.
        tiny = torch.finfo(total.dtype).tiny
        dice = (2 * both + self.smooth) / (total + self.smooth).clamp(min=tiny)
        return 1 - dice.mean()


class CEDiceLoss(nn.Module):
    """(1 - dice_weight) * CELoss + dice_weight * DiceLoss."""

    def __init__(
        self,
        dice_weight: float,
        smooth: float,
        class_weights: Sequence[float] | None,
        pos_weight: float | None,
        w0: float,
        sigma: float,
    ) -> None:
        super().__init__()
        self.dice_weight = dice_weight
        self.ce = CELoss(class_weights, pos_weight, w0, sigma)
        self.dice = DiceLoss(smooth)

    def forward(self, logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        ce: Tensor = self.ce(logits, label, weight)
        dice: Tensor = self.dice(logits, label)
        return (1 - self.dice_weight) * ce + self.dice_weight * dice


def supervised(
    loss: nn.Module, outputs: Tensor | Sequence[Tensor], label: Tensor, weight: Tensor | None = None
) -> Tensor:
    """The loss of logits, or of those of several levels, finest first, each counting half of the one before.

    The shares sum to 1; labels and weights of coarser levels are every 2nd, 4th ... pixel of the label.
    """
    levels = [outputs] if isinstance(outputs, Tensor) else outputs
    total = torch.zeros((), device=label.device)
    shares = 2 - 0.5 ** (len(levels) - 1)
    for number, logits in enumerate(levels):
        step = 2**number
        extra = () if weight is None else (weight[..., ::step, ::step],)
        value = loss(logits.float(), label[..., ::step, ::step], *extra)
        total = total + 0.5**number / shares * value if len(levels) > 1 else value
    return total


def class_probabilities(logits: Tensor) -> Tensor:
    """N x classes x H x W, summing to 1: sigmoid of a single logit, softmax of several."""
    if logits.shape[1] == 1:
        one = torch.sigmoid(logits)
        return torch.cat([1 - one, one], dim=1)
    return torch.softmax(logits, dim=1)
