"""The scores of a network on a split."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unet_exp.config.schema import IGNORE
from unet_exp.inference.samples import classes_at
from unet_exp.losses import class_probabilities
from unet_exp.metrics import em
from unet_exp.metrics.confusion import confusion_per_image
from unet_exp.models.unet import center_crop
from unet_exp.objects.meter import ObjectMeter
from unet_exp.training.loop import counts_of_images, forward
from unet_exp.training.other_scores import OtherScores
from unet_exp.training.parts import Parts
from unet_exp.training.state import Sums

Network = Callable[[Tensor], Tensor]


@dataclasses.dataclass
class SplitScores:
    """Of one split: running sums and each image's confusion matrix as training counts them, each image's
    matrix at the threshold of task=predict, and what the EM scores need; in the order of the split.
    """

    sums: Sums
    matrices: list[Tensor]
    predicted: list[Tensor]
    maps: list[np.ndarray]  # probability of class 1, H x W float32
    labels: list[np.ndarray]  # uint8 H x W

    def sort(self, indices: list[int]) -> None:
        """indices: the places in the split of the images as they are."""
        order = np.argsort(indices)
        for values in (self.matrices, self.predicted, self.maps, self.labels):
            if values:
                values[:] = [values[place] for place in order]


def score(
    parts: Parts,
    network: Network,
    split: str,
    keep_maps: bool,
    threshold: float = 0.5,
    objects: ObjectMeter | None = None,
) -> SplitScores:
    """One pass in the batches and the precision of the run's own validation.

    threshold: of `SplitScores.predicted`, for two classes. objects: counts objects by the rule of predict,
    beside those by the rule of training.
    """
    classes = len(parts.class_names)
    result = SplitScores(Sums(classes), [], [], [], [])
    indices: list[int] = []
    others = OtherScores(parts)
    batches = tqdm(
        parts.val.epoch(0), f"scoring {split}", len(parts.val), leave=False, disable=None, ncols=79
    )
    with torch.inference_mode():
        for batch in batches:
            image, label, logits, loss = forward(network, parts, batch)
            matrices = counts_of_images(logits, label, parts)
            result.sums.add(loss.item(), len(image), matrices.sum(0))
            others.add(batch, label, logits, matrices)
            if objects is not None:
                numbers = center_crop(batch["objects"], *logits.shape[-2:])
                objects.add(class_probabilities(logits), numbers, batch["index"])
            indices += batch["index"].tolist()
            result.matrices += list(matrices.cpu())
            result.predicted += list(confusion_per_image(classes_at(logits, threshold), label, classes).cpu())
            if keep_maps:
                result.maps += list(class_probabilities(logits)[:, 1].cpu().numpy())
                result.labels += list(label.squeeze(1).to(torch.uint8).cpu().numpy())
    result.sums.others = others.scores()
    result.sort(indices)
    return result


def em_values(scored: SplitScores) -> np.ndarray:
    """em.em_values of the maps."""
    ignored = [label == IGNORE for label in scored.labels]
    return em.em_values(scored.maps, [label == 1 for label in scored.labels], ignore=ignored)
