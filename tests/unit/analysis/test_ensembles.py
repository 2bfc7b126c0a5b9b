"""Standardising and aggregating against loops over Python's own statistics."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from underspec.analysis.ensembles import (
    AGGREGATORS,
    aggregate,
    in_units_of_mean,
    mean_products,
    standardise,
    unit_of_mean,
    uwo,
)

SHAPES = st.tuples(st.integers(1, 8), st.integers(1, 3), st.integers(1, 6))
REWARDS = arrays(np.float32, SHAPES, elements=st.floats(-8, 8, width=32))
TOLERANCE = 1e-9  # double precision, rewards within +-8


def sigmoid(value):
    return (1 + math.tanh(value / 2)) / 2


BY_HAND = {
    "mean_probability": lambda values: statistics.fmean(map(sigmoid, values)),
    "mean": statistics.fmean,
    "median": statistics.median,
    "min": min,
    "mean_minus_stdev": lambda values: statistics.fmean(values) - statistics.pstdev(values),
}


@given(REWARDS)
def test_standardised_rewards_of_a_post_have_mean_zero_and_keep_their_spread(rewards):
    standardised = standardise(rewards)
    np.testing.assert_allclose(standardised.mean(axis=-1), 0, atol=TOLERANCE)
    np.testing.assert_allclose(standardised.std(axis=-1), rewards.astype(float).std(axis=-1))


@given(REWARDS, st.sampled_from(sorted(BY_HAND)))
def test_aggregators_by_hand(rewards, aggregator):
    found = aggregate(rewards, aggregator)
    models, posts, samples = rewards.shape
    assert found.shape == (posts, samples)
    for post in range(posts):
        means = [statistics.fmean(map(float, rewards[model, post])) for model in range(models)]
        for sample in range(samples):
            values = [float(rewards[model, post, sample]) - means[model] for model in range(models)]
            expected = BY_HAND[aggregator](values)
            # The standard deviation is a square root: 1e-6 where it is near zero.
            assert found[post, sample] == pytest.approx(expected, abs=1e-6, rel=TOLERANCE)


def test_every_aggregator_is_tested():
    assert {*BY_HAND, "uwo"} == set(AGGREGATORS)


@given(REWARDS, st.floats(0, 5))
def test_uwo_by_hand(rewards, coefficient):
    found = uwo(rewards.astype(float), coefficient)
    for post, sample in np.ndindex(found.shape):
        values = list(map(float, rewards[:, post, sample]))
        expected = statistics.fmean(values) - coefficient * statistics.pvariance(values)
        assert found[post, sample] == pytest.approx(expected, abs=1e-6, rel=TOLERANCE)


@given(REWARDS)
def test_uwo_without_its_penalty_is_the_mean(rewards):
    standardised = standardise(rewards)
    np.testing.assert_array_equal(uwo(standardised, 0.0), AGGREGATORS["mean"](standardised))


@given(REWARDS, st.sampled_from([0.01, 3.0, 1000.0]))
def test_the_unit_of_rewards_does_not_matter(rewards, factor):
    found = in_units_of_mean(standardise(rewards))
    mean = found.mean(axis=0)
    varies = np.abs(standardise(rewards).mean(axis=0)).max() > 1e-3
    if varies:
        assert np.sqrt((mean**2).mean()) == pytest.approx(1)
        other = in_units_of_mean(standardise(rewards.astype(float) * factor))
        np.testing.assert_allclose(other, found, atol=1e-6)


@given(REWARDS, st.randoms(use_true_random=False))
def test_the_unit_of_a_mean_from_products(rewards, random):
    standardised = standardise(rewards)
    members = random.choices(range(len(rewards)), k=3)  # some of them twice
    mean = standardised[members].mean(axis=0)
    products = mean_products(standardised)[np.ix_(members, members)]
    expected = np.sqrt((mean**2).mean())
    if expected > 1e-3:
        assert unit_of_mean(products) == pytest.approx(expected, rel=1e-6)


def test_what_does_not_vary_has_the_unit_1():
    assert unit_of_mean(np.zeros((2, 2))) == 1


@given(REWARDS, st.sampled_from(sorted(BY_HAND)), st.randoms(use_true_random=False))
def test_order_of_members_and_offsets_do_not_matter(rewards, aggregator, random):
    models, posts, _ = rewards.shape
    offsets = np.array([[random.uniform(-5, 5) for _ in range(posts)] for _ in range(models)])
    shuffled = random.sample(range(models), models)
    changed = (rewards + offsets[:, :, None])[shuffled]
    expected = aggregate(rewards, aggregator)
    np.testing.assert_allclose(aggregate(changed, aggregator), expected, atol=1e-6)


@given(REWARDS)
def test_min_bounds_mean_minus_stdev_and_mean(rewards):
    mean = aggregate(rewards, "mean")
    assert np.all(aggregate(rewards, "min") <= mean + TOLERANCE)
    assert np.all(aggregate(rewards, "mean_minus_stdev") <= mean + TOLERANCE)


def test_a_single_reward_model_stays_as_it_is():
    rewards = np.array([[[0.25, -3.0]]], dtype=np.float32)
    np.testing.assert_array_equal(aggregate(rewards, None), rewards[0])


def test_a_single_reward_model_is_one():
    with pytest.raises(ValueError):
        aggregate(np.zeros((2, 1, 3)), None)
