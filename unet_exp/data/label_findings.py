"""What check_data says of labels: unnamed classes, numbered objects, smoothed edges, faults."""

import dataclasses
import shlex
from collections.abc import Sequence

from unet_exp.config.label_map import LabelMap, as_objects, label_map, parse_value
from unet_exp.config.schema import DataConfig
from unet_exp.data.label_guess import LEAST_WHOLE, MOST_DIVIDED, guess
from unet_exp.data.labels import proposal, settings_for, values_error
from unet_exp.data.problems import added, alike
from unet_exp.data.survey import Label, Survey, is_unknown, values_failed
from unet_exp.errors import DataError
from unet_exp.messages import counted


def unknown_labels(labels: LabelMap, survey: Survey) -> list[Label]:
    return [label for label in survey.labels if is_unknown(label, labels)]


def look_of(unknown: Sequence[Label]) -> str:
    """As label_guess.guess: 'classes', 'objects', 'smooth' or ''."""
    return guess([label.values for label in unknown], [label.shapes for label in unknown]) if unknown else ""


def as_meant(data: DataConfig, labels: LabelMap, survey: Survey) -> tuple[DataConfig, LabelMap]:
    """The settings and label map that fit most labels: of objects, or of classes that have no names yet."""
    if labels.objects is not None:
        survey.problems += joined_objects(survey) if labels.components else divided_objects(survey)
        return data, labels
    usual = DataConfig()
    unknown = unknown_labels(labels, survey)
    if not unknown or len(unknown) < 0.5 * len(survey.labels):
        return data, labels
    look = look_of(unknown)
    if look == "objects":
        survey.findings.append(objects_found(unknown))
        data = as_objects(data)
        return data, label_map(data)
    found_classes = proposal(survey.values, data.classes)
    named = (data.classes, data.label_map) != (usual.classes, usual.label_map)
    if look != "classes" or named or found_classes is None:
        return data, labels
    data = dataclasses.replace(data, classes=found_classes[0], label_map=found_classes[1])
    survey.findings.append(classes_found(data, unknown, survey))
    return data, label_map(data)


def objects_found(unknown: Sequence[Label]) -> str:
    fullest = max(len(numbers_of(label)) for label in unknown)
    kind = "colour" if unknown[0].coloured else "number"
    return (
        f"looks like numbered objects, a {kind} for each piece: up to {fullest} in "
        f"{counted(len(unknown), 'label')}; the line below learns to find them"
    )


def numbers_of(label: Label) -> set[str]:
    return set(label.values) - {"0", "0-0-0"}


def divided_objects(survey: Survey) -> list[str]:
    """The text on labels that are read as object numbers, if these have several pieces each."""
    filled = [label for label in survey.labels if label.shapes and numbers_of(label)]
    divided = [label for label in filled if label.shapes and label.shapes.whole < LEAST_WHOLE]
    if len(divided) <= MOST_DIVIDED * len(filled):
        return []
    error = DataError(
        f"{len(divided)} labels, such as {divided[0].item.label}, have numbers of several pieces each: "
        "looks like classes, not like numbered objects",
        "a number of its own for each object",
        "data.labels_are=classes; if each piece is an object: data.labels_are=components",
    )
    return [str(error)]


def joined_objects(survey: Survey) -> list[str]:
    """The text on labels that are read as masks of separate pieces, but number their objects."""
    if look_of(survey.labels) != "objects":
        return []
    error = DataError(
        f"{counted(len(survey.labels), 'label')}, such as {survey.labels[0].item.label}: looks like numbered "
        "objects; as components, those that touch become one",
        "masks",
        "data.labels_are=objects",
    )
    return [str(error)]


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
