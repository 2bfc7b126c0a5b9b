"""Members of MC dropout are reward models with some features dropped, the same for all texts."""

import numpy as np
import pytest
import torch

from underspec.data.tokenization import EOS
from underspec.errors import ArtifactError
from underspec.inference import scoring
from underspec.inference.scoring import score
from underspec.models.mc_dropout import members, thinned
from underspec.models.reward_model import RewardModel
from underspec.models.t5 import set_dropout, t5_config

SHAPE = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 2}
VOCABULARY = 120
RATE = 0.1
PROVENANCE = {"pretrain_seed": 3, "finetune_seed": 4, "recipe": {"dropout": RATE, "steps": 1}}


@pytest.fixture(scope="module", params=["v1.0", "v1.1"])
def model(request):
    torch.manual_seed(0)
    return RewardModel(t5_config(SHAPE | {"version": request.param}, VOCABULARY)).eval()


def texts(count, seed):
    rng = np.random.default_rng(seed)
    return [np.array([*rng.integers(3, VOCABULARY, rng.integers(1, 9)), EOS]) for _ in range(count)]


POSTS = texts(6, 0)
CANDIDATES = [texts(3 + post % 3, 10 + post) for post in range(len(POSTS))]
CANDIDATES = [[*own, own[0].copy()] for own in CANDIDATES]  # the last one is a copy of the first


def rewards(model, posts=POSTS, candidates=CANDIDATES):
    return np.concatenate(score(model, posts, candidates))[:, 0]


def drawn(model, tmp_path, count, **changes):
    return list(members(model, tmp_path, PROVENANCE | changes, count))


def test_a_member_gives_a_text_the_same_in_any_company(model, tmp_path, monkeypatch):
    """To the last bit: in other batches and orders, alone, and twice."""
    _, member = drawn(model, tmp_path, 2)
    expected = score(member, POSTS, CANDIDATES)
    assert all(own[0] == own[-1] for own in expected)
    backwards = score(member, POSTS[::-1], [own[::-1] for own in CANDIDATES[::-1]])
    for own, other in zip(expected, backwards[::-1], strict=True):
        np.testing.assert_array_equal(own, other[::-1])
    for post in (0, 4):
        (alone,) = score(member, POSTS[post : post + 1], [CANDIDATES[post][1:2]])
        np.testing.assert_array_equal(alone, expected[post][1:2])
    monkeypatch.setitem(scoring.TOKENS_AT_ONCE, "cpu", 20)
    again = score(drawn(model, tmp_path, 2)[1], POSTS, CANDIDATES)
    for own, other in zip(expected, again, strict=True):
        np.testing.assert_array_equal(own, other)


def test_masks_are_the_same_with_any_number_of_threads(model, tmp_path):
    threads = torch.get_num_threads()
    (member,) = drawn(model, tmp_path, 1)
    torch.set_num_threads(1 if threads > 1 else 2)
    torch.manual_seed(9)
    try:
        (again,) = drawn(model, tmp_path, 1)
    finally:
        torch.set_num_threads(threads)
    weights = again.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in member.state_dict().items())


def test_without_dropout_a_member_is_the_model_itself(model):
    np.testing.assert_array_equal(rewards(thinned(model, 0.0, 7)), rewards(model))


def test_members_differ_from_each_other_and_between_reward_models(model, tmp_path):
    every = [
        rewards(each)
        for changes in ({}, {"pretrain_seed": 5}, {"finetune_seed": 5})
        for each in drawn(model, tmp_path, 3, **changes)
    ]
    assert len({each.tobytes() for each in every}) == 9
    more = drawn(model, tmp_path, 5)  # the first are the same, however many there are
    for own, other in zip(every, more[:3], strict=False):
        np.testing.assert_array_equal(own, rewards(other))


def test_drawing_members_leaves_the_model_as_it_was(model, tmp_path):
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    member, _ = drawn(model, tmp_path, 2)
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, before[name])
    kept, found = dict(model.named_parameters()), dict(member.named_parameters())
    query = "transformer.decoder.block.0.layer.0.SelfAttention.q.weight"
    assert found[query] is kept[query]  # what no mask touches is there once


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_mask_is_of_features_and_on_average_1(model, rate):
    """In single precision; means within 6 standard errors of so many members."""
    count, width = 60, SHAPE["d_model"]
    weights = dict(model.named_parameters(remove_duplicate=False))
    factors: dict[str, list] = {}
    for seed in range(count):
        for name, found in thinned(model, rate, seed).named_parameters(remove_duplicate=False):
            if found is not weights[name]:
                factors.setdefault(name, []).append((found / weights[name]).detach().numpy())
    layers = SHAPE["num_layers"] * (2 + 3)
    assert len(factors) == 2 + layers + 2  # embeddings, one matrix of each layer, final norms
    for name, of_members in factors.items():
        every = np.stack(of_members)  # (members, outputs, inputs) of a matrix
        twice = ".wo." in name  # inner features and outputs
        kept = every > 0
        np.testing.assert_allclose(every[kept], (1 - rate) ** -(1 + twice), rtol=1e-5)
        if every.ndim == 3:
            outputs, inputs = kept.any(axis=2, keepdims=True), kept.any(axis=1, keepdims=True)
            assert (kept == outputs & inputs).all()
            assert (outputs.all() or twice) if "embed" in name else (inputs.all() or twice)
            assert not twice or not (outputs.all() or inputs.all())
        deviation = (rate / (1 - rate) * (1 + twice) / (count * width)) ** 0.5
        assert abs(every.mean() - 1) < 6 * deviation
    stacks = (factors[f"transformer.{each}.embed_tokens.weight"] for each in ("encoder", "decoder"))
    assert not np.allclose(*stacks)  # they share their embeddings, not the masks


def test_the_mean_of_many_members_is_near_that_of_passes_as_in_training(model):
    """There, masks differ by position, and attention weights are dropped as well. To first order in
    the rate neither changes the mean: what is left is small beside the spread of rewards."""
    post, own, count = POSTS[0], CANDIDATES[2], 150
    longest = max(map(len, own))
    padded = torch.tensor(np.stack([np.pad(ids, (0, longest - len(ids))) for ids in own]))
    every = np.stack([rewards(thinned(model, RATE, i), [post], [own]) for i in range(count)])
    torch.manual_seed(2)
    set_dropout(model.train(), RATE)
    try:
        with torch.no_grad():
            posts = torch.tensor(post[None]).repeat(count, 1)
            passes = model(posts, padded.repeat(count, 1)).view(count, -1).numpy()
    finally:
        model.eval()
    noise = np.sqrt((every.var(axis=0) + passes.var(axis=0)) / count)
    difference = np.abs(every.mean(axis=0) - passes.mean(axis=0))
    assert (difference < 0.2 * passes.std() + 4 * noise).all()
    assert 0.3 < every.std(axis=0).mean() / passes.std(axis=0).mean() < 6  # the order of the noise


def test_a_reward_model_that_was_trained_without_dropout_is_refused_by_name(model, tmp_path):
    with pytest.raises(ArtifactError, match=f"^{tmp_path}: was trained without dropout"):
        drawn(model, tmp_path, 2, recipe={"dropout": 0.0})
