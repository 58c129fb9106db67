"""What a validation scores beside its loss and its confusion: images, objects, and by other packages."""

import inspect
from typing import Any

import torch
from torch import Tensor

from unet_exp.data.splits import clusters
from unet_exp.losses import class_probabilities
from unet_exp.metrics.confusion import predict_classes
from unet_exp.models.unet import center_crop
from unet_exp.objects.meter import ObjectMeter
from unet_exp.training import distributed
from unet_exp.training.image_scores import image_rows
from unet_exp.training.parts import Parts

MORE = ("probabilities", "objects")  # what a metric is given besides, where its update() names it


class OtherScores:
    """Scores of one pass: `add` each batch, `finish` after the last one, on each rank, then `scores`.

    A metric of another package is updated on every rank with each image of the split by itself, in the order
    of the split, so that neither the batch size nor the number of ranks changes its score.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.objects = None if parts.objects is None else ObjectMeter(parts.objects)
        self.matrices: list[tuple[Tensor, Tensor]] = []
        self.wanted = {name: more_wanted(metric) for name, metric in parts.metrics.items()}
        for metric in parts.metrics.values():
            metric.reset()

    def add(self, sample: dict[str, Any], label: Tensor, logits: Tensor, matrices: Tensor) -> None:
        """label: N x 1 x H x W; logits: N x C x H x W of the same size; matrices: confusions N x K x K."""
        self.matrices.append((sample["index"], matrices))
        numbers = None
        if self.objects is not None:
            numbers = center_crop(sample["objects"], *logits.shape[-2:])
            self.objects.add(class_probabilities(logits), numbers, sample["index"])
        if self.parts.metrics:
            self.update(self.images_of(label, logits, numbers, sample["index"].tolist()))

    def images(self) -> list[dict[str, Any]]:
        """Of all ranks, in the order of the split: the rows of image_rows. After `scores`."""
        mine: dict[int, Tensor] = {}
        if self.matrices:
            indices, matrices = (torch.cat(parts).cpu() for parts in zip(*self.matrices, strict=True))
            mine = dict(zip(indices.tolist(), matrices, strict=True))
        everywhere = distributed.union(mine)
        samples = self.parts.val.dataset.samples
        chosen = sorted(everywhere)
        items = [samples.items[index] for index in chosen]
        objects = None if self.objects is None else [self.objects.counts[index] for index in chosen]
        return image_rows(
            [item.name for item in items],
            clusters(items, self.parts.groups),
            torch.stack([everywhere[index] for index in chosen]),
            self.parts.class_names,
            objects,
        )

    def images_of(
        self, label: Tensor, logits: Tensor, numbers: Tensor | None, indices: list[int]
    ) -> dict[int, dict[str, Tensor]]:
        """What metrics are given of each image, N = 1, on the CPU where ranks exchange it."""
        given = {"prediction": predict_classes(logits).squeeze(1), "label": label.squeeze(1).long()}
        asked = set().union(*self.wanted.values())
        if "probabilities" in asked:
            given["probabilities"] = class_probabilities(logits)
        if "objects" in asked and numbers is not None:
            given["objects"] = numbers.squeeze(1).long()
        device = "cpu" if distributed.size() > 1 else label.device
        return {
            index: {name: values[place : place + 1].to(device) for name, values in given.items()}
            for place, index in enumerate(indices)
        }

    def update(self, images: dict[int, dict[str, Tensor]]) -> None:
        """Every rank's images of one batch, to every metric."""
        images = distributed.union(images)
        for index in sorted(images):
            given = {name: values.to(self.parts.precision.device) for name, values in images[index].items()}
            prediction = given.pop("prediction")
            label = given.pop("label")
            for name, metric in self.parts.metrics.items():
                metric.update(
                    prediction, label, **{more: given[more] for more in self.wanted[name] if more in given}
                )

    def finish(self) -> None:
        """A rank with a batch less than others joins their last exchange."""
        if self.parts.metrics:
            for _ in range(self.parts.val.batches.fewer):
                self.update({})

    def scores(self) -> dict[str, float]:
        """Of all ranks' images. By name: each metric, and means of the objects' scores over the images."""
        scores = {name: float(metric.compute()) for name, metric in self.parts.metrics.items()}
        if self.objects is not None:
            self.objects.counts = distributed.union(self.objects.counts)
            scores |= self.objects.scores()
        return scores


def more_wanted(metric: Any) -> list[str]:
    """Which of MORE the metric's update() has a parameter for."""
    parameters = inspect.signature(metric.update).parameters
    return [name for name in MORE if name in parameters]
