"""How many trainings and images it takes to show a difference, from the spread of finished runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from unet_exp.statistics.difference import LEVEL, variance_of_images, variance_of_rest, variance_of_trainings

POWER = 0.8  # four times in five
MOST_TRAININGS = 100


@dataclass(frozen=True)
class Spread:
    """Variances of one score: between trainings of a recipe, between images (of the difference of two
    recipes), and of the rest, of one training on one image."""

    trainings: float
    images: float
    rest: float


def spread_of(recipes: Sequence[np.ndarray], groups: Sequence[str]) -> Spread:
    """The mean over all pairs of recipes. recipes: float trainings x images each, at least two with two
    trainings or more; groups: a name for each image, whose images are alike."""
    places = np.unique(list(groups), return_inverse=True)[1]
    num_groups = int(places.max()) + 1
    spreads = []
    for index, first in enumerate(recipes):
        for second in recipes[index + 1 :]:
            share = 1 / len(first) + 1 / len(second)
            rest = variance_of_rest(first, second, places)
            trainings = variance_of_trainings(first, second)[0]
            images = variance_of_images(second.mean(0) - first.mean(0), places)
            spreads.append(
                [
                    max(trainings - rest, 0.0) / share,
                    max(images - rest, 0.0) * num_groups,
                    rest / share * num_groups,
                ]
            )
    trainings, images, rest = np.mean(spreads, axis=0).tolist()
    return Spread(trainings, images, rest)


def power(spread: Spread, difference: float, trainings: int, images: int, level: float = LEVEL) -> float:
    """The chance that the interval of statistics.difference leaves out 0, where the recipes truly differ so.

    trainings: of each of the two, from 2; images: independent ones (groups), from 2.
    """
    rest = 2 * spread.rest / (trainings * images)
    of_trainings = 2 * spread.trainings / trainings + rest
    of_images = spread.images / images + rest
    variance = of_trainings + of_images - rest
    if variance == 0:
        return 1.0
    df = variance**2 / (of_trainings**2 / (2 * trainings - 2) + of_images**2 / (images - 1))
    limit = stats.t.ppf((1 + level) / 2, df)
    shift = abs(difference) / math.sqrt(variance)
    return float(stats.nct.sf(limit, df, shift) + stats.nct.cdf(-limit, df, shift))


def trainings_needed(spread: Spread, difference: float, images: int, wanted: float = POWER) -> int | None:
    """The fewest trainings of each recipe with this power; None where MOST_TRAININGS are too few."""
    numbers = range(2, MOST_TRAININGS + 1)
    return next((n for n in numbers if power(spread, difference, n, images) >= wanted), None)
