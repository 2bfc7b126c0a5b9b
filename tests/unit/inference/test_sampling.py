"""Samples of the policy: the policy's own distribution, reproducible, whatever the batch."""

import copy
import logging

import numpy as np
import pytest
import tokenizers
import torch
from scipy.stats import chi2
from tokenizers import models, pre_tokenizers
from transformers import TopKLogitsWarper, TopPLogitsWarper

from underspec.data.tokenization import EOS, PAD, pad
from underspec.errors import ArtifactError
from underspec.inference import continuous_batching, shared_post_t5
from underspec.inference.sampling import draw_samples
from underspec.models import fused_layers
from underspec.models.t5 import new_t5

SHAPE = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 2}
WORDS = ["<pad>", "</s>", "<unk>", *(f"w{i}" for i in range(9))]
SAMPLES, MAX_LENGTH = 6, 8


@pytest.fixture(scope="module", autouse=True, params=["as they are", "padded"])
def padding(request):
    """Posts as on a CPU, and as on a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused_layers, "fused", lambda device: request.param == "padded")
        patch.setattr(shared_post_t5, "POST_MULTIPLE", 4)
        yield request.param


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
    lengths = (5, 2, 7, 2, 0)  # two of one length, and an empty one
    return [np.array([*rng.integers(3, len(WORDS), length), EOS]) for length in lengths]


POST_IDS = ["a", "b", "c", "d", "e"]


@pytest.fixture(scope="module")
def sample(policy, tokenizer, posts):
    def sample(post_ids=POST_IDS, samples=SAMPLES, max_length=MAX_LENGTH, seed=0, **distribution):
        chosen = [posts[POST_IDS.index(post_id)] for post_id in post_ids]
        return draw_samples(
            policy, tokenizer, post_ids, chosen, samples, max_length, seed, **distribution
        )

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


def test_a_sample_depends_on_seed_post_and_index_alone(sample, monkeypatch):
    """Not on the posts beside it, their order, how many samples there are or how many are
    active; to the last bit of its log-probability.
    """
    whole = sample().set_index(["post_id", "sample_index"])
    for rows, order, samples in (
        (1, ["e", "d", "c", "b", "a"], SAMPLES),
        (7, ["d", "b"], SAMPLES),
        (256, ["c"], 1),
        (1024, ["a", "b", "c", "d", "e"], 3),
        (40, ["e", "a"], SAMPLES),
    ):
        monkeypatch.setattr(continuous_batching, "MAX_SLOTS", rows)
        some = sample(order, samples=samples).set_index(["post_id", "sample_index"])
        assert some.equals(whole.loc[some.index])


def test_more_samples_of_a_post_begin_with_the_same_ones(sample):
    few, many = sample(["a"], samples=2), sample(["a"], samples=200)
    assert few.equals(many.iloc[:2])


def test_samples_are_no_longer_than_allowed_and_those_cut_are_counted(sample, tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        table = sample(max_length=3)
    drawn = [ids_of(tokenizer, text) for text in table.text]
    cut = sum(ids[-1] != EOS for ids in drawn)
    assert max(map(len, drawn)) == 3 and cut > 0
    assert f"{cut} of {len(drawn)} samples truncated at 3 tokens" in caplog.text


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


def test_a_policy_in_bfloat16(policy, tokenizer, posts):
    """Eight bits a number: 0.3 on sums of up to eight log-probabilities of some -10 in all."""
    rounded = copy.deepcopy(policy).bfloat16()
    table = draw_samples(rounded, tokenizer, POST_IDS, posts, SAMPLES, MAX_LENGTH, 0)
    for row in table.itertuples():
        ids = ids_of(tokenizer, row.text)
        expected = teacher_forced(policy, posts[POST_IDS.index(row.post_id)], ids, 1.0)
        assert row.log_prob == pytest.approx(expected, abs=0.3), row.text


@pytest.mark.parametrize("version", ["v1.0", "v1.1"])
def test_the_likeliest_token_each_time_is_what_generate_gives(tokenizer, posts, version):
    policy = new_t5(SHAPE | {"version": version}, len(WORDS), 3).eval()
    table = draw_samples(policy, tokenizer, POST_IDS, posts, 1, 20, 0, top_k=1)
    ids = torch.from_numpy(pad(posts))
    expected = policy.generate(
        input_ids=ids, attention_mask=(ids != PAD).long(), do_sample=False, max_new_tokens=20
    )
    for text, others in zip(table.text, expected[:, 1:].tolist(), strict=True):
        ids = ids_of(tokenizer, text)
        assert ids == others[: len(ids)]
        assert ids[-1] == EOS or len(ids) == 20
    assert table.log_prob.abs().max() < 1e-6  # what is certain


FALSE_ALARM = 1e-6


@pytest.mark.parametrize("distribution", [{}, {"temperature": 0.6}, {"top_k": 5}, {"top_p": 0.7}])
def test_tokens_come_as_often_as_the_policy_says(policy, tokenizer, posts, sample, distribution):
    """Chi-square of the first tokens of 4,000 samples, and of the second ones after the likeliest
    first. A sound sampler fails with a probability of FALSE_ALARM each; the seed is fixed.
    """
    table = sample(["a"], samples=4000, max_length=2, **distribution)
    drawn = [ids_of(tokenizer, text) for text in table.text]
    first = expected_shares(policy, posts[0], [PAD], distribution)
    assert_shares([ids[0] for ids in drawn], first)
    likeliest = int(np.argmax(np.where(np.arange(len(WORDS)) == EOS, 0, first)))
    second = expected_shares(policy, posts[0], [PAD, likeliest], distribution)
    assert_shares([ids[1] for ids in drawn if ids[0] == likeliest], second)


def expected_shares(policy, post, before, distribution):
    with torch.inference_mode():
        logits = policy(
            input_ids=torch.tensor([post.tolist()]), decoder_input_ids=torch.tensor([before])
        ).logits[:, -1]
    logits = logits.double() / distribution.get("temperature", 1.0)
    if "top_k" in distribution:
        logits = TopKLogitsWarper(distribution["top_k"])(None, logits)
    if "top_p" in distribution:
        logits = TopPLogitsWarper(distribution["top_p"])(None, logits)
    return logits.softmax(-1)[0].numpy()


def assert_shares(tokens, expected):
    counts = np.bincount(tokens, minlength=len(WORDS))
    assert counts[expected == 0].sum() == 0
    expected = expected * len(tokens)
    rare = expected < 10  # together, or chi-square is no chi-square
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], max(expected[rare].sum(), 1e-9))
    assert len(expected) > 3
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < chi2.isf(FALSE_ALARM, len(expected) - 1)


def test_a_post_without_tokens_is_refused(policy, tokenizer, posts):
    with pytest.raises(ArtifactError, match="^b: has no tokens"):
        draw_samples(policy, tokenizer, ["a", "b"], [posts[0], np.array([], dtype=int)], 2, 5, 0)


def test_tokens_beyond_the_vocabulary_are_refused(policy, tokenizer, posts):
    foreign = np.array([len(WORDS), EOS])
    with pytest.raises(ArtifactError, match=f"b: token id {len(WORDS)}, .* has {len(WORDS)} tok"):
        draw_samples(policy, tokenizer, ["a", "b"], [posts[0], foreign], 2, 5, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_end_the_draw(tokenizer, posts, value):
    damaged = new_t5(SHAPE, len(WORDS), 0).eval()
    with torch.no_grad():
        damaged.decoder.final_layer_norm.weight[3] = value
    with pytest.raises(ArtifactError, match="logits are not finite"):
        draw_samples(damaged, tokenizer, POST_IDS, posts, 2, 5, 0)
