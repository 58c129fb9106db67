"""Losses on logits, against numbers by hand, numpy and scikit-learn."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import softmax
from sklearn.metrics import f1_score, log_loss
from torch import Tensor, nn

from tests.support import by_default
from unet_exp.losses import CEDiceLoss, CELoss, CrossEntropyLoss, DiceLoss, class_probabilities, supervised
from unet_exp.models.unet import UNet


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def column(*values: float) -> Tensor:
    """Values as an image of one column: 1 x 1 x H x 1."""
    return torch.tensor(values).reshape(1, 1, -1, 1)


def random_problem(classes: int) -> tuple[Tensor, Tensor]:
    heads = 1 if classes == 2 else classes
    return torch.randn(2, heads, 5, 6), torch.randint(classes, (2, 1, 5, 6)).float()


def test_dice_by_hand() -> None:
    # Probabilities of class 1: 3/4, 1/4, 1/2, 1/2. Label: 1, 0, 0, 0.
    logits = column(math.log(3), -math.log(3), 0, 0)
    label = column(1, 0, 0, 0)
    # class 1: overlap 3/4, total 2 + 1; class 0: overlap 7/4, total 2 + 3
    without = 1 - ((2 * 0.75) / 3 + (2 * 1.75) / 5) / 2
    smooth = 1 - ((2 * 0.75 + 1) / 4 + (2 * 1.75 + 1) / 6) / 2
    assert by_default(DiceLoss, smooth=0.0)(logits, label).item() == pytest.approx(without)
    assert by_default(DiceLoss)(logits, label).item() == pytest.approx(smooth) == pytest.approx(0.3125)


def test_dice_of_several_classes_against_numpy() -> None:
    logits, label = random_problem(4)
    probability = softmax(logits.numpy(), axis=1)
    each = []
    for index in range(4):
        p, t = probability[:, index].ravel(), (label.numpy() == index).ravel().astype(float)
        each.append((2 * (p @ t) + 1) / (p.sum() + t.sum() + 1))
    assert by_default(DiceLoss)(logits, label).item() == pytest.approx(1 - np.mean(each), rel=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_hard_dice_is_macro_f1(classes: int) -> None:
    rng = np.random.default_rng(0)
    label, prediction = rng.integers(classes, size=(2, 200))
    if classes == 2:
        logits = torch.from_numpy(np.where(prediction == 1, 100.0, -100.0)).reshape(2, 1, 10, 10)
    else:
        logits = torch.from_numpy(100.0 * np.eye(classes)[prediction])
        logits = logits.reshape(2, 10, 10, classes).permute(0, 3, 1, 2)
    truth = torch.from_numpy(label.astype(np.float32)).reshape(2, 1, 10, 10)
    expected = 1 - f1_score(label, prediction, average="macro")
    assert by_default(DiceLoss, smooth=0.0)(logits, truth).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_dice_perfect_and_opposite(classes: int) -> None:
    _, label = random_problem(classes)

    def certain(index: Tensor) -> Tensor:
        if classes == 2:
            return 100 * (2 * index - 1)
        return 100 * F.one_hot(index.squeeze(1).long(), classes).permute(0, 3, 1, 2).float()

    assert abs(by_default(DiceLoss)(certain(label), label).item()) < 1e-6
    assert by_default(DiceLoss, smooth=0.0)(certain((label + 1) % classes), label).item() == pytest.approx(1)


def test_dice_sums_over_the_whole_batch() -> None:
    logits, label = random_problem(2)
    stitched = torch.cat(list(logits), dim=1)[None], torch.cat(list(label), dim=1)[None]
    assert by_default(DiceLoss)(logits, label).item() == pytest.approx(by_default(DiceLoss)(*stitched).item())


@pytest.mark.parametrize("loss", [by_default(DiceLoss), by_default(DiceLoss, smooth=0.0)])
def test_one_logit_is_two_with_the_first_zero(loss: nn.Module) -> None:
    logits, label = random_problem(2)
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)
    torch.testing.assert_close(loss(logits, label), loss(two, label))
    torch.testing.assert_close(class_probabilities(logits), class_probabilities(two))


def test_bce_dice_is_the_weighted_sum() -> None:
    logits, label = random_problem(2)
    bce = log_loss(label.flatten().numpy(), 1 / (1 + np.exp(-logits.flatten().double().numpy())))
    dice = by_default(DiceLoss)(logits, label).item()
    assert bce != pytest.approx(dice, rel=0.05)
    for weight in (0.0, 0.25, 1.0):
        loss = by_default(CEDiceLoss, dice_weight=weight)(logits, label).item()
        assert loss == pytest.approx((1 - weight) * bce + weight * dice, rel=1e-5)
    assert by_default(CEDiceLoss)(logits, label).item() == pytest.approx((bce + dice) / 2, rel=1e-5)
    rough = by_default(CEDiceLoss, dice_weight=1.0, smooth=7.0)(logits, label)
    torch.testing.assert_close(rough, by_default(DiceLoss, smooth=7.0)(logits, label))


def test_cross_entropy_by_hand_and_scikit_learn() -> None:
    # Two pixels, three classes: probabilities 1/2 1/4 1/4 and 1/8 1/8 6/8; labels 1 and 2.
    odds = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]])
    logits = odds.log().T.reshape(1, 3, 2, 1)
    loss = by_default(CrossEntropyLoss)(logits, column(1, 2)).item()
    assert loss == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)
    logits, label = random_problem(4)
    probability = softmax(logits.double().numpy(), axis=1).transpose(0, 2, 3, 1).reshape(-1, 4)
    expected = log_loss(label.flatten().numpy(), probability, labels=[0, 1, 2, 3])
    assert by_default(CrossEntropyLoss)(logits, label).item() == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_of_two_logits_is_bce_of_their_difference() -> None:
    two = 3 * torch.randn(2, 2, 4, 5)
    label = torch.randint(2, (2, 1, 4, 5)).float()
    bce = F.binary_cross_entropy_with_logits(two[:, 1:] - two[:, :1], label)
    torch.testing.assert_close(by_default(CrossEntropyLoss)(two, label), bce)


@pytest.mark.parametrize("size", [(200, 200), (97, 97), (256, 50), (32, 48)])
def test_deep_supervision_takes_the_label_at_each_level(size: tuple[int, int]) -> None:
    """Each level's logits are compared with every 2nd, 4th ... pixel of the label."""
    net = UNet(base_channels=2, depth=5, deep_supervision=True)
    label = torch.randint(2, (1, 1, *size)).float()
    outputs = net.train()(torch.randn(1, 1, *size))
    total = supervised(by_default(CELoss), outputs, label, torch.ones_like(label))
    shares = torch.tensor([0.5**number for number in range(5)])
    expected = [
        F.binary_cross_entropy_with_logits(logits, label[..., :: 2**number, :: 2**number])
        for number, logits in enumerate(outputs)
    ]
    torch.testing.assert_close(total, (torch.stack(expected) * shares / shares.sum()).sum())


