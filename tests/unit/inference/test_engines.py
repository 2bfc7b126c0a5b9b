"""Samples of many posts are drawn together, and come out as if each were alone."""

import numpy as np
import pytest
import torch

from underspec.data.tokenization import EOS
from underspec.inference import continuous_batching, shared_post_t5
from underspec.inference.sampling import policy_decoder
from underspec.inference.shared_post_t5 import Encoder
from underspec.inference.token_sampling import Task
from underspec.models import fused_layers
from underspec.models.t5 import new_t5

SHAPE = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 2}
VOCABULARY, SAMPLES, LONGEST = 12, 6, 30


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


def texts(count):
    rng = np.random.default_rng(1)
    return [np.array([*rng.integers(3, VOCABULARY, 1 + i % 5), EOS]) for i in range(count)]


def task(posts, samples=SAMPLES, version="v1.0", device="cpu", only=None, **distribution):
    policy = new_t5(SHAPE | {"version": version}, VOCABULARY, 0).eval().to(device)
    encoder, decoder = Encoder(policy.encoder, 8), policy_decoder(policy)
    names = [f"post {i}" for i in range(len(posts))]
    if only is not None:
        posts, names = [posts[only]], [names[only]]
    return Task(encoder, decoder, names, posts, samples, LONGEST, 0, **distribution)


def drawn(about):
    """Tokens (posts, samples, longest) and log-probabilities (posts, samples)."""
    samples = {}
    for indices, tokens, log_probs in continuous_batching.generate(about):
        for i, *those in zip(indices, tokens, log_probs, strict=True):
            assert i not in samples
            samples[i] = [each.clone() for each in those]
    return [torch.stack(each) for each in zip(*(samples[i] for i in sorted(samples)), strict=True)]


def test_a_run_of_many_posts_lets_new_ones_in_as_samples_end(monkeypatch):
    """Active rows never exceed the slots, and come out as if each post were alone."""
    monkeypatch.setattr(continuous_batching, "MAX_SLOTS", 48)
    posts = texts(30)
    active, begun = [], []
    step = continuous_batching._step

    def watched(about, together):
        active.append(sum(len(batch.active) for batch in together))
        begun.append({batch.step for batch in together})
        step(about, together)

    monkeypatch.setattr(continuous_batching, "_step", watched)
    samples = drawn(task(posts))
    assert max(active) <= 48
    assert max(map(len, begun)) > 1  # batches at different steps share a step
    monkeypatch.setattr(continuous_batching, "_step", step)
    for i in (0, 17, 29):
        alone = drawn(task(posts, only=i))
        for found, expected in zip(alone, samples, strict=True):
            assert torch.equal(found[0], expected[i])


def test_no_more_samples_and_posts_are_active_than_a_gpu_holds(monkeypatch):
    """Here one that holds 12 samples and 3 posts; they come out as they do otherwise."""
    posts = texts(10)
    expected = drawn(task(posts, 2))
    about = task(posts, 2)
    a_row = 2 * SHAPE["num_layers"] * SHAPE["num_heads"] * SHAPE["d_kv"] * 4

    class Properties:
        total_memory = 12 * a_row * LONGEST / continuous_batching.CACHE_SHARE

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(shared_post_t5, "POST_MULTIPLE", 6)
    monkeypatch.setattr(shared_post_t5, "POSTS_SHARE", 3 * 6 * a_row / Properties.total_memory)
    with monkeypatch.context() as patch:
        patch.setattr(about.decoder, "device", torch.device("cuda"))
        limits = continuous_batching.max_slots(about), continuous_batching.max_posts(about)
    assert limits == (12, 3)
    monkeypatch.setattr(continuous_batching, "max_slots", lambda about: limits[0])
    monkeypatch.setattr(continuous_batching, "max_posts", lambda about: limits[1])
    active = []
    step = continuous_batching._step

    def watched(about, together):
        active.append(
            (sum(len(each.active) for each in together), sum(len(each.posts) for each in together))
        )
        step(about, together)

    monkeypatch.setattr(continuous_batching, "_step", watched)
    for found, other in zip(drawn(about), expected, strict=True):
        assert torch.equal(found, other)
    assert max(posts for _, posts in active) == 3


def test_caches_grow_with_samples_for_what_was_drawn_alone():
    """The cross-attention cache does not grow; sizes here are numbers of elements."""
    posts = texts(1)

    def kept(samples):
        batch = continuous_batching._start(task(posts, samples), [0])
        batch.grow()
        drawn = sum(each.numel() for pair in batch.kv_cache for each in pair)
        (cache,) = (readers.cache for readers in batch.readers)
        return sum(each.numel() for each in (*cache.keys, *cache.values)), drawn

    with torch.inference_mode():
        (of_post, of_few), (of_post_again, of_many) = kept(4), kept(64)
    assert of_post == of_post_again
    assert of_many == 16 * of_few


@pytest.mark.parametrize("distribution", [{}, {"top_k": 5}, {"top_p": 0.7}])
@pytest.mark.parametrize("version", ["v1.0", "v1.1"])
def test_padded_posts_have_the_same_samples(monkeypatch, version, distribution):
    """The same tokens, as no number in [0, 1) is within rounding of an edge here; 1e-5 a token."""
    posts = texts(20)
    tokens, log_probs = drawn(task(posts, version=version, **distribution))
    monkeypatch.setattr(fused_layers, "fused", lambda device: True)
    monkeypatch.setattr(shared_post_t5, "POST_MULTIPLE", 2)
    monkeypatch.setattr(continuous_batching, "max_slots", lambda about: 32)
    others = drawn(task(posts, version=version, **distribution))
    torch.testing.assert_close(others[0], tokens)
    torch.testing.assert_close(others[1], log_probs, rtol=0, atol=1e-5 * LONGEST)
    ends = (tokens == EOS).any(-1)
    assert ends.any() and not ends.all()  # both kinds of end are there
