"""The two ways to draw samples: on a CPU as few rows as possible, on a GPU steps of one shape."""

import numpy as np
import pytest
import torch

from underspec import cohorts, lanes, layers, t5
from underspec.draws import Task
from underspec.models import new_t5
from underspec.sampling import language_model
from underspec.t5 import Encoder
from underspec.tokens import EOS

SHAPE = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 2}
VOCABULARY, SAMPLES, LONGEST = 12, 6, 30


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


@pytest.fixture
def few_lanes(monkeypatch):
    """Fewer than there are posts and samples, and posts of several rooms."""
    for name, value in {"POSTS": 3, "LANES": 4, "ROOM": 4}.items():
        monkeypatch.setattr(lanes, name, value)


def texts(count):
    rng = np.random.default_rng(1)
    return [np.array([*rng.integers(3, VOCABULARY, 1 + i % 5), EOS]) for i in range(count)]


def task(posts, samples=SAMPLES, version="v1.0", device="cpu", only=None, **distribution):
    policy = new_t5(SHAPE | {"version": version}, VOCABULARY, 0).eval().to(device)
    encoder, decoder = Encoder(policy.encoder, 8), language_model(policy)
    names = [f"post {i}" for i in range(len(posts))]
    if only is not None:
        posts, names = [posts[only]], [names[only]]
    return Task(encoder, decoder, names, posts, samples, LONGEST, 0, **distribution)


def drawn(engine, about):
    """Tokens (posts, samples, longest) and log-probabilities (posts, samples)."""
    samples = {}
    for places, tokens, log_probs in engine.drawn(about):
        for i, *those in zip(places, tokens, log_probs, strict=True):
            assert i not in samples
            samples[i] = [each.clone() for each in those]
    return [torch.stack(each) for each in zip(*(samples[i] for i in sorted(samples)), strict=True)]


def test_a_run_of_many_posts_lets_new_ones_in_as_samples_end(monkeypatch):
    """Rows in flight never exceed the room, and come out as if each post were alone."""
    monkeypatch.setattr(cohorts, "ROWS_AT_ONCE", 48)
    posts = texts(30)
    in_flight, begun = [], []
    step = cohorts._step

    def watched(about, together):
        in_flight.append(sum(len(cohort.rows) for cohort in together))
        begun.append({cohort.step for cohort in together})
        step(about, together)

    monkeypatch.setattr(cohorts, "_step", watched)
    samples = drawn(cohorts, task(posts))
    assert max(in_flight) <= 48
    assert max(map(len, begun)) > 1  # cohorts at different steps share a step
    monkeypatch.setattr(cohorts, "_step", step)
    for i in (0, 17, 29):
        alone = drawn(cohorts, task(posts, only=i))
        for found, expected in zip(alone, samples, strict=True):
            assert torch.equal(found[0], expected[i])


def test_caches_grow_with_samples_for_what_was_drawn_alone():
    """What is kept of the post does not; memory here is counted in numbers."""
    posts = texts(1)

    def kept(samples):
        cohort = cohorts._begin(task(posts, samples), [0])
        cohort.grow()
        drawn = sum(each.numel() for pair in cohort.cache for each in pair)
        (memory,) = (readers.memory for readers in cohort.readers)
        return sum(each.numel() for each in (*memory.keys, *memory.values)), drawn

    with torch.inference_mode():
        (of_post, of_few), (of_post_again, of_many) = kept(4), kept(64)
    assert of_post == of_post_again
    assert of_many == 16 * of_few


@pytest.mark.parametrize("distribution", [{}, {"top_k": 5}, {"top_p": 0.7}])
@pytest.mark.parametrize("version", ["v1.0", "v1.1"])
def test_both_ways_draw_the_same_samples(monkeypatch, version, distribution):
    """The same tokens, as no number in [0, 1) is within rounding of an edge here; 1e-5 a token."""
    posts = texts(20)
    tokens, log_probs = drawn(cohorts, task(posts, version=version, **distribution))
    monkeypatch.setattr(layers, "fused", lambda device: True)
    monkeypatch.setattr(t5, "GRAIN", 2)
    monkeypatch.setattr(cohorts, "rows_at_once", lambda about: 32)
    others = drawn(cohorts, task(posts, version=version, **distribution))
    torch.testing.assert_close(others[0], tokens)
    torch.testing.assert_close(others[1], log_probs, rtol=0, atol=1e-5 * LONGEST)
    ends = (tokens == EOS).any(-1)
    assert ends.any() and not ends.all()  # both kinds of end are there


def test_lanes_draw_a_sample_alike_whatever_is_in_flight_beside_it(few_lanes):
    posts = texts(10)
    together = drawn(lanes, task(posts))
    for i in (0, 4, 9):
        for found, expected in zip(drawn(lanes, task(posts, only=i)), together, strict=True):
            assert torch.equal(found[0], expected[i])


def test_a_step_of_lanes_asks_the_gpu_for_nothing(few_lanes):
    """A graph could not be captured else: here of tensors without values."""
    flight = lanes.Flight(task(texts(1), device="meta"), 4)
    state = {name: id(each) for name, each in vars(flight).items()}
    flight.step()
    assert {name: id(each) for name, each in vars(flight).items()} == state  # changed in place
    with pytest.raises(RuntimeError, match="meta"):  # what asking would end in
        flight.ended.tolist()
