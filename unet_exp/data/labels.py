"""Labels as arrays: file values to class indices. What is not in the label map stops the run."""

from typing import Any

import numpy as np

from unet_exp.data.label_map import BINARY, LabelMap
from unet_exp.errors import DataError
from unet_exp.schema import IGNORE

UNKNOWN = IGNORE - 1  # so there may be 254 classes, 0 to 253
Counts = dict[str, int]  # file value ('128', '255-0-0' for a colour) -> pixels


def is_coloured(label: np.ndarray) -> bool:
    """Whether the first three channels of an H x W x C label differ anywhere."""
    return label.shape[2] >= 3 and bool((label[..., 1:3] != label[..., :1]).any())


def single_values(label: np.ndarray, colours: bool) -> np.ndarray:
    """H x W file values of an H x W x C label: one channel, or R << 16 | G << 8 | B."""
    if not colours:
        return label[..., 0]
    three = label if label.shape[2] >= 3 else np.repeat(label[..., :1], 3, axis=2)
    wide = three[..., :3].astype(np.uint32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def count_values(label: np.ndarray, colours: bool) -> Counts:
    """Pixels of each file value of an H x W x C label. colours: as '255-0-0', even where it is grey."""
    values = single_values(label, colours)
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=256)
        return {str(value): int(counts[value]) for value in np.flatnonzero(counts)}
    found, numbers = np.unique(values, return_counts=True)
    return {as_value(value, colours): int(n) for value, n in zip(found, numbers, strict=True)}


def as_value(value: Any, colours: bool) -> str:
    if colours:
        return f"{int(value) >> 16}-{int(value) >> 8 & 255}-{int(value) & 255}"
    return str(int(value)) if float(value).is_integer() else str(value)


def class_indices(label: np.ndarray, name: str, labels: LabelMap = BINARY) -> np.ndarray:
    """uint8 H x W x 1 of class indices (255 where the map says ignore) of an H x W x C label.

    Colour files count as grey where all their channels agree, unless the map is of colours.
    Raises DataError with the unknown values, their counts and the lines to add.
    """
    if not labels.colours and is_coloured(label):
        raise DataError(
            f"label {name} is a colour image: {shown_counts(count_values(label, True))}",
            allowed="one grey value per class, or colours named in data.label_map",
            do=f"data.label_map={proposal(count_values(label, True), labels.classes)}",
        )
    if labels.colours and label.dtype != np.uint8:
        raise DataError(f"label {name} holds {label.dtype} colours", allowed="8 bits per channel")
    values = single_values(label, labels.colours)
    out = np.full(values.shape, UNKNOWN, np.uint8)
    for value, index in labels.values.items():
        out[values == value] = index
    if (out == UNKNOWN).any() or (labels.both_ways and (values == 1).any() and (values == 255).any()):
        raise unknown_values(name, count_values(label, labels.colours), labels)
    return out[..., np.newaxis]


def unknown_values(name: str, counts: Counts, labels: LabelMap) -> DataError:
    classes = labels.classes
    if labels.both_ways:
        return DataError(
            f"label {name} has values that are not binary: {shown_counts(counts)}",
            allowed="0 and 1, or 0 and 255; anything else named in data.label_map",
            do="if they are meant: data.classes=[...] and "
            f"data.label_map={proposal(counts, classes)}; if not, save it without smoothing or JPEG",
        )
    known = [as_value(value, labels.colours) for value in labels.values]
    strange = {value: count for value, count in counts.items() if value not in known}
    more = ", ".join(f"{value}: CLASS" for value in list(strange)[:8])
    return DataError(
        f"label {name} has values that are not in the label map: {shown_counts(strange)}",
        allowed=f"{', '.join(known[:20])}, for the classes {', '.join(classes)}",
        do=f"add to data.label_map: {{{more}}} (a class, or ignore), or correct the file",
    )


def shown_counts(counts: Counts, most: int = 8) -> str:
    """'0 (23 px), 128 (2 px) and 3 more'."""
    shown = ", ".join(f"{value} ({count} px)" for value, count in list(counts.items())[:most])
    return shown + (f" and {len(counts) - most} more" if len(counts) > most else "")


def proposal(counts: Counts, classes: list[str]) -> str:
    """A data.label_map for these values; names that are not there yet are class_N."""
    values = list(counts)[:20]
    named = classes if len(classes) == len(values) else [f"class_{i}" for i in range(len(values))]
    return "{" + ", ".join(f"{value}: {name}" for value, name in zip(values, named, strict=True)) + "}"
