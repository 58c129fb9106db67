"""task=check_data: read a whole set once and say what is in it, what is wrong with it, and what to type."""

import dataclasses
import logging
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from unet_exp import build, prepare, report, runs
from unet_exp.data.datasets import (
    MOST_PROBLEMS,
    SegmentationDataset,
    check_batches,
    load_samples,
    open_pair,
)
from unet_exp.data.formats import open_array, read_window, row_blocks
from unet_exp.data.inspect import Facts, look_at, turned_images
from unet_exp.data.items import Item, UnpairedError, shortened
from unet_exp.data.label_map import IGNORED, LabelMap, label_map, palette
from unet_exp.data.labels import Counts, count_values, is_coloured, shown_counts
from unet_exp.data.splits import Splits, decide_mode
from unet_exp.data.transforms import Compose
from unet_exp.errors import DataError
from unet_exp.schema import IGNORE, Config
from unet_exp.tasks.advice import Survey, layout_hint, lines_to_use

log = logging.getLogger("unet_exp")
FOLDER = Path("check_data")
SHOWN = 6  # samples on the contact sheets
CONTRAST = 0.05  # brightness between the classes below which their order says nothing


def check_data(config: Config) -> None:
    """Prints the survey, draws contact sheets into check_data/, exits with 1 where there are problems."""
    config = prepare.decide_machine(config)
    unpaired: list[str] = []
    try:
        splits = prepare.find_items(config)
    except UnpairedError as error:
        unpaired, splits = [str(error)], {"train": list(error.items)}  # the others are looked at all the same
    except DataError as error:
        print("\n".join([f"1. {error}", *layout_hint(config)]))
        sys.exit(1)
    if unpaired and not splits["train"]:
        print("\n".join([f"1. {unpaired[0]}", *layout_hint(config)]))
        sys.exit(1)
    labels = label_map(config.data)
    survey = Survey(train=len(splits["train"]), problems=unpaired)
    total = sum(len(items) for items in splits.values())
    with (
        logging_redirect_tqdm(tqdm_class=tqdm),
        tqdm(total=total, desc="reading", disable=None, ncols=79) as bar,
    ):
        for part, items in splits.items():
            survey.facts[part] = []
            for item in items:
                read_sample(item, part, labels, survey)
                bar.update()
    judge(config, splits, labels, survey)
    print("\n".join(summary(config, splits, survey)))
    lines = lines_to_use(config, labels, survey)
    print("\n".join(["", "use:", *(f"  {shlex.quote(line)}" for line in lines)]))
    pictures = draw(config, splits, labels, survey)
    print("\n".join(["", *(f"drawn: {path}" for path in pictures)]))
    for remark in survey.remarks:
        print(f"look at: {remark}")
    if survey.problems:
        print("\n".join(["", *(f"{number}. {text}" for number, text in enumerate(survey.problems, start=1))]))
        unsaid = max(0, survey.unreadable - MOST_PROBLEMS)
        if unsaid:
            print(f"and {unsaid} more files that can't be used")
        count = len(survey.problems) + unsaid
        print(f"{count} problem{'s' * (count > 1)}")
        sys.exit(1)
    print("ready")


def read_sample(item: Any, part: str, labels: LabelMap, survey: Survey) -> None:
    """File values first, so that an unknown one is counted over the whole set, then the facts."""
    try:
        values: Counts = {}
        if isinstance(item, Item):
            source = open_array(item.label, item.page, label=True)
            windows = list(row_blocks(source.shape))
            coloured = labels.colours or any(
                is_coloured(read_window(source, window, item.label)) for window in windows
            )
            survey.coloured |= coloured
            for window in windows:
                for value, count in count_values(read_window(source, window, item.label), coloured).items():
                    values[value] = values.get(value, 0) + count
            survey.values.update(values)
        image, label = open_pair(item, labels)
        facts = look_at(image, label, item)
    except DataError as error:
        survey.unreadable += 1
        smooth = smoothed(values)
        if survey.unreadable <= MOST_PROBLEMS:
            survey.problems.append(f"{error}\n  look at: {smooth}" if smooth else str(error))
        return
    survey.facts[part].append((item, facts))
    if isinstance(item, Item) and item.label.suffix.lower() in (".jpg", ".jpeg"):
        survey.remarks.append(f"{item.label} is a jpeg, which blurs labels; save masks as png")
    counted = np.flatnonzero(facts.pixels[:IGNORE])
    if len(counted) < 2:
        name = labels.classes[counted[0]] if len(counted) else IGNORED
        survey.remarks.append(f"{item.name}: its label holds nothing but {name}")


