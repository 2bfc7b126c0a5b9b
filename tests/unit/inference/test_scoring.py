"""Rewards of many candidates at once are those of each candidate alone."""

import copy
from functools import partial

import numpy as np
import pytest
import torch

from underspec.data.tokenization import EOS
from underspec.errors import ArtifactError
from underspec.inference import scoring, shared_post_t5
from underspec.inference.scoring import pairwise_accuracy, score
from underspec.models import fused_layers
from underspec.models.reward_model import RewardModel
from underspec.models.t5 import t5_config

SHAPE = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 2}
VOCABULARY = 120
TOLERANCE = 1e-5  # single precision; the rewards below spread by about 1


@pytest.fixture(scope="module", params=["v1.0", "v1.1"])
def model(request):
    torch.manual_seed(0)
    return RewardModel(t5_config(SHAPE | {"version": request.param}, VOCABULARY)).eval()


def texts(count, seed):
    rng = np.random.default_rng(seed)
    return [np.array([*rng.integers(3, VOCABULARY, rng.integers(1, 9)), EOS]) for _ in range(count)]


@pytest.fixture(scope="module")
def posts():
    return texts(9, 0)


@pytest.fixture(scope="module")
def candidates(posts):
    """Four to eight a post, the last one a copy of the first."""
    drawn = [texts(3 + post % 5, 10 + post) for post in range(len(posts))]
    return [[*those, those[0].copy()] for those in drawn]


@pytest.fixture(params=["one batch", "many batches"])
def batches(request, monkeypatch):
    if request.param == "many batches":
        monkeypatch.setitem(scoring.TOKENS_AT_ONCE, "cpu", 20)


