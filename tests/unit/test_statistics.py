"""Every statistic against an independent calculation: scipy, or loops that spell it out."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from underspec.analysis import statistics
from underspec.grid import reward_models

GRID = reward_models("workshop", [0, 1, 2], [0, 1, 2])
RNG = np.random.default_rng(0)
VALUES = st.floats(-8, 8).map(lambda value: round(value, 3))
X = arrays(np.float64, st.tuples(st.integers(2, 5), st.just(1), st.integers(2, 6)), elements=VALUES)


def judge(ranker, other):
    if ranker == other:
        return "itself"
    same = ranker.pretrain_seed == other.pretrain_seed
    return "same pretrain" if same else "other pretrain"


def test_kl_bound():
    assert statistics.kl_bound(1) == 0
    assert statistics.kl_bound(64) == pytest.approx(math.log(64) - 63 / 64)


@pytest.mark.parametrize("n", [2, 4, 16])
def test_kl_bound_is_the_divergence_where_no_two_samples_tie(n):
    """With many equally likely outcomes the bound is tight: p(rank u) = n u^(n-1) on (0, 1)."""
    u = (np.arange(200_000) + 0.5) / 200_000
    density = n * u ** (n - 1)
    divergence = np.mean(density * np.log(density))
    assert statistics.kl_bound(n) == pytest.approx(divergence, abs=1e-4)  # 200,000 steps


def test_pick():
    rewards = RNG.normal(size=(3, 5, 8))
    choices = RNG.integers(8, size=(2, 5))
    found = statistics.pick(rewards, choices)
    for model, n, post in np.ndindex(3, 2, 5):
        assert found[model, n, post] == rewards[model, post, choices[n, post]]
    np.testing.assert_array_equal(statistics.pick(rewards[0], choices), found[0])


def test_relations_and_judged():
    rewards = RNG.normal(size=(len(GRID), 2, 4))
    for ranker, relation in zip(GRID, statistics.relations(GRID), strict=True):
        found = statistics.judged(rewards, relation)
        for index, name in enumerate(statistics.JUDGES):
            judges = [i for i, other in enumerate(GRID) if judge(ranker, other) == name]
            assert relation[index].nonzero()[0].tolist() == judges
            if judges:
                np.testing.assert_allclose(found[index], rewards[judges].mean(axis=0))
            else:
                assert np.isnan(found[index]).all()


def test_only_one_pretrain_of_the_workshop_grid_has_judges_of_its_own():
    has_judge = statistics.relations(GRID).any(axis=2)
    assert has_judge.tolist() == [[True, True, True]] * 3 + [[True, False, True]] * 2


@given(arrays(np.int64, (5, 2, 3), elements=st.integers(0, 3)))
def test_agreement_by_pairs(texts):
    found = statistics.agreement(texts, statistics.relations(GRID))
    for index, name in enumerate(statistics.PAIRS):
        pairs = [
            (i, j)
            for i, j in itertools.combinations(range(5), 2)
            if judge(GRID[i], GRID[j]) == name
        ]
        for n, post in np.ndindex(2, 3):
            expected = np.mean([texts[i, n, post] == texts[j, n, post] for i, j in pairs])
            assert found[index, n, post] == pytest.approx(expected)


def test_agreement_without_such_pairs():
    models = reward_models("full", [0, 1], [0])
    found = statistics.agreement(np.zeros((2, 1, 3), int), statistics.relations(models))
    assert np.isnan(found[0]).all() and (found[1] == 1).all()


@given(X)
def test_anova_share_is_that_of_scipys_f_test(rewards):
    groups = rewards[:, 0]
    within = ((groups - groups.mean(axis=1, keepdims=True)) ** 2).sum()
    assume(within > 1e-3)
    f = scipy.stats.f_oneway(*groups).statistic
    between_df, within_df = len(groups) - 1, groups.size - len(groups)
    share = f * between_df / (f * between_df + within_df)
    np.testing.assert_allclose(statistics.anova_share(rewards), share, rtol=1e-6, atol=1e-9)


@given(X, st.floats(0.1, 10), st.floats(-100, 100))
def test_anova_share_ignores_unit_and_origin(rewards, unit, origin):
    share = statistics.anova_share(rewards)
    assert np.all((share >= 0) & (share <= 1 + 1e-9))
    assume(np.var(rewards) > 1e-3)
    changed = statistics.anova_share(unit * rewards + origin)
    np.testing.assert_allclose(changed, share, rtol=1e-6, atol=1e-6)


def test_anova_share_at_its_ends():
    offsets = np.array([1.0, 2.0, 4.0])[:, None, None] * np.ones((3, 1, 5))
    assert statistics.anova_share(offsets) == pytest.approx(1)
    posts = np.ones((3, 1, 1)) * np.arange(5.0)
    assert statistics.anova_share(posts) == pytest.approx(0, abs=1e-12)
    assert statistics.anova_share(np.full((3, 1, 5), 0.1)) == 0


def test_weights_resample_the_posts():
    """A row of weights gives the share of the data set in which posts are repeated so often."""
    rewards = RNG.normal(size=(4, 2, 6)) + np.arange(4)[:, None, None]
    weights = statistics.bootstrap_weights(6, resamples=20, seed=3)
    shares = statistics.anova_share(rewards, weights)
    assert shares.shape == (2, 20)
    for resample, counts in enumerate(weights.astype(int)):
        repeated = np.repeat(rewards, counts, axis=2)
        np.testing.assert_allclose(shares[:, resample], statistics.anova_share(repeated))


def test_bootstrap_weights_are_seeded_draws_with_replacement():
    weights = statistics.bootstrap_weights(50, resamples=2000, seed=1)
    assert (weights.sum(axis=1) == 50).all()
    np.testing.assert_array_equal(weights, statistics.bootstrap_weights(50, 2000, 1))
    assert (weights != statistics.bootstrap_weights(50, 2000, 2)).any()
    # 100,000 binomial(50, 1/50) counts: variance 0.98, give or take 1 %.
    assert weights.var() == pytest.approx(0.98, rel=0.03)


@given(arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 8)), elements=VALUES))
def test_win_probability_by_brute_force(rewards):
    found = statistics.win_probability(rewards)
    for post, row in enumerate(rewards):
        for sample, reward in enumerate(row):
            duels = [1.0 if reward > other else 0.5 if reward == other else 0.0 for other in row]
            assert found[post, sample] == pytest.approx(np.mean(duels))
    np.testing.assert_allclose(found.mean(axis=1), 0.5)  # the policy against itself


def test_win_probability_is_scipys_rank():
    rewards = RNG.integers(10, size=(5, 64)).astype(np.float32)
    ranks = scipy.stats.rankdata(rewards, axis=1)
    np.testing.assert_allclose(statistics.win_probability(rewards), (ranks - 0.5) / 64)


def test_mean_and_error_is_scipys_sem():
    values = RNG.normal(size=(3, 40))
    mean, error = statistics.mean_and_error(values)
    np.testing.assert_allclose(mean, values.mean(axis=1))
    np.testing.assert_allclose(error, scipy.stats.sem(values, axis=1))


def test_one_post_has_no_standard_error():
    mean, error = statistics.mean_and_error(np.ones((2, 1)))
    assert (mean == 1).all() and np.isnan(error).all()


def test_normal_interval():
    assert pytest.approx(scipy.stats.norm.ppf(0.975), abs=1e-6) == statistics.NORMAL_95


def test_intervals_hold_the_truth_as_often_as_they_say():
    """300 samples of 100 posts: about 285 intervals hold the mean; below 270 is 4 sigma off."""
    values = np.random.default_rng(5).normal(0.3, 1, size=(300, 100))
    mean, error = statistics.mean_and_error(values)
    assert 270 <= (abs(mean - 0.3) < statistics.NORMAL_95 * error).sum() <= 299


def test_percentile_interval():
    low, high = statistics.percentile_interval(np.linspace(0, 1, 1001)[None])
    np.testing.assert_allclose([low[0], high[0]], [0.025, 0.975])


def test_resamples_that_are_all_the_same_have_no_interval():
    low, high = statistics.percentile_interval(np.array([[0.5] * 9, [*range(9)]]))
    assert np.isnan([low[0], high[0]]).all() and low[1] < high[1]
