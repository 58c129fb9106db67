"""The strong augmentation: one geometric map for all, checked against other people's resampling."""

import dataclasses
import inspect
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from unet_exp.config.components import COMPONENTS
from unet_exp.data import intensities
from unet_exp.data.transforms import RandomCrop, Sample, Transform
from unet_exp.data.warp import RandomWarp, coordinates, displacements, mirrored, resample, rotation
from unet_exp.errors import DataError
from unet_exp.training import build

Array = npt.NDArray[Any]
WARPS: dict[str, dict[str, Any]] = {
    "elastic": {"elastic": 4.0},
    "rotation": {"elastic": 0.0, "rotation": 180.0},
    "scale and shear": {"elastic": 0.0, "rotation": 0.0, "scale": (0.5, 2.0), "shear": 20.0},
    "shift": {"elastic": 0.0, "rotation": 0.0, "shift": 9.5},
    "all": {"elastic": 4.0, "scale": (0.7, 1.4), "shear": 10.0, "shift": 3.0},
}
INTENSITIES: list[type[Any]] = [
    intensities.RandomGamma,
    intensities.RandomBrightness,
    intensities.RandomContrast,
    intensities.RandomNoise,
    intensities.RandomBlur,
    intensities.RandomLowResolution,
]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ramps(height: int, width: int) -> Sample:
    """Two channels that say where a pixel was, a chessboard of classes, a weight that is the first ramp."""
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    image = np.stack([rows, columns], axis=-1).astype(np.float32)
    label = ((rows // 4 + columns // 4) % 2)[..., np.newaxis].astype(np.float32)
    return {"input": image, "label": label, "weight": image[..., :1]}


def texture(height: int, width: int) -> Array:
    return np.asarray(ndimage.gaussian_filter(rng(1).random((height, width)), 2.0), np.float32)[..., None]


@pytest.mark.parametrize("shape", [(64, 64), (70, 90)])
@pytest.mark.parametrize("size", [None, 32])
@pytest.mark.parametrize("options", WARPS.values(), ids=WARPS)
def test_image_label_and_weight_stay_on_top_of_each_other(
    options: dict[str, Any], size: int | None, shape: tuple[int, int]
) -> None:
    warp = RandomWarp(size, interpolation="bilinear", **options)
    for seed in range(20):
        changed = warp(ramps(*shape), rng(seed))
        rows, columns = changed["input"][..., 0], changed["input"][..., 1]
        assert rows.shape == ((size, size) if size else shape)
        assert np.allclose(changed["weight"][..., 0], rows, atol=1e-3)
        # Bilinear interpolation of a ramp is where the pixel came from; the label is its nearest pixel's.
        clear = np.ones(rows.shape, bool)
        for place in (rows, columns):
            clear &= np.abs(place - np.floor(place) - 0.5) > 0.01
        expected = (np.rint(rows) // 4 + np.rint(columns) // 4) % 2
        assert clear.mean() > 0.8
        assert np.array_equal(changed["label"][..., 0][clear], expected[clear])
        assert set(np.unique(changed["label"])) <= {0.0, 1.0}


def test_flips_and_turns_alone_move_pixels_without_a_change() -> None:
    sample = ramps(16, 16)
    forms = [
        np.rot90(np.flip(sample["input"], 1) if flip else sample["input"], turns)
        for flip in (False, True)
        for turns in range(4)
    ]
    seen = set()
    for seed in range(100):
        changed = RandomWarp(probability=0.0)(sample, rng(seed))["input"]
        seen.add(next(i for i, form in enumerate(forms) if np.array_equal(form, changed)))
    assert seen == set(range(8))


def test_an_image_with_an_up_and_a_down_is_flipped_left_right_alone() -> None:
    warp, sample = RandomWarp(probability=0.0, turn=False, up_down=False), ramps(16, 16)
    forms = {image.tobytes() for image in (sample["input"], np.ascontiguousarray(sample["input"][:, ::-1]))}
    assert {warp(sample, rng(seed))["input"].tobytes() for seed in range(40)} == forms


def test_every_place_of_the_image_is_cropped() -> None:
    warp, sample = RandomWarp(8, probability=0.0, flip=False, turn=False), ramps(10, 11)
    corners = {tuple(map(int, warp(sample, rng(seed))["input"][0, 0])) for seed in range(200)}
    assert corners == {(top, left) for top in range(3) for left in range(4)}


def test_the_margin_reaches_over_the_border_into_the_mirror() -> None:
    warp = RandomWarp(12, probability=0.0, flip=False, turn=False, margin=4)
    tops = set()
    for seed in range(200):
        image = warp(ramps(10, 10), rng(seed))["input"][..., 0]
        top = image[4, 4]  # the first row that a network with this margin answers for
        tops.add(int(top))
        assert np.array_equal(image[:, 0], np.pad(np.arange(10), 8, mode="reflect")[int(top) + 4 :][:12])
    assert tops == set(range(7))


@pytest.mark.parametrize("how", ["bilinear", "nearest"])
def test_resampling_is_scipys(how: str) -> None:
    image = texture(40, 50)
    rows, columns = coordinates((40, 50), rotation(0.7) * 1.3, (18.0, 27.0), None)
    ours = resample(image, mirrored(rows, 40), mirrored(columns, 50), how)[..., 0]
    order = {"nearest": 0, "bilinear": 1}[how]
    theirs = ndimage.map_coordinates(image[..., 0], [rows, columns], order=order, mode="mirror")
    assert np.abs(ours - theirs).max() < 1e-4


def test_bicubic_resampling_is_torchs_enlargement() -> None:
    image = texture(30, 40)
    rows, columns = coordinates((59, 79), np.eye(2) / 2, (14.5, 19.5), None)
    whole = torch.from_numpy(image[..., 0])[None, None]
    theirs = F.interpolate(whole, size=(59, 79), mode="bicubic", align_corners=True)[0, 0].numpy()
    theirs = theirs.clip(image.min(), image.max())
    inside = np.s_[4:-4, 4:-4]  # at its border torch repeats pixels
    assert np.abs(resample(image, rows, columns, "bicubic")[..., 0] - theirs)[inside].max() < 1e-5


def test_channels_keep_to_their_own_values() -> None:
    image = np.concatenate([texture(30, 40) > 0.5, np.full((30, 40, 1), 100.0)], axis=-1).astype(np.float32)
    rows, columns = coordinates((30, 40), rotation(0.3), (14.5, 19.5), None)
    found = resample(image, mirrored(rows, 30), mirrored(columns, 40), "bicubic")
    assert found[..., 0].min() >= 0
    assert found[..., 0].max() <= 1


def test_displacements_are_torchs_bicubic_enlargement() -> None:
    points = rng().normal(size=(3, 4)).astype(np.float32)
    grid = torch.from_numpy(points)[None, None]
    theirs = F.interpolate(grid, size=(50, 70), mode="bicubic", align_corners=True)[0, 0].numpy()
    assert np.abs(displacements(points, (50, 70)) - theirs).max() < 1e-5


def test_displacements_have_the_deviation_that_was_asked_for() -> None:
    warp = RandomWarp(elastic=3.0, rotation=0.0, flip=False, turn=False, interpolation="bilinear")
    still = ramps(100, 100)
    corners = [
        warp(still, rng(seed))["input"][50, 50] - still["input"][50, 50] for seed in range(300)
    ]  # the middle point of 3 x 3
    assert np.std(corners) == pytest.approx(3.0, rel=0.1)
    assert abs(np.mean(corners)) < 0.4


@pytest.mark.parametrize("options", WARPS.values(), ids=WARPS)
def test_the_window_is_all_that_a_patch_needs(options: dict[str, Any]) -> None:
    image = texture(90, 120)
    warp, smaller = RandomWarp(24, **options), 0
    for seed in range(20):
        window, then = warp.draw((90, 120), rng(seed), {})
        of_window = then({"input": image[window], "label": image[window]})
        whole = RandomWarp(24, **options)({"input": image, "label": image}, rng(seed))
        assert np.array_equal(of_window["input"], whole["input"])
        smaller += image[window].size < image.size / 2
    assert smaller >= 15


def test_threads_do_not_matter() -> None:
    image, found = texture(256, 256), []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        found.append(RandomWarp(scale=[0.8, 1.2])({"input": image, "label": image}, rng(3)))
    assert np.array_equal(found[0]["input"], found[1]["input"])


def test_foreground_is_met_as_often_as_by_the_crop() -> None:
    label = np.zeros((200, 200, 1), np.float32)
    label[150:153, 40:43] = 1
    sample = {"input": label, "label": label}
    turned = RandomWarp(32, elastic=0.0, scale=[0.7, 1.4], shift=30.0, foreground=0.5)
    for transform in (RandomCrop(32, 0.5), RandomWarp(32, probability=0.0, foreground=0.5), turned):
        share = np.mean([transform(sample, rng(seed))["label"].any() for seed in range(2000)])
        assert 0.48 < share < 0.57


def test_an_image_smaller_than_the_patch_is_refused() -> None:
    with pytest.raises(DataError, match="a crop of 64 pixels does not fit into an image of 40 x 60"):
        RandomWarp(64)(ramps(40, 60), rng())
    RandomWarp(64, margin=12)(ramps(40, 60), rng())


def make(kind: type[Any], probability: float) -> Any:
    """The transform with its other argument as shipped."""
    shipped = COMPONENTS[f"{kind.__module__}.{kind.__name__}"]()
    arguments = {key: value for key, value in vars(shipped).items() if key != "_target_"}
    return kind(**arguments | {"probability": probability})


@pytest.mark.parametrize("kind", INTENSITIES)
@pytest.mark.parametrize(("channels", "factor"), [(1, 1), (3, 1), (1, 4000)])
def test_grey_values_of_any_range_change(kind: type[Any], channels: int, factor: float) -> None:
    image = np.concatenate([texture(40, 50)] * channels, axis=2) * np.float32(factor)
    sample = {"input": image, "label": texture(40, 50)}
    before = sample["input"].copy()
    for seed in range(20):
        changed = make(kind, 1.0)(sample, rng(seed))
        assert changed["label"] is sample["label"]
        assert changed["input"].dtype == np.float32
        assert changed["input"].shape == sample["input"].shape
        assert not np.array_equal(changed["input"], before)
        # Images of a larger range are changed by as much.
        small = make(kind, 1.0)({"input": image / np.float32(factor)}, rng(seed))["input"]
        assert np.allclose(changed["input"] / np.float32(factor), small, atol=1e-4)
    assert np.array_equal(sample["input"], before)
    assert make(kind, 0.0)(sample, rng()) is sample
    applied = np.mean([make(kind, 0.3)(sample, rng(seed)) is not sample for seed in range(500)])
    assert 0.24 < applied < 0.36


def test_what_the_grey_values_become() -> None:
    image = texture(64, 64)
    sample = {"input": image, "label": image}

    def after(transform: Transform) -> Array:
        return np.asarray(transform(sample, rng(5))["input"])

    one: dict[str, Any] = {"probability": 1.0}
    assert np.allclose(
        after(intensities.RandomBrightness(shift=[0.1, 0.1], **one)), image + 0.1 * np.ptp(image), atol=1e-6
    )
    softer = after(intensities.RandomContrast(factor=[0.5, 0.5], **one))
    assert softer.std() == pytest.approx(image.std() / 2, rel=1e-3)
    assert softer.mean() == pytest.approx(image.mean(), rel=1e-3)
    noise = after(intensities.RandomNoise(share=[0.5, 0.5], **one)) - image
    assert noise.std() == pytest.approx(image.std() / 2, rel=0.05)
    unit = (image - image.min()) / (image.max() - image.min())
    gamma = after(intensities.RandomGamma(gamma=[2.0, 2.0], **one))
    found = (gamma - image.min()) / (image.max() - image.min())
    assert min(np.abs(found - unit**2).max(), np.abs(found - (1 - (1 - unit) ** 2)).max()) < 1e-5
    assert after(intensities.RandomBlur(sigma=[3.0, 3.0], **one)).std() < 0.7 * image.std()
    assert np.abs(after(intensities.RandomLowResolution(zoom=[1.0, 1.0], **one)) - image).max() < 1e-5


def test_places_far_outside_are_mirrored_more_than_once() -> None:
    place = np.arange(-23, 31).astype(np.float32)
    assert np.array_equal(mirrored(place, 5), np.pad(np.arange(5), (23, 26), mode="reflect"))
    assert np.array_equal(mirrored(place, 1), np.zeros(len(place)))


@pytest.mark.parametrize("target", [target for target in COMPONENTS if ".models." not in target])
def test_arguments_are_the_schemas(target: str) -> None:
    """What a class of ours takes is what the schema lists, which alone has the defaults."""
    group = "loss" if ".losses." in target else "transform"
    taken = inspect.signature(build.find_class(target, group)).parameters
    names = {field.name for field in dataclasses.fields(COMPONENTS[target])}
    assert taken.keys() - {"_target_"} == names - {"_target_"}
    if group == "loss":
        assert all(parameter.default is inspect.Parameter.empty for parameter in taken.values())
