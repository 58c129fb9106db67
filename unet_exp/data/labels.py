"""Labels as arrays: file values to class indices. What is not in the label map stops the run."""

import math
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from unet_exp.config.label_map import BINARY, IGNORED, LabelMap, parse_value
from unet_exp.config.quoting import setting
from unet_exp.config.schema import IGNORE
from unet_exp.errors import DataError
from unet_exp.messages import shortened

NODATA = (IGNORE, 65535)  # what public sets have for pixels of no class
UNKNOWN = IGNORE - 1  # so there may be 254 classes, 0 to 253
MOST_FRACTIONS = 8  # more are not classes but probabilities
MOST_COLOURS = 64  # more are not classes but shades of a photograph or of smoothed edges
MOST_OBJECTS = 2**24  # the numbers that float32 holds exactly
Counts = dict[str, int]  # file value ('128', '255-0-0' for a colour) -> pixels


class LabelValuesError(DataError):
    """Values that are not a class. name: the label's; counts: pixels per value; coloured: by colours."""

    def __init__(self, what: str, allowed: str, do: str, name: str, counts: Counts, coloured: bool) -> None:
        super().__init__(what, allowed, do)
        self.name = name
        self.counts = counts
        self.coloured = coloured


def is_coloured(label: np.ndarray) -> bool:
    """Whether the first three channels of an H x W x C label differ anywhere."""
    return label.shape[2] >= 3 and differ(label[..., :3])


def one_kind(label: np.ndarray, name: str) -> np.ndarray:
    """A label H x W x C as H x W x 1 or 3, without redundant channels: equal ones, an opaque alpha.

    Of four channels the last may also depend on the colour alone, as with a transparent background.
    Raises DataError for channels that differ, such as one per class.
    """
    channels = label.shape[2]
    if channels in (1, 3) or not differ(label):
        return label if channels == 3 else label[..., :1]
    if channels in (2, 4):
        colours = label[..., :-1]
        alpha = label[..., -1]
        opaque = np.iinfo(label.dtype).max if label.dtype.kind in "ui" else 1
        if (alpha == opaque).all() or (channels == 4 and _follows(alpha, colours)):
            return colours
    raise DataError(
        f"label {name} has {channels} channels that differ",
        allowed="one channel, or RGB; an alpha beside them only if it is opaque",
        do="save one channel that holds the class index (from one channel per class: "
        "numpy.argmax(label, axis=2))",
    )


def differ(label: np.ndarray) -> bool:
    """Whether the channels of an H x W x C label differ anywhere."""
    first = label[..., :1]
    others = label[..., 1:]
    unlike = others != first
    if label.dtype.kind == "f":
        unlike &= ~(np.isnan(others) & np.isnan(first))
    return bool(unlike.any())


def _follows(alpha: np.ndarray, colours: np.ndarray) -> bool:
    """Whether all pixels of the same colour have the same alpha."""
    pixels = np.concatenate([colours, alpha[..., np.newaxis]], axis=2).reshape(-1, 4)
    whole = np.unique(pixels, axis=0)
    return len(np.unique(whole[:, :3], axis=0)) == len(whole)


def single_values(label: np.ndarray, colours: bool) -> np.ndarray:
    """H x W file values of an H x W x C label: one channel, or R << 16 | G << 8 | B."""
    if not colours:
        return label[..., 0]
    three = label if label.shape[2] >= 3 else np.repeat(label[..., :1], 3, axis=2)
    with np.errstate(invalid="ignore"):  # floats are not colours, which is reported elsewhere
        wide = three[..., :3].astype(np.uint32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def count_values(label: np.ndarray, colours: bool) -> Counts:
    """Pixels of each file value of an H x W x C label. colours: as '255-0-0', even where it is grey."""
    values = single_values(label, colours)
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=256)
        return {str(value): int(counts[value]) for value in np.flatnonzero(counts)}
    distinct, numbers = np.unique(values, return_counts=True)
    return {as_value(value, colours): int(n) for value, n in zip(distinct, numbers, strict=True)}


def as_value(value: Any, colours: bool) -> str:
    if colours:
        return f"{int(value) >> 16}-{int(value) >> 8 & 255}-{int(value) & 255}"
    return str(int(value)) if float(value).is_integer() else str(value)


def class_indices(label: np.ndarray, name: str, labels: LabelMap = BINARY) -> np.ndarray:
    """uint8 H x W x 1 of class indices (255 where the map says ignore) of an H x W x C label.

    Colour files count as grey where all their channels agree, unless the map is of colours.
    Raises LabelValuesError with the unknown values, their counts and the settings that name them.
    """
    label = one_kind(label, name)
    if (labels.colours or is_coloured(label)) and label.dtype != np.uint8:
        raise DataError(f"label {name} holds {label.dtype} colours", allowed="8 bits per channel")
    if not labels.colours and is_coloured(label):
        raise values_error([name], count_values(label, True), labels, coloured=True)
    values = single_values(label, labels.colours)
    out = np.full(values.shape, UNKNOWN, np.uint8)
    for value, index in labels.values.items():
        if math.isnan(value):
            out[np.isnan(values)] = index
        else:
            out[values == (float(value) if values.dtype.kind == "f" else value)] = index
    if (out == UNKNOWN).any() or (labels.both_ways and (values == 1).any() and (values == 255).any()):
        raise values_error([name], count_values(label, labels.colours), labels, labels.colours)
    return out[..., np.newaxis]


