"""The decoder that many texts of a post share gives what transformers' T5 gives each of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from underspec.decoder import Memory, Places, encode_alike
from underspec.models import new_t5
from underspec.sampling import language_model
from underspec.tokens import EOS, PAD, encode, pad, train_tokenizer

README = Path(__file__).parents[2] / "README.md"
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
    """Real text, as token ids: the paragraphs of the README."""
    text = [part for part in README.read_text().split("\n\n") if len(part.split()) > 8]
    return encode(train_tokenizer(text, "word", VOCABULARY), text[:12], 60)


def policy(kind, dtype=torch.float32):
    """Random weights, in every one of the layer norms too."""
    model = new_t5(SHAPE | KINDS[kind], VOCABULARY, 0).eval()
    torch.manual_seed(1)
    for module in model.modules():
        if type(module).__name__ == "T5LayerNorm":
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.to(dtype)


def in_one_go(model, post, texts):
    """Logits for all `texts` (token ids) of one post, packed: a list of (length, vocabulary)."""
    decoder = language_model(model)
    memory = Memory(decoder, encode_alike(model, [post]))
    lengths = [len(ids) for ids in texts]
    shifted = np.concatenate([[PAD, *ids[:-1]] for ids in texts])
    places = Places(memory, torch.zeros(len(shifted), dtype=torch.long))
    bias = decoder.causal_bias(max(lengths))

    def attend(_, query, key, value):
        parts = zip(*(each.split(lengths) for each in (query, key, value)), strict=True)
        return torch.cat([alone(*states) for states in parts])

    def alone(*states):
        query, key, value = (
            each.view(len(each), decoder.n_heads, decoder.d_kv).transpose(0, 1) for each in states
        )
        scores = query @ key.transpose(1, 2) + bias[:, : query.shape[1], : query.shape[1]]
        return (scores.softmax(-1) @ value).transpose(0, 1).reshape(len(states[0]), -1)

    logits = decoder(
        torch.from_numpy(shifted), attend, lambda layer, query: memory.read(layer, query, places)
    )
    return logits.split(lengths)


def by_transformers(model, post, texts):
    labels = torch.from_numpy(pad(texts))
    posts = torch.from_numpy(np.stack([post] * len(texts)))
    return model(input_ids=posts, decoder_input_ids=model._shift_right(labels)).logits


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_logits_are_those_of_transformers_on_real_text(paragraphs, kind, dtype):
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


@torch.inference_mode()
def test_posts_encoded_together_come_out_as_each_alone():
    model = policy("v1.0")
    posts = [np.array([5, 6, EOS]), np.array([7, 8, EOS]), np.array([9, 5, EOS])]
    together = encode_alike(model, posts)
    for post, expected in zip(posts, together, strict=True):
        torch.testing.assert_close(encode_alike(model, [post])[0], expected, rtol=0, atol=0)
    alone = encode_alike(model, [np.array([EOS])])  # an empty post
    several = encode_alike(model, [np.array([EOS])] * 6)
    torch.testing.assert_close(several, alone.expand(6, -1, -1), rtol=0, atol=0)


def numbers(memory):
    return sum(each.numel() for each in (*memory.keys, *memory.values))


@torch.inference_mode()
def test_what_is_kept_of_a_post_does_not_grow_with_its_texts(paragraphs):
    """transformers keeps as much for every text."""
    model = policy("v1.0")
    decoder = language_model(model)
    memory = Memory(decoder, encode_alike(model, [paragraphs[0]]))
    shape = (2, SHAPE["num_layers"], len(paragraphs[0]), SHAPE["num_heads"] * SHAPE["d_kv"])
    assert numbers(memory) == np.prod(shape)
    rows = 64 * SHAPE["num_heads"] * SHAPE["d_kv"]
    query = torch.randn(64, rows // 64)
    read = memory.read(0, query, Places(memory, torch.zeros(64, dtype=torch.long)))
    assert read.shape == query.shape
    assert numbers(memory) == np.prod(shape)


@torch.inference_mode()
def test_a_memory_may_forget_posts():
    model = policy("v1.0")
    decoder = language_model(model)
    posts = [np.array([5, 6, EOS]), np.array([7, 8, EOS]), np.array([9, 5, EOS])]
    memory = Memory(decoder, encode_alike(model, posts))
    query = torch.randn(9, SHAPE["num_heads"] * SHAPE["d_kv"])
    post_of = torch.tensor([2, 0, 1, 2, 2, 0, 1, 0, 2])
    before = memory.read(1, query, Places(memory, post_of))
    kept = post_of != 1
    memory.keep(torch.tensor([0, 2]))
    places = Places(memory, post_of[kept].div(2, rounding_mode="floor"))
    torch.testing.assert_close(memory.read(1, query[kept], places), before[kept], rtol=0, atol=0)
