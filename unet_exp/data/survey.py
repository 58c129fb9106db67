"""Read a whole data set once: its label values, the facts of its samples, and what is odd about them."""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import field
from typing import Any

import numpy as np
from tqdm import tqdm

from unet_exp.config.label_map import IGNORED, LabelMap
from unet_exp.config.schema import IGNORE, Config
from unet_exp.data.channels import convertible
from unet_exp.data.formats import open_array, read_array, read_window, row_blocks
from unet_exp.data.items import Item
from unet_exp.data.label_files import ObjectMasks, about_shared
from unet_exp.data.label_guess import Shapes, shapes
from unet_exp.data.labels import Counts, LabelValuesError, as_value, count_values, is_coloured
from unet_exp.data.problems import Failed, added, few
from unet_exp.data.samples import open_pair
from unet_exp.data.splits import Splits
from unet_exp.data.stats import RARE, Facts, look_at, turned_images
from unet_exp.errors import DataError
from unet_exp.objects.targets import classes_of

CONTRAST = 0.05  # brightness between the classes below which their order says nothing
MOST_SHAPES = 50  # labels whose regions are looked at


@dataclasses.dataclass
class Label:
    """What a label file holds: pixels per file value, whether they are colours, the shapes of its regions."""

    item: Item
    values: Counts
    coloured: bool
    shapes: Shapes | None = None


@dataclasses.dataclass
class Survey:
    """What was found. facts: of the samples that can be used; labels: of those that can be read.

    remarks: what is odd -> the samples concerned. findings and problems: whole sentences.
    """

    facts: dict[str, list[tuple[Any, Facts]]] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    contrast: dict[str, float] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    no_training_set: bool = False
    num_objects: list[int] = field(default_factory=list)  # of each sample, where labels are objects
    num_shared: list[int] = field(default_factory=list)  # pixels of several masks of a sample

    @property
    def everything(self) -> list[tuple[str, Any, Facts]]:
        return [(split, item, facts) for split, samples in self.facts.items() for item, facts in samples]

    @property
    def coloured(self) -> bool:
        return any(label.coloured for label in self.labels)

    @property
    def values(self) -> Counts:
        """Pixels of each file value over all labels, most frequent first; as colours if one has some."""
        total = added(as_colours(label) if self.coloured else label.values for label in self.labels)
        return dict(sorted(total.items(), key=lambda pair: -pair[1]))


def as_colours(label: Label) -> Counts:
    if label.coloured:
        return label.values
    return {f"{value}-{value}-{value}": count for value, count in label.values.items()}


def read_labels(splits: Splits, labels: LabelMap, survey: Survey) -> None:
    """Read the values of every label file, and the regions of some labels of objects or of unknown values."""
    looked_at = 0
    for item in progress([item for items in splits.values() for item in items], "reading labels"):
        if not isinstance(item, Item) or item.masks:
            continue
        try:
            label = read_label(item, labels.colours)
            if not label.coloured and is_unknown(label, labels) and looked_at < MOST_SHAPES:
                looked_at += 1
                label.shapes = shapes(read_array(item.label, item.page, label=True)[..., 0])
            survey.labels.append(label)
        except DataError as error:
            survey.failed.append((item, error))


def read_label(item: Item, colours: bool) -> Label:
    source = open_array(item.label, item.page, label=True)
    windows = list(row_blocks(source.shape))
    coloured = colours or any(is_coloured(read_window(source, one, item.label)) for one in windows)
    counts = (count_values(read_window(source, one, item.label), coloured) for one in windows)
    return Label(item, added(counts), coloured)


def is_unknown(label: Label, labels: LabelMap) -> bool:
    """Whether a label holds values for which the map has no class."""
    known = {as_value(value, labels.colours) for value in labels.values}
    mixed = labels.both_ways and {"1", "255"} <= set(label.values)
    return label.coloured != labels.colours or mixed or not set(label.values) <= known


def read_samples(splits: Splits, labels: LabelMap, survey: Survey) -> None:
    """Read the facts of every sample whose label can be read."""
    broken = {id(item) for item, _ in survey.failed}
    survey.facts = {split: [] for split in splits}
    of_split = [(split, item) for split, items in splits.items() for item in items if id(item) not in broken]
    for split, item in progress(of_split, "reading images"):
        try:
            image, label = open_pair(item, labels)
            indices = classes_of(label, labels.objects)
            facts = look_at(image, indices, item)
            if len(labels.classes) == 2:
                survey.contrast[item.name] = contrast(image, indices)
            if labels.objects is not None:
                survey.num_objects.append(count_objects(label))
            if isinstance(label, ObjectMasks):
                survey.num_shared.append(label.num_shared)
        except DataError as error:
            survey.failed.append((item, error))
            continue
        survey.facts[split].append((item, facts))
        if isinstance(item, Item) and item.label.suffix.lower() in (".jpg", ".jpeg"):
            note(survey, "the label is a jpeg, which blurs it; save masks as png", item.label.name)
        counted = np.flatnonzero(facts.pixels[:IGNORE])
        if len(counted) < 2:
            name = labels.classes[counted[0]] if len(counted) else IGNORED
            note(survey, f"the label holds nothing but {name}", item.name)


def count_objects(label: Any) -> int:
    """How many numbers other than 0 an opened label holds."""
    numbers = set[int]()
    for window in row_blocks(label.shape):
        numbers |= set(np.unique(label[window]).tolist())
    return len(numbers - {0})


