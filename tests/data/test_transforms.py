"""Transforms: image and label stay on top of each other, all chance comes from the rng."""

import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from unet_exp.data.transforms import (
    Compose,
    MirrorBorder,
    Normalization,
    RandomCrop,
    RandomFlip,
    RandomRotate90,
    Sample,
    ToTensor,
    Transform,
)
from unet_exp.errors import DataError
from unet_exp.models.unet import UNet, center_crop

Array = npt.NDArray[Any]
GEOMETRIC: list[Transform] = [RandomFlip(), RandomRotate90(), RandomCrop(3)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def make(height: int = 4, width: int = 4, channels: int = 1) -> Sample:
    """Every pixel of the image has its own value; the label is 1 where that value is odd."""
    numbers = np.arange(height * width, dtype=np.float32).reshape(height, width, 1)
    image = np.concatenate([numbers + 1000 * channel for channel in range(channels)], axis=2)
    return {"input": image, "label": numbers % 2, "index": 7, "name": "a"}


def outcomes(transform: Transform, sample: Sample, draws: int = 200) -> set[bytes]:
    return {np.ascontiguousarray(transform(sample, rng(seed))["input"]).tobytes() for seed in range(draws)}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(4, 4), (4, 6), (7, 5)])
@pytest.mark.parametrize("transform", GEOMETRIC)
def test_image_and_label_move_together(transform: Transform, shape: tuple[int, int], channels: int) -> None:
    sample = make(*shape, channels)
    for seed in range(30):
        changed = transform(sample, rng(seed))
        image, label = changed["input"], changed["label"]
        assert image.shape[:2] == label.shape[:2]
        assert (image.shape[2], label.shape[2]) == (channels, 1)
        assert np.array_equal(label, image[..., :1] % 2)  # no new values, and each under its own pixel
        assert len(np.unique(image[..., 0])) == image.shape[0] * image.shape[1]
        for channel in range(channels):
            assert np.array_equal(image[..., channel], image[..., 0] + 1000 * channel)


def global_states() -> tuple[bytes, int, Any, bytes]:
    """What numpy's, Python's and torch's own generators would draw next."""
    numpys: Any = np.random.get_state()  # noqa: NPY002
    return numpys[1].tobytes(), numpys[2], random.getstate(), torch.get_rng_state().numpy().tobytes()


@pytest.mark.parametrize("transform", GEOMETRIC)
def test_same_rng_same_result(transform: Transform) -> None:
    torch.manual_seed(0)
    before = global_states()
    for seed in range(20):
        one, two = transform(make(), rng(seed)), transform(make(), rng(seed))
        assert np.array_equal(one["input"], two["input"])
        assert np.array_equal(one["label"], two["label"])
    assert global_states() == before  # nothing but the rng is drawn from


def test_flip_outcomes() -> None:
    sample = make(3, 4)
    image: Array = sample["input"]
    expected = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
    assert outcomes(RandomFlip(), sample) == {np.ascontiguousarray(e).tobytes() for e in expected}


def test_a_flip_of_left_and_right_alone() -> None:
    sample = make(3, 4)
    expected = [sample["input"], sample["input"][:, ::-1]]
    assert outcomes(RandomFlip(up_down=False), sample) == {
        np.ascontiguousarray(e).tobytes() for e in expected
    }


def test_flip_chances_are_even() -> None:
    image = make(2, 2)["input"]
    corners = [float(RandomFlip()(make(2, 2), rng(seed))["input"][0, 0, 0]) for seed in range(400)]
    for value in image.ravel():
        assert 60 < corners.count(float(value)) < 140  # 100 +- 4.6 standard deviations


def test_rotate_outcomes() -> None:
    sample = make(4, 4)
    image: Array = sample["input"]
    across = image.transpose(1, 0, 2)
    expected = [image, across[::-1], image[::-1, ::-1], across[:, ::-1]]
    assert outcomes(RandomRotate90(), sample) == {np.ascontiguousarray(e).tobytes() for e in expected}


@pytest.mark.parametrize("shape", [(3, 5), (6, 2)])
def test_rotate_keeps_oblong_size(shape: tuple[int, int]) -> None:
    sample = make(*shape)
    image: Array = sample["input"]
    found = [RandomRotate90()(sample, rng(seed))["input"] for seed in range(50)]
    assert {array.shape for array in found} == {(*shape, 1)}
    half_turn = np.ascontiguousarray(image[::-1, ::-1]).tobytes()
    assert outcomes(RandomRotate90(), sample) == {image.tobytes(), half_turn}


def test_crop_reaches_every_place() -> None:
    sample = make(5, 4)
    corners = {float(RandomCrop(3)(sample, rng(seed))["input"][0, 0, 0]) for seed in range(200)}
    assert corners == {0, 1, 4, 5, 8, 9}  # rows 0..2, columns 0..1 of a grid 4 wide
    crop = RandomCrop(3)(sample, rng(1))["input"][..., 0]
    assert np.array_equal(crop - crop[0, 0], [[0, 1, 2], [4, 5, 6], [8, 9, 10]])


