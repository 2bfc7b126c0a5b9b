"""Rewards of candidates that share what they begin with are those of each text by itself."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPTNeoXConfig, LlamaConfig, MistralConfig, Qwen2Config

from underspec.errors import ArtifactError
from underspec.inference import pair_scoring, prefix_attention, shared_prefix
from underspec.models.sequence_classifier import DecoderClassifier

VOCABULARY = 60
TOLERANCE = 1e-4  # single precision; rewards below spread by more than 1
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_labels": 2}
SIZES |= {"intermediate_size": 32, "vocab_size": VOCABULARY, "initializer_range": 0.3}
CONFIGS = {
    "neox": lambda: GPTNeoXConfig(**SIZES),
    "llama": lambda: LlamaConfig(num_key_value_heads=2, **SIZES),
    "mistral": lambda: MistralConfig(num_key_value_heads=2, sliding_window=None, **SIZES),
    "qwen": lambda: Qwen2Config(num_key_value_heads=1, **SIZES),
    "gpt2": lambda: GPT2Config(n_inner=32, **SIZES),
    "window": lambda: MistralConfig(num_key_value_heads=2, sliding_window=5, **SIZES),
}


@pytest.fixture(scope="module", params=list(CONFIGS))
def model(request):
    torch.manual_seed(0)
    return DecoderClassifier(CONFIGS[request.param]()).eval()


@torch.inference_mode()
def plain(model, post, candidate):
    """By transformers, which reads one text at a time where there is no padding token."""
    ids = torch.from_numpy(np.concatenate([post, candidate]))[None]
    return model.model(input_ids=ids).logits[0].numpy()


def assert_plain(model, posts, candidates):
    rewards = shared_prefix.score(model, posts, candidates)
    for post, texts, found in zip(posts, candidates, rewards, strict=True):
        assert found.dtype == np.float32 and found.shape == (len(texts), 2)
        expected = [plain(model, post, ids) for ids in texts]
        np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
    return rewards


def drawn(rng, most, least=1):
    return rng.integers(0, VOCABULARY, rng.integers(least, most + 1))


@pytest.mark.parametrize(("tokens_at_once", "slack"), [(120, 4), (1000, 128)])
def test_many_posts_in_groups(model, monkeypatch, tokens_at_once, slack):
    """As on a CPU, and as on a GPU, which reads prefixes of any length together."""
    monkeypatch.setitem(pair_scoring.TOKENS_AT_ONCE, "cpu", tokens_at_once)
    monkeypatch.setitem(shared_prefix.SLACK, "cpu", slack)
    rng = np.random.default_rng(0)
    posts = [drawn(rng, 20, 0) for _ in range(12)]
    candidates = [[drawn(rng, 9) for _ in range(rng.integers(1, 8))] for _ in posts]
    rewards = assert_plain(model, posts, candidates)
    assert np.std(np.concatenate(rewards), axis=0).min() > 0.1
    each = pair_scoring.score(model, posts, candidates)
    for found, others in zip(rewards, each, strict=True):
        np.testing.assert_allclose(found, others, atol=TOLERANCE, rtol=0)


TEXT = st.lists(st.integers(0, 3), min_size=1, max_size=6).map(np.array)
POSTS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 3), max_size=6).map(lambda ids: np.array(ids, np.int64)),
        st.lists(TEXT, min_size=1, max_size=5),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=15, deadline=None)
@given(POSTS)
def test_texts_of_few_tokens_share_much_and_repeat(some):
    """Candidates that begin alike, begin one another, or are equal; posts that are empty."""
    torch.manual_seed(0)
    model = DecoderClassifier(CONFIGS["neox"]()).eval()
    posts, candidates = map(list, zip(*some, strict=True))
    rewards = assert_plain(model, posts, candidates)
    for texts, found in zip(candidates, rewards, strict=True):
        for i, ids in enumerate(texts):
            first = next(j for j, other in enumerate(texts) if np.array_equal(ids, other))
            np.testing.assert_array_equal(found[i], found[first])


def test_a_prefix_is_read_once_and_equal_candidates_are_read_once(model):
    rng = np.random.default_rng(1)
    post, texts = drawn(rng, 40, 40), [np.array([i, *drawn(rng, 5, 5)]) for i in range(6)]
    read = []
    base = model.model.base_model
    handle = base.register_forward_pre_hook(
        lambda _, args, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    shared_prefix.score(model, [post], [[*texts, *texts]])
    handle.remove()
    assert sum(read) == 40 + 6 * 6


def test_the_head_reads_the_last_token_that_is_no_padding(model):
    """As in transformers, where the padding token ends texts: also if nothing else is left to a
    candidate."""
    model.config.pad_token_id = 7
    try:
        post, texts = np.array([1, 2, 3]), [np.array([4, 7]), np.array([7, 7]), np.array([7, 5])]
        assert_plain(model, [post], [texts])
        inputs = model.inputs([post], texts)
        with torch.inference_mode():
            rewards = model(**inputs).numpy()
        np.testing.assert_allclose(
            rewards, [plain(model, post, ids) for ids in texts], atol=TOLERANCE, rtol=0
        )
    finally:
        model.config.pad_token_id = None


def test_texts_that_a_model_cannot_read(model):
    text = np.array([1])
    with pytest.raises(ArtifactError, match=f"token id {VOCABULARY}"):
        shared_prefix.score(model, [text], [[np.array([VOCABULARY])]])
    with pytest.raises(ArtifactError, match="no tokens"):
        shared_prefix.score(model, [text[:0]], [[text[:0]]])


def test_damaged_weights(model):
    weights = model.model.score.weight.data
    kept = weights.clone()
    weights[0, 0] = float("nan")
    with pytest.raises(ArtifactError, match="not finite"):
        shared_prefix.score(model, [np.array([1])], [[np.array([2])]])
    weights.copy_(kept)


def varlen_reference(query, key, value, ends, key_ends, *_, scale, window_size=(-1, -1), **given):
    """What PyTorch's kernel for GPUs computes, which `make gpu-check` runs."""
    groups = query.shape[1] // key.shape[1]
    assert groups == 1 or given["enable_gqa"]
    output, sums = [], []
    for (a, b), (c, d) in zip(pairwise(ends.tolist()), pairwise(key_ends.tolist()), strict=True):
        keys, values = (part[c:d].repeat_interleave(groups, 1) for part in (key, value))
        scores = torch.einsum("qhs,khs->hqk", query[a:b], keys) * scale
        if window_size == (-1, 0):
            scores += torch.full(scores.shape[1:], -torch.inf).triu(1)
        output.append(torch.einsum("hqk,khs->qhs", scores.softmax(-1), values))
        sums.append(scores.logsumexp(-1))
    return torch.cat(output), torch.cat(sums, 1)


@pytest.mark.parametrize("own_heads", [4, 2, 1])
def test_attention_in_two_parts_is_that_in_one(monkeypatch, own_heads):
    monkeypatch.setattr(prefix_attention, "varlen_attn", varlen_reference)
    torch.manual_seed(0)
    query = torch.randn(6, 4, 5, 8)
    key, value = torch.randn(2, 6, own_heads, 5, 8)
    layers = [tuple(torch.randn(2, 3, own_heads, 7, 8))]
    lengths = torch.tensor([7, 3, 4])
    tokens = (torch.arange(7) < lengths[:, None]).flatten().nonzero()[:, 0]
    prefixes = prefix_attention.Prefixes(layers, lengths, 3, tokens)
    module = SimpleNamespace(layer_idx=0)
    whole, _ = prefix_attention.attention(module, query, key, value, None, 0.3, prefixes)
    parts = prefix_attention._fused(query, key, value, layers[0], prefixes, 0.3)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)
