"""What a model's metrics say of judgements held out: reliability, by hand and by what must hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from underspec.inference.held_out import BINS, reliability

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
