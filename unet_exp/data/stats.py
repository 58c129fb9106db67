"""The facts of a sample (size, statistics, classes), read by rows and never as a whole.

Also what follows from its values: whether they need other statistics, and how a picture displays them.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from unet_exp.config.schema import IGNORE
from unet_exp.data.formats import Source, orientation, read_window, row_blocks, to_unit
from unet_exp.data.items import Item, SyntheticItem
from unet_exp.errors import DataError

MOST_POINTS = 500  # of each class, remembered from each block of rows
Points = dict[int, np.ndarray]  # class index -> int64 N x 2, row and column of some of its pixels


@dataclass(frozen=True, slots=True)
class Facts:
    """shape H x W x C; low, high: stored values; mean, std: float64 per channel in the unit of to_unit.

    constant: whether each channel has one value only, as a blank tile.
    counts: class index (255: ignored) and pixels of each class. image_sha256, label_sha256: of the decoded
    values. places: of each class other than 0 some of its pixels, row * W + column (see place_type); mapped
    where the facts are known from an earlier start.
    """

    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float
    mean: np.ndarray
    std: np.ndarray
    counts: tuple[tuple[int, int], ...]
    image_sha256: str
    label_sha256: str
    places: tuple[tuple[int, np.ndarray], ...]
    constant: bool

    @property
    def pixels(self) -> np.ndarray:
        """int64 256: the pixels of each class index."""
        pixels = np.zeros(256, np.int64)
        for index, count in self.counts:
            pixels[index] = count
        return pixels

    @property
    def points(self) -> Points:
        return {
            index: np.stack(np.divmod(places.astype(np.int64), self.shape[1]), axis=1)
            for index, places in self.places
        }


def look_at(image: Source, label: Any, item: Item | SyntheticItem) -> Facts:
    """Facts of an opened sample; label[rows, columns] gives class indices. Raises DataError."""
    name = name_of(item)
    lows = np.full(image.shape[2], np.inf)
    highs = np.full(image.shape[2], -np.inf)
    sums = np.zeros(image.shape[2])
    squares = np.zeros(image.shape[2])
    pixels = np.zeros(256, np.int64)
    image_hash = hashlib.sha256(f"{image.dtype.kind}{image.dtype.itemsize} {image.shape}".encode())
    label_hash = hashlib.sha256()
    found: dict[int, list[np.ndarray]] = {}
    for window in row_blocks(image.shape):
        block = read_window(image, window, name)
        unit = finite_unit(block, image, name).astype(np.float64)
        lows = np.minimum(lows, block.min((0, 1)))
        highs = np.maximum(highs, block.max((0, 1)))
        sums += unit.sum((0, 1))
        squares += (unit**2).sum((0, 1))
        indices = np.ascontiguousarray(label[window][..., 0])
        counts = np.bincount(indices.ravel(), minlength=256)
        pixels += counts
        image_hash.update(block.tobytes())
        label_hash.update(indices.tobytes())
        for index in np.flatnonzero(counts[1:IGNORE]) + 1:
            places = some_places(indices == index) + window[0].start * indices.shape[1]
            found.setdefault(int(index), []).append(places)
    count = image.shape[0] * image.shape[1]
    mean = sums / count
    return Facts(
        shape=tuple(image.shape),
        dtype=str(image.dtype),
        low=float(lows.min()),
        high=float(highs.max()),
        mean=mean,
        std=np.sqrt(np.maximum(squares / count - mean**2, 0)),
        counts=tuple((int(index), int(pixels[index])) for index in np.flatnonzero(pixels)),
        image_sha256=image_hash.hexdigest(),
        label_sha256=label_hash.hexdigest(),
        places=tuple(
            (index, np.concatenate(places).astype(place_type(image.shape))) for index, places in found.items()
        ),
        constant=bool((lows == highs).all()),
    )


def name_of(item: Item | SyntheticItem) -> str:
    """What messages call an image: its file, and its page where it is one of several."""
    if not isinstance(item, Item):
        return item.name
    return str(item.image) if item.page is None else f"{item.image} page {item.page}"


def place_type(shape: tuple[int, ...]) -> str:
    """The numpy type of places in an image H x W x C."""
    return "<i4" if shape[0] * shape[1] < 2**31 else "<i8"


def some_places(mask: np.ndarray) -> np.ndarray:
    """int64 N: the flat places of at most MOST_POINTS pixels of a mask, evenly spaced in its order."""
    places = np.flatnonzero(mask)
    return places[np.linspace(0, len(places) - 1, min(len(places), MOST_POINTS)).astype(np.int64)]


def finite_unit(block: np.ndarray, image: Source, name: str) -> np.ndarray:
    """to_unit of a block of an open image. Raises DataError for values that are not finite in float32."""
    with np.errstate(over="ignore"):
        unit = to_unit(block)
    if block.dtype.kind == "f" and not np.isfinite(unit).all():
        raise not_numbers(image, name)
    return unit


def not_numbers(image: Source, name: str) -> DataError:
    """The error with the number of values that are not finite, and the place of the first."""
    nan = 0
    infinite = 0
    first = ""
    for window in row_blocks(image.shape):
        with np.errstate(over="ignore"):
            unit = to_unit(read_window(image, window, name))
        nan, infinite = nan + int(np.isnan(unit).sum()), infinite + int(np.isinf(unit).sum())
        if not first and nan + infinite:
            row, column, _ = np.argwhere(~np.isfinite(unit))[0]
            first = f"row {window[0].start + row}, column {column}"
    return DataError(
        f"{name} holds values that are not numbers: {nan} nan and {infinite} infinite "
        f"of {int(np.prod(image.shape))}, the first in {first} (counted from 0)",
        allowed="finite float32 values",
        do="put numbers there (numpy.nan_to_num puts 0 for nan), or leave the image out",
    )


def unit_range(facts: list[Facts]) -> tuple[float, float]:
    """Lowest and highest value of several images in the unit of to_unit."""
    white = [np.iinfo(one.dtype).max if np.dtype(one.dtype).kind == "u" else 1 for one in facts]
    return (
        min(one.low / high for one, high in zip(facts, white, strict=True)),
        max(one.high / high for one, high in zip(facts, white, strict=True)),
    )


def fills_unit(low: float, high: float) -> bool:
    """Whether values from low to high fill the range [0, 1], for which mean and std 0.5 are meant.

    Floats beyond it do not, nor do 12 bits stored in 16, which end at 0.06.
    """
    return low >= 0 and 0.3 <= high <= 1


def better_statistics(facts: list[Facts]) -> str:
    """What transform.mean and std are better than 0.5: 'train', 'image', or '' where 0.5 fits.

    'image' where images of one type fill [0, 1] and those of another do not: 8 bits beside 12 bits in 16.
    """
    kinds = [[one for one in facts if one.dtype == kind] for kind in sorted({one.dtype for one in facts})]
    fitting = [fills_unit(*unit_range(kind)) for kind in kinds]
    if all(fitting):
        return ""
    return "image" if any(fitting) else "train"


def displayed(image: np.ndarray) -> np.ndarray:
    """An image H x W x C, in the unit of to_unit, as a picture: H x W x 1 or 3 in [0, 1].

    Values that do not fill [0, 1] are stretched from the lowest to the highest. Of two channels the first is
    shown, of four and more the first three.
    """
    shown = np.asarray(image, np.float64)[..., : 3 if image.shape[2] >= 3 else 1]
    low, high = display_range(float(shown.min()), float(shown.max()))
    return np.asarray(np.clip((shown - low) / max(high - low, 1e-9), 0, 1))


def display_range(low: float, high: float) -> tuple[float, float]:
    """The values shown as black and white for values from low to high, in the unit of to_unit."""
    about = 0.01  # what resampling adds
    return (0.0, 1.0) if low >= -about and fills_unit(0, min(high, max(1, high - about))) else (low, high)


def turned_images(items: list[Item]) -> list[str]:
    """A line about images with an orientation tag, read as viewers show them; one about such labels alone."""
    orientations = [
        (item, orientation(item.image, item.page), orientation(item.label, item.page)) for item in items
    ]
    turned = [(item, image, label) for item, image, label in orientations if image != 1]
    odd = [(item, label) for item, image, label in orientations if image == 1 != label]
    lines = []
    if turned:
        first, number, _ = turned[0]
        unlike = sum(label != image for _, image, label in turned)
        lines.append(
            f"{len(turned)} of {len(items)} images are stored turned (EXIF or TIFF orientation, the first: "
            f"{first.name}, {number}) and are read as viewers show them; {unlike} of their labels "
            "have no such entry: were they drawn on the picture as viewers show it?"
        )
    if odd:
        first, number = odd[0]
        lines.append(
            f"{len(odd)} of {len(items)} labels are stored turned (EXIF or TIFF orientation, the first: "
            f"{first.name}, {number}), unlike their images, and are read as viewers show them: "
            "do they lie on the objects?"
        )
    return lines


def mean_and_std(facts: list[Facts]) -> tuple[np.ndarray, np.ndarray]:
    """float64 per channel over all pixels of several images."""
    weights = np.array([float(fact.shape[0] * fact.shape[1]) for fact in facts])[:, None]
    means = np.stack([fact.mean for fact in facts])
    stds = np.stack([fact.std for fact in facts])
    mean = (weights * means).sum(0) / weights.sum()
    variance = (weights * (stds**2 + means**2)).sum(0) / weights.sum() - mean**2
    return mean, np.sqrt(np.maximum(variance, 0))


@dataclass(frozen=True)
class Values:
    """What the images of a training split hold, in the unit of to_unit.

    low, high: over all images. span: the smallest high - low of an image that is not blank.
    """

    low: float
    high: float
    span: float


def values_of(facts: list[Facts]) -> Values:
    """The range of images from their facts."""
    ranges = [unit_range([one]) for one in facts]
    spans = [high - low for low, high in ranges if high > low]
    return Values(*unit_range(facts), min(spans, default=0.0))


class Watch:
    """Windows of a new image, compared with what networks were trained on.

    An image is strange where more than half of its values lie outside the range of the training images,
    widened by its own width on both sides: what another exposure adds stays within, another unit (0 to 4095
    for 0 to 1) does not. It is also strange where it has another type than uint8, which has one unit only,
    and spans less than a quarter of what the flattest training image does (12 bits in 16).
    """

    def __init__(self, expected: list[Values]) -> None:
        self.expected = expected
        self.low = np.inf
        self.high = -np.inf
        self.seen = 0
        self.outside = [0] * len(expected)

    def look(self, unit: np.ndarray) -> None:
        """Count a window in the unit of to_unit; windows may overlap."""
        low = float(unit.min())
        high = float(unit.max())
        self.low, self.high, self.seen = min(self.low, low), max(self.high, high), self.seen + unit.size
        for number, values in enumerate(self.expected):
            width = values.high - values.low
            bounds = values.low - width, values.high + width
            if low < bounds[0] or high > bounds[1]:
                self.outside[number] += int(((unit < bounds[0]) | (unit > bounds[1])).sum())

    def remark(self, name: str, dtype: np.dtype[Any]) -> str | None:
        """One line, if the image is strange."""
        flat = dtype != np.uint8 and self.high > self.low
        for values, outside in zip(self.expected, self.outside, strict=True):
            if outside > self.seen / 2 or (flat and self.high - self.low < values.span / 4):
                return (
                    f"{name} holds {self.low:.3g} to {self.high:.3g}, far from the range {values.low:.3g} to "
                    f"{values.high:.3g} of the training images; is it in another unit? Its mask may be wrong"
                )
        return None


RARE = 0.001  # share of the training pixels below which a class is warned about