def progress(items: list[Any], words: str) -> Iterator[Any]:
    """The items, with a progress bar on a terminal."""
    yield from tqdm(items, desc=words, disable=None, ncols=79, leave=False, delay=1.0)


def note(survey: Survey, text: str, name: str) -> None:
    survey.remarks.setdefault(text, []).append(name)


def contrast(image: Any, label: Any) -> float:
    """How much brighter class 1 is than class 0, as a share of the range; 0 if one is absent."""
    rows = slice(0, min(image.shape[0], 2048))
    grey = np.asarray(image[rows, :2048], np.float64).mean(2)
    index = np.asarray(label[rows, slice(0, 2048)])[..., 0]
    if not ((index == 1).any() and (index == 0).any()):
        return 0.0
    return float((grey[index == 1].mean() - grey[index == 0].mean()) / max(float(np.ptp(grey)), 1e-9))


def judge(config: Config, splits: Splits, labels: LabelMap, survey: Survey) -> None:
    """Add the problems and remarks that need the whole data set."""
    everything = survey.everything
    channels = Counter(facts.shape[2] for _, _, facts in everything)
    if len(channels) > 1:
        usual = channels.most_common(1)[0][0]
        odd = [item.name for _, item, facts in everything if facts.shape[2] != usual]
        kinds = ", ".join(f"{count} have {number}" for number, count in channels.most_common())
        text = f"images differ in their channels: {kinds}; the odd ones: {few(odd)}"
        if is_mixed(survey):
            survey.findings.append(f"{text}; the line below reads grey ones as RGB (or: data.channels=grey)")
        else:
            survey.problems.append(text)
    find_duplicates(survey, config.data.duplicates == "allow")
    types = Counter(facts.dtype for _, _, facts in everything)
    if len(types) > 1:
        text = ", ".join(f"{count} {kind}" for kind, count in types.most_common())
        survey.remarks[f"images differ in their type: {text}; white is 255 in uint8, 65535 in uint16"] = []
    lines = turned_images([item for _, item, _ in everything if isinstance(item, Item) and not item.masks])
    if text := about_shared(survey.num_shared):
        lines.append(text)
    survey.remarks |= {line: [] for line in lines}
    for split in [split for split in ("train", "val") if split in splits]:
        if not splits[split]:
            survey.problems.append(f"the {split} split is empty; change data.split.{split}")
        elif survey.facts[split]:
            judge_classes(split, labels, survey)
    if len(labels.classes) == 2:
        find_inverted(labels, survey)


def is_mixed(survey: Survey) -> bool:
    """Whether images differ in channels in a way that data.channels can unify."""
    return len({facts.shape[2] for _, _, facts in survey.everything}) > 1 and all(
        isinstance(item, Item) and convertible(facts.shape[2], item.image, item.page)
        for _, item, facts in survey.everything
    )


def find_duplicates(survey: Survey, allow: bool) -> None:
    """Find images equal when decoded: a remark, across splits a problem. Blank images do not count."""
    seen: dict[str, tuple[str, Any, Facts]] = {}
    across: list[str] = []
    for split, item, facts in survey.everything:
        before = seen.setdefault(facts.image_sha256, (split, item, facts))
        if before[1] is item or facts.constant or (isinstance(item, Item) and before[1].image == item.image):
            continue
        text = f"{item.name} ({split}) is the same image as {before[1].name} ({before[0]})"
        if split != before[0] and not allow:
            across.append(text)
        else:
            kind = "the same image as another"
            if facts.label_sha256 != before[2].label_sha256:
                kind += ", with another label"
            note(survey, kind, f"{item.name} ({split}, as {before[1].name})")
    if across:
        count = f" ({len(across)} such images)" if len(across) > 1 else ""
        do = "remove one of each, or data.split.group; to train with them as they are: data.duplicates=allow"
        survey.problems.append(f"{across[0]}{count}\n  to do:   {do}")


def judge_classes(split: str, labels: LabelMap, survey: Survey) -> None:
    """Find classes that are absent, or rare in the training pixels."""
    pixels = sum((facts.pixels for _, facts in survey.facts[split]), np.zeros(256, np.int64))
    counted = max(int(pixels[:IGNORE].sum()), 1)
    for index, name in enumerate(labels.classes):
        share = pixels[index] / counted
        if not pixels[index]:
            note(survey, f"absent from {split}", f"class {name}")
        elif split == "train" and share < RARE:
            least = 100 * RARE
            note(survey, f"under {least:g} % of the training pixels", f"class {name} ({100 * share:.3f} %)")


def find_inverted(labels: LabelMap, survey: Survey) -> None:
    """Find samples whose brighter class differs from that of nearly all others."""
    clear = [value for value in survey.contrast.values() if abs(value) > CONTRAST]
    usual = np.sign(np.median(clear)) if clear else 0
    odd = [name for name, value in survey.contrast.items() if value * usual < 0 and abs(value) > CONTRAST]
    if odd and len(odd) <= 0.2 * len(clear):
        brightness = "darker" if usual > 0 else "brighter"
        text = f"class {labels.classes[1]} is {brightness} there, unlike in the others; an inverted mask?"
        survey.remarks[text] = odd


def values_failed(survey: Survey) -> list[Failed]:
    return [(item, error) for item, error in survey.failed if isinstance(error, LabelValuesError)]
