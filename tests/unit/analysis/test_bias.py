"""The length coefficient, against a regression by least squares."""

import numpy as np
import pytest

from underspec.analysis.length_bias import length_coefficient
from underspec.analysis.within_posts import sums_of_products

RNG = np.random.default_rng(0)
GOLD, WORDS = np.random.default_rng(1).normal(size=(2, 30, 16))


def coefficient(reward):
    return length_coefficient(sums_of_products(reward, GOLD, WORDS).sum(axis=0))


def test_is_that_of_a_regression_with_a_constant_for_each_post():
    reward = GOLD + 0.2 * WORDS + RNG.normal(size=GOLD.shape)
    dummies = np.repeat(np.eye(30), 16, axis=0)
    terms = np.column_stack([GOLD.ravel(), WORDS.ravel(), dummies])
    (a, b, *_), residual, *_ = np.linalg.lstsq(terms, reward.ravel(), rcond=None)
    within = ((reward - reward.mean(axis=1, keepdims=True)) ** 2).sum()
    assert coefficient(reward) == pytest.approx((b / a, residual[0] / within))


def test_finds_what_was_planted_whatever_the_zero_and_the_unit():
    offset = RNG.normal(size=(30, 1))
    assert coefficient(3 * (GOLD + 0.1 * WORDS) + offset) == pytest.approx((0.1, 0), abs=1e-9)
    assert coefficient(GOLD) == pytest.approx((0, 0), abs=1e-9)


def test_a_mean_of_rewards_keeps_the_coefficient_and_loses_error():
    rewards = [GOLD + 0.3 * WORDS + RNG.normal(size=GOLD.shape) for _ in range(20)]
    alone = [coefficient(reward) for reward in rewards]
    together = coefficient(np.mean(rewards, axis=0))
    assert together[0] == pytest.approx(np.mean([each[0] for each in alone]), abs=0.02)
    assert together[1] < min(each[1] for each in alone) / 4  # 1/20 of the error's variance


def test_words_that_go_with_gold_have_no_coefficient():
    products = sums_of_products(GOLD, GOLD, 2 * GOLD).sum(axis=0)
    assert not np.isfinite(length_coefficient(products)[1])
