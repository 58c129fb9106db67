"""Samples with their transforms, each a function of seed, epoch and index."""

import logging
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from unet_exp.config.label_map import ObjectTarget
from unet_exp.config.schema import IGNORE
from unet_exp.data.formats import WHOLE, read_window, to_unit
from unet_exp.data.samples import Samples, open_pair, window_of
from unet_exp.data.stats import name_of
from unet_exp.data.transforms import MAPS, Crop, Sample, Transform
from unet_exp.objects.targets import object_target

log = logging.getLogger(__name__)


class SegmentationDataset(Dataset[Sample]):
    """Samples with their transforms, asked for by (epoch, index).

    The augmentation of a sample is a function of (seed, epoch, index) alone, which is why the epoch
    is part of the key. Each sample is a dict of "input" and "label" (see data.transforms) and "index".
    crop: cut from the stored image before anything else, so that only this window of it is read.
    weights: w0 and sigma of weight maps, computed once for each label that is kept in RAM. reach: by how much
    the crop is larger on each side than the patch, for the target of objects.
    """

    def __init__(
        self,
        samples: Samples,
        transform: Transform,
        seed: int,
        crop: Crop | None = None,
        weights: tuple[float, float] | None = None,
        reach: int = 0,
    ) -> None:
        self.samples = samples
        self.transform = transform
        self.seed = seed
        self.crop = crop
        self.weights = weights
        self.reach = reach
        self.maps = dict[tuple[str, tuple[int, ...]], np.ndarray]()
        if weights is not None and samples.kept != "ram":
            log.warning(
                "the data is not kept in RAM, so the weight map of a whole label is computed for each of its "
                "samples; data.cache=ram or a larger data.cache_limit_mb spares that, and loss.w0=0 the map"
            )

    def __len__(self) -> int:
        return len(self.samples.items)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        item = self.samples.items[index]
        pairs = self.samples.pairs
        image, label = pairs[index] if pairs is not None else open_pair(item, self.samples.labels)
        facts = self.samples.facts[index]
        # The leading number keeps this stream apart from the one that orders the epochs.
        rng = np.random.default_rng((1, self.seed, epoch, index))
        window = window_of(item)
        then = None
        if self.crop is not None:
            window, then = self.crop.draw(image.shape[:2], rng, facts.points)
        sample = {
            "input": to_unit(read_window(image, window, name_of(item))),
            "label": label[window].astype(np.float32),
            "mean": facts.mean,
            "std": facts.std,
        }
        if self.weights is not None:
            sample["weight"] = self.weight_map(index, label)[window]
        sample = sample if then is None else then(sample)
        if self.samples.labels.objects is not None:
            sample = with_target(sample, self.samples.labels.objects, self.reach)
        sample = self.transform(sample, rng)
        return {key: sample[key] for key in MAPS if key in sample} | {"index": index}

    def weight_map(self, index: int, label: Any) -> np.ndarray:
        """float32 H x W x 1 of the whole label."""
        facts = self.samples.facts[index]
        key = facts.label_sha256, facts.shape[:2]  # windows of one label share its map
        if key not in self.maps:
            from unet_exp.data.weight_map import weight_map

            assert self.weights is not None
            indices = np.asarray(label[WHOLE])[..., 0]
            are_objects = self.samples.labels.objects is not None
            if are_objects:  # each number is a class; none of them is IGNORE
                indices = np.where(indices > 0, indices + IGNORE, 0)
            computed = weight_map(indices, *self.weights, inside=are_objects)[..., np.newaxis]
            if self.samples.kept != "ram":
                return computed
            self.maps[key] = computed
        return self.maps[key]


def with_target(sample: Sample, rule: ObjectTarget, reach: int) -> Sample:
    """The sample with its target as label, and the numbers as "objects".

    reach: the sample has this margin on each side, which the target needs, and which is removed now.
    """
    numbers = sample["label"]
    target = object_target(numbers[..., 0].astype(np.int32), rule)[..., np.newaxis].astype(np.float32)
    sample = sample | {"label": target, "objects": numbers}
    if reach:
        inner = slice(reach, -reach)
        sample |= {key: sample[key][inner, inner] for key in MAPS if key in sample}
    return sample
