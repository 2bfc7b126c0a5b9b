"""Rank correlations of pairs of reward models: against scipy, by hand, and in resamples."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from underspec.analysis import rank_correlation
from underspec.analysis.bootstrap import each_post, resampled_posts
from underspec.grid import RewardModel

WITH_TIES = st.integers(0, 4).map(float)


def weighted_correlation(first, second, weights):
    """Of posts that count so often, by its definition: the correlation of mid-ranks."""

    def ranks(values):
        below = np.array([weights[values < each].sum() for each in values])
        return below + np.array([weights[values == each].sum() for each in values]) / 2

    return np.cov(ranks(first), ranks(second), aweights=weights, ddof=0)


@given(arrays(np.float64, (3, 7), elements=WITH_TIES))
def test_pseudo_values_over_posts_have_the_correlation_as_their_mean(rewards):
    assume((np.ptp(rewards, axis=1) > 0).all())
    found = rank_correlation.over_posts(rewards)
    for row, (a, b) in zip(found, itertools.combinations(rewards, 2), strict=True):
        assert row.mean() == pytest.approx(spearmanr(a, b)[0], abs=1e-12)


@given(arrays(np.float64, (2, 6), elements=WITH_TIES), st.integers(0, 5))
def test_a_pseudo_value_says_what_a_little_more_of_its_post_changes(rewards, post):
    """The derivative by the post's weight, from finite differences; relative tolerance 1e-3."""
    assume((np.ptp(rewards, axis=1) > 0).all())
    correlations = []
    for more in (-1e-5, 0.0, 1e-5):
        weights = np.full(6, (1 - more) / 6)
        weights[post] += more
        covariance = weighted_correlation(*rewards, weights)
        correlations.append(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
    derivative = (correlations[2] - correlations[0]) / 2e-5
    (found,) = rank_correlation.over_posts(rewards)
    assert found[post] - correlations[1] == pytest.approx(derivative, rel=1e-3, abs=1e-6)


def test_the_spread_of_pseudo_values_is_that_of_resampled_correlations():
    """200 posts, 1000 resamples: the standard errors agree to a tenth."""
    generator = np.random.default_rng(0)
    quality = generator.normal(size=200)
    rewards = quality + np.array([[0.5], [1.5]]) * generator.normal(size=(2, 200))
    drawn = generator.integers(200, size=(1000, 200))
    resampled = [spearmanr(*rewards[:, rows])[0] for rows in drawn]
    (found,) = rank_correlation.over_posts(rewards)
    assert found.std() / np.sqrt(200) == pytest.approx(np.std(resampled), rel=0.1)


@given(arrays(np.float64, (2, 3, 4), elements=WITH_TIES))
def test_over_samples_is_the_correlation_within_each_post(rewards):
    (found,), (defined,) = rank_correlation.over_samples(rewards)
    for post, (first, second) in enumerate(zip(*rewards, strict=True)):
        varies = np.ptp(first) > 0 and np.ptp(second) > 0
        assert defined[post] == varies
        expected = spearmanr(first, second)[0] if varies else 0
        assert found[post] == pytest.approx(expected, abs=1e-12)


def test_posts_without_a_correlation_are_left_out_of_the_mean():
    rewards = np.array([[[1.0, 2, 3], [5, 5, 5]], [[3.0, 2, 1], [1, 2, 3]]])
    found = rank_correlation.correlations([rewards])
    over_samples = found.mean(resampled_posts(2, 2))[1]
    assert over_samples == pytest.approx(np.full((1, 1), -1))
    of_each_post = found.mean(each_post(2, 2))[1]
    assert of_each_post[0] == pytest.approx([-1, np.nan], nan_ok=True)


def test_sets_of_samples_are_averaged():
    generator = np.random.default_rng(1)
    sets = list(generator.normal(size=(2, 3, 5, 4)))
    both = rank_correlation.correlations(sets)
    one, other = (rank_correlation.correlations([each]) for each in sets)
    np.testing.assert_allclose(both.over_posts, (one.over_posts + other.over_posts) / 2)
    np.testing.assert_allclose(both.over_samples, (one.over_samples + other.over_samples) / 2)


MODELS = [RewardModel(0, 0), RewardModel(0, 1), RewardModel(1, 0), RewardModel(2, 0)]
OF_PAIRS = {(0, 1): 0.9, (0, 2): 0.1, (0, 3): 0.2, (1, 2): 0.3, (1, 3): 0.4, (2, 3): 0.6}


def averages(counts, members):
    pairs = rank_correlation.weighted_pairs(MODELS, np.array(counts, float)[:, None, None])
    values = np.array(list(OF_PAIRS.values()))[None, :, None, None]
    return pairs.average(values, members)[0, :, :, 0, 0]


def test_pairs_by_pretraining_seed_and_with_members_of_the_ranker_by_hand():
    (same, same_with), (other, other_with) = averages([1, 1, 1, 1], [MODELS[2].name])
    assert same == pytest.approx(0.9) and np.isnan(same_with)
    assert other == pytest.approx((0.2 + 0.4) / 2)
    assert other_with == pytest.approx((0.1 + 0.3 + 0.6) / 3)


def test_a_resample_counts_pairs_as_often_as_both_were_drawn():
    """Seed 0 twice, seed 1 never, seed 2 once: (0, 3) and (1, 3) count twice each."""
    (same, _), (other, _) = averages([2, 2, 0, 1], ())
    assert same == pytest.approx(0.9)
    assert other == pytest.approx((2 * 0.2 + 2 * 0.4) / 4)


def test_a_resample_of_a_single_pretraining_seed_has_no_pair_of_others():
    (same, _), (other, _) = averages([3, 3, 0, 0], ())
    assert same == pytest.approx(0.9) and np.isnan(other)


def test_a_constant_reward_correlates_with_nothing():
    assert (rank_correlation.over_posts(np.array([[1.0, 1, 1], [1, 2, 3]])) == 0).all()
