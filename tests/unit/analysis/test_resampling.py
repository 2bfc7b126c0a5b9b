"""The nested bootstrap: what it draws, and whether its intervals hold the truth."""

import itertools
import math
import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from underspec.analysis import bootstrap, intervals
from underspec.grid import reward_models

WORKSHOP = reward_models("workshop", [0, 1, 2], [0, 1])
FULL = reward_models("full", [3, 5, 9], [0, 1])


@pytest.mark.parametrize("models", [WORKSHOP, FULL])
def test_reward_models_are_drawn_within_the_pretraining_seeds_that_are_drawn(models):
    drawn = bootstrap.draw(models, 7, 500, "base")
    seeds = np.array([model.pretrain_seed for model in models])
    names = np.unique(seeds)
    for slots, those, held in zip(
        drawn.drawn, drawn.drawn_seeds, drawn.models[:, 1].T, strict=True
    ):
        assert len(slots) == len(those) == 3
        for slot, index in zip(slots, those, strict=True):
            (seed,) = set(seeds[slot[slot >= 0]])  # one pretraining seed
            assert seed == names[index]
            assert (slot >= 0).sum() == (seeds == seed).sum()  # as many as it has
        np.testing.assert_array_equal(held, np.bincount(slots[slots >= 0], minlength=len(models)))
    assert (drawn.posts.sum(axis=1) == 7).all()


def test_any_order_of_the_seeds_is_as_likely(monkeypatch):
    """20,000 draws: each seed first in a third of them within 5 standard deviations (0.017)."""
    monkeypatch.setattr(bootstrap, "SEED_DRAWS", 20_000)
    drawn = bootstrap.draw(reward_models("workshop", [3, 5, 9], [0, 1, 2]), 1, 20_000, "base")
    of_first = drawn.drawn[1:][drawn.drawn_seeds[1:] == 0]
    for position in range(3):
        first = np.bincount(drawn.drawn_seeds[1:, position]) / 20_000
        np.testing.assert_allclose(first, 1 / 3, atol=0.017)
        within = np.bincount(of_first[:, position]) / len(of_first)
        np.testing.assert_allclose(within, 1 / 3, atol=0.017)


def test_where_pretraining_seeds_have_as_many_reward_models_all_are_kept():
    drawn = bootstrap.draw(FULL, 7, 50, "base")
    for slots, those in zip(drawn.drawn, drawn.drawn_seeds, strict=True):
        np.testing.assert_array_equal(slots, 2 * those[:, None] + [0, 1])


def test_the_first_resample_is_the_data():
    drawn = bootstrap.draw(WORKSHOP, 7, 3, "base")
    assert (drawn.posts[0] == 1).all() and (drawn.models[..., 0] == 1).all()
    assert drawn.drawn_seeds[0].tolist() == [0, 1, 2]
    assert drawn.drawn[0].tolist() == [[0, 1], [2, -1], [3, -1]]
    assert (drawn.models[:, 0] == 1).all()


def test_scales_share_posts_and_not_seeds():
    base, xl = (bootstrap.draw(FULL, 20, 50, scale) for scale in ("base", "xl"))
    np.testing.assert_array_equal(base.posts, xl.posts)
    assert (base.drawn != xl.drawn).any()
    np.testing.assert_array_equal(base.drawn, bootstrap.draw(FULL, 20, 50, "base").drawn)


