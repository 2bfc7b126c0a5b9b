"""Samples of the policy: one draw a post, reproducible, with its true log-probability."""

import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import models, pre_tokenizers

from underspec import sampling
from underspec.models import new_t5
from underspec.sampling import draw
from underspec.tokens import EOS, PAD

SHAPE = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 1}
WORDS = ["<pad>", "</s>", "<unk>", *(f"w{i}" for i in range(9))]
SAMPLES, MAX_LENGTH = 6, 8


@pytest.fixture(scope="module")
def policy():
    return new_t5(SHAPE, len(WORDS), 0).eval()


@pytest.fixture(scope="module")
def tokenizer():
    """None of its tokens is special, so that the text of a sample shows every id drawn."""
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


@pytest.fixture(scope="module")
def posts():
    rng = np.random.default_rng(0)
    return [np.array([*rng.integers(3, len(WORDS), length), EOS]) for length in (5, 2, 7, 3)]


POST_IDS = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def sample(policy, tokenizer, posts):
    def sample(post_ids=POST_IDS, samples=SAMPLES, temperature=1.0, seed=0):
        which = [POST_IDS.index(post_id) for post_id in post_ids]
        chosen = [posts[i] for i in which]
        return draw(policy, tokenizer, post_ids, chosen, samples, temperature, MAX_LENGTH, seed)

    return sample


def ids_of(tokenizer, text):
    """What was drawn: up to the first eos, or all."""
    ids = tokenizer.encode(text).ids
    return ids[: ids.index(EOS) + 1] if EOS in ids else ids


def test_rows_are_samples_within_posts_in_the_order_given(sample):
    table = sample(["c", "a", "d"])
    assert list(table.columns) == ["post_id", "sample_index", "text", "log_prob"]
    assert table.post_id.tolist() == list(np.repeat(["c", "a", "d"], SAMPLES))
    assert table.sample_index.tolist() == [*range(SAMPLES)] * 3
    assert list(table.index) == list(range(3 * SAMPLES))
    assert table.text.nunique() > SAMPLES


def test_one_seed_repeats_and_two_differ(sample):
    assert sample().equals(sample())
    assert sample().text.tolist() != sample(seed=1).text.tolist()


def test_the_global_generator_is_not_listened_to(sample):
    torch.manual_seed(1)
    first = sample()
    torch.manual_seed(2)
    assert first.equals(sample())


def test_a_batch_of_posts_does_not_depend_on_the_others(sample, monkeypatch):
    """So a draw may be cut short by posts: batches are seeded by the first post in them."""
    monkeypatch.setattr(sampling, "SEQUENCES_AT_ONCE", 2 * SAMPLES)
    whole, tail = sample(), sample(["c", "d"])
    assert whole[whole.post_id.isin(["c", "d"])].reset_index(drop=True).equals(tail)


def test_samples_are_no_longer_than_allowed(sample, tokenizer):
    lengths = [len(ids_of(tokenizer, text)) for text in sample().text]
    assert max(lengths) <= MAX_LENGTH


def teacher_forced(policy, post, ids, temperature):
    """Sum of log-probabilities of `ids`, each given those before it, from the plain logits."""
    with torch.inference_mode():
        logits = policy(
            input_ids=torch.tensor([post.tolist()]),
            decoder_input_ids=torch.tensor([[PAD, *ids[:-1]]]),
        ).logits[0]
    logits = logits.double().numpy() / temperature
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return log_probs[np.arange(len(ids)), ids].sum()


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_log_prob_is_that_of_the_sample_under_the_temperature(
    policy, tokenizer, posts, sample, temperature
):
    """Single precision: 1e-4 on sums of up to eight log-probabilities."""
    table = sample(temperature=temperature)
    ended = 0
    for row in table.itertuples():
        ids = ids_of(tokenizer, row.text)
        ended += ids[-1] == EOS
        expected = teacher_forced(policy, posts[POST_IDS.index(row.post_id)], ids, temperature)
        assert row.log_prob == pytest.approx(expected, abs=1e-4), row.text
    assert ended > 0  # some samples end by themselves, and their eos counts


def test_samples_follow_the_policy(policy, tokenizer, posts, sample):
    """First tokens of 2,000 samples against the softmax: each share within 5 standard errors.

    The seed is fixed; with 12 tokens a sound sampler fails for one seed in 100,000.
    """
    table = sample(["a"], samples=2000)
    drawn = np.bincount([ids_of(tokenizer, text)[0] for text in table.text], minlength=len(WORDS))
    with torch.inference_mode():
        logits = policy(
            input_ids=torch.tensor([posts[0].tolist()]), decoder_input_ids=torch.tensor([[PAD]])
        ).logits[0, 0]
    expected = logits.double().softmax(0).numpy()
    error = np.sqrt(expected * (1 - expected) / 2000)
    assert (np.abs(drawn / 2000 - expected) < 5 * error).all()
