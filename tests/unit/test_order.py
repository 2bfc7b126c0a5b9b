"""The data order is a pure function of (seed, step, row)."""

from hypothesis import given
from hypothesis import strategies as st

from underspec.random_streams import DROPOUT, NOISE, SAMPLING, example, examples, stream_seed

seeds = st.integers(0, 1000)
sizes = st.integers(1, 60)


@given(seeds, sizes, st.integers(0, 3))
def test_each_epoch_is_a_permutation(seed, size, epoch):
    positions = range(epoch * size, (epoch + 1) * size)
    assert sorted(example(seed, size, position) for position in positions) == list(range(size))


@given(seeds, sizes, st.integers(1, 8), st.integers(0, 30))
def test_halves_of_a_batch_are_the_batch(seed, size, half, step):
    batch = 2 * half
    whole = examples(seed, size, batch, step, range(batch))
    first = examples(seed, size, batch, step, range(half))
    second = examples(seed, size, batch, step, range(half, batch))
    assert first + second == whole


@given(seeds, sizes, st.integers(1, 8), st.permutations(range(6)))
def test_steps_may_be_asked_for_in_any_order(seed, size, batch, order):
    in_order = [examples(seed, size, batch, step, range(batch)) for step in range(6)]
    assert {step: examples(seed, size, batch, step, range(batch)) for step in order} == dict(
        enumerate(in_order)
    )


@given(seeds, st.integers(1, 8))
def test_batches_follow_each_other_without_gap(seed, batch):
    steps = [examples(seed, 24, batch, step, range(batch)) for step in range(24)]
    stream = [one for step in steps for one in step]
    assert stream == [example(seed, 24, position) for position in range(24 * batch)]


def test_seeds_and_epochs_differ():
    orders = [
        tuple(example(seed, 50, epoch * 50 + i) for i in range(50))
        for seed in range(5)
        for epoch in range(3)
    ]
    assert len(set(orders)) == len(orders)


@given(seeds)
def test_streams_of_one_seed_differ_and_fit_a_generator(seed):
    drawn = [stream_seed(seed, stream, i) for stream in (NOISE, DROPOUT, SAMPLING) for i in (0, 1)]
    assert len(set(drawn)) == len(drawn)
    assert all(0 <= value < 2**63 for value in drawn)
    assert drawn[0] == stream_seed(seed, NOISE, 0)
