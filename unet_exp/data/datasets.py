"""Samples from files or memory, all read and checked once before training starts."""

import hashlib
import logging
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from tqdm import tqdm

from unet_exp import errors
from unet_exp.config.label_map import BINARY, LabelMap, ObjectTarget
from unet_exp.config.schema import IGNORE
from unet_exp.data.channels import open_image
from unet_exp.data.formats import WHOLE, orientation, read_window, to_unit
from unet_exp.data.items import Item, SyntheticItem
from unet_exp.data.label_files import ObjectMasks, about_shared, open_label
from unet_exp.data.problems import Failed, all_problems
from unet_exp.data.stats import Facts, look_at, name_of
from unet_exp.data.tiff import Window
from unet_exp.data.transforms import MAPS, Crop, Sample, Transform
from unet_exp.errors import DataError
from unet_exp.objects.targets import classes_of, object_target

log = logging.getLogger(__name__)

Pair = tuple[Any, Any]  # image H x W x C as stored, label uint8 H x W x 1; both give array[rows, columns]
ONE_KIND = "add data.channels=rgb (grey three times) or data.channels=grey (colours by their brightness)"
NOT_KEPT: Pair = (None, None)


@dataclass(frozen=True)
class Samples:
    """The samples of one split: items, the decoded pairs if they are kept, sizes, channels, facts."""

    items: list[Any]
    pairs: list[Pair] | None
    sizes: list[tuple[int, int]]
    channels: int
    sha256: str  # of names and decoded content
    facts: list[Facts] = field(default_factory=list)
    labels: LabelMap = BINARY


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
        if weights is not None and samples.pairs is None:
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
            if self.samples.pairs is None:
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


def window_of(item: Item | SyntheticItem) -> Window:
    if item.window is None:
        return WHOLE
    top, bottom, left, right = item.window
    return slice(top, bottom), slice(left, right)


def generated(item: SyntheticItem) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 H x W and label H x W of a synthetic sample."""
    if item.kind == "nuclei":
        from unet_exp.data.nuclei import generate_nuclei

        return generate_nuclei(item.seed, item.index, item.size)
    from unet_exp.data.synthetic import generate_membranes

    return generate_membranes(item.seed, item.index, item.size)


def open_pair(item: Item | SyntheticItem, labels: LabelMap) -> Pair:
    """Image and label of a sample, opened but, where the format allows, not read. Raises DataError."""
    if isinstance(item, SyntheticItem):
        both = generated(item)
        return both[0][..., np.newaxis], both[1][..., np.newaxis]
    opened = open_image(item.image, item.page, item.channels)
    label = open_label(item, labels)
    page = "" if item.page is None else f" page {item.page}"
    if opened.shape[:2] != label.shape[:2]:
        numbers = [1 if item.masks else orientation(path, item.page) for path in (item.image, item.label)]
        turned = opened.shape[:2] == label.shape[1::-1] and numbers[0] != numbers[1]
        raise DataError(
            f"{item.image}{page} is {opened.shape[0]} x {opened.shape[1]}, "
            f"but its label {item.label} is {label.shape[0]} x {label.shape[1]}",
            do=f"the orientation (EXIF, TIFF) of the image is {numbers[0]}, the label's {numbers[1]}; "
            "both are turned as viewers turn them: give both the same, or draw the label on the turned image"
            if turned
            else "export both at the same size; labels only without interpolation",
        )
    return opened, label


def load_samples(
    items: list[Any],
    split: str,
    cache: str,
    cache_limit_mb: int,
    labels: LabelMap = BINARY,
    largest: int | None = None,
) -> Samples:
    """Read and check every sample of a split, keeping the decoded arrays if `cache` says so.

    largest: cut images higher or wider than this into windows, each a sample of its own.
    Raises DataError of all files that can't be used, what is alike said once.
    """
    if not items:
        raise DataError(f"the {split} split is empty", do=f"give it images, or change data.split.{split}")
    samples: list[tuple[Any, Pair, Facts]] = []
    problems: list[Failed] = []
    shared: list[int] = []
    num_bytes = 0
    keep = cache != "none"
    for item in tqdm(items, desc=f"reading {split}", delay=1.0, leave=False, disable=None):
        try:
            image, label = open_pair(item, labels)
            num_bytes += bytes_of(image)
            if isinstance(label, ObjectMasks):
                shared.append(label.num_shared)
            if keep and cache == "auto" and num_bytes > cache_limit_mb * 1_000_000:
                log.info("%s is larger than %d MB, so it is read from disk each time", split, cache_limit_mb)
                keep = False
                samples = [(earlier, NOT_KEPT, facts) for earlier, _, facts in samples]
            if keep:
                image, label = read_window(image, WHOLE, name_of(item)), np.asarray(label[WHOLE])
            facts = look_at(image, classes_of(label, labels.objects), item)
            samples.append((item, (image, label) if keep else NOT_KEPT, facts))
        except DataError as error:
            errors.pass_on(error)
            problems.append((item, error))
    if problems:
        raise all_problems(problems, len(items), labels)
    if text := about_shared(shared):
        log.warning("%s: %s", split, text)
    channels = channels_of(samples, split)
    sha256 = sha256_of(samples)
    samples = [(cut, pair, facts) for item, pair, facts in samples for cut in windows(item, facts, largest)]
    return Samples(
        items=[item for item, _, _ in samples],
        pairs=[pair for _, pair, _ in samples] if keep else None,
        sizes=[size_of(item, facts) for item, _, facts in samples],
        channels=channels,
        sha256=sha256,
        facts=[facts for _, _, facts in samples],
        labels=labels,
    )


def bytes_of(image: Any) -> int:
    """What an image H x W x C and its label take in memory."""
    return int(np.prod(image.shape)) * int(image.dtype.itemsize) + int(image.shape[0] * image.shape[1])


def channels_of(samples: list[tuple[Any, Pair, Facts]], split: str) -> int:
    """The number of channels that all images have. Raises DataError if they differ."""
    first: dict[int, str] = {}  # number of channels -> the first image that has it
    for item, _, facts in samples:
        first.setdefault(facts.shape[2], item.name)
    if len(first) > 1:
        counts = ", ".join(f"{count} in {name}" for count, name in first.items())
        raise DataError(
            f"images of the {split} split differ in their number of channels: {counts}", do=ONE_KIND
        )
    return next(iter(first))


def sha256_of(samples: list[tuple[Any, Pair, Facts]]) -> str:
    digest = hashlib.sha256()
    for item, _, facts in samples:
        for text in (item.name, facts.image_sha256, facts.label_sha256):
            digest.update(text.encode())
    return digest.hexdigest()


def windows(item: Any, facts: Facts, largest: int | None) -> list[Any]:
    """The item itself, or one for each of the equal windows that a large image is cut into."""
    height, width = facts.shape[:2]
    if largest is None or max(height, width) <= largest:
        return [item]
    tops, lefts = (
        np.linspace(0, size, -(-size // largest) + 1).astype(int).tolist() for size in (height, width)
    )
    return [
        replace(item, name=f"{item.name}[{top}:{bottom},{left}:{right}]", window=(top, bottom, left, right))
        for top, bottom in pairwise(tops)
        for left, right in pairwise(lefts)
    ]


def size_of(item: Any, facts: Facts) -> tuple[int, int]:
    if item.window is None:
        return facts.shape[0], facts.shape[1]
    top, bottom, left, right = item.window
    return bottom - top, right - left
