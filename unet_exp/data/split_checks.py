"""What the samples of the splits have to satisfy together."""

import logging

import numpy as np

from unet_exp.data.formats import WHOLE
from unet_exp.data.items import Item
from unet_exp.data.label_guess import LEAST_WHOLE, MOST_DIVIDED, MOST_PIXELS, share_of_whole
from unet_exp.data.samples import Samples, open_pair
from unet_exp.errors import DataError
from unet_exp.messages import counted, numbered

MOST_LOOKED_AT = 20  # labels whose pieces are counted
log = logging.getLogger("unet_exp")


def refuse_duplicates(data: dict[str, Samples], allow: bool = False) -> None:
    """Raises DataError for an image that, decoded, is in train and in val, which inflates the score.

    allow: warn in one line instead. Blank images (all pixels equal) do not count.
    """
    train = {
        facts.image_sha256: item for item, facts in zip(data["train"].items, data["train"].facts, strict=True)
    }
    both = [
        (item.name, train[facts.image_sha256].name, facts.constant)
        for item, facts in zip(data["val"].items, data["val"].facts, strict=True)
        if facts.image_sha256 in train
    ]
    twice = [f"{val} in val is {train} in train" for val, train, constant in both if not constant]
    if len(twice) < len(both):
        blank = counted(len(both) - len(twice), "blank val image")
        log.info("%s (all pixels equal) in train too", blank)
    if twice and allow:
        count = counted(len(twice), "image")
        log.warning("%s in train and in val too, so val scores are inflated: %s", count, twice[0])
    elif twice:
        raise DataError(
            numbered(f"{counted(len(twice), 'image')} in train and in val too", twice),
            do="remove one of each, or keep them together (data.split.group, data.split.mode=listed); "
            "to train with them as they are: data.duplicates=allow",
        )


def warn_of_divided_objects(samples: Samples) -> None:
    """Warn where labels read as object numbers look like classes: their numbers have several pieces each."""
    labels = samples.labels
    if labels.objects is None or labels.components:
        return
    num_filled = 0
    divided = []
    for index, item in enumerate(samples.items[:MOST_LOOKED_AT]):
        if not isinstance(item, Item) or item.masks:
            return
        label = open_pair(item, labels)[1] if samples.pairs is None else samples.pairs[index][1]
        if label.shape[0] * label.shape[1] > MOST_PIXELS:
            continue
        values, numbers = np.unique(np.asarray(label[WHOLE])[..., 0], return_inverse=True)
        num_filled += bool(values.any())
        if share_of_whole(values, numbers.reshape(label.shape[:2])) < LEAST_WHOLE:
            divided.append(item.name)
    if len(divided) > MOST_DIVIDED * num_filled:
        log.warning(
            "numbers in %s of %s have several pieces each, as classes do (%s): data.labels_are=classes, or "
            "data.labels_are=components if each piece is an object",
            len(divided),
            counted(num_filled, "label"),
            divided[0],
        )


def check_batches(samples: Samples, split: str, batch_size: int, crop: int | None, margin: int = 0) -> None:
    """Refuse what could not be put into batches.

    crop: the random crop's size, if there is one. margin: by which it may hang over the image on each side.
    """
    if batch_size > len(samples.items):
        raise DataError(
            f"batch_size is {batch_size}, but the {split} split has {counted(len(samples.items), 'image')}",
            do=f"set batch_size to at most {len(samples.items)}",
        )
    if crop is not None:
        smallest = min(min(size) for size in samples.sizes)
        if smallest + 2 * margin < crop:
            name = next(
                i.name for i, s in zip(samples.items, samples.sizes, strict=True) if min(s) == smallest
            )
            raise DataError(
                f"image {name} is only {smallest} pixels wide or high, the crop is {crop}"
                + f" with {margin} on each side from beyond the image" * bool(margin),
                do=f"set transform.train.crop.size to at most {smallest + 2 * margin}, of a size that the "
                "network takes (it names them)",
            )
    elif batch_size > 1 and len(set(samples.sizes)) > 1:
        shown = ", ".join(f"{height} x {width}" for height, width in sorted(set(samples.sizes))[:5])
        raise DataError(
            f"images of the {split} split have different sizes: {shown}",
            allowed="equal sizes, random crops, or batches of one",
            do="transform=crop transform.train.crop.size=N, or batch_size=1",
        )
