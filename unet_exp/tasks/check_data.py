"""task=check_data: read a whole set and say on one screen what is in it, what is wrong and what to type."""

import dataclasses
import logging
import re
import shlex
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from unet_exp import errors
from unet_exp.config.label_map import IGNORED, LabelMap, label_map, palette
from unet_exp.config.quoting import command, setting
from unet_exp.config.schema import IGNORE, SYNTHETIC, Config, DataConfig
from unet_exp.data import detect
from unet_exp.data.datasets import SegmentationDataset
from unet_exp.data.items import UnpairedError
from unet_exp.data.label_findings import as_meant, problems_of_files
from unet_exp.data.labels import shown_counts
from unet_exp.data.problems import few
from unet_exp.data.samples import load_samples
from unet_exp.data.splits import Splits, decide_mode
from unet_exp.data.survey import Survey, judge, read_labels, read_samples
from unet_exp.data.transforms import Compose
from unet_exp.data.warp import with_reach
from unet_exp.errors import CheckpointError, DataError
from unet_exp.messages import counted, program, shortened
from unet_exp.plots import run
from unet_exp.rundir import atomic
from unet_exp.tasks.advice import line_to_use, of_data
from unet_exp.training import build, setup

log = logging.getLogger("unet_exp")
SHOWN = 6  # samples on the contact sheets
WIDTH = 79
MOST_LINES = 5  # of a remark or of the first part of a problem


def check_data(config: Config, output: str = "check_data", typed: Sequence[str] = ()) -> None:
    """Prints the survey, draws contact sheets into output, exits with 1 where there are problems.

    typed: the settings on the command line, which the line to use repeats.
    """
    config = setup.settle_machine(config)
    survey = Survey()
    config, splits = find(config, survey)
    labels = label_map(config.data)
    with logging_redirect_tqdm(tqdm_class=tqdm):
        read_labels(splits, labels, survey)
        data, labels = as_meant(config.data, labels, survey)
        config = dataclasses.replace(config, data=data)
        read_samples(splits, labels, survey)
    judge(config, splits, labels, survey)
    survey.problems += problems_of_files(labels, survey)
    line = "" if survey.no_training_set else line_to_use(config, typed, survey)
    say(summary(config, splits, survey))
    pictures = plot_where_possible(config, labels, survey, Path(output))
    more = [*survey.findings, *map(remark, survey.remarks.items()), *pictures]
    say([""] * bool(more) + more)
    end(survey.problems, line, survey.findings)


def find(config: Config, survey: Survey) -> tuple[Config, Splits]:
    """The samples as configured; else in the layout that is found. Exits if no layout fits."""
    root = Path(config.data.root or "")
    split = detect.split_of_a_set(root) if config.data.kind not in SYNTHETIC else None
    if split is not None:
        one_split(*split, config, survey)
    try:
        return config, setup.find_items(config)
    except UnpairedError as error:
        reason: DataError = error
        if error.items:
            survey.problems.append(str(error))
            return config, {"train": list(error.items)}  # the others are looked at all the same
    except DataError as error:
        reason = error
    layouts = detect.find_layouts(config.data) if root.is_dir() and config.data.kind not in SYNTHETIC else []
    if len(layouts) != 1:
        end([nothing_fits(config, reason, layouts)])
    config = dataclasses.replace(config, data=layouts[0])
    survey.findings.append(f"found {detect.described(layouts[0])}")
    try:
        return config, setup.find_items(config)
    except UnpairedError as error:
        survey.problems.append(str(error))
        return config, {"train": list(error.items)}


