"""How far two recipes are apart, and how sure that is: a t test with two levels, images and trainings.

Each recipe was trained several times, and each training scored the same images. The score of image i by
training s is mean + (luck of training s) + (how image i is) + rest. The variance of a difference of means
is then that between trainings plus that between images (of the differences, image by image), less the rest,
which both hold. Its degrees of freedom are Satterthwaite's (1946, doi 10.2307/3002019); the variances are
those of a mixed model with two crossed factors, by the method of moments. docs/statistics.md has its
coverage, beside other methods."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

LEVEL = 0.95
FEWEST_IMAGES = 10  # below, nothing is said of other images


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; nan where there is none."""

    mean: float
    low: float
    high: float


def mean_of_images(
    values: np.ndarray, groups: Sequence[str], fewest: int = FEWEST_IMAGES, level: float = LEVEL
) -> Interval:
    """The mean score of one recipe, over other images and other trainings; see difference.

    values: float trainings x images, without nan. groups: a name for each image. No bounds for fewer groups.
    """
    places = np.unique(list(groups), return_inverse=True)[1]
    num_groups = int(places.max()) + 1
    mean = float(values.mean())
    if num_groups < fewest:
        return Interval(mean, math.nan, math.nan)
    variance = variance_of_images(values.mean(0), places)
    df: float = num_groups - 1
    if len(values) > 1:
        of_images = variance
        # Of one recipe: half of what two alike ones have between their trainings, and in the rest.
        of_trainings = variance_of_trainings(values, values)[0] / 2
        rest = variance_of_rest(values, values, places) / 2
        variance = max(of_trainings + of_images - rest, of_trainings, of_images)
        parts = of_trainings**2 / (len(values) - 1) + of_images**2 / (num_groups - 1)
        df = variance**2 / parts if parts > 0 else math.inf
    half = t_quantile(level, df) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Difference:
    """Of two mean scores, the second less the first. p: two-sided, of no difference.

    scope: what the interval allows for. "both": other images and other trainings; "images": other images, of
    these two networks; "trainings": other trainings, of these images; "none": there is no interval.
    images, groups: how many were paired, and of how many independent groups they are. se_trainings,
    se_images: standard errors of the two levels.
    """

    mean: float
    low: float
    high: float
    p: float
    df: float
    scope: str
    images: int
    groups: int
    se_trainings: float
    se_images: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Student's interval of a mean; no bounds for fewer than two values."""
    numbers = np.asarray(values, float)
    if len(numbers) < 2:
        return Interval(float(numbers.mean()) if len(numbers) else math.nan, math.nan, math.nan)
    mean = float(numbers.mean())
    error = float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    half = t_quantile(level, len(numbers) - 1) * error
    return Interval(mean, mean - half, mean + half)


def difference(
    first: np.ndarray,
    second: np.ndarray,
    groups: Sequence[str] | None = None,
    level: float = LEVEL,
    fewest: int = FEWEST_IMAGES,
) -> Difference:
    """Of two recipes: second less first.

    first, second: float trainings x images, the same images in the same order, without nan. groups: a name
    for each image; images of one group are alike, so groups are what is independent. By default each image
    is its own. fewest: with less groups nothing is said of other images.
    """
    assert first.shape[1] == second.shape[1] > 0
    num_images = first.shape[1]
    names = list(groups) if groups is not None else [str(index) for index in range(num_images)]
    places = np.unique(names, return_inverse=True)[1]
    num_groups = int(places.max()) + 1
    mean = float(second.mean() - first.mean())
    of_trainings, df_trainings = variance_of_trainings(first, second)
    of_images = variance_of_images(second.mean(0) - first.mean(0), places)
    enough = num_groups >= fewest
    repeated = not math.isnan(of_trainings)
    if enough and repeated:
        rest = variance_of_rest(first, second, places)
        variance = max(of_trainings + of_images - rest, of_trainings, of_images)
        parts = of_trainings**2 / df_trainings + of_images**2 / (num_groups - 1)
        df = variance**2 / parts if parts > 0 else math.inf
        scope = "both"
    elif enough:
        variance, df, scope = of_images, num_groups - 1, "images"
    elif repeated:
        variance, df, scope = of_trainings, df_trainings, "trainings"
    else:
        variance, df, scope = math.nan, math.nan, "none"
    error = math.sqrt(variance)
    half = t_quantile(level, df) * error
    return Difference(
        mean=mean,
        low=mean - half,
        high=mean + half,
        p=p_of(mean, error, df),
        df=float(df),
        scope=scope,
        images=num_images,
        groups=num_groups,
        se_trainings=math.sqrt(of_trainings),
        se_images=math.sqrt(of_images),
    )


def t_quantile(level: float, df: float) -> float:
    """Of Student's t: the half width of an interval in standard errors."""
    return float(special.stdtrit(df, (1 + level) / 2))


def p_of(mean: float, error: float, df: float) -> float:
    """Two-sided p of Student's t; of a difference without any spread 1 or 0."""
    if math.isnan(error):
        return math.nan
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * float(special.stdtr(df, -abs(mean) / error))


def variance_of_trainings(first: np.ndarray, second: np.ndarray) -> tuple[float, int]:
    """Of the difference, by the trainings' mean scores, and its degrees of freedom; nan where none is
    repeated.

    Both recipes are taken to vary alike, which gives the estimate the most degrees of freedom.
    """
    df = len(first) + len(second) - 2
    if df == 0:
        return math.nan, 0
    squares = sum(float(((one.mean(1) - one.mean()) ** 2).sum()) for one in (first, second))
    return squares / df * (1 / len(first) + 1 / len(second)), df


def variance_of_images(differences: np.ndarray, places: np.ndarray) -> float:
    """Of the mean of these differences, one for each image; places: the group of each, from 0. nan for
    one."""
    num_groups = int(places.max()) + 1
    if num_groups < 2:
        return math.nan
    sums = np.bincount(places, differences - differences.mean(), num_groups)
    return float((sums**2).sum() / len(differences) ** 2 * num_groups / (num_groups - 1))


def variance_of_rest(first: np.ndarray, second: np.ndarray, places: np.ndarray) -> float:
    """Of the difference, by what neither a training nor an image explains: it is in both variances above."""
    num_groups = int(places.max()) + 1
    squares = 0.0
    for one in (first, second):
        rest = one - one.mean(1, keepdims=True) - one.mean(0) + one.mean()
        squares += sum(float((np.bincount(places, row, num_groups) ** 2).sum()) for row in rest)
    df = len(first) + len(second) - 2
    per_training = squares / df / first.shape[1] ** 2 * num_groups / (num_groups - 1)
    return float(per_training * (1 / len(first) + 1 / len(second)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p adjusted for several comparisons (Holm, 1979): the chance of one false difference or more stays below
    the level. nan stays nan and counts as none."""
    order = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[index] = largest
    return adjusted
