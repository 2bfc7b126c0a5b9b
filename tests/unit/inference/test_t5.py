"""T5 for many texts of a post gives what transformers' T5 gives each of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from underspec.data.tokenization import EOS, PAD, encode, pad, train_tokenizer
from underspec.inference import shared_post_t5
from underspec.inference.sampling import policy_decoder
from underspec.inference.shared_post_t5 import (
    CrossAttentionCache,
    Encoder,
    RowsByPost,
    attend_by_length,
    length_runs,
)
from underspec.models import fused_layers
from underspec.models.t5 import new_t5

MANUAL = Path(__file__).parents[3] / "docs"
SHAPE = {"d_model": 32, "d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": 3}
VOCABULARY = 400
KINDS = {
    "v1.0": {"version": "v1.0"},
    "v1.1": {"version": "v1.1"},  # gated, a head of its own
    "one layer": {"version": "v1.0", "num_layers": 1},
    "heads wider than the model": {"version": "v1.1", "d_kv": 16},
}
# Logits have a standard deviation of one. bfloat16 has 8 bits, which three layers add up.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 0.15}


@pytest.fixture(scope="module")
def paragraphs():
    """Real text, as token ids: paragraphs of the manual."""
    text = (MANUAL / "reproduce.md").read_text() + (MANUAL / "statistics.md").read_text()
    text = [part for part in text.split("\n\n") if len(part.split()) > 8]
    return encode(train_tokenizer(text, "word", VOCABULARY), text[:12], 60)


def policy(kind, dtype=torch.float32):
    """Random weights, in every one of the layer norms too."""
    model = new_t5(SHAPE | KINDS[kind], VOCABULARY, 0).eval()
    torch.manual_seed(1)
    for module in model.modules():
        if type(module).__name__ == "T5LayerNorm":
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.to(dtype)


@pytest.fixture(params=["as they are", "padded"])
def padding(request, monkeypatch):
    """As on a CPU, and as on a GPU."""
    monkeypatch.setattr(fused_layers, "fused", lambda device: request.param == "padded")
    monkeypatch.setattr(shared_post_t5, "POST_MULTIPLE", 16)


def encoded(model, posts):
    return Encoder(model.encoder, 64)(posts)


def states_of(model, posts):
    """The encoder's states of each post, without padding."""
    padded = [states for run in encoded(model, posts) for states in run.states]
    return [states[: len(post)] for states, post in zip(padded, posts, strict=True)]


def in_one_go(model, post, texts):
    """Logits for all `texts` (token ids) of one post, packed: a list of (length, vocabulary)."""
    decoder = policy_decoder(model)
    cache = CrossAttentionCache(decoder, *encoded(model, [post]))
    shifted = [np.array([PAD, *ids[:-1]]) for ids in texts]
    rows = RowsByPost(cache, torch.zeros(sum(map(len, texts)), dtype=torch.long))
    bias = decoder.causal_bias(max(map(len, texts)))
    logits = decoder(
        torch.from_numpy(np.concatenate(shifted)),
        lambda _, *own: attend_by_length(
            length_runs(shifted), [bias[:, :n, :n] for n, _ in length_runs(shifted)], *own
        ),
        lambda layer, query: cache.attend(layer, query, rows),
    )
    return logits.split([len(ids) for ids in texts])


def by_transformers(model, post, texts):
    labels = torch.from_numpy(pad(texts))
    posts = torch.from_numpy(np.stack([post] * len(texts)))
    return model(input_ids=posts, decoder_input_ids=model._shift_right(labels)).logits


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_logits_are_those_of_transformers_on_real_text(padding, paragraphs, kind, dtype):
    model = policy(kind, dtype)
    post, *texts = paragraphs
    expected = by_transformers(model, post, texts).float()
    assert 0.3 < expected.std() < 3  # else the tolerance means nothing
    for ids, found, other in zip(texts, in_one_go(model, post, texts), expected, strict=True):
        error = (found.float() - other[: len(ids)]).abs().max()
        assert error < TOLERANCE[dtype], error


@torch.inference_mode()
def test_a_text_comes_out_the_same_in_any_company(paragraphs):
    """Bit for bit: here with MKL, on CPUs with another library it may not hold."""
    model = policy("v1.1")
    post, *texts = paragraphs
    together = in_one_go(model, post, texts)
    for number in (1, 3):
        for found, expected in zip(in_one_go(model, post, texts[:number]), together, strict=False):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_the_encoders_states_are_those_of_transformers_on_real_text(
    padding, paragraphs, kind, dtype
):
    model = policy(kind, dtype)
    posts = sorted([*paragraphs, paragraphs[0][::-1].copy()], key=len)
    for post, found in zip(posts, states_of(model, posts), strict=True):
        expected = model.encoder(input_ids=torch.from_numpy(post)[None]).last_hidden_state[0]
        assert found.shape == expected.shape and 0.3 < expected.float().std() < 3
        assert (found.float() - expected.float()).abs().max() < TOLERANCE[dtype]


@torch.inference_mode()
def test_a_post_comes_out_of_the_encoder_the_same_in_any_company():
    model = policy("v1.0")
    rng = np.random.default_rng(0)
    lengths = (0, 0, 1, 2, 2, 2, 8, 30, 30)  # two empty ones
    posts = [np.array([*rng.integers(3, VOCABULARY, length), EOS]) for length in lengths]
    for post, expected in zip(posts, states_of(model, posts), strict=True):
        (alone,) = states_of(model, [post])
        torch.testing.assert_close(alone, expected, rtol=0, atol=0)


def numbers(cache):
    return sum(each.numel() for each in (*cache.keys, *cache.values))


@torch.inference_mode()
def test_what_is_kept_of_a_post_does_not_grow_with_its_texts(paragraphs):
    """transformers keeps as much for every text."""
    model = policy("v1.0")
    decoder = policy_decoder(model)
    cache = CrossAttentionCache(decoder, *encoded(model, paragraphs[:1]))
    shape = (2, SHAPE["num_layers"], len(paragraphs[0]), SHAPE["num_heads"] * SHAPE["d_kv"])
    assert numbers(cache) == np.prod(shape)
    rows = 64 * SHAPE["num_heads"] * SHAPE["d_kv"]
    query = torch.randn(64, rows // 64)
    read = cache.attend(0, query, RowsByPost(cache, torch.zeros(64, dtype=torch.long)))
    assert read.numel() == query.numel()
    assert numbers(cache) == np.prod(shape)


@pytest.mark.parametrize("kept", [[0, 2], [2]])
@torch.inference_mode()
def test_a_memory_may_forget_posts(kept):
    model = policy("v1.0")
    decoder = policy_decoder(model)
    rng = np.random.default_rng(0)
    posts = [np.array([*rng.integers(3, VOCABULARY, 63), EOS]) for _ in range(3)]
    cache = CrossAttentionCache(decoder, *encoded(model, posts))
    query = torch.randn(9, SHAPE["num_heads"] * SHAPE["d_kv"])
    post_of = torch.tensor([2, 0, 1, 2, 2, 0, 1, 0, 2])
    before = cache.attend(1, query, RowsByPost(cache, post_of))
    cache.keep(torch.tensor(kept))
    left = torch.isin(post_of, torch.tensor(kept))
    rows = RowsByPost(cache, torch.tensor([kept.index(i) for i in post_of[left]]))
    assert (rows.grouped is None) == (len(kept) == 1)  # rows of a single post are grouped already
    torch.testing.assert_close(cache.attend(1, query[left], rows), before[left], rtol=0, atol=0)
