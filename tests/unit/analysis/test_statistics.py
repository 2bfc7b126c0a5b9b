"""Every statistic against an independent calculation: scipy, or loops that spell it out."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from underspec.analysis import intervals, statistics
from underspec.analysis.bootstrap import (
    Weights,
    bootstrap_weights,
    each_post,
    resampled_posts,
)
from underspec.grid import reward_models

GRID = reward_models("workshop", [0, 1, 2], [0, 1, 2])
RNG = np.random.default_rng(0)
VALUES = st.floats(-8, 8).map(lambda value: round(value, 3))
X = arrays(np.float64, st.tuples(st.integers(2, 5), st.just(1), st.integers(2, 6)), elements=VALUES)


RELATION = statistics.relations(GRID)


def of_each_post(statistic, values, *arguments):
    """Without the axis of the one draw, (..., ns, posts)."""
    return statistic(values, *arguments, each_post(len(values), values.shape[-1]))[..., 0, :, :]


def share_of_variance(rewards):
    """(ns,) of the data."""
    data = resampled_posts(len(rewards), rewards.shape[-1])
    return statistics.share_of_variance(rewards, data)[0, :, 0]


def judge(ranker, other):
    if ranker == other:
        return "itself"
    same = ranker.pretrain_seed == other.pretrain_seed
    return "same pretraining seed" if same else "other pretraining seed"


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


def test_relations_and_rewards_by_judge():
    rewards = RNG.normal(size=(len(GRID), 2, 4))
    for ranker, relation in zip(GRID, RELATION, strict=True):
        found = of_each_post(statistics.rewards_by_judge, rewards, relation)
        for index, name in enumerate(statistics.JUDGES):
            judges = [i for i, other in enumerate(GRID) if judge(ranker, other) == name]
            assert relation[index].nonzero()[0].tolist() == judges
            if judges:
                np.testing.assert_allclose(found[index], rewards[judges].mean(axis=0))
            else:
                assert np.isnan(found[index]).all()


def test_only_one_checkpoint_of_the_workshop_grid_has_judges_of_its_own():
    has_judge = RELATION.any(axis=2)
    assert has_judge.tolist() == [[True, True, True]] * 3 + [[True, False, True]] * 2


@given(arrays(np.int64, (5, 2, 3), elements=st.integers(0, 3)))
def test_agreement_by_pairs(texts):
    found = of_each_post(statistics.agreement, texts, RELATION)
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
    found = of_each_post(
        statistics.agreement, np.zeros((2, 1, 3), int), statistics.relations(models)
    )
    assert np.isnan(found[0]).all() and (found[1] == 1).all()


@given(X)
def test_share_of_variance_is_that_of_scipys_f_test(rewards):
    groups = rewards[:, 0]
    within = ((groups - groups.mean(axis=1, keepdims=True)) ** 2).sum()
    assume(within > 1e-3)
    f = scipy.stats.f_oneway(*groups).statistic
    between_df, within_df = len(groups) - 1, groups.size - len(groups)
    share = f * between_df / (f * between_df + within_df)
    np.testing.assert_allclose(share_of_variance(rewards), share, rtol=1e-6, atol=1e-9)


@given(X, st.floats(0.1, 10), st.floats(-100, 100))
def test_share_of_variance_ignores_unit_and_origin(rewards, unit, origin):
    share = share_of_variance(rewards)
    assert np.all((share >= 0) & (share <= 1 + 1e-9))
    assume(np.var(rewards) > 1e-3)
    changed = share_of_variance(unit * rewards + origin)
    np.testing.assert_allclose(changed, share, rtol=1e-6, atol=1e-6)


def test_share_of_variance_at_its_ends():
    offsets = np.array([1.0, 2.0, 4.0])[:, None, None] * np.ones((3, 1, 5))
    assert share_of_variance(offsets) == pytest.approx(1)
    posts = np.ones((3, 1, 1)) * np.arange(5.0)
    assert share_of_variance(posts) == pytest.approx(0, abs=1e-12)
    assert share_of_variance(np.full((3, 1, 5), 0.1)) == 0


def test_weights_resample_the_posts():
    """A row of weights gives the share of the data set in which posts are repeated so often."""
    rewards = RNG.normal(size=(4, 2, 6)) + np.arange(4)[:, None, None]
    weights = resampled_posts(4, 6, 20)
    (shares,) = statistics.share_of_variance(rewards, weights)
    assert shares.shape == (2, 21)
    for resample, counts in enumerate(weights.posts.astype(int)):
        repeated = np.repeat(rewards, counts, axis=2)
        np.testing.assert_allclose(shares[:, resample], share_of_variance(repeated))


COUNTS = arrays(np.int64, (5, 1, 1), elements=st.integers(0, 3))


@given(COUNTS)
def test_a_reward_model_drawn_twice_counts_as_two(counts):
    assume(counts.sum())
    rewards = np.random.default_rng(0).normal(size=(5, 2, 6))
    found = statistics.share_of_variance(rewards, Weights(np.ones((1, 6)), counts.astype(float)))
    repeated = np.repeat(rewards, counts.ravel(), axis=0)
    np.testing.assert_allclose(found[0, :, 0], share_of_variance(repeated), atol=1e-12)


@given(COUNTS, COUNTS)
def test_models_that_count_alike_in_every_resample_are_summed_alike(first, second):
    """`Weights.total` takes a shorter way there."""
    values = np.random.default_rng(0).normal(size=(5, 2, 6))
    counts = np.concatenate([first, second], axis=2)
    posts = bootstrap_weights(6, 2)
    found = Weights(posts, counts.astype(float)).total(values)
    for resample in range(2):
        alike = np.repeat(counts[..., resample : resample + 1], 2, axis=2).astype(float)
        expected = Weights(posts, alike).total(values)[..., resample]
        np.testing.assert_allclose(found[..., resample], expected, atol=1e-12)


def choose(values, weights):
    """`value_of_choices` of five rankers, each as often there as its reward model was drawn."""
    choices = np.random.default_rng(1).integers(values.shape[-1], size=(5, 2, values.shape[1]))
    chosen = [statistics.pick(values, each) for each in choices]
    return statistics.value_of_choices(zip(chosen, weights.models, strict=True), weights)


# By name: the statistic, and an argument of (models or metrics, ns or posts, posts or samples).
LINEAR = {
    "rewards by judge": lambda x, w: statistics.rewards_by_judge(x, RELATION[0], w),
    "agreement": lambda x, w: statistics.agreement(x.astype(int), RELATION, w),
}


@pytest.mark.parametrize("statistic", LINEAR.values(), ids=LINEAR)
@given(values=arrays(np.float64, (5, 2, 6), elements=VALUES))
def test_the_data_are_the_mean_of_each_post(statistic, values):
    """A figure's mean over posts is resample 0 of a claim."""
    by_post = statistic(values, each_post(5, 6))
    resamples = statistic(values, resampled_posts(5, 6, 9))
    np.testing.assert_allclose(resamples[..., 0], by_post.mean(axis=-1), atol=1e-12)
    for counts, found in zip(bootstrap_weights(6, 9), resamples[..., 1:].T, strict=True):
        np.testing.assert_allclose(found.T, by_post @ counts / 6, atol=1e-12)


