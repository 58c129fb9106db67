"""Scores from confusion matrices, against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score, precision_score, recall_score
from torch import Tensor

from unet_exp.metrics.confusion import (
    confusion,
    confusion_per_image,
    count_by_bins,
    count_by_comparing,
    image_means,
    predict_classes,
    scores,
    shown,
)


def random_pair(classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Class indices 6 x 1 x 9 x 7, the prediction int64 and right in about half of the pixels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(classes, size=(6, 1, 9, 7))
    prediction = np.where(rng.random(label.shape) < 0.5, label, rng.integers(classes, size=label.shape))
    return torch.from_numpy(prediction), torch.from_numpy(label).float()


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_against_scikit_learn(classes: int) -> None:
    prediction, label = random_pair(classes)
    names = [f"c{index}" for index in range(classes)]
    truth, guess = label.long().flatten().numpy(), prediction.flatten().numpy()
    matrix = confusion(prediction, label, classes)
    assert matrix.dtype == torch.int64
    assert np.array_equal(matrix.numpy(), confusion_matrix(truth, guess))
    assert not torch.equal(matrix, matrix.T)  # so that rows and columns can't be mistaken
    found = scores(matrix, names)
    each = {
        "dice": f1_score(truth, guess, average=None),
        "iou": jaccard_score(truth, guess, average=None),
        "precision": precision_score(truth, guess, average=None),
        "recall": recall_score(truth, guess, average=None),
    }
    assert list(found) == [*each, *(f"{metric}_{name}" for metric in each for name in names)]
    for metric, values in each.items():
        assert found[metric] == pytest.approx(values.mean(), rel=1e-12)
        assert [found[f"{metric}_{name}"] for name in names] == pytest.approx(values.tolist(), rel=1e-12)


def test_label_type_does_not_matter() -> None:
    prediction, label = random_pair(3)
    for dtype in (torch.uint8, torch.int64, torch.float64):
        assert torch.equal(confusion(prediction, label.to(dtype), 3), confusion(prediction, label, 3))


def test_scores_by_hand() -> None:
    # Label 0: 5 right, 1 taken for 1. Label 1: 2 taken for 0, 4 right.
    found = scores(torch.tensor([[5, 1], [2, 4]]), ["a", "b"])
    assert found["dice_a"] == pytest.approx(10 / 13)
    assert found["dice_b"] == pytest.approx(8 / 11)
    assert found["iou_a"] == pytest.approx(5 / 8)
    assert found["iou_b"] == pytest.approx(4 / 7)
    assert found["dice"] == pytest.approx((10 / 13 + 8 / 11) / 2)
    assert found["iou"] == pytest.approx((5 / 8 + 4 / 7) / 2)


def test_absent_class_is_left_out_of_the_mean() -> None:
    label = torch.tensor([0.0, 0, 1, 1]).reshape(1, 1, 2, 2)
    prediction = torch.tensor([0, 1, 1, 1]).reshape(1, 1, 2, 2)
    found = scores(confusion(prediction, label, 3), ["a", "b", "c"])
    assert math.isnan(found["dice_c"])
    assert math.isnan(found["iou_c"])
    assert found["dice"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["iou"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_class_that_is_only_predicted_counts_as_zero() -> None:
    label = torch.zeros(1, 1, 2, 2)
    prediction = torch.tensor([0, 0, 0, 1]).reshape(1, 1, 2, 2)
    found = scores(confusion(prediction, label, 2), ["a", "b"])
    assert found["dice_b"] == 0.0
    assert found["dice"] == pytest.approx((6 / 7 + 0) / 2)
    assert (found["precision_b"], found["recall_b"]) == (0.0, 0.0)  # scikit-learn's zero_division=0 as well
    assert (found["precision_a"], found["recall_a"]) == (1.0, 0.75)


def test_ignored_pixels_count_nowhere() -> None:
    prediction, label = random_pair(3)
    ignored = torch.rand(label.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    marked = torch.where(ignored, 255.0, label)
    kept = ~ignored.numpy().ravel()
    expected = confusion_matrix(
        label.numpy().ravel()[kept], prediction.numpy().ravel()[kept], labels=[0, 1, 2]
    )
    assert np.array_equal(confusion(prediction, marked, 3).numpy(), expected)
    assert expected.sum() < label.numel()
    nothing = confusion(prediction, torch.full_like(label, 255.0), 3)
    assert nothing.sum() == 0
    assert all(math.isnan(value) for value in scores(nothing, ["a", "b", "c"]).values())


def test_images_one_by_one() -> None:
    prediction, label = random_pair(3)
    matrices = confusion_per_image(prediction, label, 3)
    assert len(matrices) == len(label)
    for one, (guess, truth) in zip(matrices, zip(prediction, label, strict=True), strict=True):
        assert torch.equal(one, confusion(guess, truth, 3))
    assert torch.equal(matrices.sum(0), confusion(prediction, label, 3))


def test_mean_over_images_leaves_out_where_a_class_is_not() -> None:
    """Three images of two pixels: class 1 right, class 1 nowhere, and a class 1 that is not there."""
    label = torch.tensor([[1, 0], [0, 0], [0, 0]]).reshape(3, 1, 1, 2)
    prediction = torch.tensor([[1, 0], [0, 0], [1, 0]]).reshape(3, 1, 1, 2)
    found = image_means(confusion_per_image(prediction, label, 2), ["a", "b"])
    assert found["image_dice_b"] == pytest.approx((1 + 0) / 2)  # the second image has no class 1 anywhere
    assert found["image_dice_a"] == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert found["image_dice"] == pytest.approx((1 + 1 + (2 / 3 + 0) / 2) / 3)
    assert found["image_iou"] == pytest.approx((1 + 1 + (1 / 2 + 0) / 2) / 3)


def test_absent_is_a_word() -> None:
    assert (shown(float("nan")), shown(0.12345)) == ("absent", "0.1235")


def test_batches_do_not_matter() -> None:
    prediction, label = random_pair(3)
    whole = confusion(prediction, label, 3)
    for size in (1, 2, 4, 5):
        starts = range(0, len(label), size)
        parts = [confusion(prediction[i : i + size], label[i : i + size], 3) for i in starts]
        assert torch.equal(torch.stack(parts).sum(0), whole)


def test_large_counts_are_exact() -> None:
    """Sums over a set pass 2**24, where float32 stops counting."""
    most = 2**40
    found = scores(torch.tensor([[most, 1], [0, 1]]), ["a", "b"])
    assert found["iou_b"] == 0.5
    assert 0 < 1 - found["iou_a"] < 1e-11


def test_threshold_of_one_logit_is_zero() -> None:
    logits = torch.tensor([-3.0, -0.1, -1e-6, 0.0, 1e-6, 0.1, 0.49, 0.51]).reshape(1, 1, 2, 4)
    predicted = predict_classes(logits)
    assert predicted.dtype == torch.int64
    assert predicted.flatten().tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert torch.equal(predicted, (torch.sigmoid(logits.double()) > 0.5).long())


def test_largest_of_several_logits() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 4, 3, 5)))
    predicted = predict_classes(logits)
    assert predicted.shape == (2, 1, 3, 5)
    assert np.array_equal(predicted.squeeze(1).numpy(), logits.numpy().argmax(axis=1))
    two = torch.tensor([[0.2, -1.0], [0.3, -2.0]]).reshape(1, 2, 2, 1)
    assert predict_classes(two).flatten().tolist() == [1, 0]


def test_counting_by_comparing_is_counting() -> None:
    values = torch.randint(0, 6, (3, 50))
    by_hand = torch.stack([torch.bincount(row, minlength=8) for row in values])
    assert torch.equal(count_by_comparing(values, 8), by_hand)
    assert torch.equal(count_by_bins(values.int(), 8), by_hand)
