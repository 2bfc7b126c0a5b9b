"""How many pretraining seeds would decide: the smallest number with enough power, or none."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st

from underspec.analysis.intervals import Variance, over_posts_and_seeds, variance_of
from underspec.analysis.seeds_needed import MOST, POWER, power, seeds_needed

parts = st.floats(1e-6, 1e3) | st.just(0.0)
variances = st.builds(Variance, parts, parts, st.integers(2, 40))
estimates = st.floats(-1e3, 1e3)


@given(estimates, variances)
@example(509.0, Variance(179.0, 1.0, 3))  # 38 standard errors, and 170,000 degrees of freedom
def test_it_is_the_smallest_number_with_enough_power(estimate, variance):
    needed = seeds_needed(estimate, variance)
    assert needed > variance.pretraining_seeds
    if needed < math.inf:
        assert power(estimate, variance.with_seeds(needed)) >= POWER
        if needed > variance.pretraining_seeds + 1:
            assert power(estimate, variance.with_seeds(needed - 1)) < POWER
    else:
        assert power(estimate, variance.with_seeds(MOST)) < POWER
        if variance.posts and not variance.seeds:
            assert abs(estimate) <= (1.96 + 0.8417) * math.sqrt(variance.posts)


@given(estimates, variances, st.integers(1, 7))
def test_it_is_the_next_multiple_above(estimate, variance, size):
    needed, multiple = seeds_needed(estimate, variance), seeds_needed(estimate, variance, size)
    assert multiple == (needed if needed == math.inf else size * math.ceil(needed / size))


@given(estimates, variances, st.sampled_from([0.5, 2.0, -1.0, 1024.0]))
def test_units_and_sides_do_not_matter(estimate, variance, factor):
    other = Variance(
        factor**2 * variance.posts, factor**2 * variance.seeds, variance.pretraining_seeds
    )
    assert seeds_needed(factor * estimate, other) == seeds_needed(estimate, variance)


@given(variances)
def test_nothing_decides_an_estimate_of_0(variance):
    assert seeds_needed(0.0, variance) == math.inf


@given(variances, st.integers(2, 100), st.integers(2, 100))
def test_with_seeds_depends_on_the_last_number_only(variance, one, other):
    direct, by_way = variance.with_seeds(other), variance.with_seeds(one).with_seeds(other)
    assert by_way.seeds == pytest.approx(direct.seeds) and by_way.posts == direct.posts
    assert by_way.pretraining_seeds == direct.pretraining_seeds


@pytest.mark.parametrize("seeds", [5, 6, 9, 20, 50])
@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0])
def test_without_posts_it_is_the_power_of_a_t_test(seeds, distance):
    """Of one sample of seeds, whose values have the deviation 1: the textbook's formula."""
    noncentral = scipy.stats.nct(seeds - 1, distance * math.sqrt(seeds))
    expected = noncentral.sf(scipy.stats.t.ppf(0.975, seeds - 1))
    assert power(distance, Variance(0.0, 1 / seeds, seeds)) == pytest.approx(expected, abs=1e-9)


def test_a_textbook_number():
    """34 values for a mean of half a deviation: one-sample t test, 80 %, two-sided 5 %."""
    assert seeds_needed(0.5, Variance(0.0, 1 / 5, 5)) == 34


def test_it_starts_from_the_parts_of_the_interval():
    """The interval at hand is that of the same parts, with the number of seeds at hand."""
    generator = np.random.default_rng(0)
    draws = generator.normal(0.1, [[0.02], [0.1], [0.08]], (3, 500))
    variance, interval = variance_of(*draws, 5), over_posts_and_seeds(*draws, 5)
    reach = variance.quantile * variance.error
    assert interval.high - interval.estimate == pytest.approx(reach)
    posts, both, seeds = draws[:, 1:].var(axis=1)
    together = min(max(5 / 4 * (both - posts - seeds), 0), posts)
    assert variance.posts == pytest.approx(posts - together)
    assert variance.seeds == pytest.approx(5 / 4 * seeds)
