"""What a survey of a data set leads to: the settings to type, and folders that would pair."""

import dataclasses
import shlex
from collections import Counter
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp.data.formats import IMAGE_SUFFIXES
from unet_exp.data.inspect import Facts, fills_unit, unit_range
from unet_exp.data.items import files_in
from unet_exp.data.label_map import LabelMap
from unet_exp.data.labels import as_value
from unet_exp.schema import Config, DataConfig

SUFFIXES = ("_mask", "_label", "_labels", "_gt", "_seg", "_segmentation")
LABEL_WORDS = ("label", "mask", "gt", "truth", "seg", "annot")


@dataclasses.dataclass
class Survey:
    """What was found: facts of the samples that can be used, file values of labels, problems, remarks."""

    facts: dict[str, list[tuple[Any, Facts]]] = field(default_factory=dict)
    values: Counter[str] = field(default_factory=Counter)  # file value -> pixels, over all labels
    coloured: bool = False
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    unreadable: int = 0
    train: int = 0  # samples of the training split


def lines_to_use(config: Config, labels: LabelMap, survey: Survey) -> list[str]:
    """What to type after python run.py so that this set is read as it was here, with what it needs."""
    data = config.data
    option = {"membranes": "membranes", "csv": "csv", "npy_folder": "npy_folder", "tiff_stack": "tiff_stack"}
    lines = [f"data={option.get(data.kind, 'image_folder')}"] + [f"data.root={data.root}"] * bool(data.root)
    usual = DataConfig()
    for name in ("images", "labels", "label_suffix", "pair_regex", "csv"):
        if getattr(data, name) != getattr(usual, name):
            lines.append(f"data.{name}={getattr(data, name)}")
    known = {as_value(value, labels.colours) for value in labels.values}
    unknown = [value for value in survey.values if value not in known]
    if (survey.coloured and not labels.colours) or (unknown and len(survey.values) <= 64):
        values = sorted(survey.values, key=lambda v: [int(part) for part in v.split("-") if part])
        same = len(values) == len(data.classes)
        names = data.classes if same else [f"class_{i}" for i in range(len(values))]
        lines.append(f"data.classes=[{','.join(names)}]")
        if [str(i) for i in range(len(values))] != values:
            pairs = ", ".join(f"{value}: {name}" for value, name in zip(values, names, strict=True))
            lines.append(f"data.label_map={{{pairs}}}")
    elif data.kind != "membranes":
        lines.append(f"data.classes=[{','.join(data.classes)}]")
        if data.label_map is not None:
            pairs = ", ".join(f"{value}: {name}" for value, name in data.label_map.items())
            lines.append(f"data.label_map={{{pairs}}}")
    if 0 < survey.train < config.batch_size:
        lines.append(f"batch_size={survey.train}")
    everything = [facts for found in survey.facts.values() for _, facts in found]
    if everything:
        if not fills_unit(*unit_range(everything)):
            lines += ["transform.mean=train", "transform.std=train"]
        sizes = {facts.shape[:2] for facts in everything}
        smallest = min(min(size) for size in sizes)
        if (len(sizes) > 1 or smallest > 768) and smallest >= 32:
            lines += ["transform=crop", f"transform.train.crop.size={min(256, smallest // 32 * 32)}"]
        pixels = sum((facts.pixels for facts in everything), np.zeros(256, np.int64))[: len(labels.classes)]
        if pixels.min() < 0.01 * pixels.sum():
            lines.append("loss=ce_dice")
    return lines


def layout_hint(config: Config) -> list[str]:
    """Folders below data.root whose files would pair, or files in it that would, if there are such."""
    root = Path(config.data.root or "")
    if not root.is_dir() or config.data.kind != "image_folder":
        return []
    folders = {path: files_in(path, IMAGE_SUFFIXES) for path in sorted(root.glob("*")) if path.is_dir()}
    stems = {path: {file.stem for file in files} for path, files in folders.items() if files}
    for labels, label_stems in stems.items():
        for images, image_stems in stems.items():
            for suffix in ("", *SUFFIXES):
                named = bool(suffix) or any(word in labels.name.lower() for word in LABEL_WORDS)
                if named and images != labels and {stem + suffix for stem in image_stems} == label_stems:
                    return [would_pair(images.name, labels.name, suffix)]
    here = {file.stem for file in files_in(root, IMAGE_SUFFIXES)}
    for suffix in SUFFIXES:
        labelled = {stem for stem in here if stem.endswith(suffix)}
        if labelled and {stem.removesuffix(suffix) for stem in labelled} == here - labelled:
            return [would_pair(".", ".", suffix)]
    below = [path for path in folders if (path / config.data.images).is_dir() or (path / "train").is_dir()]
    return [f"{path} has such folders: data.root={shlex.quote(str(path))}" for path in below[:1]]


def would_pair(images: str, labels: str, suffix: str) -> str:
    words = [f"data.images={images}", f"data.labels={labels}"] + [f"data.label_suffix={suffix}"] * bool(
        suffix
    )
    return "these would pair: " + " ".join(map(shlex.quote, words))
