"""WARM and the multi-head ensemble: their weights, losses and trainings."""

import json
import os
import signal
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from underspec.data.tokenization import EOS
from underspec.errors import ArtifactError
from underspec.models.reward_model import RewardModel, new_reward_model
from underspec.models.t5 import load, new_t5, save
from underspec.models.weight_average import weight_average
from underspec.recipe import Recipe
from underspec.training.loop import Interrupted, train
from underspec.training.objectives.preference import preference

SHAPE = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 1}
VOCABULARY = 130
RECIPE = Recipe(steps=6, batch=4, learning_rate=1e-2, warmup=1, dropout=0.1, weight_decay=0.01)
START = {"scale": "base", "pretrain_seed": 0, "head_seed": 0, "heads": 1}


def texts(count, seed):
    rng = np.random.default_rng(seed)
    return [np.array([*rng.integers(3, VOCABULARY, rng.integers(1, 9)), EOS]) for _ in range(count)]


def objective(seed=0):
    return preference(texts(9, 0), texts(9, 1), texts(9, 2), RECIPE.batch, seed, 0.01)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    new_t5(SHAPE, VOCABULARY, 0).save_pretrained(folder)
    return folder


@pytest.fixture
def members(tmp_path, pretrained):
    """Three reward models from one head, that differ in the order of the data."""
    folders = {}
    for seed in range(3):
        model = new_reward_model(pretrained, SHAPE, VOCABULARY, 0)
        model, rows = train(model, objective(seed), RECIPE, seed, tmp_path / "checkpoints", 1e9)
        save(model, tmp_path / f"finetune{seed}", rows, START)
        folders[tmp_path / f"finetune{seed}"] = dict(START)
    return folders


read = partial(load, RewardModel, shape=SHAPE, vocabulary=VOCABULARY)


def weights(folder):
    return RewardModel.from_pretrained(folder).state_dict()


def test_a_weight_is_the_mean_of_the_members(members):
    average = weight_average(members, read).state_dict()
    of_members = [weights(each) for each in members]
    for name, found in average.items():
        together = torch.stack([each[name].double() for each in of_members])
        assert torch.equal(found, (together.sum(0) / 3).float())
        if found.ndim > 1:  # the members do differ
            assert together.std(0).max() > 0
    backwards = weight_average(dict(reversed(members.items())), read).state_dict()
    for name, found in average.items():
        torch.testing.assert_close(found, backwards[name], rtol=1e-6, atol=0)


def test_the_average_of_a_model_with_itself_is_the_model(members):
    (first, start), *_ = members.items()
    average = weight_average({first: start}, read).state_dict()
    assert all(torch.equal(found, weights(first)[name]) for name, found in average.items())


@pytest.mark.parametrize(("key", "other"), [(key, 1) for key in ("pretrain_seed", "head_seed")])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_members_with_other_starts_are_refused_by_name(members, which, key, other):
    odd = list(members)[which]
    members[odd][key] = other
    named = odd if which else list(members)[1]  # the first sets what the others must be
    with pytest.raises(ArtifactError, match=f"^{named}: starts from other weights .*{key} 1"):
        weight_average(members, read)


@pytest.mark.parametrize(("key", "other"), [("scale", "xl"), ("heads", 2)])
def test_members_of_another_size_are_refused_by_name(members, key, other):
    odd = list(members)[2]
    members[odd][key] = other
    with pytest.raises(ArtifactError, match=f"^{odd}: .*{key} {other}"):
        weight_average(members, read)


def gradients(model, batch):
    about = objective()
    (about.loss(model.eval(), batch) / about.terms(batch)).backward()
    return {name: each.grad for name, each in model.named_parameters()}


def test_each_head_learns_as_if_it_were_alone_and_the_backbone_from_their_mean(pretrained):
    """The gradient of head j is 1/k of the gradient that it has as the head of its own model."""
    heads, batch = 3, objective().batch(0, range(4))
    many = new_reward_model(pretrained, SHAPE, VOCABULARY, 0, heads)
    of_many, alone = gradients(many, batch), []
    for head in range(heads):
        one = new_reward_model(pretrained, SHAPE, VOCABULARY, 0)
        with torch.no_grad():
            one.head.weight.copy_(many.head.weight[head])
            one.head.bias.copy_(many.head.bias[[head]])
        alone.append(gradients(one, batch))
    for name, found in of_many.items():
        own = [each[name] for each in alone]
        expected = torch.cat(own) if name.startswith("head") else torch.stack(own).sum(0)
        torch.testing.assert_close(found, expected / heads, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(of_many["head.weight"][0], of_many["head.weight"][1], rtol=0.1)


def test_each_head_has_initial_weights_of_its_own(pretrained):
    model = new_reward_model(pretrained, SHAPE, VOCABULARY, 0, 5)
    assert model.head.weight.shape == (5, SHAPE["d_model"])
    assert len(torch.unique(model.head.weight)) == model.head.weight.numel()


def trained(pretrained, heads, checkpoints, about=None):
    torch.set_num_threads(1)
    model = new_reward_model(pretrained, SHAPE, VOCABULARY, 0, **heads)
    return train(model, about or objective(), RECIPE, 0, checkpoints, 1e9)


def test_one_head_is_the_ordinary_reward_model_bit_for_bit(pretrained, tmp_path):
    """As its loss was written before there were several heads."""
    plain = objective()

    def loss(model: nn.Module, batch):
        rewards = model(**batch).flatten().view(-1, 2)
        chosen, rejected = rewards[:, 0], rewards[:, 1]
        likelihood = nn.functional.logsigmoid(chosen - rejected)
        return (0.01 * (chosen + rejected) ** 2 - likelihood).sum()

    about = type(plain)(plain.batch, loss, plain.terms, plain.settings)
    first, rows = trained(pretrained, {}, tmp_path / "a", about)
    second, rows_again = trained(pretrained, {"heads": 1}, tmp_path / "b")
    assert rows == rows_again
    again = second.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.state_dict().items())


def test_a_multi_head_training_resumes_bit_for_bit_and_loads_with_its_heads(pretrained, tmp_path):
    whole, rows = trained(pretrained, {"heads": 3}, tmp_path / "whole")
    about = objective()

    def batch(step, those):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return objective().batch(step, those)

    stopping = type(about)(batch, about.loss, about.terms, about.settings)
    with pytest.raises(Interrupted):
        trained(pretrained, {"heads": 3}, tmp_path / "stopped", stopping)
    resumed, rows_again = trained(pretrained, {"heads": 3}, tmp_path / "stopped")
    again = resumed.state_dict()
    assert rows == rows_again
    assert all(torch.equal(value, again[name]) for name, value in whole.state_dict().items())
    save(resumed, tmp_path / "saved", rows, START)
    assert json.loads((tmp_path / "saved/config.json").read_text())["reward_heads"] == 3
    assert weights(tmp_path / "saved")["head.weight"].shape == (3, SHAPE["d_model"])
