"""What check_data says of labels: unnamed classes, object numbers, smoothed edges, faults."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from unet_exp.config.label_map import LabelMap, label_map, parse_value
from unet_exp.config.schema import DataConfig
from unet_exp.data.label_guess import guess
from unet_exp.data.labels import proposal, settings_for, values_error
from unet_exp.data.problems import added, alike
from unet_exp.data.survey import Label, Survey, is_unknown, values_failed
from unet_exp.errors import DataError
from unet_exp.messages import counted

MOST_VALUES = 2000  # object numbers shown as one class in the pictures
PILLOW = "Image.fromarray((np.asarray(Image.open(p)) > 0) * np.uint8(255)).save(o / p.name)"
TIFFFILE = "tifffile.imwrite(o / p.name, (tifffile.imread(p) > 0) * np.uint8(255))"
NUMPY = "np.save(o / p.name, (np.load(p) > 0) * np.uint8(255))"
# Extension of labels -> code that turns one of them, p, into a mask of 0 and 255 in folder o.
CONVERSIONS = {".png": PILLOW, ".bmp": PILLOW, ".tif": TIFFFILE, ".tiff": TIFFFILE, ".npy": NUMPY}


def unknown_labels(labels: LabelMap, survey: Survey) -> list[Label]:
    return [label for label in survey.labels if is_unknown(label, labels)]


def look_of(unknown: Sequence[Label]) -> str:
    """As label_guess.guess: 'classes', 'objects', 'smooth' or ''."""
    return guess([label.values for label in unknown], [label.shapes for label in unknown]) if unknown else ""


def as_meant(data: DataConfig, labels: LabelMap, survey: Survey) -> tuple[DataConfig, LabelMap]:
    """The settings and label map that fit most labels, if the user named no classes or these are objects."""
    usual = DataConfig()
    unknown = unknown_labels(labels, survey)
    if not unknown or len(unknown) < 0.5 * len(survey.labels):
        return data, labels
    look = look_of(unknown)
    if look == "objects":
        survey.problems.append(object_numbers(data, unknown))
        survey.has_objects = True
        codes = converted(data, unknown)
        if survey.coloured:
            return data, labels
        every = {float(value): int(float(value) > 0) for value in survey.values}
        few = len(data.classes) == 2 and len(every) <= MOST_VALUES
        return codes[0] if codes else data, LabelMap(data.classes, every, False, False) if few else labels
    found_classes = proposal(survey.values, data.classes)
    named = (data.classes, data.label_map) != (usual.classes, usual.label_map)
    if look != "classes" or named or found_classes is None:
        return data, labels
    data = dataclasses.replace(data, classes=found_classes[0], label_map=found_classes[1])
    survey.findings.append(classes_found(data, unknown, survey))
    return data, label_map(data)


def classes_found(data: DataConfig, unknown: Sequence[Label], survey: Survey) -> str:
    codes = sorted(survey.values, key=parse_value)  # type: ignore[arg-type]
    shown = ", ".join(codes if len(codes) < 5 else [*codes[:2], "...", codes[-1]])
    if data.label_map is None:
        shown = f"0 to {len(codes) - 1}"
    kind = "colours" if survey.coloured else "values"
    labels = counted(len(survey.labels), "label")
    text = f"looks like {len(data.classes)} classes: the {kind} {shown} in {labels}"
    if sum(label.shapes.numbered for label in unknown if label.shapes) > 0.8 * len(unknown):
        text += " (or object numbers: in each label every value is one piece)"
    return f"{text}; give them names of your own, in this order"


def problems_of_files(labels: LabelMap, survey: Survey) -> list[str]:
    """Each kind of problem once, with its count, an example and what to do."""
    wrong = values_failed(survey)
    texts = [str(error) for error, _ in alike([one for one in survey.failed if one not in wrong], labels)]
    if survey.has_objects:
        return texts
    failed = {id(item) for item, _ in wrong}
    unknown = [label for label in survey.labels if id(label.item) in failed]
    smooth = [label for label in unknown if label.shapes and label.shapes.smooth]
    rest = [label for label in unknown if label not in smooth]
    return texts + [str(wrong_values(some, labels, survey)) for some in (smooth, rest) if some]


def wrong_values(some: Sequence[Label], labels: LabelMap, survey: Survey) -> DataError:
    """The error for labels with values that are not a class."""
    words = settings_for(survey.values, labels.classes)
    hint = ""
    if some[0].shapes and some[0].shapes.smooth:
        hint = "smoothed edges, of a mask that was resized or saved as jpeg; export it without interpolation"
    elif not words or (some[0].shapes and some[0].shapes.scattered):
        hint = "neither classes nor object numbers; are these images, or maps of distances or probabilities?"
    elif labels.both_ways:
        hint = f"correct the files; or, if the values are intended:\n{shlex.join(words)}"
    names = [str(label.item.label) for label in some]
    return values_error(names, added(label.values for label in some), labels, some[0].coloured, hint)


def object_numbers(data: DataConfig, unknown: Sequence[Label]) -> str:
    """The text on labels in which each object has its own value, and how to train on them."""
    fullest = max(unknown, key=lambda label: len(label.values))
    count = len(set(fullest.values) - {"0", "0-0-0"})
    where = f"{len(unknown)} labels, such as" if len(unknown) > 1 else "label"
    line = conversion(data, unknown)
    do = "masks of objects and background; objects that touch run into one:"
    return str(
        DataError(
            f"{where} {fullest.item.label} with {count} values: looks like object numbers "
            "(each object its own value)",
            "classes; this version does not tell objects of one class apart",
            f"{do}\n{line}" if line else "save the files with 255 where there is an object and 0 elsewhere",
        )
    )


def converted(data: DataConfig, unknown: Sequence[Label]) -> tuple[DataConfig, dict[Path, Path]] | None:
    """The settings with masks beside the labels, and both folders; None if no command can make them."""
    suffixes = {label.item.label.suffix for label in unknown}
    plain = data.kind == "image_folder" and not any(label.coloured for label in unknown)
    if not plain or len(suffixes) > 1 or not {suffix.lower() for suffix in suffixes} <= {*CONVERSIONS}:
        return None
    here = Path(data.labels) == Path(".")
    folders = {label.item.label.parent: label.item.label.parent for label in unknown}
    folders = {old: old / "masks" if here else old.with_name(f"{old.name}_masks") for old in folders}
    return dataclasses.replace(data, labels="masks" if here else f"{data.labels}_masks"), folders


def conversion(data: DataConfig, unknown: Sequence[Label]) -> str | None:
    """A shell command that makes masks of 0 and 255 from object numbers."""
    codes = converted(data, unknown)
    if codes is None:
        return None
    suffix = unknown[0].item.label.suffix
    line = CONVERSIONS[suffix.lower()]
    program = (
        "import sys, numpy as np, tifffile; from pathlib import Path; from PIL import Image; "
        f"[(o.mkdir(exist_ok=True), [{line} for p in i.glob(sys.argv[1])]) "
        "for i, o in zip(*[map(Path, sys.argv[2:])] * 2)]"
    )
    folders = [str(path) for pair in codes[1].items() for path in pair]
    return shlex.join(["python", "-c", program, f"*{data.label_suffix}{suffix}", *folders])
