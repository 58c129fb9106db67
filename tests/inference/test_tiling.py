"""Tiled prediction against the whole image at once, and that nothing as large as the image is asked for."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

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
from unet_exp.inference.tiles import Tiling, receptive_radius, tile_starts, unet_margin
from unet_exp.inference.tiling import predict_tiles
from unet_exp.models.unet import UNet

pytestmark = pytest.mark.usefixtures("seeded")


@pytest.mark.parametrize(
    ("depth", "tile", "height", "width"),
    [(1, 28, 51, 40), (2, 60, 87, 61), (2, 44, 33, 30), (2, 84, 9, 130), (3, 108, 70, 61)],
)
def test_valid_padding_is_exactly_the_whole(depth: int, tile: int, height: int, width: int) -> None:
    network = probabilities(unet(depth=depth, padding="valid"))
    image, margin = noise(height, width, 2), unet_margin(depth, "valid")
    expected = whole(network, mirrored(image, depth, margin))[:, :height, :width]
    tiled = predict_array([network], image, **options(tile=tile, margin=margin, multiple=2**depth))
    np.testing.assert_allclose(tiled, expected, atol=1e-7)


def test_valid_padding_bit_for_bit() -> None:
    """Small whole numbers as weights and pixels: their sums are exact in any order."""
    net = unet(padding="valid", norm="none")
    for parameter in net.parameters():
        parameter.data = (torch.rand_like(parameter) < 3 * len(parameter) / parameter.numel()).float()
        parameter.data *= torch.randint_like(parameter, 2) * 2 - 1
    image = np.random.default_rng(0).integers(-4, 5, size=(87, 61, 2)).astype(np.float32)
    expected = whole(net, mirrored(image, 2, 20))[:, :87, :61]
    assert len(np.unique(expected)) > 10
    assert abs(expected).max() < 2**20
    np.testing.assert_array_equal(predict_array([net], image, **options(tile=60, margin=20)), expected)


def test_valid_padding_with_bilinear_upsampling() -> None:
    """Interpolation repeats the last pixel at a tile's border, which the halo cuts off."""
    network = probabilities(unet(padding="valid", upsample="bilinear"))
    image, margin, halo = noise(61, 50, 2), unet_margin(2, "valid"), receptive_radius(2, "bilinear", "valid")
    more = margin + 8
    expected = whole(network, mirrored(image, 2, more))[:, 8:69, 8:58]
    numbers = options(margin=margin, tile=60)
    tiled = predict_array([network], image, **numbers | {"halo": halo})
    np.testing.assert_allclose(tiled, expected, atol=1e-6)
    assert abs(predict_array([network], image, **numbers) - expected).max() > 1e-4


@pytest.mark.parametrize("upsample", ["transpose", "bilinear"])
@pytest.mark.parametrize(
    ("height", "width"), [(150, 133), (128, 64), (30, 171), (65, 66), (3, 2), (64, 4), (1, 97)]
)
def test_same_padding_is_the_whole(height: int, width: int, upsample: str) -> None:
    network, image = probabilities(unet(upsample=upsample)), noise(height, width, 2)
    expected = whole(network, image)
    tiled = predict_array([network], image, **options(halo=receptive_radius(2, upsample)))
    np.testing.assert_allclose(tiled, expected, atol=2e-7)
    # This can fail: without the halo the tiles' borders show.
    if max(height, width) > 64:
        assert abs(predict_array([network], image, **options()) - expected).max() > 1e-4


def test_same_padding_of_the_default_depth() -> None:
    """In fp32, as it will be run."""
    net, image = unet(depth=4, base_channels=2), noise(331, 290, 2)

    def network(tiles: Tensor) -> Tensor:
        return net(tiles).softmax(1)  # type: ignore[no-any-return]

    tiled = predict_array([network], image, **options(tile=272, multiple=16, halo=receptive_radius(4)))
    np.testing.assert_allclose(tiled, whole(network, image), atol=5e-5)


@pytest.mark.parametrize("upsample", ["transpose", "bilinear"])
@pytest.mark.parametrize(("depth", "stride"), [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (0, 4), (3, 2)])
def test_receptive_radius_is_measured(depth: int, stride: int, upsample: str) -> None:
    """Weights above 0 and no bias: a pixel of 0 is one that sees nothing of what lies beyond the border."""
    net = UNet(base_channels=2, depth=depth, norm="none", upsample=upsample, stride=stride).eval()
    for parameter in net.parameters():
        parameter.data.abs_()
    image = torch.zeros(1, 1, stride * 2**depth, 320)
    image[..., 160:] = 1
    with torch.inference_mode():
        reached = net(image)[0, 0, 0, :160].nonzero()
        assert 160 - int(reached.min()) == receptive_radius(depth, upsample, stride=stride)
        assert bool(net(image)[..., 160:].all())


def test_receptive_radius_and_margin_of_the_paper() -> None:
    assert receptive_radius(4, "transpose") == 94
    assert receptive_radius(4) == 109
    assert receptive_radius(4, "transpose", "valid") == 0
    assert receptive_radius(2, "bilinear", "valid") == 3
    assert unet_margin(4, "valid") == (572 - 388) / 2 == 92
    assert unet_margin(4, "same") == 0


