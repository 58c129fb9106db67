"""Samples from files or memory, all read and checked once before training starts."""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from tqdm import tqdm

from unet_exp.data.formats import read_array, to_unit
from unet_exp.data.labels import class_indices
from unet_exp.data.membranes import draw_membranes
from unet_exp.data.splits import DrawnItem, Item
from unet_exp.data.transforms import Sample, Transform
from unet_exp.errors import DataError

log = logging.getLogger(__name__)
MOST_PROBLEMS = 10
Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Samples:
    """The samples of one split: items, the decoded pairs if they are kept, sizes and channels."""

    items: list[Any]
    pairs: list[Pair] | None
    sizes: list[tuple[int, int]]
    channels: int
    sha256: str  # of names and decoded content


class SegmentationDataset(Dataset[Sample]):
    """Samples with their transforms, asked for by (epoch, index).

    The augmentation of a sample is a function of (seed, epoch, index) alone, which is why the epoch
    is part of the key. Each sample is a dict of "input" and "label" (see data.transforms) and "index".
    """

    def __init__(self, samples: Samples, transform: Transform, seed: int) -> None:
        self.samples, self.transform, self.seed = samples, transform, seed

    def __len__(self) -> int:
        return len(self.samples.items)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        pairs = self.samples.pairs
        image, label = pairs[index] if pairs is not None else read_pair(self.samples.items[index])
        # The leading number keeps this stream apart from the one that orders the epochs.
        rng = np.random.default_rng((1, self.seed, epoch, index))
        sample = {"input": to_unit(image), "label": label.astype(np.float32), "index": index}
        return self.transform(sample, rng)


def read_pair(item: Item | DrawnItem) -> Pair:
    """Image H x W x C as stored and label uint8 H x W x 1 of class indices. Raises DataError."""
    if isinstance(item, DrawnItem):
        image, label = draw_membranes(item.seed, item.index, item.size)
        return image[..., np.newaxis], label[..., np.newaxis]
    image = read_array(item.image, item.page)
    label = read_array(item.label, item.page, label=True)
    page = "" if item.page is None else f" page {item.page}"
    if image.shape[:2] != label.shape[:2]:
        raise DataError(
            f"{item.image}{page} is {image.shape[0]} x {image.shape[1]}, "
            f"but its label {item.label} is {label.shape[0]} x {label.shape[1]}",
            do="export both at the same size; labels only without interpolation",
        )
    if not np.isfinite(image).all():
        raise DataError(f"{item.image}{page} holds values that are not numbers", do="repair the file")
    return image, class_indices(label, f"{item.label}{page}")


def load_samples(items: list[Any], part: str, cache: str, cache_limit_mb: int) -> Samples:
    """Read and check every sample of a split, keeping the decoded arrays if `cache` says so.

    Raises DataError with every file that can't be used (the first ten).
    """
    if not items:
        raise DataError(f"the {part} split is empty", do=f"give it images, or change data.split.{part}")
    pairs: list[Pair] = []
    sizes: list[tuple[int, int]] = []
    channels: dict[int, str] = {}  # number of channels -> the first image that has it
    problems: list[DataError] = []
    stored, digest = 0, hashlib.sha256()
    keep = cache != "none"
    for item in tqdm(items, desc=f"reading {part}", delay=1.0, leave=False, disable=None):
        try:
            image, label = read_pair(item)
        except DataError as error:
            problems.append(error)
            continue
        sizes.append(image.shape[:2])
        channels.setdefault(image.shape[2], item.name)
        stored += image.nbytes + label.nbytes
        for part_of_it in (item.name.encode(), image.tobytes(), label.tobytes()):
            digest.update(part_of_it)
        if keep and cache == "auto" and stored > cache_limit_mb * 1_000_000:
            log.info("%s is larger than %d MB, so it is read from disk each time", part, cache_limit_mb)
            keep = False
            pairs.clear()
        if keep:
            pairs.append((image, label))
    if problems:
        raise all_problems(problems, len(items))
    if len(channels) > 1:
        found = ", ".join(f"{count} in {name}" for count, name in channels.items())
        raise DataError(
            f"images of the {part} split differ in their number of channels: {found}",
            do="save all of them as grey or all as RGB",
        )
    return Samples(items, pairs if keep else None, sizes, next(iter(channels)), digest.hexdigest())


def all_problems(problems: list[DataError], total: int) -> DataError:
    if len(problems) == 1:
        return DataError(f"{problems[0].what}", problems[0].allowed, problems[0].do)
    lines = [f"  {number}. {problem.what}" for number, problem in enumerate(problems[:MOST_PROBLEMS], 1)]
    return DataError(
        "\n".join([f"{len(problems)} of {total} files can't be used", *lines]),
        problems[0].allowed,
        problems[0].do,
    )


def check_batches(samples: Samples, part: str, batch_size: int, crop: int | None) -> None:
    """Refuse what could not be put into batches. crop: the random crop's size, if there is one."""
    if batch_size > len(samples.items):
        raise DataError(
            f"batch_size is {batch_size}, but the {part} split has {len(samples.items)} images",
            do=f"set batch_size to at most {len(samples.items)}",
        )
    if crop is not None:
        smallest = min(min(size) for size in samples.sizes)
        if smallest < crop:
            name = next(
                i.name for i, s in zip(samples.items, samples.sizes, strict=True) if min(s) == smallest
            )
            raise DataError(
                f"image {name} is only {smallest} pixels wide or high, the crop is {crop}",
                do=f"set transform.train.crop.size to at most {smallest}",
            )
    elif batch_size > 1 and len(set(samples.sizes)) > 1:
        shown = ", ".join(f"{height} x {width}" for height, width in sorted(set(samples.sizes))[:5])
        raise DataError(
            f"images of the {part} split have different sizes: {shown}",
            allowed="equal sizes, random crops, or batches of one",
            do="transform=crop transform.train.crop.size=N, or batch_size=1",
        )