@given(values=arrays(np.float64, (3, 6, 4), elements=VALUES))
def test_the_value_of_choices_in_the_data_is_the_mean_of_each_post(values):
    by_post = choose(values, each_post(5, 6))
    assert by_post.shape == (3, 1, 2, 6)
    resamples = choose(values, resampled_posts(5, 6, 9))
    np.testing.assert_allclose(resamples[..., 0], by_post.mean(axis=-1), atol=1e-12)


@given(arrays(np.float64, (5, 2, 3), elements=VALUES), COUNTS)
def test_each_post_by_itself_is_a_resample_with_that_post_alone(values, counts):
    models = np.broadcast_to(counts.astype(float), (5, 1, 3))
    for statistic in LINEAR.values():
        np.testing.assert_allclose(
            statistic(values, Weights(None, models)),
            statistic(values, Weights(3 * np.eye(3), models)),
        )


def test_the_value_of_choices_leaves_out_rankers_that_a_resample_lacks():
    values = RNG.normal(size=(2, 6, 4))
    choices = RNG.integers(4, size=(2, 1, 6))
    counts = np.array([[[1, 0, 3]], [[1, 0, 0]]])
    posts = bootstrap_weights(6, 3)
    chosen = [statistics.pick(values, each) for each in choices]
    found = statistics.value_of_choices(zip(chosen, counts, strict=True), Weights(posts, counts))
    found = found[:, 0, 0]
    first, second = (each[:, 0] @ posts.T / 6 for each in chosen)
    np.testing.assert_allclose(found[:, 0], (first + second)[:, 0] / 2)
    assert np.isnan(found[:, 1]).all()
    np.testing.assert_allclose(found[:, 2], first[:, 2])


