"""Whether images have an up and a down, such as a street with the sky above, unlike a slice of tissue."""

from collections.abc import Sequence

import numpy as np

from unet_exp.data.stats import Facts

FEWEST = 8  # images that hold the class
OFFSET = 0.1  # of the height: how far from the middle the class lies on average
CLEAR = 4.0  # times the standard error of that mean


def classes_with_a_place(facts: Sequence[Facts], num_classes: int) -> dict[int, float]:
    """Classes other than 0 whose mean height is clearly off the middle, each with that mean.

    A height is the mean row of the sampled pixels of a class in one image, divided by the image's height; 0
    is the top. Each image has the same weight.
    """
    found: dict[int, float] = {}
    for index in range(1, num_classes):
        heights = np.array(
            [
                float(np.mean(places // one.shape[1])) / one.shape[0]
                for one in facts
                for number, places in one.places
                if number == index
            ]
        )
        if len(heights) < FEWEST:
            continue
        offset = float(heights.mean()) - 0.5
        error = float(heights.std(ddof=1)) / np.sqrt(len(heights))
        if abs(offset) >= OFFSET and abs(offset) >= CLEAR * error:
            found[index] = offset + 0.5
    return found