def test_of_many_resamples_the_seeds_repeat_and_posts_do_not(monkeypatch):
    monkeypatch.setattr(bootstrap, "SEED_DRAWS", 7)
    drawn = bootstrap.draw(WORKSHOP, 20, 21, "base")
    np.testing.assert_array_equal(drawn.drawn[1:], np.tile(drawn.drawn[1:8], (3, 1, 1)))
    assert len(np.unique(drawn.posts, axis=0)) == 22
    alone = drawn.with_seeds_alone()
    assert len(alone.posts) == len(alone.drawn) == alone.models.shape[2] == 22 + 8
    np.testing.assert_array_equal(alone.models[..., 22:], drawn.models[..., :8])
    np.testing.assert_array_equal(alone.drawn[22:], drawn.drawn[:8])
    assert (alone.posts[22:] == 1).all()


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 5])
def test_distinct_resamples_are_counted(seeds):
    draws = itertools.product(range(seeds), repeat=seeds)
    assert bootstrap.distinct(seeds) == len({tuple(sorted(draw)) for draw in draws})
    assert bootstrap.distinct(5) == 126


def statistic(values, drawn):
    """Of values (models, posts): the mean in every resample of posts, of both, and of seeds."""
    alone = drawn.with_seeds_alone()
    means = values @ alone.posts.T / values.shape[1]
    posts, both = (alone.models * means[:, None]).sum(axis=0) / alone.models.sum(axis=0)
    resamples = len(drawn.posts)
    return posts[:resamples], both[:resamples], both[resamples:]


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """300 experiments with five seeds and their own effects: 95% would be 285; below 267 is 5
    standard deviations off. Percentiles of the same resamples hold it far less often."""
    generator = np.random.default_rng(2)
    models = reward_models("full", [0, 1, 2, 3, 4], [0, 1])
    held = percentile = 0
    for _ in range(300):
        effect = np.repeat(generator.normal(0, 1, 5), 2)[:, None]
        values = effect + generator.normal(0, 0.3, (10, 1)) + generator.normal(0, 1, (10, 30))
        posts, both, seeds = statistic(values, bootstrap.draw(models, 30, 300, "base"))
        interval = intervals.over_posts_and_seeds(posts, both, seeds, 5)
        held += interval.low < 0 < interval.high
        low, high = np.percentile(both[1:], [2.5, 97.5])
        percentile += low < 0 < high
    assert 267 <= held <= 299
    assert percentile < 267


def test_without_effects_of_seeds_the_interval_is_that_over_posts():
    values = np.tile(np.random.default_rng(3).normal(size=(1, 200)), (6, 1))
    posts, both, seeds = statistic(values, bootstrap.draw(FULL, 200, 4000, "base"))
    np.testing.assert_allclose(posts, both, atol=1e-5)
    np.testing.assert_allclose(seeds, both[0], atol=1e-5)
    error = scipy.stats.sem(values[0])
    for interval in (
        intervals.over_posts(posts),
        intervals.over_posts_and_seeds(posts, both, seeds, 3),
    ):
        assert interval.estimate == pytest.approx(values.mean(), abs=1e-5)
        assert interval.high - interval.estimate == pytest.approx(1.96 * error, rel=0.05)


def test_resamples_without_the_statistic_are_left_out():
    posts = np.array([1.0, 0.9, 1.1, 1.0])
    seeds = np.array([1.0, 0.5, np.nan, 1.5])
    interval = intervals.over_posts_and_seeds(posts, seeds, seeds, 5)
    assert interval.low < 0.5 and interval.high > 1.5 and interval.estimate == 1


@pytest.mark.parametrize(
    ("values", "seeds"),
    [(np.full(5, 0.7), 5), (np.array([0.7, 0.6, 0.8, 0.7]), 1), (np.full(5, 0.7), 1)],
    ids=["nothing varies", "one seed", "both"],
)
def test_without_anything_to_measure_it_by_there_is_no_interval(values, seeds):
    interval = intervals.over_posts_and_seeds(values, values, values, seeds)
    assert interval.estimate == 0.7
    assert math.isnan(interval.low) and math.isnan(interval.high)


NOISE = 1 + 1e-8 * np.random.default_rng(0).normal(size=500)