def test_over_rankers_compares_the_same_rankers():
    """Rankers without another of the same pretraining seed do not count, nor those not drawn."""
    values = np.stack(
        [
            of_each_post(statistics.rewards_by_judge, RNG.normal(size=(5, 2, 4)), relation)
            for relation in RELATION
        ]
    )[:, :, None]
    counts = np.ones((5, 1, 4))
    counts[1, 0, 2], counts[0, 0, 3] = 2, 0
    found = statistics.over_rankers(values, counts)
    np.testing.assert_allclose(found[..., :2], values[:3].mean(axis=0)[..., :2])
    np.testing.assert_allclose(found[..., 2], values[[0, 1, 1, 2]].mean(axis=0)[..., 2])
    np.testing.assert_allclose(found[..., 3], values[1:3].mean(axis=0)[..., 3])


def test_bootstrap_weights_are_seeded_draws_with_replacement():
    weights = bootstrap_weights(50, resamples=2000, seed=1)
    assert (weights.sum(axis=1) == 50).all()
    np.testing.assert_array_equal(weights, bootstrap_weights(50, 2000, 1))
    assert (weights != bootstrap_weights(50, 2000, 2)).any()
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
    mean, error = intervals.mean_and_error(values)
    np.testing.assert_allclose(mean, values.mean(axis=1))
    np.testing.assert_allclose(error, scipy.stats.sem(values, axis=1))


def test_one_post_has_no_standard_error():
    mean, error = intervals.mean_and_error(np.ones((2, 1)))
    assert (mean == 1).all() and np.isnan(error).all()


def test_normal_interval():
    assert pytest.approx(scipy.stats.norm.ppf(0.975), abs=1e-6) == intervals.NORMAL_95


def test_intervals_hold_the_truth_as_often_as_they_say():
    """300 samples of 100 posts: about 285 intervals hold the mean; below 270 is 4 sigma off."""
    values = np.random.default_rng(5).normal(0.3, 1, size=(300, 100))
    mean, error = intervals.mean_and_error(values)
    assert 270 <= (abs(mean - 0.3) < intervals.NORMAL_95 * error).sum() <= 299


def test_percentile_interval():
    low, high = intervals.percentile_interval(np.linspace(0, 1, 1001)[None])
    np.testing.assert_allclose([low[0], high[0]], [0.025, 0.975])


def test_resamples_that_are_all_the_same_have_no_interval():
    low, high = intervals.percentile_interval(np.array([[0.5] * 9, [*range(9)]]))
    assert np.isnan([low[0], high[0]]).all() and low[1] < high[1]


@pytest.mark.parametrize("seeds", [[0, 0, 0, 1, 2], [4, 4, 7, 7, 7, 9]])
def test_components_are_unbiased_where_pretraining_seeds_have_unequally_many(seeds):
    """Estimators are quadratic forms: their mean is the sum over effects of size 1, one by one."""
    seeds, posts = np.array(seeds), 4
    models = len(seeds)
    effects = {
        "pretraining seed": [np.tile((seeds == seed)[:, None], posts) for seed in np.unique(seeds)],
        "finetuning seed": [np.tile(row[:, None], posts) for row in np.eye(models)],
        "post": [np.tile(row, (models, 1)) for row in np.eye(posts)],
        "residual": list(np.eye(models * posts).reshape(-1, models, posts)),
    }
    for planted, of_effect in effects.items():
        found = [
            statistics.variance_components(each[:, None].astype(float), seeds) for each in of_effect
        ]
        for name in effects:
            mean = sum(each[name][0] for each in found)
            assert mean == pytest.approx(float(name == planted), abs=1e-9), (planted, name)