def smoothed(values: Counts) -> str:
    """Why a label of many grey values is likely a resized or compressed one; empty if it is not."""
    numbers = {int(value): count for value, count in values.items() if value.lstrip("-").isdigit()}
    total = sum(numbers.values())
    frequent = [value for value, count in numbers.items() if count > 0.05 * total]
    between = [value for value in numbers if value not in frequent]
    low, high = min(frequent, default=0), max(frequent, default=0)
    if len(frequent) >= 2 and len(between) >= 3 and low <= min(between) <= max(between) <= high:
        return (
            f"{len(between)} rare values between {low} and {high}: a mask with smoothed edges, "
            "resized or saved as jpeg; export it again without interpolation"
        )
    return ""


def judge(config: Config, splits: Splits, labels: LabelMap, survey: Survey) -> None:
    """Problems and remarks that need the whole set."""
    everything = [(part, item, facts) for part, found in survey.facts.items() for item, facts in found]
    channels = Counter(facts.shape[2] for _, _, facts in everything)
    if len(channels) > 1:
        odd = [item.name for _, item, facts in everything if facts.shape[2] != channels.most_common(1)[0][0]]
        survey.problems.append(
            f"images differ in their channels: {dict(channels)}; the odd ones: {shortened(odd)}"
        )
    seen: dict[str, tuple[str, Any]] = {}
    for part, item, facts in everything:
        before = seen.setdefault(facts.image_sha256, (part, item))
        if before[1] is not item and not (before[1].image == item.image if isinstance(item, Item) else False):
            text = f"{item.name} ({part}) is the same image as {before[1].name} ({before[0]})"
            (survey.problems if part != before[0] else survey.remarks).append(text)
    for part in [part for part in ("train", "val") if part in splits]:
        if not splits[part]:
            survey.problems.append(f"the {part} split is empty; change data.split.{part}")
        elif survey.facts[part]:
            pixels = sum((facts.pixels for _, facts in survey.facts[part]), np.zeros(256, np.int64))
            counted = max(int(pixels[:IGNORE].sum()), 1)
            for index, name in enumerate(labels.classes):
                share = pixels[index] / counted
                if not pixels[index]:
                    survey.remarks.append(f"class {name} is absent from {part}")
                elif part == "train" and share < prepare.RARE:
                    survey.remarks.append(f"class {name} has only {100 * share:.3f} % of the training pixels")
    turned = turned_images([item for _, item, _ in everything if isinstance(item, Item)])
    if turned:
        survey.remarks.append(turned)
    if len(labels.classes) == 2:
        survey.remarks += inverted(everything, labels)
    if survey.facts.get("train") and not survey.unreadable:
        try:
            own = config.data
            samples = load_samples(
                [item for item, _ in survey.facts["train"]], "train", "none", 0, label_map(own)
            )
            check_batches(samples, "train", config.batch_size, *prepare.crop_size(config))
        except DataError as error:
            survey.problems.append(str(error))


def inverted(everything: list[tuple[str, Any, Facts]], labels: LabelMap) -> list[str]:
    """Samples whose brighter class is another than in nearly all others."""
    contrast = []
    for _, item, _ in everything:
        image, label = open_pair(item, labels)
        rows = slice(0, min(image.shape[0], 2048))
        grey = np.asarray(image[rows, :2048], np.float64).mean(2)
        index = np.asarray(label[rows, :2048])[..., 0]
        scale = max(float(np.ptp(grey)), 1e-9)
        both = (index == 1).any() and (index == 0).any()
        contrast.append((grey[index == 1].mean() - grey[index == 0].mean()) / scale if both else 0.0)
    clear = [value for value in contrast if abs(value) > CONTRAST]
    usual = np.sign(np.median(clear)) if clear else 0
    odd = [item.name for (_, item, _), value in zip(everything, contrast, strict=True)
           if value * usual < 0 and abs(value) > CONTRAST]  # fmt: skip
    if odd and len(odd) <= 0.2 * len(clear):
        there = "darker" if usual > 0 else "brighter"
        which = f"class {labels.classes[1]} is {there} there, unlike in the others"
        return [f"{shortened(odd)}: {which}; an inverted mask?"]
    return []