def object_numbers(label: np.ndarray, name: str) -> np.ndarray:
    """int32 H x W x 1 of the numbers in an H x W x C label, each colour of a coloured one being an object.

    Raises DataError for values that are no whole numbers from 0 to 2**24.
    """
    label = one_kind(label, name)
    coloured = is_coloured(label)
    if coloured and label.dtype != np.uint8:
        raise DataError(f"label {name} holds {label.dtype} colours", allowed="8 bits per channel")
    values = single_values(label, coloured)
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.floor(values)).all()):
        raise DataError(f"label {name} holds fractions", allowed="whole object numbers, 0 for none")
    if values.size and (values.min() < 0 or values.max() > MOST_OBJECTS):
        raise DataError(
            f"label {name} holds the numbers {values.min():g} to {values.max():g}",
            allowed=f"0 to {MOST_OBJECTS}",
        )
    return values.astype(np.int32)[..., np.newaxis]


def component_numbers(label: np.ndarray, name: str, value: int | None = None) -> np.ndarray:
    """int32 H x W x 1 that numbers the connected pieces (4 neighbours) of an H x W x C label, 0 around them.

    value: the file value of the pieces; None: every value but 0. Raises DataError as object_numbers.
    """
    from scipy import ndimage  # takes a fifth of a second

    values = object_numbers(label, name)[..., 0]
    pieces, _ = ndimage.label(values > 0 if value is None else values == value)
    return np.asarray(pieces, np.int32)[..., np.newaxis]


def values_error(
    names: Sequence[str], counts: Counts, labels: LabelMap, coloured: bool, hint: str = ""
) -> LabelValuesError:
    """The error for labels with values that are not a class. counts: over all of these labels.

    hint: what they look like and what to do, if more than the values is known.
    """
    who = f"label {names[0]} has" if len(names) == 1 else f"{len(names)} labels, such as {names[0]}, have"
    words = settings_for(counts, labels.classes)
    do = f"save it without smoothing or JPEG; or, if the values are intended:\n{shlex.join(words)}"
    if coloured and not labels.colours:
        who = who.replace(" has", " is a colour image:").replace(", have", ", are colour images:")
        what = shown_counts(counts)
        allowed = "one grey value per class, or colours named in data.label_map"
    elif labels.both_ways:
        what = f"values that are not binary: {shown_counts(counts)}"
        allowed = "0 and 1, or 0 and 255; anything else named in data.label_map"
    else:
        known = {
            as_value(v, labels.colours): [*labels.classes, IGNORED][i] if i != IGNORE else IGNORED
            for v, i in labels.values.items()
        }
        strange = {value: count for value, count in counts.items() if value not in known}
        what = f"values that are not in the label map: {shown_counts(strange)}"
        allowed = f"{', '.join(list(known)[:20])}, for the classes {', '.join(labels.classes[:20])}"
        words = [setting("data.label_map", known | dict.fromkeys(strange, IGNORED))] * (len(strange) <= 20)
        do = f"correct the files; or name a class for each; or ignore these pixels:\n{shlex.join(words)}"
    if not words:
        do = "one whole number per class; task=check_data says what these look like"
    return LabelValuesError(f"{who} {what}", allowed, hint or do, names[0], counts, coloured)


def shown_counts(counts: Counts, most: int = 8) -> str:
    """'0 (23 px), 128 (2 px) and 3 more'."""
    return shortened([f"{value} ({count} px)" for value, count in counts.items()], most)


def settings_for(values: Iterable[str], classes: list[str]) -> list[str]:
    """data.classes and data.label_map, as typed, that make each value a class; empty if none would do."""
    proposed = proposal(values, classes)
    if proposed is None:
        return []
    names, mapped = proposed
    return [setting("data.classes", names)] + [setting("data.label_map", mapped)] * (mapped is not None)


def proposal(values: Iterable[str], classes: list[str]) -> tuple[list[str], dict[str, str] | None] | None:
    """Classes and label map for these file values; None if they can't be class codes.

    The map is None if the values are the indices themselves. Beside indices 255 and 65535 are ignored, as in
    public data sets, and so are negative values (-1, -9999); nan always. Classes without a name become
    class_VALUE, or cVALUE if there are many.
    """
    parsed = {value: parse_value(value) for value in values}
    grey = [value for value in parsed.values() if isinstance(value, int | float)]
    if not parsed or None in parsed.values() or len(grey) not in (0, len(parsed)):
        return None
    endless = [value for value, one in parsed.items() if isinstance(one, float) and not math.isfinite(one)]
    fractions = sum(isinstance(one, float) for one in grey) - len(endless)
    if len(parsed) > (MOST_FRACTIONS if fractions else UNKNOWN if grey else MOST_COLOURS):
        return None
    numbers = {value: one for value, one in parsed.items() if value not in endless}
    grey = [one for one in grey if math.isfinite(one)]
    ordered = sorted(numbers, key=lambda value: numbers[value])  # type: ignore[arg-type, return-value]
    codes = sorted(value for value in grey if value >= 0 and value not in NODATA)
    dense = len(codes) > 1 and codes[0] in (0, 1) and codes[-1] <= 2 * len(codes)
    beside = [value for value in ordered if dense and numbers[value] not in codes]
    ignored = beside + endless
    kept = [value for value in ordered if value not in ignored]
    if len(classes) == len(kept):
        names = dict(zip(kept, classes, strict=True))
    else:
        short = "class_" if len(kept) <= 32 else "c"
        names = {value: f"{short}{value if grey and not fractions else i}" for i, value in enumerate(kept)}
    if codes == list(range(len(kept))) and not ignored:
        return list(names.values()), None
    return list(names.values()), names | dict.fromkeys(ignored, IGNORED)