CASES = [
    (by_default(DiceLoss), 1),
    (by_default(DiceLoss), 3),
    (by_default(DiceLoss, smooth=0.0), 1),
    (by_default(CEDiceLoss), 1),
    (by_default(CrossEntropyLoss), 3),
]


@pytest.mark.parametrize(("loss", "heads"), CASES)
@pytest.mark.parametrize("extreme", [40.0, 1e4, 1e30])
def test_extreme_logits_have_finite_gradients(loss: nn.Module, heads: int, extreme: float) -> None:
    logits = (extreme * torch.randn(2, heads, 4, 4).sign()).requires_grad_()
    label = torch.randint(max(2, heads), (2, 1, 4, 4)).float()
    value = loss(logits, label)
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_dice_of_a_class_that_is_nowhere(smooth: float) -> None:
    """All label 1 and the network certain of it: nothing of class 0 to divide by, and nothing wrong."""
    logits = torch.full((1, 1, 4, 4), 200.0, requires_grad=True)
    loss = by_default(DiceLoss, smooth=smooth)(logits, torch.ones(1, 1, 4, 4))
    loss.backward()
    assert torch.isfinite(loss)
    assert smooth == 0 or abs(loss.item()) < 1e-6
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(("loss", "heads"), CASES)
def test_gradient_is_the_slope(loss: nn.Module, heads: int) -> None:
    logits = torch.randn(2, heads, 2, 3, dtype=torch.float64, requires_grad=True)
    label = torch.randint(max(2, heads), (2, 1, 2, 3)).double()
    step, slope = 1e-6, torch.zeros_like(logits)
    for index in np.ndindex(*logits.shape):
        moved = torch.zeros_like(logits)
        moved[index] = step
        with torch.no_grad():
            slope[index] = (loss(logits + moved, label) - loss(logits - moved, label)) / (2 * step)
    loss(logits, label).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() > 1e-3
    torch.testing.assert_close(logits.grad, slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("kind", [CELoss, DiceLoss, CEDiceLoss])
def test_ignored_pixels_are_as_if_they_were_not_there(kind: type[nn.Module], heads: int) -> None:
    logits, label = random_problem(max(2, heads))
    marked = label.clone()
    marked[:, :, 2:] = 255.0
    logits.requires_grad_()
    loss = by_default(kind)(logits, marked)
    torch.testing.assert_close(loss, by_default(kind)(logits[:, :, :2], label[:, :, :2]))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[:, :, :2].abs().min() > 0
    assert not logits.grad[:, :, 2:].any()
    nothing = by_default(kind)(logits, torch.full_like(label, 255.0))
    assert torch.isfinite(nothing)


def test_class_weights_and_pos_weight_are_torchs() -> None:
    logits, label = random_problem(4)
    weights = [0.2, 1.0, 3.0, 0.0]
    expected = F.cross_entropy(logits, label.squeeze(1).long(), weight=torch.tensor(weights))
    torch.testing.assert_close(by_default(CELoss, class_weights=weights)(logits, label), expected)
    torch.testing.assert_close(by_default(CrossEntropyLoss, class_weights=weights)(logits, label), expected)
    assert by_default(CELoss)(logits, label) != pytest.approx(expected.item(), rel=0.01)
    logits, label = random_problem(2)
    expected = F.binary_cross_entropy_with_logits(logits, label, pos_weight=torch.tensor(3.0))
    torch.testing.assert_close(by_default(CELoss, pos_weight=3.0)(logits, label), expected)
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)
    weighted = F.cross_entropy(two, label.squeeze(1).long(), weight=torch.tensor([1.0, 4.0]))
    torch.testing.assert_close(by_default(CELoss, class_weights=[1.0, 4.0])(logits, label), weighted)
    mixed = by_default(CEDiceLoss, dice_weight=0.25, pos_weight=3.0)(logits, label)
    torch.testing.assert_close(mixed, 0.75 * expected + 0.25 * by_default(DiceLoss)(logits, label))
