"""The drawn tissue slices: repeatable, well formed, and out of reach of a plain threshold."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from unet_exp.data.synthetic import generate_membranes

Slices = list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]


@pytest.fixture(scope="module")
def slices() -> Slices:
    return [generate_membranes(3, index) for index in range(8)]


def best_threshold_dice(greys: npt.NDArray[np.uint8], membrane: npt.NDArray[np.bool_]) -> float:
    """The highest Dice that any one grey threshold reaches, membrane below it or above it."""
    hits = np.bincount(greys[membrane], minlength=256).cumsum()
    below = np.bincount(greys.ravel(), minlength=256).cumsum()
    total = membrane.sum()
    dark = 2 * hits / (below + total)
    pale = 2 * (total - hits) / (membrane.size - below + total)
    return float(max(dark.max(), pale.max()))


def test_same_arguments_same_slice(slices: Slices) -> None:
    image, label = generate_membranes(3, 5)  # drawn out of turn, and after others
    assert np.array_equal(image, slices[5][0])
    assert np.array_equal(label, slices[5][1])


def test_seed_and_index_each_change_the_slice(slices: Slices) -> None:
    labels = [label for _, label in slices] + [generate_membranes(4, 0)[1]]
    for i, one in enumerate(labels):
        for other in labels[:i]:
            assert (one != other).mean() > 0.1


@pytest.mark.parametrize("size", [32, 64, 100, 129])
def test_sizes(size: int) -> None:
    image, label = generate_membranes(0, 1, size)
    assert image.shape == label.shape == (size, size)
    assert image.dtype == label.dtype == np.uint8
    assert set(np.unique(label)) == {0, 1}
    assert image.std() > 15


def test_label_is_a_membrane_map(slices: Slices) -> None:
    for image, label in slices:
        assert image.shape == label.shape == (256, 256)
        assert 0.08 < (label == 0).mean() < 0.3
        assert image[label == 0].mean() < image[label == 1].mean() - 25
        cells, count = ndimage.label(label)
        assert count >= 10
        assert np.bincount(cells.ravel())[1:].min() >= 10  # no specks


def test_dark_organelles_are_interior(slices: Slices) -> None:
    """Well inside the cells there are pixels as dark as the typical membrane."""
    shares = []
    for image, label in slices:
        inside = ndimage.binary_erosion(label, iterations=4)
        shares.append((image[inside] < np.median(image[label == 0])).mean())
    assert np.mean(shares) > 0.02


@pytest.mark.parametrize("blur", [0, 1])
def test_no_threshold_finds_the_membranes(slices: Slices, blur: int) -> None:
    greys = np.stack([ndimage.gaussian_filter(image, blur) for image, _ in slices])
    membrane = np.stack([label == 0 for _, label in slices])
    assert 0.4 < best_threshold_dice(greys, membrane) <= 0.70