def one_split(split: str, whole: Path, config: Config, survey: Survey) -> None:
    """Report that data.root is one split of a data set; a test or validation split is not trained on."""
    here = Path(config.data.root or "").resolve()
    sets = {
        folder: detect.find_layouts(dataclasses.replace(config.data, root=str(folder)))
        for folder in (whole, whole.parent)
    }
    above = [
        folder
        for folder, layouts in sets.items()
        if layouts and Path(layouts[0].root or "").resolve() != here
    ]
    if split == "train" and not above:
        return
    root = setting("data.root", str((above or [whole])[0]), verbatim=True)
    line = command(["task=check_data", root], program())
    text = f"data.root={config.data.root} is the {split} split of a set; all of it:\n  {line}"
    if split == "train":
        survey.remarks[text] = []
    else:
        survey.problems.append(text)
        survey.no_training_set = True


def nothing_fits(config: Config, reason: DataError, layouts: Sequence[DataConfig]) -> str:
    """What is there instead, and what to type."""
    data = config.data
    if layouts:
        sets = [of_data(dataclasses.replace(config, data=one)) for one in layouts[:4]]
        lines = [command(["task=check_data", *words.values()], program()) for words in sets]
        return "\n".join([f"{data.root} can be read in {len(layouts)} ways; choose one:", *lines])
    root = Path(data.root or "")
    folders = f"  images in folders: {detect.folders_found(root)}"
    others = [f"  not read in {text}" for text in detect.others_found(root)]
    more = "  a list of any files: data=csv, with the columns image,label in list.csv (docs/data.md)"
    return "\n".join([str(reason), folders, *others, more])


def say(lines: Iterable[str]) -> None:
    for line in lines:
        for piece in line.encode(errors="backslashreplace").decode().split("\n"):
            print("\n".join(wrapped(piece)[:MOST_LINES]))


