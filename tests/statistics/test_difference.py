"""The test of a difference, against scipy's tests where one of its levels is missing."""

import math

import numpy as np
import pytest
from scipy import stats

from unet_exp.statistics.difference import difference, holm, mean_interval
from unet_exp.statistics.power import Spread, power, spread_of, trainings_needed
from unet_exp.statistics.selection import left_out_scores

RNG = np.random.default_rng(5)
DICE = RNG.normal(0.8, 0.05, (6, 40))


def test_one_training_each_is_the_paired_t_test() -> None:
    first, second = DICE[:1], DICE[1:2] + 0.01
    ours = difference(first, second)
    theirs = stats.ttest_rel(second[0], first[0])
    low, high = theirs.confidence_interval(0.95)
    assert (ours.p, ours.low, ours.high) == pytest.approx((theirs.pvalue, low, high))
    assert ours.scope == "images"
    assert ours.df == 39


def test_images_without_spread_leave_the_t_test_of_trainings() -> None:
    """Every image has its training's score, so what is left is Student's test of the trainings' means."""
    means = RNG.normal(0.8, 0.02, 8)
    first, second = np.repeat(means[:3, None], 20, 1), np.repeat(means[3:, None], 20, 1)
    ours = difference(first, second)
    theirs = stats.ttest_ind(second[:, 0], first[:, 0])
    low, high = theirs.confidence_interval(0.95)
    assert (ours.p, ours.low, ours.high) == pytest.approx((theirs.pvalue, low, high))
    assert ours.df == pytest.approx(6)
    assert ours.scope == "both"


def test_trainings_without_luck_leave_the_paired_t_test() -> None:
    """Each recipe's trainings are equal, so repeating them adds nothing."""
    first, second = np.repeat(DICE[:1], 3, 0), np.repeat(DICE[1:2], 3, 0)
    theirs = stats.ttest_rel(second[0], first[0])
    assert difference(first, second).p == pytest.approx(theirs.pvalue)


def test_the_variance_is_that_of_the_model_it_names() -> None:
    """The mean of the estimated variances is the variance of the differences, over many draws of the
    model."""
    rng = np.random.default_rng(0)
    drawn, estimated = [], []
    for _ in range(2000):
        image = rng.normal(0, 0.1, 30)
        sides = [
            0.8 + rng.normal(0, 0.01, (4, 1)) + image + rng.normal(0, 0.03, 30) + rng.normal(0, 0.05, (4, 30))
            for _ in range(2)
        ]
        one = difference(sides[0], sides[1])
        drawn.append(one.mean)
        estimated.append(((one.high - one.low) / 2 / stats.t.ppf(0.975, one.df)) ** 2)
    assert np.mean(estimated) == pytest.approx(np.var(drawn), rel=0.1)


