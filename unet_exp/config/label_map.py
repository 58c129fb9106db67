"""The label map: which file value is which class. Without numpy, so that a config can be checked by it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from unet_exp.config.schema import IGNORE, DataConfig
from unet_exp.errors import DataError

Colour = tuple[int, int, int]
# Black, then Okabe and Ito's colours, which the colour-blind can tell apart, then four more.
COLOURS: list[Colour] = [
    (0, 0, 0),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (153, 153, 153),
    (255, 127, 127),
    (127, 255, 127),
    (127, 127, 255),
]
OBJECT_CLASSES = {  # data.target -> names of its classes
    "border": ["background", "interior", "border"],
    "binary": ["background", "object"],
    "distance": ["background", "edge", "middle", "core"],
}
IGNORED = "ignore"  # the class name that data.label_map gives to values that count nowhere


@dataclass(frozen=True)
class ObjectTarget:
    """What a network learns of numbered objects: data.target, data.rim, data.gap, and the classes."""

    kind: str
    rim: int
    gap: int
    num_classes: int

    @property
    def reach(self) -> int:
        """Pixels beyond a crop on which its target depends."""
        if self.kind == "distance":
            return max(self.rim * (self.num_classes - 2), self.gap)
        return max(self.rim, self.gap)


@dataclass(frozen=True)
class LabelMap:
    """File value -> class index. values: 128, 0.5 or nan for grey files, 0xff0000 for colour files.

    both_ways: without data.label_map two classes are 0 and 1, or 0 and 255, not mixed in a file.
    """

    classes: list[str]
    values: dict[float, int]
    colours: bool
    both_ways: bool
    objects: "ObjectTarget | None" = None  # where labels hold objects, and `values` says nothing
    components: bool = False  # objects are connected pieces, of object_value if it is given
    object_value: int | None = None


BINARY = LabelMap(["background", "foreground"], {0: 0, 1: 1, 255: 1}, colours=False, both_ways=True)


def as_objects(data: DataConfig) -> DataConfig:
    """The same data set, its labels read as object numbers and learnt as data.target says."""
    return replace(data, labels_are="objects", label_map=None, classes=OBJECT_CLASSES[data.target])


def label_map(data: DataConfig) -> LabelMap:
    """The map of a config: data.label_map, or without it the indices themselves. Raises DataError."""
    if data.labels_are != "classes":
        target = ObjectTarget(data.target, data.rim, data.gap, len(data.classes))
        return LabelMap(
            data.classes, {}, False, False, target, data.labels_are == "components", data.object_value
        )
    if data.label_map is None:
        if len(data.classes) == 2:
            return LabelMap(data.classes, BINARY.values, colours=False, both_ways=True)
        return LabelMap(data.classes, {i: i for i in range(len(data.classes))}, False, False)
    problems = map_problems(data.label_map, data.classes)
    if problems:
        raise DataError("\n".join(f"data.label_map {problem}" for problem in problems))
    keys = [parse_value(key) for key in data.label_map]
    names = [*data.classes, IGNORED]
    indices = [IGNORE if name == IGNORED else names.index(name) for name in map(str, data.label_map.values())]
    values = {packed(key): index for key, index in zip(keys, indices, strict=True)}
    return LabelMap(data.classes, values, isinstance(keys[0], tuple), both_ways=False)


def map_problems(node: Any, classes: list[str]) -> list[str]:
    """What is wrong with data.label_map, each in words that follow its name."""
    if not isinstance(node, Mapping) or not node:
        return [
            f"is {node!r}; allowed: file value: class name, such as {{0: {classes[0]}, 255: {classes[-1]}}}"
        ]
    problems = []
    keys = {key: parse_value(key) for key in node}
    for key, value in keys.items():
        if value is None:
            problems.append(
                f"has the value {key!r}; allowed: a number, nan, or a colour as 255-0-0 or '#ff0000'"
            )
    if len({isinstance(value, tuple) for value in keys.values()}) > 1:
        problems.append("mixes grey values and colours; use one kind")
    named = [str(name) for name in node.values()]
    allowed = [*classes, IGNORED]
    problems += [
        f"names the class {name!r}; allowed: {', '.join(allowed)}" for name in named if name not in allowed
    ]
    missing = [name for name in classes if name not in named]
    if missing:
        problems.append(f"gives no value to {', '.join(missing)}")
    return problems


def parse_value(key: Any) -> float | tuple[int, ...] | None:
    """128, '0.5', nan, '255-0-0', '255,0,0' or '#ff0000' as a number or three; None for anything else."""
    text = str(key).strip()
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"[-+]?((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|inf)|nan", text.lower()):
        number = float(text)
        return int(number) if number.is_integer() else number
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return tuple(bytes.fromhex(text[1:]))
    if re.fullmatch(r"\d{1,3}([-, ]+\d{1,3}){2}", text):
        colour = tuple(int(number) for number in re.split(r"[-, ]+", text))
        return colour if max(colour) < 256 else None
    return None


def packed(value: float | tuple[int, ...] | None) -> float:
    assert value is not None
    return (value[0] << 16 | value[1] << 8 | value[2]) if isinstance(value, tuple) else value


def palette(labels: LabelMap) -> list[Colour]:
    """A colour for each class: those of a map of colours, black and white for two classes, else fixed."""
    count = len(labels.classes)
    if labels.colours:
        named = {index: int(value) for value, index in reversed(labels.values.items())}
        return [(named[i] >> 16, named[i] >> 8 & 255, named[i] & 255) for i in range(count)]
    if count == 2:
        return [(0, 0, 0), (255, 255, 255)]
    more = [(64 + 67 * i % 192, 64 + 109 * i % 192, 64 + 151 * i % 192) for i in range(len(COLOURS), count)]
    return [*COLOURS[:count], *more]