def summary(config: Config, splits: Splits, survey: Survey) -> list[str]:
    """Pairs, sizes, types, ranges and classes, a line each."""
    everything = [facts for found in survey.facts.values() for _, facts in found]
    mode = decide_mode(config.data) if config.data.kind != "membranes" else "drawn"
    parts = ", ".join(f"{part} {len(items)}" for part, items in splits.items())
    lines = [f"pairs:    {sum(map(len, splits.values()))} ({parts}; split by {mode})"]
    if survey.unreadable:
        lines.append(f"unusable: {survey.unreadable}")
    if everything:
        sizes = Counter(f"{facts.shape[0]} x {facts.shape[1]}" for facts in everything)
        kinds = Counter(f"{facts.shape[2]} x {facts.dtype}" for facts in everything)
        low, high = min(facts.low for facts in everything), max(facts.high for facts in everything)
        lines += [f"sizes:    {tally(sizes)}", f"channels: {tally(kinds)}", f"values:   {low:g} to {high:g}"]
    if survey.values:
        counts = dict(sorted(survey.values.items(), key=lambda pair: -pair[1]))
        lines.append(f"labels:   file values {shown_counts(counts, 12)}")
    pixels = sum((facts.pixels for facts in everything), np.zeros(256, np.int64))
    counted = max(int(pixels.sum()), 1)
    names = dict(enumerate(config.data.classes)) | {IGNORE: IGNORED}
    shares = [f"{names[i]} {100 * pixels[i] / counted:.2f} %" for i in names if i != IGNORE or pixels[IGNORE]]
    if everything:
        lines.append(f"classes:  {', '.join(shares)}")
    return lines


def tally(counter: Counter[str]) -> str:
    shown = [f"{value} ({count})" for value, count in counter.most_common(6)]
    return ", ".join(shown) + (f" and {len(counter) - 6} more" if len(counter) > 6 else "")


def draw(config: Config, splits: Splits, labels: LabelMap, survey: Survey) -> list[Path]:
    """samples.png (image, label over it) and augmented.png (the same samples as training sees them)."""
    usable = [item for item, _ in survey.facts.get("train", [])] or [
        item for found in survey.facts.values() for item, _ in found
    ]
    if not usable:
        return []
    common = Counter(facts.shape[2] for found in survey.facts.values() for _, facts in found).most_common(1)[
        0
    ][0]
    of_these = {
        id(item) for found in survey.facts.values() for item, facts in found if facts.shape[2] == common
    }
    usable = [item for item in usable if id(item) in of_these] or usable[:1]
    chosen = [usable[i] for i in np.unique(np.linspace(0, len(usable) - 1, SHOWN).astype(int))]
    samples = load_samples(chosen, "chosen", "none", 0, labels, config.data.window)
    plain = SegmentationDataset(samples, Compose([]), config.seed)
    colours = palette(labels)
    runs.make_directory(FOLDER)
    shown = [plain[0, i] for i in range(min(len(plain), SHOWN))]
    names = [item.name for item in samples.items]
    paths = [FOLDER / "samples.png"]
    report.draw_sheet(paths[0], shown, names, colours, (0.0, 1.0), ["image", "label"])
    try:
        steps = prepare.with_statistics(config, samples)
        crop, transform = build.build_transform(
            {
                name: step
                for name, step in steps["train"].items()
                if not step["_target_"].endswith(".ToTensor")
            }
        )
        augmented = SegmentationDataset(samples, transform, config.seed, crop)
        seen = [[augmented[epoch, i] for epoch in range(4)] for i in range(len(shown))]
    except DataError as error:
        survey.remarks.append(f"no augmented samples are drawn: {error.what}")
        return paths
    denorm = build.denormalization(dataclasses.replace(config, transform=steps))
    paths.append(FOLDER / "augmented.png")
    report.draw_augmented(paths[1], seen, names, colours, denorm)
    return paths
