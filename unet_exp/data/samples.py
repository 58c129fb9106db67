"""The samples of a split, from files or memory, all read and checked once before training starts."""

import hashlib
import logging
import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from tqdm import tqdm

from unet_exp import errors
from unet_exp.config.label_map import BINARY, LabelMap
from unet_exp.data.channels import open_image
from unet_exp.data.disk_cache import mapped_pairs
from unet_exp.data.formats import WHOLE, View, orientation, read_window
from unet_exp.data.items import Item, SyntheticItem
from unet_exp.data.known_facts import Known, KnownFacts
from unet_exp.data.label_files import ObjectMasks, about_shared, open_label
from unet_exp.data.problems import Failed, all_problems
from unet_exp.data.stats import Facts, look_at, name_of
from unet_exp.data.tiff import Window
from unet_exp.errors import DataError
from unet_exp.objects.targets import classes_of
from unet_exp.rundir.store import cache_folder
from unet_exp.threads import in_threads

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
    mapped: bool = False  # the pairs are those of a file (see disk_cache)

    @property
    def kept(self) -> str:
        """As data.cache: ram, disk or none."""
        return "none" if self.pairs is None else "disk" if self.mapped else "ram"


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
    cache_dir: str | None = None,
) -> Samples:
    """Read and check every sample of a split, keeping the decoded arrays if `cache` says so.

    largest: cut images higher or wider than this into windows, each a sample of its own. cache_dir: where
    facts are kept (store.cache_folder); files that are known from there are read for the arrays alone.
    Raises DataError of all files that can't be used, what is alike said once.
    """
    if not items:
        raise DataError(f"the {split} split is empty", do=f"give it images, or change data.split.{split}")
    known = KnownFacts(cache_folder(cache_dir), labels)
    found = [known.look_up(item) for item in items]
    limit = cache_limit_mb * 1_000_000 if cache == "auto" else math.inf
    num_bytes = sum(bytes_of(one.facts) for _, one in found if one is not None)
    read = Reading(labels, keep=cache in ("ram", "auto") and num_bytes <= limit)
    pairs: list[Pair] = [NOT_KEPT] * len(items)
    problems: list[Failed] = []
    wanted = [index for index in range(len(items)) if read.keep or found[index][1] is None]
    with in_threads(lambda index: read.sample(items[index], found[index][1]), wanted) as results:
        bar = tqdm(results, f"reading {split}", len(wanted), delay=1.0, leave=False, disable=None, ncols=79)
        for index, future in bar:
            key, before = found[index]
            try:
                pair, now = future.result()
            except DataError as error:
                errors.pass_on(error)
                problems.append((items[index], error))
                continue
            if before is None:
                found[index] = key, now
                known.put(key, now)
                num_bytes += bytes_of(now.facts)
            if read.keep and num_bytes > limit:
                read.keep = False
                pairs = [NOT_KEPT] * len(items)
            if read.keep:
                pairs[index] = pair
    known.save()
    if problems:
        raise all_problems(problems, len(items), labels)
    everything = [one for _, one in found if one is not None]
    mapped = None
    over = cache == "auto" and not read.keep
    if cache == "disk" or (over and known.root is not None and is_costly(items[0], labels)):
        mapped = on_disk(items, split, [one.facts for one in everything], known)
    if over:
        how = "read from disk each time" if mapped is None else "kept decoded in data.cache_dir"
        log.info("%s is larger than %d MB, so it is %s", split, cache_limit_mb, how)
    if text := about_shared([one.num_shared for one in everything if one.num_shared is not None]):
        log.warning("%s: %s", split, text)
    pairs = pairs if mapped is None else mapped
    samples = [(item, pair, one.facts) for item, pair, one in zip(items, pairs, everything, strict=True)]
    channels = channels_of(samples, split)
    sha256 = sha256_of(samples)
    samples = [(cut, pair, facts) for item, pair, facts in samples for cut in windows(item, facts, largest)]
    return Samples(
        items=[item for item, _, _ in samples],
        pairs=[pair for _, pair, _ in samples] if read.keep or mapped is not None else None,
        sizes=[size_of(item, facts) for item, _, facts in samples],
        channels=channels,
        sha256=sha256,
        facts=[facts for _, _, facts in samples],
        labels=labels,
        mapped=mapped is not None,
    )


def is_costly(item: Item | SyntheticItem, labels: LabelMap) -> bool:
    """Whether a window of it is decoded or drawn, and not only read, as of npy and uncompressed TIFF."""
    image = open_pair(item, labels)[0]
    while isinstance(image, View):
        image = image.source
    return not isinstance(image, np.memmap)


def on_disk(items: list[Any], split: str, facts: list[Facts], known: KnownFacts) -> list[Pair] | None:
    """The pairs of all samples, mapped; None where they can't be kept."""
    if known.root is None:
        log.warning("there is no data.cache_dir, so %s is not kept decoded but read each time", split)
        return None
    labels = known.labels
    whole = Reading(labels, keep=True)

    def both(index: int) -> Pair:
        return whole.sample(items[index], Known(facts[index], None))[0]

    contents = [f"{one.image_sha256} {one.label_sha256}" for one in facts]
    if labels.objects is not None:  # the hash is of the classes that are made of their numbers
        contents = [
            f"{content} {known.identity(item)}" for content, item in zip(contents, items, strict=True)
        ]
    label_type = "uint8" if labels.objects is None else "int32"
    read = in_threads(both, range(len(items)))
    return mapped_pairs(known.root, split, facts, contents, label_type, read)


@dataclass
class Reading:
    """How the samples of a split are read, by several threads. keep: whether their arrays are wanted."""

    labels: LabelMap
    keep: bool

    def sample(self, item: Item | SyntheticItem, known: Known | None) -> tuple[Pair, Known]:
        """The arrays of a sample (or NOT_KEPT) and what is known of it. Raises DataError."""
        image, label = open_pair(item, self.labels)
        num_shared = label.num_shared if isinstance(label, ObjectMasks) else None
        keep = self.keep
        if keep:
            image, label = read_window(image, WHOLE, name_of(item)), np.asarray(label[WHOLE])
        if known is None:
            known = Known(look_at(image, classes_of(label, self.labels.objects), item), num_shared)
        return ((image, label) if keep else NOT_KEPT), known


def bytes_of(facts: Facts) -> int:
    """What an image H x W x C and its label take in memory."""
    height, width = facts.shape[:2]
    return int(np.prod(facts.shape)) * np.dtype(facts.dtype).itemsize + height * width


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