def test_groups_count_once() -> None:
    """Twelve groups of four equal images are twelve images."""
    alone = difference(DICE[:3, :12], DICE[3:, :12])
    grouped = difference(
        np.repeat(DICE[:3, :12], 4, 1), np.repeat(DICE[3:, :12], 4, 1), [str(i // 4) for i in range(48)]
    )
    assert (grouped.low, grouped.high, grouped.p) == pytest.approx((alone.low, alone.high, alone.p))
    assert (grouped.images, grouped.groups) == (48, 12)


def test_few_images_say_nothing_of_others() -> None:
    repeated = difference(DICE[:3, :9], DICE[3:, :9])
    theirs = stats.ttest_ind(DICE[3:, :9].mean(1), DICE[:3, :9].mean(1))
    assert repeated.scope == "trainings"
    assert repeated.p == pytest.approx(theirs.pvalue)
    alone = difference(DICE[:1, :9], DICE[3:4, :9])
    assert alone.scope == "none"
    assert math.isnan(alone.low)
    assert math.isnan(alone.p)
    assert not alone.is_clear


def test_equal_scores_are_no_difference() -> None:
    same = difference(DICE[:1], DICE[:1])
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_holm_against_its_definition() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    mixed = holm([0.5, math.nan, 0.02])
    assert mixed[0] == pytest.approx(0.5)
    assert math.isnan(mixed[1])
    assert mixed[2] == pytest.approx(0.04)


def test_an_interval_of_a_mean_against_scipy() -> None:
    values = DICE[0, :4]
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    ours = mean_interval(list(values))
    assert (ours.low, ours.high) == pytest.approx((low, high))
    assert math.isnan(mean_interval([0.5]).low)


def test_what_chance_adds_to_a_best_epoch_is_taken_off_again() -> None:
    """Forty validations that differ by chance alone: the best looks better, the left-out scores do not."""
    rng = np.random.default_rng(1)
    plain, left_out = [], []
    for _ in range(300):
        validations = rng.normal(0.8, 0.1, (40, 12))
        plain.append(validations[validations.mean(1).argmax()].mean())
        left_out.append(left_out_scores(validations, [str(i) for i in range(12)]).mean())
    assert np.mean(plain) > 0.85
    assert np.mean(left_out) == pytest.approx(0.8, abs=0.01)


def test_left_out_scores_by_hand() -> None:
    validations = np.array([[0.9, 0.1, 0.2], [0.2, 0.8, 0.3], [0.3, 0.4, 0.9]])
    # Without image 0 epoch 3 is best (1.3), without image 1 again (1.2), without image 2 epoch 1 or 2 (1.0).
    assert left_out_scores(validations, ["a", "b", "c"]).tolist() == [0.3, 0.4, 0.2]
    # Of images 0 and 1 together image 2 alone decides: epoch 3; of image 2 the others: epoch 1.
    assert left_out_scores(validations, ["x", "x", "y"]).tolist() == [0.3, 0.4, 0.2]
    assert left_out_scores(validations, ["x", "x", "y"], lower=True).tolist() == [0.9, 0.1, 0.9]
    # A moving average of 0.5: 0.2, 0.25, 0.575 of image 2, still epoch 3.
    assert left_out_scores(validations, ["x", "x", "y"], smoothing=0.5)[:2].tolist() == [0.3, 0.4]


def test_power_against_many_draws() -> None:
    """How often intervals leave out 0, drawn from the model with these variances."""
    spread = Spread(trainings=0.01**2, images=0.03**2, rest=0.04**2)
    rng = np.random.default_rng(2)
    clear = []
    for _ in range(2000):
        images = rng.normal(0, 0.03 / math.sqrt(2), (2, 1, 30)) + rng.normal(0, 0.1, 30)
        sides = images + rng.normal(0, 0.01, (2, 5, 1)) + rng.normal(0, 0.04, (2, 5, 30))
        clear.append(difference(sides[0], sides[1] + 0.025).is_clear)
    assert power(spread, 0.025, 5, 30) == pytest.approx(np.mean(clear), abs=0.03)


def test_the_spread_is_found_again_and_says_how_many_trainings_it_takes() -> None:
    rng = np.random.default_rng(3)
    recipes = [
        +rng.normal(0, 0.03, 300) + rng.normal(0, 0.02, (40, 1)) + rng.normal(0, 0.05, (40, 300))
        for _ in range(3)
    ]
    spread = spread_of(recipes, [str(i) for i in range(300)])
    assert math.sqrt(spread.trainings) == pytest.approx(0.02, rel=0.15)
    assert math.sqrt(spread.images) == pytest.approx(0.03 * math.sqrt(2), rel=0.1)
    assert math.sqrt(spread.rest) == pytest.approx(0.05, rel=0.05)
    needed = trainings_needed(spread, 0.02, 300)
    assert needed is not None
    assert power(spread, 0.02, needed, 300) >= 0.8 > power(spread, 0.02, needed - 1, 300)
    assert trainings_needed(spread, 0.0001, 300) is None