def drawn_sizes() -> list[tuple[int, int]]:
    drawn = [(int(h), int(w)) for h, w in np.random.default_rng(1).integers(1, 130, size=(24, 2))]
    return [(1, 1), (1, 129), (129, 1), (129, 129), (2, 3), (16, 17), (63, 64), (65, 128), *drawn]


@pytest.mark.parametrize(
    "numbers",
    [
        options(tile=32, overlap=0.5),
        options(tile=16, overlap=0.0, multiple=1),
        options(tile=32, halo=9),
        options(tile=48, overlap=0.9, multiple=16, batch=1),
        options(tile=60, margin=20, batch=100),
        options(tile=44, margin=20),
        options(tile=52, margin=20, halo=3),
        options(tile=25, margin=5, multiple=1),
    ],
)
def test_every_pixel_once(numbers: Any) -> None:
    for height, width in drawn_sizes():
        image = np.random.default_rng(height).random((height, width, 1), dtype=np.float32)
        result = np.full((2, height, width), np.nan, np.float32)
        tops, calls = [0], list[int]()

        def read(
            rows: slice, columns: slice, image: np.ndarray = image, side: int = numbers["tile"]
        ) -> np.ndarray:
            assert 0 <= rows.start < rows.stop <= image.shape[0]
            assert 0 <= columns.start < columns.stop <= image.shape[1]
            assert rows.stop - rows.start <= numbers["tile"]
            return image[rows, columns]

        def write(top: int, rows: np.ndarray, tops: list[int] = tops, result: np.ndarray = result) -> None:
            assert top == tops[-1], "rows left out or given twice"
            assert 0 < rows.shape[1] <= numbers["tile"]
            assert rows.dtype == np.float32
            result[:, top : top + rows.shape[1]] = rows
            tops.append(top + rows.shape[1])

        tiling = Tiling(**{key: value for key, value in numbers.items() if key != "batch"})
        network, batch = pixels(numbers["margin"]), numbers["batch"]
        predict_tiles([network], read, (height, width), write, tiling, batch=batch, progress=calls.append)
        assert tops[-1] == height
        np.testing.assert_allclose(result[0], image[..., 0], atol=1e-6, err_msg=f"{height} x {width}")
        np.testing.assert_allclose(result.sum(0), 1, atol=1e-6)
        assert max(calls) <= numbers["batch"]
        assert sum(calls) == tiling.count((height, width))


@pytest.mark.parametrize(
    ("tile", "overlap", "multiple"), [(32, 0.5, 4), (48, 0.25, 16), (16, 0.0, 16), (20, 0.99, 4)]
)
def test_tile_starts(tile: int, overlap: float, multiple: int) -> None:
    for size in range(1, 400):
        starts = tile_starts(size, tile, overlap, multiple)
        steps = np.diff(starts)
        assert starts[0] == 0
        assert size <= starts[-1] + tile < max(size, tile) + multiple
        assert all(start % multiple == 0 for start in starts)
        assert all(0 < step <= max(multiple, tile * (1 - overlap)) for step in steps)
        assert not len(steps) or steps.max() - steps.min() <= multiple


def test_overlap_is_not_lost_to_rounding() -> None:
    """80 * (1 - 0.9) is a little below 8."""
    assert tile_starts(160, 80, 0.9, 4) == list(range(0, 81, 8))


def test_weights_are_gaussian() -> None:
    """A network that finds class 0 in the first tile only: the result is the weight of that tile."""
    seen: list[tuple[int, ...]] = []

    def network(tiles: Tensor) -> Tensor:
        seen.append(tuple(tiles.shape))
        first = torch.full_like(tiles, float(len(seen) == 1))
        return torch.cat([first, 1 - first], dim=1)

    tiled = predict_array([network], noise(4, 96, 1), **options(batch=1))
    assert seen == [(1, 1, 4, 64)] * 2
    column = np.arange(96)
    one, other = (np.exp(-(((column - middle) / 8) ** 2) / 2) for middle in (31.5, 63.5))
    expected = np.where(column < 32, 1, np.where(column < 64, one / (one + other), 0))
    np.testing.assert_allclose(tiled[0], np.broadcast_to(expected, (4, 96)), atol=1e-6)


@pytest.mark.parametrize(
    ("numbers", "shape"),
    [(options(), (12, 8)), (options(tile=140, margin=20), (52, 48)), (options(tile=8), (8, 8))],
)
def test_tiles_are_no_larger_than_the_image_needs(numbers: Any, shape: tuple[int, int]) -> None:
    def network(tiles: Tensor) -> Tensor:
        assert tiles.shape[2:] == shape
        return pixels(numbers["margin"])(tiles)

    predict_array([network], noise(9, 7, 1), **numbers)


@pytest.mark.parametrize("numbers", [options(), options(halo=20), options(margin=20, tile=60)])
def test_constant_stays_constant(numbers: Any) -> None:
    share = torch.tensor([0.1, 0.2, 0.7])[:, None, None]

    def network(tiles: Tensor) -> Tensor:
        side = [size - 2 * numbers["margin"] for size in tiles.shape[2:]]
        return share.expand(len(tiles), 3, *side)

    tiled = predict_array([network], noise(131, 150, 1), **numbers)
    np.testing.assert_allclose(tiled, np.broadcast_to(share.numpy(), tiled.shape), atol=2e-7)