def wrapped(text: str) -> list[str]:
    """Lines of at most 79 characters, unless a path is longer; a command to paste stays one line."""
    indent = " " * len((re.match(r"\s*((\w+ )?\w+: +|\d+\. )?", text) or [""])[0])
    if len(text) <= WIDTH or text.lstrip(" '").startswith(("python ", "data.")):
        return [text]
    whole = re.sub(r"(?<=\d) x (?=\d)", "\0x\0", text)  # 1024 x 1024 stays on one line
    lines = textwrap.wrap(
        whole, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\0", " ") for line in lines]


def remark(about: tuple[str, list[str]]) -> str:
    """A remark with the names of some samples and the number of the others."""
    text, names = about
    if not names:
        return f"look at: {text}"
    return f"look at: {few(names)}: {text}"


def end(problems: Sequence[str], line: str = "", findings: Sequence[str] = ()) -> None:
    """Print the problems, the command to use and, last, the verdict; exit with 1 if there are problems."""
    print("\n" * bool(problems), end="")
    for number, text in enumerate(problems, start=1):
        first, *rest = text.splitlines()
        say([f"{number}. {first}"])
        say(rest)
    if line:
        print(f"\nuse{', once that is corrected' * bool(problems)}:\n  {line}")
    if problems:
        print(counted(len(problems), "problem"))
        sys.exit(1)
    print("ready, with the line above" if findings else "ready")


def summary(config: Config, splits: Splits, survey: Survey) -> list[str]:
    """Pairs, sizes, types, ranges and classes, a line each."""
    everything = [facts for _, _, facts in survey.everything]
    is_generated = config.data.kind in SYNTHETIC
    how = "generated" if is_generated else f"split by {decide_mode(config.data)}"
    counts = ", ".join(f"{split} {len(items)}" for split, items in splits.items())
    lines = [f"pairs:    {sum(map(len, splits.values()))} ({counts}; {how})"]
    if survey.failed:
        lines.append(f"unusable: {len(survey.failed)}")
    if everything:
        sizes = Counter(f"{facts.shape[0]} x {facts.shape[1]}" for facts in everything)
        kinds = Counter(f"{facts.shape[2]} x {facts.dtype}" for facts in everything)
        low = min(facts.low for facts in everything)
        high = max(facts.high for facts in everything)
        lines += [f"sizes:    {tally(sizes)}", f"channels: {tally(kinds)}", f"values:   {low:g} to {high:g}"]
    if survey.num_objects:
        lines.append(f"labels:   {objects_in(survey.num_objects)}")
    elif survey.values:
        lines.append(f"labels:   file values {shown_counts(survey.values)}")
    pixels = sum((facts.pixels for facts in everything), np.zeros(256, np.int64))
    counted = max(int(pixels.sum()), 1)
    names = dict(enumerate(config.data.classes)) | {IGNORE: IGNORED}
    shares = [f"{names[i]} {100 * pixels[i] / counted:.2f} %" for i in names if i != IGNORE or pixels[IGNORE]]
    if everything:
        lines.append(f"classes:  {shortened(shares, 16)}")
        typed = shlex.quote(setting("data.classes", config.data.classes))
        if config.data.classes != DataConfig().classes and len(typed) <= WIDTH - 10:
            lines.append(" " * 10 + typed)
    return lines


def objects_in(counts: list[int]) -> str:
    total = counted(sum(counts), "object")
    return f"{total}, {min(counts)} to {max(counts)} in an image (median {median(counts):g})"


def tally(counter: Counter[str]) -> str:
    return shortened([f"{value} ({count})" for value, count in counter.most_common()], 6)


def plot_where_possible(config: Config, labels: LabelMap, survey: Survey, folder: Path) -> list[str]:
    """A line that names the pictures, or why there are none; the verdict is given in either case."""
    try:
        paths = plot(config, labels, survey, folder)
        return [f"pictures: {', '.join(map(str, paths))}"] * bool(paths)
    except (OSError, CheckpointError) as error:
        reason = getattr(error, "strerror", None) or str(getattr(error, "what", error))
        return [f"no pictures: {folder} can't be written ({reason}); output=DIR puts them elsewhere"]
    except Exception as error:
        known = errors.explained(error, "check_data")
        if known is None:
            raise
        return [f"no pictures: {known.what}"]


def plot(config: Config, labels: LabelMap, survey: Survey, folder: Path) -> list[Path]:
    """samples.png (image, label over it) and augmented.png (the same samples as training sees them)."""
    everything = survey.everything
    usable = [(item, facts) for split, item, facts in everything if split == "train"] or [
        (item, facts) for _, item, facts in everything
    ]
    if not usable:
        return []
    common = Counter(facts.shape[2] for _, facts in usable).most_common(1)[0][0]
    items = [item for item, facts in usable if facts.shape[2] == common]
    chosen = [items[i] for i in np.unique(np.linspace(0, len(items) - 1, SHOWN).astype(int))]
    samples = load_samples(chosen, "chosen", "none", 0, labels, config.data.window)
    plain = SegmentationDataset(samples, Compose([]), config.seed)
    colours = palette(labels)
    atomic.make_directory(folder)
    shown = [plain[0, i] for i in range(min(len(plain), SHOWN))]
    names = [item.name for item in samples.items]
    paths = [folder / "samples.png"]
    run.plot_sheet(paths[0], shown, names, colours, (0.0, 1.0), ["image", "label"], labels.classes)
    try:
        steps = setup.with_statistics(config, samples)
        crop, transform = build.build_transform(
            {
                name: step
                for name, step in steps["train"].items()
                if not step["_target_"].endswith(".ToTensor")
            }
        )
        reach = 0
        if crop is not None and labels.objects is not None:
            crop, reach = with_reach(crop, labels.objects.reach)
        augmented = SegmentationDataset(samples, transform, config.seed, crop, reach=reach)
        seen = [[augmented[epoch, i] for epoch in range(4)] for i in range(len(shown))]
    except DataError as error:
        survey.findings.append(f"no augmented samples are plotted: {error.what}")
        return paths
    denorm = build.denormalization(dataclasses.replace(config, transform=steps))
    paths.append(folder / "augmented.png")
    run.plot_augmented(paths[1], seen, names, colours, denorm, labels.classes)
    return paths
