"""The mean over all orders of the samples, against all orders."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from underspec.analysis import exact_best_of_n
from underspec.analysis.rerank import best_of_n
from underspec.analysis.statistics import pick, ranks

RNG = np.random.default_rng(0)
# Few values, so that ties are common.
REWARDS = arrays(np.float64, (2, 5), elements=st.integers(0, 3).map(float))


def over_all_orders(rewards, values, n):
    """By brute force: `values` of the best of the first n, a mean over every order, by post."""
    found = []
    for order in itertools.permutations(range(rewards.shape[1])):
        shuffled = rewards[:, order]
        found.append(pick(values[:, order], best_of_n(shuffled, [n]))[0])
    return np.mean(found, axis=0)


@given(REWARDS, arrays(np.float64, (2, 5), elements=st.integers(-5, 5).map(float)))
def test_expectation_is_the_mean_over_all_orders(rewards, values):
    ns = [1, 2, 3, 5]
    found = exact_best_of_n.expected(exact_best_of_n.chances(rewards, ns), values)
    for row, n in zip(found, ns, strict=True):
        np.testing.assert_allclose(row, over_all_orders(rewards, values, n), atol=1e-12)


@given(REWARDS)
def test_expectation_is_the_mean_over_all_sets_of_n(rewards):
    """The reward of the choice itself does not depend on how ties are broken."""
    found = exact_best_of_n.expected(exact_best_of_n.chances(rewards, [3]), rewards)[0]
    sets = list(itertools.combinations(range(5), 3))
    expected = np.mean([rewards[:, each].max(axis=1) for each in sets], axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(REWARDS)
def test_chances_are_chances(rewards):
    chances = exact_best_of_n.chances(rewards, [1, 2, 5])
    assert (chances >= -1e-12).all()
    np.testing.assert_allclose(chances.sum(axis=2), 1)
    np.testing.assert_allclose(chances[0], 1 / 5)  # the best of one is any


def test_all_samples_leave_no_choice_of_order():
    rewards, values = RNG.normal(size=(2, 4, 6))
    first = pick(values, best_of_n(rewards, [6]))
    np.testing.assert_allclose(
        exact_best_of_n.expected(exact_best_of_n.chances(rewards, [6]), values), first
    )


def test_duplicates_change_nothing():
    """A sample drawn twice wins as often, in sum, as in the draw where it is distinguished."""
    rewards = np.array([[0.0, 1.0, 1.0, 2.0]])
    chances = exact_best_of_n.chances(rewards, [2])[0, 0]
    assert chances.tolist() == pytest.approx([0, 1 / 4, 1 / 4, 1 / 2])


@given(REWARDS)
def test_ranks_by_loops(rewards):
    below, up_to = ranks(rewards)
    for post, sample in np.ndindex(rewards.shape):
        assert below[post, sample] == (rewards[post] < rewards[post, sample]).sum()
        assert up_to[post, sample] == (rewards[post] <= rewards[post, sample]).sum()


def test_large_sets_keep_their_precision():
    rewards = np.arange(1000.0)[None]
    chances = exact_best_of_n.chances(rewards, [500])[0, 0]
    assert chances.sum() == pytest.approx(1)
    assert chances[-1] == pytest.approx(0.5)  # the best of all is among 500 of 1,000 half the time


def test_expected_of_several_values_at_once():
    rewards, values = RNG.normal(size=(3, 4)), RNG.normal(size=(2, 3, 4))
    chances = exact_best_of_n.chances(rewards, [1, 2])
    found = exact_best_of_n.expected(chances, values)
    assert found.shape == (2, 2, 3)
    np.testing.assert_allclose(found[1], exact_best_of_n.expected(chances, values[1]))


def test_orders_are_seeded_permutations_that_come_out_evenly():
    drawn = np.stack(list(exact_best_of_n.orders(3, 4, 2000, seed=1)))
    assert (np.sort(drawn, axis=2) == np.arange(4)).all()
    np.testing.assert_array_equal(drawn, np.stack(list(exact_best_of_n.orders(3, 4, 2000, seed=1))))
    firsts = np.bincount(drawn[:, 0, 0], minlength=4) / 2000
    np.testing.assert_allclose(firsts, 0.25, atol=0.04)  # 4 standard errors


def test_best_in_an_order_is_the_best_of_the_shuffled():
    rewards = RNG.integers(0, 3, (4, 6)).astype(float)
    (order,) = exact_best_of_n.orders(4, 6, 1)
    found = exact_best_of_n.best_of_n_in(order, rewards, [1, 3, 6])
    for post in range(4):
        for row, n in zip(found, (1, 3, 6), strict=True):
            seen = order[post, :n]
            assert row[post] == seen[np.argmax(rewards[post, seen])]


def test_the_mean_over_orders_meets_the_closed_form():
    rewards, values = RNG.normal(size=(2, 50, 8))
    drawn = [
        pick(values, exact_best_of_n.best_of_n_in(order, rewards, [3]))[0].mean()
        for order in exact_best_of_n.orders(50, 8, 2000)
    ]
    closed = exact_best_of_n.expected(exact_best_of_n.chances(rewards, [3]), values)[0].mean()
    assert np.mean(drawn) == pytest.approx(closed, abs=4 * np.std(drawn) / 2000**0.5)