def test_crop_of_the_whole_image() -> None:
    assert np.array_equal(RandomCrop(4)(make(4, 4), rng())["input"], make(4, 4)["input"])


@pytest.mark.parametrize(("shape", "allowed"), [((4, 4), 4), ((9, 3), 3), ((2, 9), 2)])
def test_crop_too_large(shape: tuple[int, int], allowed: int) -> None:
    with pytest.raises(DataError, match=rf"crop of 5 .* {shape[0]} x {shape[1]}") as caught:
        RandomCrop(5)(make(*shape), rng())
    assert f"at most {allowed}" in str(caught.value)


def test_normalization() -> None:
    image = np.array([0, 0.25, 0.5, 1], dtype=np.float32).reshape(2, 2, 1)
    label = np.array([0, 1, 1, 0], dtype=np.float32).reshape(2, 2, 1)
    changed = Normalization(0.5, 0.5)({"input": image, "label": label}, rng())
    assert changed["input"].ravel().tolist() == [-1, -0.5, 0, 1]
    assert changed["input"].dtype == np.float32
    assert np.array_equal(changed["label"], label)
    other = Normalization(mean=0.25, std=2.0)({"input": image, "label": label}, rng())
    assert other["input"].ravel().tolist() == [-0.125, 0, 0.125, 0.375]


@pytest.mark.parametrize("channels", [1, 3])
def test_to_tensor(channels: int) -> None:
    sample = make(4, 5, channels)
    changed = ToTensor()({**sample, "input": sample["input"].astype(np.float64)}, rng())
    for key, count in (("input", channels), ("label", 1)):
        tensor = changed[key]
        assert isinstance(tensor, torch.Tensor)
        assert tensor.dtype == torch.float32
        assert tensor.shape == (count, 4, 5)
        assert tensor.is_contiguous()
        for channel in range(count):
            assert np.array_equal(tensor[channel].numpy(), sample[key][..., channel])


@pytest.mark.parametrize("shape", [(4, 5), (1, 5), (5, 1), (1, 1)])
def test_to_tensor_after_flips_and_turns(shape: tuple[int, int]) -> None:
    """Flipped arrays have negative strides, which torch refuses, even along an axis of one pixel."""
    both = Compose([RandomFlip(), RandomRotate90()])
    for seed in range(30):
        expected = both(make(*shape), rng(seed))["input"]
        tensor = Compose([both, ToTensor()])(make(*shape), rng(seed))["input"]
        assert np.array_equal(tensor[0].numpy(), expected[..., 0])


def test_compose_keeps_the_order_and_one_rng() -> None:
    sample = make(6, 6)
    twice = Compose([Normalization(0.0, 2.0), Normalization(1.0, 1.0)])(sample, rng())["input"]
    assert np.array_equal(twice, sample["input"] / 2 - 1)
    steps: list[Transform] = [RandomCrop(4), RandomFlip(), RandomRotate90()]
    for seed in range(10):
        stream, expected = rng(seed), sample
        for step in steps:
            expected = step(expected, stream)
        assert np.array_equal(Compose(steps)(sample, rng(seed))["input"], expected["input"])
    assert Compose([])(sample, rng()) == sample


@pytest.mark.parametrize("transform", [*GEOMETRIC, Normalization(0.5, 0.5), ToTensor(), Compose(GEOMETRIC)])
def test_sample_is_left_as_it_was(transform: Transform) -> None:
    for seed in range(10):
        sample = make()
        changed = transform(sample, rng(seed))
        assert set(sample) == set(make())
        for key in ("input", "label"):
            assert sample[key].dtype == np.float32
            assert np.array_equal(sample[key], make()[key])
        assert (changed["index"], changed["name"]) == (7, "a")
        assert set(changed) == set(sample)


@pytest.mark.parametrize(("height", "width"), [(512, 512), (40, 61)])
def test_the_mirrored_border_leaves_a_network_without_padding_the_whole_image(
    height: int, width: int
) -> None:
    sample = make(height, width) | {"weight": np.ones((height, width, 1), np.float32)}
    padded = MirrorBorder(depth=2 if height == 40 else 4)(sample, rng())
    if height == 512:
        assert padded["input"].shape == (700, 700, 1)
    torch.manual_seed(0)
    net = UNet(base_channels=2, depth=2 if height == 40 else 4, padding="valid").eval()
    with torch.inference_mode():
        logits = net(torch.from_numpy(padded["input"].transpose(2, 0, 1).copy())[None])
    label = center_crop(torch.from_numpy(padded["label"][..., 0]), *logits.shape[-2:])
    assert int((label != 255).sum()) == height * width
    inside = padded["label"][..., 0] != 255
    assert np.array_equal(padded["input"][inside].reshape(height, width, 1), sample["input"])
    assert np.array_equal(padded["label"][inside].reshape(height, width, 1), sample["label"])
    assert np.array_equal(padded["weight"][..., 0], inside)
    top = int(np.flatnonzero(inside.any(1))[0])
    assert np.array_equal(padded["input"][top - 1][:, 0], padded["input"][top + 1][:, 0])
