"""The objectives: what their batches hold and what their losses punish."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from underspec.data.span_corruption import tokens_for
from underspec.data.tokenization import EOS, PAD
from underspec.errors import ArtifactError, ConfigError
from underspec.models.t5 import new_t5
from underspec.random_streams import ORDER
from underspec.training.objectives.denoising import Chunks, denoising
from underspec.training.objectives.pointwise import pointwise, squared_error
from underspec.training.objectives.preference import bradley_terry, preference
from underspec.training.objectives.sft import IGNORED, sft

SHAPE = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 1}
VOCABULARY = 150
CORRUPTION = {"input_length": 16, "noise_density": 0.15, "mean_span_length": 3.0}

rewards = st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20)), min_size=1, max_size=8)


def loss_of(pairs, centering):
    chosen, rejected = torch.tensor(pairs, dtype=torch.float64).T
    return bradley_terry(chosen, rejected, centering).item()


@given(rewards, st.floats(0, 1))
def test_bradley_terry_is_the_paper_s_formula(pairs, centering):
    chosen, rejected = np.array(pairs).T
    likelihood = np.logaddexp(0, -(chosen - rejected))  # -log sigmoid
    expected = np.sum(likelihood + centering * (chosen + rejected) ** 2)
    assert loss_of(pairs, centering) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.1, 10))
def test_centering_punishes_a_common_shift_by_the_sum_squared(chosen, rejected, shift):
    penalty = loss_of([(chosen, rejected)], 0.01) - loss_of([(chosen, rejected)], 0.0)
    assert penalty == pytest.approx(0.01 * (chosen + rejected) ** 2, abs=1e-9)
    away = shift if chosen + rejected >= 0 else -shift
    shifted = [(chosen + away, rejected + away)]
    assert loss_of(shifted, 0.0) == pytest.approx(loss_of([(chosen, rejected)], 0.0), abs=1e-9)
    assert loss_of(shifted, 0.01) > loss_of([(chosen, rejected)], 0.01)


@given(st.floats(-20, 20))
def test_opposite_rewards_pay_no_penalty(reward):
    pair = [(reward, -reward)]
    assert loss_of(pair, 1.0) == pytest.approx(loss_of(pair, 0.0), abs=1e-12)


def test_the_wrong_order_costs_more():
    assert loss_of([(-1.0, 1.0)], 0.01) > loss_of([(1.0, -1.0)], 0.01)


def stream(tokens=400):
    return np.random.default_rng(0).integers(3, VOCABULARY - 100, tokens).astype(np.uint16)


def test_denoising_batches_have_one_length_and_no_padding():
    objective = denoising([stream()], VOCABULARY - 1, 4, 0, **CORRUPTION)
    shapes = set()
    for step in range(12):
        batch = objective.batch(step, range(4))
        shapes.add((batch["input_ids"].shape, batch["labels"].shape))
        assert set(batch) == {"input_ids", "labels"}
        for ids in batch.values():
            assert not (ids == PAD).any()
            assert (ids[:, -1] == EOS).all()
            assert (ids == VOCABULARY - 1).sum() == 4  # <extra_id_0>, once a row
    assert len(shapes) == 1
    assert shapes.pop()[0] == (4, CORRUPTION["input_length"])


def test_denoising_depends_on_seed_and_step_and_on_nothing_else():
    def batch(seed, step):
        return denoising([stream()], VOCABULARY - 1, 4, seed, **CORRUPTION).batch(step, range(4))

    assert_same(batch(0, 3), batch(0, 3))
    assert not torch.equal(batch(0, 3)["input_ids"], batch(1, 3)["input_ids"])
    assert not torch.equal(batch(0, 3)["input_ids"], batch(0, 4)["input_ids"])


def shards(*sizes):
    """Arrays of these sizes; no token comes twice."""
    ends = np.cumsum([0, *sizes])
    return [np.arange(a, b, dtype=np.uint32) for a, b in zip(ends, ends[1:], strict=False)]


@given(st.lists(st.integers(0, 60), min_size=1, max_size=5), st.integers(1, 20), st.integers(0, 9))
def test_chunks_are_the_shards_cut_at_their_offsets(sizes, length, seed):
    chunks = Chunks(shards(*sizes), length, seed)
    assert all(0 <= offset < length for offset in chunks.offsets)
    expected = [
        tokens[start : start + length].tolist()
        for tokens, offset in zip(shards(*sizes), chunks.offsets, strict=True)
        for start in range(offset, len(tokens) - length + 1, length)
    ]
    assert [chunks[i].tolist() for i in range(len(chunks))] == expected


def test_one_shard_is_cut_and_read_as_ever():
    """Chunk, order and cut by their definition: results shall outlive the code that makes them."""
    (tokens,), length = shards(500), tokens_for(*CORRUPTION.values())
    offset = int(np.random.default_rng([3, ORDER]).integers(length))
    order = np.random.default_rng([3, ORDER, 0]).permutation((500 - offset) // length)
    batch = denoising([tokens], 10_000, 4, 3, **CORRUPTION).batch(1, range(4))
    for ids, chunk in zip(batch["input_ids"].numpy(), order[4:8], strict=True):
        start = offset + chunk * length
        kept = ids[(ids < 10_000) & (ids != EOS)]
        assert set(kept) < set(range(start, start + length))


def test_every_shard_is_read_and_seeds_differ():
    def read(seed):
        objective = denoising(shards(90, 3, 200, 40), 10_000, 1, seed, **CORRUPTION)
        batches = [objective.batch(step, range(1)) for step in range(18)]
        return [int(batch["input_ids"][0, 0]) for batch in batches]  # always a kept token

    firsts = read(0)
    assert {"first": min(firsts) < 90, "last": max(firsts) >= 293} == {"first": True, "last": True}
    assert firsts == read(0)
    assert firsts != read(1)


def test_the_setting_of_t5_in_batches():
    """Inputs of 512 and targets of 114 tokens, with T5's ids, from memory-mapped shards."""
    tokens = [np.random.default_rng(i).integers(3, 32_000, 3000).astype(np.uint16) for i in (0, 1)]
    batch = denoising(tokens, 32_099, 8, 0, 512, 0.15, 3.0).batch(0, range(8))
    assert (batch["input_ids"].shape, batch["labels"].shape) == ((8, 512), (8, 114))
    sentinels = 32_099 - np.arange(28)
    for ids in [*batch["input_ids"].numpy(), *batch["labels"].numpy()]:
        np.testing.assert_array_equal(ids[ids >= 32_000], sentinels)


