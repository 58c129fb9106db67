"""Synthetic nuclei: numbered without gaps, each in one piece, bright, often touching, and always the same."""

import numpy as np
import pytest
from scipy import ndimage

from unet_exp.data.nuclei import SMALLEST, generate_nuclei


@pytest.mark.parametrize("size", [32, 64, 256, 300])
def test_each_nucleus_has_one_number_and_is_one_piece(size: int) -> None:
    image, objects = generate_nuclei(3, 1, size)
    assert image.shape == objects.shape == (size, size)
    assert image.dtype == np.uint8
    assert objects.dtype == np.uint16
    for number in range(1, int(objects.max()) + 1):
        mask = objects == number
        assert mask.sum() >= SMALLEST
        assert ndimage.label(mask)[1] == 1


def test_an_image_is_a_function_of_seed_and_index() -> None:
    image, objects = generate_nuclei(0, 0, 64)
    again = generate_nuclei(0, 0, 64)
    assert np.array_equal(image, again[0])
    assert np.array_equal(objects, again[1])
    for seed, index in ((0, 1), (1, 0)):
        assert not np.array_equal(image, generate_nuclei(seed, index, 64)[0])


def test_a_threshold_joins_what_touches() -> None:
    """Nuclei are brighter than the background, and fewer components than nuclei remain of them."""
    numbers = pieces = 0
    for index in range(12):
        image, objects = generate_nuclei(0, index)
        assert image[objects > 0].mean() > 2 * image[objects == 0].mean()
        numbers += int(objects.max())
        pieces += ndimage.label(objects > 0)[1]
    assert numbers > 120
    assert pieces < 0.8 * numbers
