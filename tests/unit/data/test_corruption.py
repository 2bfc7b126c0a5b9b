"""Span corruption loses nothing, and its lengths are known before it is done."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from underspec.data.span_corruption import corrupt, corrupted_lengths, tokens_for

FIRST_SENTINEL, EOS = 1000, 1

lengths = st.integers(2, 400)
densities = st.floats(0.05, 0.6)
mean_spans = st.floats(1.0, 8.0)
seeds = st.integers(0, 2**32 - 1)


def restore(inputs: np.ndarray, targets: np.ndarray, first_sentinel: int, spans: int) -> np.ndarray:
    """The tokens that `corrupt` was given: its inverse."""
    marks = first_sentinel - np.arange(spans)
    in_inputs = [int(np.flatnonzero(inputs == mark)[0]) for mark in marks]
    in_targets = [int(np.flatnonzero(targets == mark)[0]) for mark in marks]
    pieces, start = [], 0
    for at, begin, end in zip(
        in_inputs, in_targets, [*in_targets[1:], len(targets) - 1], strict=True
    ):
        pieces += [inputs[start:at], targets[begin + 1 : end]]
        start = at + 1
    return np.concatenate([*pieces, inputs[start:-1]])


def corrupted(length, density, mean_span, seed):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(2, 500, length)
    inputs, targets = corrupt(tokens[None], density, mean_span, FIRST_SENTINEL, EOS, [rng])
    return tokens, inputs[0], targets[0]


def sentinels(ids):
    return ids[ids > 500]


@given(lengths, densities, mean_spans, seeds)
def test_restoring_gives_the_tokens_back(length, density, mean_span, seed):
    tokens, inputs, targets = corrupted(length, density, mean_span, seed)
    spans = len(sentinels(inputs))
    np.testing.assert_array_equal(restore(inputs, targets, FIRST_SENTINEL, spans), tokens)


@given(lengths, densities, mean_spans, seeds)
def test_lengths_depend_on_the_number_of_tokens_alone(length, density, mean_span, seed):
    _, inputs, targets = corrupted(length, density, mean_span, seed)
    assert (len(inputs), len(targets)) == corrupted_lengths(length, density, mean_span)
    assert inputs[-1] == targets[-1] == EOS


@given(lengths, densities, mean_spans, seeds)
def test_sentinels_count_down_in_both_and_never_touch(length, density, mean_span, seed):
    _, inputs, targets = corrupted(length, density, mean_span, seed)
    expected = FIRST_SENTINEL - np.arange(len(sentinels(inputs)))
    np.testing.assert_array_equal(sentinels(inputs), expected)
    np.testing.assert_array_equal(sentinels(targets), expected)
    for ids in (inputs, targets):
        assert np.diff(np.flatnonzero(ids > 500)).min(initial=2) >= 2


@given(st.integers(8, 600), densities, mean_spans)
def test_as_many_tokens_as_fit_and_no_more(input_length, density, mean_span):
    tokens = tokens_for(input_length, density, mean_span)
    assert corrupted_lengths(tokens, density, mean_span)[0] <= input_length
    assert corrupted_lengths(tokens + 1, density, mean_span)[0] > input_length


def test_the_setting_of_t5():
    """Raffel et al. train on inputs of 512 and targets of 114 at 15 % noise in spans of 3."""
    assert corrupted_lengths(tokens_for(512, 0.15, 3.0), 0.15, 3.0) == (512, 114)


def test_the_share_and_the_mean_length_of_noise():
    _, inputs, targets = corrupted(1000, 0.15, 3.0, 0)
    assert len(targets) - 1 - len(sentinels(targets)) == 150
    assert len(sentinels(inputs)) == 50


def test_spans_differ_between_draws():
    assert any(
        not np.array_equal(corrupted(100, 0.15, 3.0, 0)[1] > 500, other > 500)
        for other in (corrupted(100, 0.15, 3.0, seed)[1] for seed in (1, 2))
    )


@given(lengths, densities, mean_spans, seeds, st.integers(2, 5))
def test_a_row_is_corrupted_as_it_is_alone(length, density, mean_span, seed, rows):
    tokens = np.random.default_rng(seed).integers(2, 500, (rows, length))

    def corrupted_rows(first, last):
        rngs = [np.random.default_rng([seed, row]) for row in range(first, last)]
        return corrupt(tokens[first:last], density, mean_span, FIRST_SENTINEL, EOS, rngs)

    alone = [corrupted_rows(row, row + 1) for row in range(rows)]
    for together, parts in zip(corrupted_rows(0, rows), zip(*alone, strict=True), strict=True):
        np.testing.assert_array_equal(together, np.concatenate(parts))
