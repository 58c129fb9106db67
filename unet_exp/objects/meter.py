"""What a validation counts of objects: image by image, whatever batch or rank an image is in."""

import numpy as np
import torch
from torch import Tensor

from unet_exp.config.schema import OBJECT_SCORES
from unet_exp.objects.rules import Rule, objects_of
from unet_exp.objects.scores import Fate, ObjectCounts, counts_of, fates_of, mean_scores, overlaps


class CountedObjects:
    """Counts of each image of a pass, by its index in the split.

    keep_fates: also what became of each true object.
    """

    def __init__(self, keep_fates: bool = False) -> None:
        self.counts: dict[int, ObjectCounts] = {}
        self.fates: dict[int, list[Fate]] = {}
        self.keep_fates = keep_fates

    def count(self, index: int, true: np.ndarray, predicted: np.ndarray) -> None:
        """true, predicted: numbers of the objects of one image, int H x W."""
        pair = overlaps(true, predicted)
        self.counts[index] = counts_of(pair)
        if self.keep_fates:
            self.fates[index] = fates_of(pair)

    def scores(self) -> dict[str, float]:
        """Means over the images: OBJECT_SCORES."""
        means = mean_scores([self.counts[index] for index in sorted(self.counts)])
        return {name: means[name] for name in OBJECT_SCORES}


class ObjectMeter(CountedObjects):
    """Counts of the objects that a rule makes of maps. rule: fixed while a network is trained."""

    def __init__(self, rule: Rule, keep_fates: bool = False) -> None:
        super().__init__(keep_fates)
        self.rule = rule

    def add(self, probabilities: Tensor, objects: Tensor, indices: Tensor) -> None:
        """probabilities: float N x K x H x W, class 0 the background.

        objects: the true numbers, N x 1 x H x W, cut to the size of the probabilities. indices: N.
        """
        maps = probabilities.float().cpu().numpy()
        numbers = objects[:, 0].to(torch.int32).cpu().numpy()
        for place, index in enumerate(indices.tolist()):
            self.count(index, numbers[place], objects_of(maps[place], self.rule))
