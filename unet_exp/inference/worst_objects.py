"""True objects that were not found: which of them are drawn, and what is around each."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from unet_exp.data.samples import Samples
from unet_exp.inference.scores import Network
from unet_exp.losses import class_probabilities
from unet_exp.models.unet import center_crop
from unet_exp.objects.meter import CountedObjects
from unet_exp.objects.rules import Rule, objects_of
from unet_exp.objects.scores import EVENTS, Fate
from unet_exp.training.parts import Parts

MOST = 16
SMALLEST_SIDE = 48  # of a tile, in pixels
AROUND = 1.8  # side of a tile / longer side of its object


@dataclass(frozen=True)
class Scene:
    """An image H x W x C with its true and its predicted object numbers, int H x W."""

    image: np.ndarray
    true: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Tile:
    """A true object of an image of this name, and the part of the scene around it."""

    name: str
    fate: Fate
    scene: Scene


def worst_objects(objects: CountedObjects, most: int = MOST) -> list[tuple[int, Fate]]:
    """Missed, split and merged objects, each with the index of its image; as many of each as there are.

    Those with the lowest IoU come first, of equal ones the largest.
    """
    everything = [(index, fate) for index, fates in sorted(objects.fates.items()) for fate in fates]
    everything.sort(key=lambda pair: (pair[1].iou, -pair[1].area))
    kinds = [[pair for pair in everything if pair[1].event == event] for event in EVENTS if event != "found"]
    in_turn = [pair for of_each in zip_longest(*kinds) for pair in of_each if pair is not None]
    return sorted(in_turn[:most], key=lambda pair: EVENTS.index(pair[1].event))


def tiles_of(worst: list[tuple[int, Fate]], samples: Samples, look: Callable[[int], Scene]) -> list[Tile]:
    """look: gives the scene of an image by its index; it is asked once for each image."""
    tiles: dict[tuple[int, int], Tile] = {}
    for index in sorted({index for index, _ in worst}):
        scene = look(index)
        for _, fate in (pair for pair in worst if pair[0] == index):
            tiles[index, fate.number] = Tile(samples.items[index].name, fate, cut(scene, fate.number))
    return [tiles[index, fate.number] for index, fate in worst]


def cut(scene: Scene, number: int) -> Scene:
    """The square part of a scene around a true object; less where the image is smaller."""
    rows, columns = np.nonzero(scene.true == number)
    longer = max(np.ptp(rows), np.ptp(columns)) + 1
    side = max(SMALLEST_SIDE, int(AROUND * longer))
    window = []
    for places, size in zip((rows, columns), scene.true.shape, strict=True):
        middle = int(places.min() + places.max()) // 2
        start = max(0, min(middle - side // 2, size - side))
        window.append(slice(start, start + side))
    part = tuple(window)
    return Scene(scene.image[part], scene.true[part], scene.predicted[part])


def scene_of(parts: Parts, network: Network, rule: Rule, index: int) -> Scene:
    """A sample as the network gets it, and the objects that the rule makes of the network's maps."""
    sample: dict[str, Any] = parts.val.dataset[(0, index)]
    with torch.inference_mode(), parts.precision.autocast():
        logits = network(parts.precision.to_device(sample["input"][None])).float().cpu()
    image, true = (center_crop(sample[key], *logits.shape[-2:]) for key in ("input", "objects"))
    predicted = objects_of(class_probabilities(logits)[0].numpy(), rule)
    return Scene(image.permute(1, 2, 0).numpy(), true[0].to(torch.int32).numpy(), predicted)
