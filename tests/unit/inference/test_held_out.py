"""What a model's metrics say of what is held out: reliability, and agreement with people, by hand
and by what must hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from underspec.inference.held_out import BINS, agreement, correlation, reliability

PREDICTIONS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=60)
DISTINCT = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 1)),
    min_size=1,
    max_size=60,
    unique_by=lambda each: each[0],
)


def found(predictions):
    probabilities, labels = np.array(predictions).T
    return reliability(probabilities, labels)


def test_two_predictions_a_bin_by_hand():
    """Ten bins: nine of the surest right, one at 0.5 and 0.7 with one of two right."""
    sure = [(0.0, 0)] * 8 + [(1.0, 1)] * 10
    result = found([*sure, (0.5, 1), (0.7, 0)])
    assert [each["count"] for each in result["bins"]] == [2] * BINS
    assert result["bins"][4] == {"count": 2, "probability": pytest.approx(0.6), "share": 0.5}
    assert result["ece"] == pytest.approx(2 / 20 * 0.1)


@given(PREDICTIONS)
def test_bins_are_equally_full_and_rise_and_hold_every_prediction(predictions):
    result = found(predictions)
    counts = [each["count"] for each in result["bins"]]
    assert sum(counts) == len(predictions)
    assert len(counts) == min(BINS, len(predictions)) and max(counts) - min(counts) <= 1
    means = [each["probability"] for each in result["bins"]]
    np.testing.assert_array_less(np.subtract(means[:-1], means[1:]), 1e-12)
    labels = np.array(predictions)[:, 1]
    weighted = sum(each["count"] * each["share"] for each in result["bins"])
    assert weighted == pytest.approx(labels.sum())
    assert 0 <= result["ece"] <= 1


@given(DISTINCT, st.randoms(use_true_random=False))
def test_the_order_of_predictions_does_not_matter(predictions, random):
    shuffled = random.sample(predictions, len(predictions))
    assert found(shuffled)["ece"] == pytest.approx(found(predictions)["ece"], abs=1e-12)


@given(PREDICTIONS)
def test_the_error_is_at_least_the_bias_of_all(predictions):
    probabilities, labels = np.array(predictions).T
    assert found(predictions)["ece"] >= abs(probabilities.mean() - labels.mean()) - 1e-12


SIZE = st.shared(st.integers(2, 30), key="size")
VALUES = SIZE.flatmap(lambda size: st.lists(st.integers(-40, 40), min_size=size, max_size=size))


def test_agreement_by_hand():
    """Halves that correlate by one half: people would agree with as many others by two thirds."""
    half, other_half = [1, 1, 0, 0, -1, -1], [1, 0, 1, -1, 0, -1]
    assert correlation(half, other_half) == pytest.approx(0.5)
    assert agreement(half, other_half) == pytest.approx(2 / 3)


def test_agreement_is_that_of_as_many_other_people():
    """Of 20,000 texts that 20 people rate, each with an error of his own: within 0.01."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20_000, 1))
    people, others = truth + rng.normal(scale=4, size=(2, 20_000, 20))
    found = agreement(people[:, :10].mean(1), people[:, 10:].mean(1))
    assert found == pytest.approx(correlation(people.mean(1), others.mean(1)), abs=0.01)


@given(VALUES, VALUES)
def test_agreement_is_between_0_and_1_and_symmetric(half, other_half):
    found = agreement(half, other_half)
    assert 0 <= found <= 1
    assert found == pytest.approx(agreement(other_half, half))
    assert agreement(half, half) == pytest.approx(float(len(set(half)) > 1))


@given(VALUES, VALUES, st.floats(0.1, 10), st.floats(-10, 10))
def test_correlation_has_no_unit(first, second, scale, shift):
    found = correlation(first, second)
    assert -1 <= found <= 1
    moved = scale * np.array(first) + shift
    assert correlation(moved, second) == pytest.approx(found, abs=1e-9)
    assert correlation(-moved, second) == pytest.approx(-found, abs=1e-9)


def test_what_is_constant_agrees_with_nothing():
    assert correlation([1, 1, 1], [1, 2, 3]) == agreement([1, 1], [1, 1]) == 0
