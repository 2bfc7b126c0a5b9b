"""Standardising and aggregating against loops over Python's own statistics."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from underspec.analysis.ensembles import AGGREGATORS, aggregate, standardise

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6))
REWARDS = arrays(np.float32, SHAPES, elements=st.floats(-8, 8, width=32))
TOLERANCE = 1e-9  # double precision, rewards within +-8

BY_HAND = {
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


@given(REWARDS, st.sampled_from(sorted(AGGREGATORS)))
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
    assert set(BY_HAND) == set(AGGREGATORS)


@given(REWARDS, st.sampled_from(sorted(AGGREGATORS)), st.randoms(use_true_random=False))
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