def test_shards_that_are_all_too_short():
    with pytest.raises(ArtifactError, match="10 tokens are too few for chunks of"):
        denoising(shards(5, 5), 10_000, 1, 0, **CORRUPTION)


def assert_same(batch, other):
    assert batch.keys() == other.keys()
    for name, values in batch.items():
        assert torch.equal(values, other[name]), name


def texts(count, seed):
    """Texts of different lengths whose first token tells which one they are."""
    rng = np.random.default_rng(seed)
    return [
        np.array([3 + i, *rng.integers(3, VOCABULARY, rng.integers(1, 6)), EOS])
        for i in range(count)
    ]


def without_padding(row):
    return row[(row != PAD) & (row != IGNORED)].tolist()


def test_a_preference_batch_pairs_chosen_with_rejected_of_the_same_post():
    posts, chosen, rejected = texts(10, 0), texts(10, 1), texts(10, 2)
    batch = preference(posts, chosen, rejected, 6, 0, 0.01).batch(0, range(6))
    assert set(batch) == {"posts", "candidates"}
    seen = []
    for row, post in enumerate(batch["posts"]):
        pair = int(post[0]) - 3
        seen.append(pair)
        assert without_padding(post) == posts[pair].tolist()
        assert without_padding(batch["candidates"][2 * row]) == chosen[pair].tolist()
        assert without_padding(batch["candidates"][2 * row + 1]) == rejected[pair].tolist()
    assert len(set(seen)) == 6