@pytest.mark.parametrize("value", [1.0, -3e5, 1e-9])
def test_rounding_is_no_variation(value):
    values = value * NOISE
    for interval in (
        intervals.over_posts(values),
        intervals.over_posts_and_seeds(values, values, values, 5),
        intervals.over_posts(values - value, size=value),  # a difference of equal numbers
        intervals.over_posts_and_seeds(*[values - value] * 3, 5, size=value),
    ):
        assert math.isnan(interval.low) and math.isnan(interval.high)


def test_a_small_difference_that_varies_has_an_interval():
    values = 1e-6 * (1 + 0.01 * np.random.default_rng(0).normal(size=500))
    interval = intervals.over_posts_and_seeds(values, values, values, 5, size=1e-2)
    assert 0 < interval.low < interval.high


@given(
    st.lists(st.floats(allow_infinity=True, allow_nan=True, width=32), min_size=1, max_size=30),
    st.integers(1, 5),
)
def test_no_interval_is_without_width_or_warns(resamples, seeds):
    values = np.array([1.0, *resamples])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for interval in (
            intervals.over_posts(values),
            intervals.over_posts_and_seeds(values, values[::-1], values, seeds),
        ):
            assert math.isnan(interval.low) or interval.low < interval.high


def test_with_one_resample_of_the_seeds_there_is_no_interval():
    posts = np.random.default_rng(0).normal(size=50)
    seeds = np.full(50, np.nan)
    for known in (0, 1):
        seeds[: known + 1] = 1.0
        assert math.isnan(intervals.over_posts_and_seeds(posts, posts, seeds, 5).low)


def parts(effects, experiments=200, seeds=10, posts=40):
    """Means of the parts of the variance of a mean over seeds and posts, with these effects (of
    seed, post, and both together), and the parts that it has; all in variances of the mean."""
    generator = np.random.default_rng(4)
    models = reward_models("full", list(range(seeds)), [0])
    sizes = np.array([seeds, posts, seeds * posts])
    true = np.array(effects) ** 2 / sizes
    found = []
    for _ in range(experiments):
        seed, post, both = (
            size * generator.normal(size=shape)
            for size, shape in zip(effects, [(seeds, 1), (1, posts), (seeds, posts)], strict=True)
        )
        drawn = bootstrap.draw(models, posts, 1000, "base")
        found.append(intervals.variance_of(*statistic(seed + post + both, drawn), seeds))
    return np.mean([(each.posts, each.seeds) for each in found], axis=0), true


@pytest.mark.parametrize("effects", [(1.0, 2.0, 0.5), (0.5, 1.0, 5.0), (0.0, 1.0, 3.0)])
def test_what_seeds_and_posts_cause_together_counts_once_and_as_the_seeds(effects):
    """200 experiments: the parts within 12 %, their sum within 8 %. A part of the seeds of
    0 would be found as that of both together."""
    (of_posts, of_seeds), (seed, post, both) = parts(effects)
    assert of_posts + of_seeds == pytest.approx(seed + post + both, rel=0.08)
    assert of_seeds == pytest.approx(seed + both, rel=0.12)
    assert of_posts == pytest.approx(post, rel=0.12)


def test_independent_sets_are_counted_by_what_they_cause():
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(2, 100_001))
    assert intervals.independent_sets([one]) == 1
    assert intervals.independent_sets([one, other]) == pytest.approx(2, rel=0.01)
    assert intervals.independent_sets([one, 1e-3 * other]) == pytest.approx(1, rel=0.01)
    assert intervals.independent_sets([np.zeros(5), np.zeros(5)]) == 1


def test_what_posts_and_seeds_cause_together_is_at_least_0():
    signs = np.append(0, np.tile([-1.0, 1], 100))
    found = intervals.variance_of(1 + 0.1 * signs, 1 + 0.05 * signs, 1 + 0.1 * signs, 5)
    assert (found.posts, found.seeds) == pytest.approx((0.01, 0.0125))


def test_the_data_are_no_resample():
    found = intervals.over_posts(np.array([5.0, 1.0, 3.0]))
    assert (found.estimate, found.high) == pytest.approx((5, 5 + 1.959964))