def test_posts_that_come_together_fit_a_gpu(monkeypatch, model):
    """Their keys and values: by its memory, however short the candidates."""

    class Properties:
        total_memory = 1_000_000

    class Decoder:
        layers, n_heads, d_kv, dtype = [None] * 2, 2, 8, torch.float32
        device = torch.device("cuda")

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    lengths = [5, 100, 128, 129, 300, 300, 257, 384, 130, 131, 132]
    posts = [np.ones(length, np.int64) for length in lengths]
    candidates = [[np.ones(2, np.int64)] * 2 for _ in posts]
    fits = partial(shared_post_t5.max_posts, Decoder)
    groups = list(scoring._batches(posts, candidates, 10_000, fits))
    assert sorted(i for group in groups for i in group) == list(range(len(posts)))
    a_token = 2 * 2 * 2 * 8 * 4
    for group in groups:
        padded = [-(-lengths[i] // 128) * 128 for i in group]
        assert sum(padded) * a_token <= 0.2 * 1_000_000
    assert [len(group) for group in groups] == [3, 3, 2, 2, 1]
    Properties.total_memory = 1  # one at a time then
    assert {len(group) for group in scoring._batches(posts, candidates, 10_000, fits)} == {1}


def plain(model, post, candidate):
    with torch.inference_mode():
        return model(torch.tensor([post]), torch.tensor([candidate])).item()


def assert_close(rewards, expected):
    for values, others in zip(rewards, expected, strict=True):
        np.testing.assert_allclose(values, others, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("fused", [False, True])
def test_scores_are_those_of_each_pair_alone(model, posts, candidates, batches, fused, monkeypatch):
    """On a GPU, where texts are padded, too: here on this CPU."""
    monkeypatch.setattr(fused_layers, "fused", lambda device: fused)
    monkeypatch.setattr(shared_post_t5, "POST_MULTIPLE", 4)
    monkeypatch.setattr(scoring, "CANDIDATE_MULTIPLE", 2)
    rewards = score(model, posts, candidates)
    expected = [
        [[plain(model, post.tolist(), ids.tolist())] for ids in those]
        for post, those in zip(posts, candidates, strict=True)
    ]
    assert_close(rewards, expected)
    assert all(values.dtype == np.float32 for values in rewards)
    assert np.std(np.concatenate(rewards)) > 0.1


def test_a_reward_depends_on_post_and_candidate_alone(model, posts, candidates, batches):
    """Not on order or company, to the last bit."""
    rewards = score(model, posts, candidates)
    backwards = score(model, posts[::-1], [those[::-1] for those in candidates[::-1]])
    for values, others in zip(rewards, backwards[::-1], strict=True):
        np.testing.assert_array_equal(values, others[::-1])
    for i in (0, 4, 8):
        alone = score(model, posts[i : i + 1], [candidates[i][1:2]])
        np.testing.assert_array_equal(alone[0], rewards[i][1:2])


def test_a_post_is_encoded_once_and_equal_candidates_are_judged_once(
    model, posts, candidates, monkeypatch
):
    encoded, judged = [], []
    encode, judge = scoring.Encoder.__call__, scoring.Decoder.__call__

    def encoding(self, posts):
        encoded.extend(posts)
        return encode(self, posts)

    def judging(self, tokens, *rest):
        judged.append(len(tokens))
        return judge(self, tokens, *rest)

    monkeypatch.setattr(scoring.Encoder, "__call__", encoding)
    monkeypatch.setattr(scoring.Decoder, "__call__", judging)
    score(model, posts, candidates)
    assert len(encoded) == len(posts)
    assert sum(judged) == sum(len(ids) for those in candidates for ids in those[:-1])


def test_an_empty_text_is_one_that_ends_at_once(model):
    empty = np.array([EOS])
    (rewards,) = score(model, [empty], [[empty, np.array([5, EOS])]])
    assert rewards[0] == pytest.approx(plain(model, [EOS], [EOS]), abs=TOLERANCE)


@pytest.mark.parametrize("which", ["post", "candidate"])
@pytest.mark.parametrize(
    ("ids", "complaint"),
    [
        ([], "has no tokens"),
        ([5, 0, 6, EOS], "token 1 is padding"),
        ([VOCABULARY, EOS], f"token id {VOCABULARY}"),
    ],
)
def test_texts_that_the_model_cannot_read_are_refused(model, posts, which, ids, complaint):
    bad, good = np.array(ids, dtype=int), posts[0]
    post, candidate = (bad, good) if which == "post" else (good, bad)
    with pytest.raises(ArtifactError, match=f"post 1: .*{complaint}"):
        score(model, [good, post], [[good], [good, candidate]])


def test_rewards_that_are_not_finite_are_refused(posts):
    damaged = RewardModel(t5_config(SHAPE, VOCABULARY)).eval()
    with torch.no_grad():
        damaged.transformer.decoder.final_layer_norm.weight[0] = np.nan
    with pytest.raises(ArtifactError, match="rewards are not finite"):
        score(damaged, posts[:1], [posts[1:3]])


def test_equal_candidates_get_the_very_same_reward(model, posts, candidates, batches):
    for values in score(model, posts, candidates):
        assert values[0] == values[-1]
        assert len(np.unique(values)) == len(values) - 1


def test_scoring_needs_no_training_mode_and_leaves_no_gradient(model, posts, candidates):
    before = score(model, posts, candidates)
    model.train()
    after = score(model, posts, candidates)
    for values, others in zip(before, after, strict=True):
        np.testing.assert_array_equal(values, others)
    assert all(parameter.grad is None for parameter in model.parameters())


def single_headed(model, head):
    """The reward model that one head of a model makes."""
    one = copy.deepcopy(model)
    one.head = torch.nn.Linear(model.config.d_model, 1)
    with torch.no_grad():
        one.head.weight.copy_(model.head.weight[head])
        one.head.bias.copy_(model.head.bias[[head]])
    return one.eval()


def test_several_heads_score_as_so_many_models(model, posts, candidates, batches):
    """Up to rounding: a matrix product may sum in another order when it has more columns."""
    config = copy.deepcopy(model.config)
    config.reward_heads = 3
    torch.manual_seed(1)
    many = RewardModel(config).eval()
    torch.nn.init.normal_(many.head.bias)
    rewards = score(many, posts, candidates)
    for head in range(3):
        alone = score(single_headed(many, head), posts, candidates)
        assert_close([values[:, [head]] for values in rewards], alone)
    spread = np.concatenate(rewards).T
    assert (np.abs(np.corrcoef(spread)[np.triu_indices(3, 1)]) < 0.99).all()
    again = pairwise_accuracy(partial(score, many), posts, *pairs_of(candidates))
    of_each = [
        pairwise_accuracy(partial(score, single_headed(many, head)), posts, *pairs_of(candidates))
        for head in range(3)
    ]
    assert again == pytest.approx(np.mean(of_each), abs=1e-6)


def pairs_of(candidates):
    return [those[0] for those in candidates], [those[1] for those in candidates]


def test_pairwise_accuracy_is_the_share_of_pairs_in_the_right_order(model, posts):
    posts = posts * 3
    chosen, rejected = texts(len(posts), 1), texts(len(posts), 2)
    rejected[:4] = [ids.copy() for ids in chosen[:4]]  # ties
    wins = []
    for post, better, worse in zip(posts, chosen, rejected, strict=True):
        difference = plain(model, post.tolist(), better.tolist()) - plain(
            model, post.tolist(), worse.tolist()
        )
        assert difference == 0 or abs(difference) > 2 * TOLERANCE  # else the test decides nothing
        wins.append(0.5 if difference == 0 else float(difference > 0))
    accuracy = pairwise_accuracy(partial(score, model), posts, chosen, rejected)
    assert accuracy == pytest.approx(np.mean(wins), abs=1e-6)  # single precision
    assert pairwise_accuracy(partial(score, model), posts, rejected, chosen) == pytest.approx(
        1 - accuracy, abs=1e-6
    )
    assert pairwise_accuracy(partial(score, model), posts, chosen, chosen) == 0.5
