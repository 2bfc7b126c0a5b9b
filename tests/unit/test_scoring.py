"""Rewards of many candidates at once are those of each candidate alone."""

import numpy as np
import pytest
import torch

from underspec import scoring
from underspec.models import t5_config
from underspec.reward_model import RewardModel
from underspec.scoring import pairwise_accuracy, score
from underspec.tokens import EOS

SHAPE = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 1}
VOCABULARY = 120
TOLERANCE = 1e-5  # single precision; the rewards below spread by about 1


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return RewardModel(t5_config(SHAPE, VOCABULARY)).eval()


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
        monkeypatch.setattr(scoring, "POSTS_AT_ONCE", 2)
        monkeypatch.setattr(scoring, "CANDIDATES_AT_ONCE", 3)


def plain(model, post, candidate):
    with torch.inference_mode():
        return model(torch.tensor([post]), torch.tensor([candidate]), torch.tensor([0])).item()


def assert_close(rewards, expected):
    for values, others in zip(rewards, expected, strict=True):
        np.testing.assert_allclose(values, others, atol=TOLERANCE, rtol=0)


def test_scores_are_those_of_each_pair_alone(model, posts, candidates, batches):
    rewards = score(model, posts, candidates)
    expected = [
        [plain(model, post.tolist(), ids.tolist()) for ids in those]
        for post, those in zip(posts, candidates, strict=True)
    ]
    assert_close(rewards, expected)
    assert all(values.dtype == np.float32 for values in rewards)
    assert np.std(np.concatenate(rewards)) > 0.1


def test_the_order_of_posts_and_candidates_does_not_matter(model, posts, candidates, batches):
    rewards = score(model, posts, candidates)
    backwards = score(model, posts[::-1], [those[::-1] for those in candidates[::-1]])
    assert_close([values[::-1] for values in backwards[::-1]], rewards)


def test_equal_candidates_get_the_very_same_reward(model, posts, candidates, batches):
    for values in score(model, posts, candidates):
        assert values[0] == values[-1]
        assert len(set(values[:-1])) == len(values) - 1


def test_scoring_needs_no_training_mode_and_leaves_no_gradient(model, posts, candidates):
    before = score(model, posts, candidates)
    model.train()
    after = score(model, posts, candidates)
    for values, others in zip(before, after, strict=True):
        np.testing.assert_array_equal(values, others)
    assert all(parameter.grad is None for parameter in model.parameters())


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
    accuracy = pairwise_accuracy(model, posts, chosen, rejected)
    assert accuracy == pytest.approx(np.mean(wins), abs=1e-6)  # single precision
    assert pairwise_accuracy(model, posts, rejected, chosen) == pytest.approx(
        1 - accuracy, abs=1e-6
    )
    assert pairwise_accuracy(model, posts, chosen, chosen) == 0.5
