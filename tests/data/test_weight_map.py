"""The paper's weight map, against its formula computed pixel by pixel, and how the losses use it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from skimage.measure import label as components

from tests.conftest import composed, write_folder
from tests.support import by_default
from unet_exp.data.weight_map import weight_map
from unet_exp.losses import CEDiceLoss, CELoss, DiceLoss
from unet_exp.training import build, setup


def by_the_formula(label: npt.NDArray[Any], w0: float, sigma: float) -> npt.NDArray[Any]:
    """Every distance to every object's every pixel."""
    objects = components(label, background=0, connectivity=1)  # type: ignore[no-untyped-call]
    places = np.moveaxis(np.indices(label.shape), 0, -1).astype(float)
    weights = np.zeros(label.shape)
    for row, column in np.argwhere(label == 0):
        far = sorted(
            np.sqrt(((places[objects == number] - (row, column)) ** 2).sum(1)).min()
            for number in range(1, objects.max() + 1)
        )
        weights[row, column] = w0 * np.exp(-((far[0] + far[1]) ** 2) / (2 * sigma**2))
    return weights


def blobs(seed: int) -> npt.NDArray[Any]:
    """Classes 0, 1, 2 in rectangles, with gaps of some pixels between most of them."""
    rng, label = np.random.default_rng(seed), np.zeros((36, 44), np.uint8)
    for _ in range(9):
        top, left = rng.integers(0, 30), rng.integers(0, 38)
        label[top : top + rng.integers(3, 9), left : left + rng.integers(3, 9)] = rng.integers(1, 3)
    return label


@pytest.mark.parametrize("seed", range(4))
def test_the_map_is_the_formula(seed: int) -> None:
    label = blobs(seed)
    found, expected = weight_map(label, 10.0, 2.0), by_the_formula(label, 10.0, 2.0)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 10.0 * np.exp(-8)  # cut off at four sigma
    assert expected.max() > 1


def test_one_object_has_no_neighbour_and_touching_ones_do_not_count_ignored_pixels() -> None:
    label = np.zeros((20, 20), np.uint8)
    label[5:9, 5:9] = 1
    assert not weight_map(label).any()
    label[5:9, 12:15] = 255
    assert not weight_map(label).any()
    label[5:9, 12:15] = 1
    assert weight_map(label)[6, 10] == pytest.approx(10 * np.exp(-(4**2) / 50), rel=1e-5)


def test_cross_entropy_takes_the_map_by_the_papers_sum() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(2, 1, 6, 7), torch.randint(0, 2, (2, 1, 6, 7)).float()
    weight = torch.rand(2, 1, 6, 7) * 9
    each = F.binary_cross_entropy_with_logits(logits, label, reduction="none")
    own = torch.where(label == 1, 2.0, 0.5)
    for weights, expected in ((None, 1 + weight), ([0.5, 2.0], own + weight)):
        ours = by_default(CELoss, class_weights=weights)(logits, label, weight)
        assert ours == pytest.approx(((each * expected).sum() / expected.sum()).item(), rel=1e-5)
    both = by_default(CEDiceLoss, dice_weight=0.25)(logits, label, weight)
    plain = by_default(CELoss)(logits, label, weight), by_default(DiceLoss)(logits, label)
    assert both == pytest.approx((0.75 * plain[0] + 0.25 * plain[1]).item(), rel=1e-5)


@pytest.mark.parametrize("cache", ["ram", "none"])
def test_samples_bring_the_map_of_their_whole_label(cache: str, tmp_path: Any) -> None:
    """Cut and turned with the label; computed of the whole one, whose objects end outside of the crop."""
    root = write_folder(tmp_path, count=4, size=64)
    options = [
        "data=image_folder",
        f"data.root={root}",
        "data.split.val=2",
        f"data.cache={cache}",
        "loss.w0=10",
        "loss.sigma=3",
        "transform=crop",
        "transform.train.crop.size=32",
        "model=unet_small",
        "batch_size=2",
        "threads=1",
    ]
    config = setup.settle_machine(composed(*options))
    data = setup.read_samples(config, setup.find_items(config))
    train, val = build.build_loaders(setup.settle_data(config, data), data)
    for index in range(2):
        sample = val.dataset[(0, index)]
        whole = weight_map(sample["label"][0].numpy().astype(np.uint8), 10, 3)
        assert np.array_equal(sample["weight"][0].numpy(), whole)
    batch = next(train.epoch(0))
    assert batch["weight"].shape == batch["label"].shape == (2, 1, 32, 32)
    assert (batch["weight"][batch["label"] == 1] == 0).all()
    assert batch["weight"].max() > 1


def test_windows_of_a_label_share_its_map(tmp_path: Any) -> None:
    root = write_folder(tmp_path, count=4, size=128)
    options = [
        "data=image_folder",
        f"data.root={root}",
        "data.split.val=1",
        "data.window=64",
        "loss.w0=10",
        "model=unet_small",
        "batch_size=2",
        "threads=1",
    ]
    config = setup.settle_machine(composed(*options))
    data = setup.read_samples(config, setup.find_items(config))
    val = build.build_loaders(setup.settle_data(config, data), data)[1].dataset
    parts = [val[(0, index)] for index in range(len(val))]
    assert len(parts) == 4
    label, found = (
        torch.cat([torch.cat([parts[i][key], parts[i + 1][key]], -1) for i in (0, 2)], -2)[0].numpy()
        for key in ("label", "weight")
    )
    assert np.array_equal(found, weight_map(label.astype(np.uint8), 10, 5))
    assert len(val.maps) == 1


def test_workers_do_not_matter_to_strongly_augmented_samples_and_their_maps(tmp_path: Any) -> None:
    root = write_folder(tmp_path, count=8, size=64)
    options = [
        "data=image_folder",
        f"data.root={root}",
        "data.split.val=2",
        "loss.w0=10",
        "transform=strong",
        "transform.train.crop.size=32",
        "batch_size=3",
        "threads=1",
    ]
    found = []
    for workers in (0, 2):
        config = setup.settle_machine(composed(*options, f"num_workers={workers}"))
        data = setup.read_samples(config, setup.find_items(config))
        train, _ = build.build_loaders(setup.settle_data(config, data), data)
        found.append([batch for epoch in (0, 1) for batch in train.epoch(epoch)])
    assert len(found[0]) == len(found[1]) == 4
    for one, two in zip(*found, strict=True):
        assert one.keys() == two.keys() == {"input", "label", "weight", "index"}
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_where_objects_touch_their_pixels_weigh_more_if_asked() -> None:
    label = np.zeros((20, 40), int)
    label[5:15, 5:20] = 300
    label[5:15, 20:35] = 301
    assert weight_map(label, 10.0, 3.0)[5:15, 5:35].max() == 0
    weights = weight_map(label, 10.0, 3.0, inside=True)
    assert weights[10, 19] == weights[10, 20] == pytest.approx(10 * np.exp(-1 / 18))  # 0 and 1 pixels away
    assert weights[10, 19] > weights[10, 15] > weights[10, 8]