def test_the_preference_loss_prefers_the_chosen():
    """A judge that likes long candidates: the loss is small where the longer one was chosen."""
    long, short = [np.array([5, 6, 7, EOS])], [np.array([5, EOS])]

    def judge(posts, candidates):
        return (candidates != PAD).sum(1, keepdim=True).double() - 3.0

    def loss(chosen, rejected):
        objective = preference(texts(1, 0), chosen, rejected, 1, 0, 0.01)
        return objective.loss(judge, objective.batch(0, range(1))).item()

    assert loss(long, short) == pytest.approx(np.log1p(np.exp(-2)), abs=1e-9)
    assert loss(short, long) == pytest.approx(np.log1p(np.exp(2)), abs=1e-9)


def test_a_pointwise_batch_has_a_statement_and_its_label_for_each_post():
    posts, statements, labels = texts(10, 0), texts(10, 1), np.arange(10) % 2
    batch = pointwise(posts, statements, labels, 6, 0).batch(0, range(6))
    assert set(batch) == {"posts", "candidates", "labels"}
    rows = [int(post[0]) - 3 for post in batch["posts"]]
    assert [without_padding(each) for each in batch["candidates"]] == [
        statements[row].tolist() for row in rows
    ]
    assert batch["labels"].tolist() == [labels[row] for row in rows]


@given(st.lists(st.tuples(st.floats(-20, 20), st.integers(0, 1)), min_size=1, max_size=6))
def test_the_pointwise_loss_is_the_cross_entropy_of_log_odds(judged):
    """In single precision."""
    rewards, labels = np.array(judged).T
    objective = pointwise(texts(len(judged), 0), texts(len(judged), 1), labels, len(judged), 0)
    batch = objective.batch(0, range(len(judged)))
    drawn = [int(post[0]) - 3 for post in batch["posts"]]

    def judge(posts, candidates):
        """Two heads that agree."""
        return torch.tensor(rewards[drawn])[:, None].float().expand(-1, 2)

    expected = np.logaddexp(0, np.where(labels == 1, -rewards, rewards)).sum()
    assert objective.loss(judge, batch).item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert objective.terms(batch) == len(judged)


def ratings(*labels):
    return pd.DataFrame({"label": labels})


@given(st.lists(st.tuples(st.floats(-20, 20), st.floats(-4, 4)), min_size=1, max_size=6))
def test_the_loss_of_ratings_is_the_squared_error(rated):
    """In single precision; the mean of two heads, of which one is off by one more."""
    rewards, labels = np.array(rated).T
    rows = len(rated)
    objective = squared_error(texts(rows, 0), texts(rows, 1), ratings(*labels), rows, 0)
    batch = objective.batch(0, range(rows))
    drawn = [int(post[0]) - 3 for post in batch["posts"]]

    def judge(posts, candidates):
        first = torch.tensor(rewards[drawn])[:, None].float()
        return torch.cat([first, first + 1], dim=1)

    expected = sum(((rewards + head - labels) ** 2).sum() for head in (0, 1)) / 2
    assert objective.loss(judge, batch).item() == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert objective.terms(batch) == rows


def test_ratings_that_differ_by_little_are_other_data():
    of_labels = [
        squared_error(texts(2, 0), texts(2, 1), ratings(*labels), 1, 0).settings
        for labels in ([0.2, 1], [0.2, 1], [0.3, 1])
    ]
    assert of_labels[0] == of_labels[1] != of_labels[2]


def test_a_pointwise_reward_has_nothing_to_centre():
    with pytest.raises(ConfigError, match=r"^centering: 0\.1 is not 0"):
        pointwise(texts(2, 0), texts(2, 1), np.array([0, 1]), 1, 0, 0.1)


def test_other_labels_are_other_data():
    """So that no training goes on from a checkpoint of another one."""
    of_labels = [
        pointwise(texts(2, 0), texts(2, 1), np.array(labels), 1, 0).settings
        for labels in ([0, 1], [0, 1], [1, 0])
    ]
    assert of_labels[0] == of_labels[1] != of_labels[2]


