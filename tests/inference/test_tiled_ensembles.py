"""Symmetries, ensembles and batches of tiles; what tiling refuses."""

import re
from typing import Any

import numpy as np
import pytest

from tests.conftest import predictor_of
from tests.inference.networks import (
    mirrored,
    noise,
    options,
    pixels,
    predict_array,
    probabilities,
    unet,
    whole,
)
from unet_exp.errors import ConfigError, ModelError, UserError
from unet_exp.inference.tiling import Network

pytestmark = pytest.mark.usefixtures("seeded")


def symmetric_mean(network: Network, image: np.ndarray) -> np.ndarray:
    """The mean over the square's eight symmetries, by numpy and by the image at once."""
    total: Any = 0
    for quarters in range(4):
        for flip in (False, True):
            turned = np.rot90(image, quarters)
            turned = np.ascontiguousarray(turned[::-1] if flip else turned)
            result = whole(network, turned)
            result = result[:, ::-1] if flip else result
            total = total + np.rot90(result, -quarters, axes=(1, 2)) / 8
    return np.asarray(total)


@pytest.mark.parametrize(("height", "width"), [(96, 132), (20, 80), (12, 16)])
def test_tta_is_the_mean_of_eight(height: int, width: int) -> None:
    network, image = probabilities(unet()), noise(height, width, 2)
    expected = symmetric_mean(network, image)
    tiled = predict_array([network], image, **options(halo=22, tta=True))
    np.testing.assert_allclose(tiled, expected, atol=5e-7)
    assert abs(whole(network, image) - expected).max() > 1e-2


def test_tta_of_images_with_an_up_and_a_down_is_the_mean_of_two() -> None:
    network, image = probabilities(unet()), noise(52, 80, 2)
    mirrored_back = whole(network, np.ascontiguousarray(image[:, ::-1]))[:, :, ::-1]
    expected = (whole(network, image) + mirrored_back) / 2
    tiled = predict_array([network], image, **options(halo=22, tta=True, symmetries="left_right"))
    np.testing.assert_allclose(tiled, expected, atol=5e-7)


def test_tta_with_valid_padding() -> None:
    network, image = probabilities(unet(padding="valid")), noise(68, 44, 2)
    expected = symmetric_mean(network, mirrored(image, 2, 20))
    tiled = predict_array([network], image, **options(margin=20, tile=60, tta=True))
    np.testing.assert_allclose(tiled, expected, atol=1e-6)


def test_ensemble_is_the_mean() -> None:
    networks, image = [probabilities(unet()) for _ in range(3)], noise(90, 100, 2)
    alone = [predict_array([network], image, **options()) for network in networks]
    assert abs(alone[0] - alone[1]).max() > 1e-2
    together = predict_array(networks, image, **options())
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-6)
    # Networks may give their input or one array twice: nothing is changed in place.
    np.testing.assert_allclose(
        predict_array([pixels(0)] * 2, image, **options())[0], image[..., 0], atol=1e-6
    )


@pytest.mark.parametrize("numbers", [options(halo=5), options(margin=20, tile=60), options(tta=True)])
def test_batch_changes_nothing(numbers: Any) -> None:
    network = probabilities(unet(padding="valid" if numbers["margin"] else "same"))
    image = noise(100, 190, 2)
    one, three, many = (predict_array([network], image, **numbers | {"batch": n}) for n in (1, 3, 50))
    np.testing.assert_allclose(three, one, atol=2e-7)
    np.testing.assert_allclose(many, one, atol=2e-7)


def test_networks_that_do_not_match_are_refused() -> None:
    image = noise(70, 70, 2)
    with pytest.raises(ModelError, match=re.escape("(2, 2, 64, 64)")) as caught:
        predict_array([probabilities(unet()), pixels(0)], image, **options())
    assert "(2, 3, 64, 64)" in caught.value.allowed
    with pytest.raises(ModelError, match=re.escape("(3, 2, 50, 50)")):
        predict_array([pixels(5)], image, **options(tile=60, margin=20))


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        (options(tile=62), ModelError),
        (options(tile=0), ModelError),
        (options(tile=-4), ModelError),
        (options(tile=2), ModelError),
        (options(tile=62, margin=20), ModelError),
        (options(tile=30, margin=20), ModelError),
        (options(tile=512, margin=92, multiple=16), ModelError),
        (options(tile=188, margin=92, multiple=16), ConfigError),  # 4 pixels of output, steps of 16
        (options(halo=32), ConfigError),
        (options(halo=31), ConfigError),
        (options(tile=60, margin=20, halo=9), ConfigError),
    ],
)
def test_wrong_tiles_are_refused(numbers: Any, kind: type[UserError]) -> None:
    """The error names sizes, and those are taken."""
    network, image = pixels(numbers["margin"]), noise(9, 7, 1)
    with pytest.raises(UserError) as caught:
        predict_array([network], image, **numbers)
    assert caught.type is kind
    first, *others = (int(number) for number in re.findall(r"-?\d+", caught.value.allowed))
    assert first == numbers["tile"]
    assert others
    for tile in others:
        tiled = predict_array([network], image, **numbers | {"tile": tile})
        np.testing.assert_allclose(tiled[0], image[..., 0], atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"overlap": 1.0},
        {"overlap": -0.1},
        {"batch": 0},
        {"multiple": 12},
        {"multiple": 0},
        {"halo": -1},
        {"margin": -1},
    ],
)
def test_wrong_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        predict_array([pixels(0)], noise(9, 7, 1), **options(**wrong))


def test_networks_with_and_without_padding_are_averaged() -> None:
    """Each sees the tiles that it needs; the result is the mean of what each gives alone."""
    models = [
        unet(padding="valid"),
        unet(),
        unet(padding="valid", depth=1),
        unet(upsample="bilinear", padding="valid"),
    ]
    alone = [predictor_of(model, channels=2, classes=3).with_options(tile=64) for model in models]
    together = alone[0].with_options(networks=models, statistics=[(0.5, 0.25)] * 4)
    assert [len(group.networks) for group in together.groups()] == [2, 1, 1]
    image = np.random.default_rng(0).integers(0, 256, (97, 70, 2), dtype=np.uint8)
    done: list[int] = []
    found = np.full((3, 97, 70), np.nan, np.float32)

    def write(top: int, rows: np.ndarray) -> None:
        found[:, top : top + rows.shape[1]] = rows

    together.predict_rows(image, write, done.append)
    each = [predictor.probabilities(image) for predictor in alone]
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-6)
    assert sum(done) == together.count_tiles((97, 70)) > 4
    assert abs(each[0] - each[1]).max() > 1e-3


def test_no_network_is_refused() -> None:
    with pytest.raises(ConfigError):
        predict_array([], noise(9, 7, 1), **options())
