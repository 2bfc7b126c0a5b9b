"""How rankers choose: what must hold for every rule, and each by its definition."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from underspec.analysis import exact_best_of_n, rerank
from underspec.analysis.selection_rules import (
    RULES,
    Candidates,
    best_of_n,
    beyond,
    expectation,
    mbr,
    number_of_candidates,
    pessimism,
    poisson,
    soft,
)

POSTS, SAMPLES = 3, 6
# Few values, so that ties are common; or any.
VALUES = st.one_of(st.integers(-2, 2).map(float), st.floats(-4, 4, width=32).map(float))
REWARDS = arrays(np.float64, (POSTS, SAMPLES), elements=VALUES)
NS = st.integers(1, SAMPLES)
STRENGTHS = st.floats(1e-3, 1e3)
TOLERANCE = 1e-9
RNG = np.random.default_rng(0)

PARAMETERS = {
    "best_of_n": {},
    "soft": {"temperature": 0.5},
    "poisson": {},
    "pessimism": {"beta": 0.1},
    "mbr": {"beta": 0.5},
}
BY_RULE = pytest.mark.parametrize("rule", RULES)


def chosen(rule, rewards, similarity, n):
    """(posts, samples), whatever of it a rule returns."""
    found = RULES[rule](Candidates(rewards, similarity), n, **PARAMETERS[rule])
    return np.pad(found, [(0, 0), (0, SAMPLES - found.shape[1])])


def test_every_rule_is_tested():
    assert set(PARAMETERS) == set(RULES)


@BY_RULE
@given(rewards=REWARDS, similarity=REWARDS, n=NS)
def test_probabilities_are_probabilities_of_the_first_n(rule, rewards, similarity, n):
    found = chosen(rule, rewards, similarity, n)
    assert (found >= -TOLERANCE).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=TOLERANCE)
    if rule != "poisson":  # whose number of candidates is random
        assert (found[:, n:] == 0).all()


@BY_RULE
@given(rewards=REWARDS, similarity=REWARDS)
def test_the_best_of_one_is_the_first(rule, rewards, similarity):
    np.testing.assert_allclose(chosen(rule, rewards, similarity, 1)[:, 0], 1, atol=TOLERANCE)


@BY_RULE
@given(rewards=REWARDS, similarity=REWARDS, n=NS, shift=st.integers(-3, 3))
def test_a_constant_for_each_post_changes_nothing(rule, rewards, similarity, n, shift):
    rewards = np.round(rewards * 8) / 8  # so that the sum is exact, and ties stay ties
    similarity = np.round(similarity * 8) / 8
    shifts = shift * np.arange(POSTS)[:, None]
    moved = chosen(rule, rewards + shifts, similarity - shifts, n)
    np.testing.assert_allclose(moved, chosen(rule, rewards, similarity, n), atol=1e-7)


@BY_RULE
@given(
    rewards=arrays(np.float64, (POSTS, SAMPLES), elements=st.floats(-4, 4), unique=True),
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_all_samples_does_not_matter(rule, rewards, random):
    """Best-of-Poisson may stop early, so here it looks at all."""
    assume(np.diff(np.sort(rewards, axis=1)).min() > 1e-6)
    similarity = np.random.default_rng(0).random((POSTS, SAMPLES))
    order = random.sample(range(SAMPLES), SAMPLES)
    n = 1000 if rule == "poisson" else SAMPLES
    shuffled = chosen(rule, rewards[:, order], similarity[:, order], n)
    expected = chosen(rule, rewards, similarity, n)[:, order]
    np.testing.assert_allclose(shuffled, expected, atol=TOLERANCE)


@BY_RULE
@given(rewards=REWARDS, similarity=REWARDS, n=NS)
def test_posts_do_not_touch(rule, rewards, similarity, n):
    alone = np.concatenate(
        [chosen(rule, rewards[[post]], similarity[[post]], n) for post in range(POSTS)]
    )
    np.testing.assert_array_equal(alone, chosen(rule, rewards, similarity, n))


@given(REWARDS, NS)
def test_best_of_n_is_that_of_rerank(rewards, n):
    expected = rerank.best_of_n(rewards, [n])[0]
    np.testing.assert_array_equal(
        best_of_n(Candidates(rewards, rewards), n).argmax(axis=1), expected
    )


@given(REWARDS, REWARDS, NS)
def test_mbr_without_similarity_is_best_of_n(rewards, similarity, n):
    each = Candidates(rewards, similarity)
    np.testing.assert_array_equal(mbr(each, n, 0.0), best_of_n(each, n))
    by_similarity = best_of_n(Candidates(similarity, similarity), n)
    np.testing.assert_array_equal(mbr(Candidates(0 * rewards, similarity), n, 1.0), by_similarity)


@given(REWARDS, NS)
def test_soft_best_of_n_goes_from_uniform_to_the_best(rewards, n):
    each = Candidates(rewards, rewards)
    np.testing.assert_allclose(soft(each, n, 1e9), 1 / n, atol=1e-8)
    rewards = np.round(rewards * 4) / 4
    first = rewards[:, :n]
    best = first == first.max(axis=1, keepdims=True)
    expected = best / best.sum(axis=1, keepdims=True)  # ties share
    np.testing.assert_allclose(soft(Candidates(rewards, rewards), n, 1e-3), expected, atol=1e-12)


@given(REWARDS, NS, STRENGTHS)
def test_soft_best_of_n_by_its_definition(rewards, n, temperature):
    assume(temperature > 0.02)  # or the definition overflows
    found = soft(Candidates(rewards, rewards), n, temperature)
    for post in range(POSTS):
        weights = [math.exp(reward / temperature) for reward in rewards[post, :n]]
        np.testing.assert_allclose(found[post], np.divide(weights, sum(weights)), atol=TOLERANCE)


@given(REWARDS, NS, STRENGTHS)
def test_lambda_of_pessimism_satisfies_its_equation(rewards, n, beta):
    """mean of relu((reward - lambda) / beta) = 1, with lambda from a sample that may be taken."""
    found = pessimism(Candidates(rewards, rewards), n, beta)
    for reward, chance in zip(rewards[:, :n], found, strict=True):
        likeliest = int(chance.argmax())
        threshold = reward[likeliest] - chance[likeliest] * n * beta
        over = np.maximum((reward - threshold) / beta, 0)
        # Rewards are up to 4, a rounding of 1e-15 of which is divided by beta.
        assert over.mean() == pytest.approx(1, abs=1e-12 / beta + TOLERANCE)
        np.testing.assert_allclose(chance, over / n, atol=1e-12 / beta + TOLERANCE)


@given(REWARDS, NS)
def test_pessimism_goes_from_uniform_to_the_best(rewards, n):
    np.testing.assert_allclose(pessimism(Candidates(rewards, rewards), n, 1e6), 1 / n, atol=1e-4)
    rewards = np.round(rewards * 4) / 4
    first = rewards[:, :n]
    best = first == first.max(axis=1, keepdims=True)
    expected = best / best.sum(axis=1, keepdims=True)
    found = pessimism(Candidates(rewards, rewards), n, 1e-3)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@given(REWARDS, st.floats(0, 20))
def test_best_of_poisson_by_its_definition(rewards, mean):
    """The best of the first k, with the probability of k; all samples, where it asks for more."""
    found = poisson(Candidates(rewards, rewards), mean + 1)
    expected = np.zeros_like(rewards)
    chance = [math.exp(-mean) * mean**k / math.factorial(k) for k in range(SAMPLES - 1)]
    for k, probability in enumerate([*chance, 1 - sum(chance)], start=1):
        index = rerank.best_of_n(rewards, [k])[0]
        expected[np.arange(POSTS), index] += probability
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@given(REWARDS)
def test_best_of_poisson_goes_from_the_policy_to_the_best_of_all(rewards):
    each = Candidates(rewards, rewards)
    np.testing.assert_allclose(poisson(each, 1 + 1e-12)[:, 0], 1, atol=TOLERANCE)
    np.testing.assert_allclose(poisson(each, 1000), best_of_n(each, SAMPLES), atol=TOLERANCE)


@given(REWARDS, REWARDS, st.floats(0, 20))
def test_best_of_poisson_over_all_orders_is_a_mixture_of_the_closed_forms(rewards, values, mean):
    """What HedgeTune uses is the mean of the rule over the orders of the samples."""
    rewards, values = rewards[:1, :4], values[:1, :4]
    found = []
    for order in itertools.permutations(range(4)):
        order = list(order)
        probabilities = poisson(Candidates(rewards[:, order], rewards), mean + 1)
        found.append(expectation(probabilities, values[None, :, order])[0, 0])
    chances = exact_best_of_n.chances(rewards, [1, 2, 3, 4])
    closed = exact_best_of_n.expected(chances, values)[:, 0]
    assert np.mean(found) == pytest.approx(number_of_candidates(mean, 4) @ closed, abs=TOLERANCE)


@given(st.floats(0, 200), st.integers(1, 70))
def test_the_number_of_candidates_is_a_distribution(mean, most):
    chances = number_of_candidates(mean, most)
    assert chances.shape == (most,) and (chances >= 0).all()
    assert chances.sum() == pytest.approx(1)
    without_limit = mean + 1
    assert chances @ np.arange(1, most + 1) <= without_limit + TOLERANCE
    by_hand = 1 - sum(
        math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) if mean else float(k == 0)
        for k in range(most)
    )
    assert beyond(mean, most) == pytest.approx(by_hand, abs=TOLERANCE)


def test_an_expectation_is_over_the_samples_that_a_rule_may_take():
    values = RNG.normal(size=(2, POSTS, SAMPLES))
    probabilities = np.array([[0.25, 0.75]] * POSTS)
    expected = 0.25 * values[:, :, 0] + 0.75 * values[:, :, 1]
    np.testing.assert_allclose(expectation(probabilities, values), expected)