@pytest.mark.parametrize("which", ["post", "chosen", "rejected"])
@pytest.mark.parametrize("ids", [[5, PAD, 6, EOS], [5, EOS, PAD], []])
def test_a_text_whose_length_a_batch_would_lose_is_refused(which, ids):
    """In training it would have another reward than when it is scored."""
    given = {"post": texts(3, 0), "chosen": texts(3, 1), "rejected": texts(3, 2)}
    given[which][2] = np.array(ids, dtype=int)
    with pytest.raises(ArtifactError, match=f"^{which} 2: "):
        preference(*given.values(), 1, 0, 0.01)
    if which != "rejected":
        reference = which if which == "post" else "reference"
        with pytest.raises(ArtifactError, match=f"^{reference} 2: "):
            sft(given["post"], given["chosen"], 1, 0)
        statement = which if which == "post" else "statement"
        with pytest.raises(ArtifactError, match=f"^{statement} 2: "):
            pointwise(given["post"], given["chosen"], np.array([0, 1, 0]), 1, 0)


def test_sft_labels_ignore_padding():
    posts, references = texts(8, 0), texts(8, 1)
    batch = sft(posts, references, 8, 0).batch(0, range(8))
    for inputs, mask, labels in zip(
        batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True
    ):
        text = int(inputs[0]) - 3
        assert inputs[mask.bool()].tolist() == posts[text].tolist()
        assert without_padding(labels) == references[text].tolist()
        assert (labels[len(references[text]) :] == IGNORED).all()


def test_the_sft_loss_is_the_sum_over_tokens_of_texts_judged_alone():
    """So padding is in neither the inputs nor the loss (single precision: a part in a million)."""
    model = new_t5(SHAPE, VOCABULARY, 0).eval()
    posts, references = texts(4, 0), texts(4, 1)

    def loss(which, batch):
        objective = sft([posts[i] for i in which], [references[i] for i in which], batch, seed=0)
        rows = objective.batch(0, range(batch))
        assert objective.terms(rows) == sum(len(references[i]) for i in which)
        return objective.loss(model, rows).item()

    assert loss(range(4), 4) == pytest.approx(sum(loss([i], 1) for i in range(4)), rel=1e-6)


@pytest.mark.parametrize("kind", ["denoising", "sft", "preference", "pointwise"])
def test_halves_of_a_batch_are_the_batch(kind):
    """Rows are what they are on however many processes the batch is spread."""
    objective = {
        "denoising": lambda: denoising([stream()], VOCABULARY - 1, 4, 0, **CORRUPTION),
        "sft": lambda: sft(texts(9, 0), texts(9, 1), 4, 0),
        "preference": lambda: preference(texts(9, 0), texts(9, 1), texts(9, 2), 4, 0, 0.01),
        "pointwise": lambda: pointwise(texts(9, 0), texts(9, 1), np.arange(9) % 2, 4, 0),
    }[kind]()
    name = {"denoising": "input_ids", "sft": "labels"}.get(kind, "candidates")
    halves = [objective.batch(2, rows)[name] for rows in (range(2), range(2, 4))]
    parts = [without_padding(row) for half in halves for row in half]
    assert parts == [without_padding(row) for row in objective.batch(2, range(4))[name]]


@pytest.mark.parametrize("token", [10_000 - 99, 10_000, 60_000])
def test_tokens_that_no_text_of_this_tokenizer_has(token):
    """Those of another tokenizer; a rare one is found when its chunk is read."""
    with pytest.raises(ArtifactError, match=f"token {token} is not from this tokenizer"):
        denoising([np.full(300, token, np.uint16)], 10_000, 1, 0, **CORRUPTION)
    rare = np.full(300_000, 7, np.uint16)
    objective = denoising([rare], 10_000, 64, 0, **CORRUPTION)
    rare[:] = token
    with pytest.raises(ArtifactError, match="not from this tokenizer"):
        objective.batch(0, range(64))
