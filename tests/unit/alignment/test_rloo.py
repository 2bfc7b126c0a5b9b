"""RLOO: its gradient is that of the objective, and its optimum the known one."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
import toy

from underspec.alignment import rollouts
from underspec.alignment.rloo import leave_one_out, rloo
from underspec.recipe import Recipe
from underspec.training.loop import Interrupted, train

SETTINGS = {"reward": "toy"}
RECIPE = Recipe(steps=12, batch=4, learning_rate=1e-2, warmup=0, dropout=0.0, weight_decay=0.0)
POSTS = [np.array([3, 4, 1]), np.array([4, 1]), np.array([3, 3, 4, 4, 1])]


def rewards_of(seed=0, size=1.0):
    """A reward for every sample."""
    every = toy.every_sample()
    values = size * np.random.default_rng(seed).normal(size=len(every))
    return {tuple(ids): value for ids, value in zip(every, values, strict=True)}


def reward_by(table):
    return lambda posts, samples: np.array([[table[tuple(ids)] for ids in own] for own in samples])


def objective_of(model, reward, samples=4, coefficient=0.3, seed=0, batch=4, posts=POSTS):
    return rloo(model, model.frozen(), reward, posts, batch, samples, coefficient, seed, SETTINGS)


def expected_reward(model, sft, table, coefficient):
    """E[R] - coefficient * KL, over all samples."""
    own, others = toy.distribution(model), toy.distribution(sft).detach()
    rewards = torch.tensor([table[tuple(ids)] for ids in toy.every_sample()])
    return (own.exp() * (rewards - coefficient * (own - others))).sum()


@pytest.mark.parametrize("samples", [2, 4])
def test_the_gradient_is_that_of_the_objective(samples):
    """Away from the SFT policy, so that the divergence has a gradient. Over 250 batches, the mean's
    component along the exact gradient is within 4 standard errors of its length, an error below
    10 %, and the mean is as far from it as its noise.
    """
    model, coefficient, table = toy.policy(0), 0.7, rewards_of(size=0.5)
    objective = objective_of(model, reward_by(table), samples, coefficient, posts=[toy.POST])
    sft = model.frozen()
    with torch.no_grad():
        for i, weights in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(i)
            weights += 0.2 * weights.std() * torch.randn(weights.shape, generator=generator)
    exact = -toy.gradient(expected_reward(model, sft, table, coefficient), model)
    of_reward = -toy.gradient(expected_reward(model, sft, table, 0.0), model)
    assert (exact - of_reward).norm() > 0.2 * exact.norm()  # the divergence matters
    found = []
    for step in range(250):
        batch = objective.batch(step, range(48))
        loss = objective.loss(model, batch) / objective.terms(batch)
        found.append(toy.gradient(loss, model))
    found = torch.stack(found)
    along = found @ exact / exact.norm()
    error = along.std() / len(found) ** 0.5
    assert abs(along.mean() - exact.norm()) < 4 * error
    assert error < 0.1 * exact.norm()
    noise = (found.var(dim=0).sum() / len(found)).sqrt()
    assert (found.mean(dim=0) - exact).norm() < 2 * noise


def test_the_optimum_is_the_known_distribution(tmp_path):
    """pi is proportional to pi_SFT exp(R / coefficient): total variation within 0.03, from more
    than 0.2 at first, where samples have one token. A wrong sign or size of the divergence would
    lead elsewhere.
    """
    model, coefficient = toy.policy(0, longest=1), 0.8
    sft = model.frozen()
    table = dict(zip([(0,), (1,), (2,), (3,), (4,)], [1.0, -1.0, 0.5, -0.5, 1.0], strict=True))
    start = toy.distribution(sft, longest=1).exp().detach()
    rewards = torch.tensor([table[tuple(ids)] for ids in toy.every_sample(longest=1)])
    best = (start.log() + rewards / coefficient).softmax(0).float()

    def variation(each):
        return (each - best).abs().sum().item() / 2

    recipe = replace(RECIPE, steps=150, batch=64, learning_rate=1e-2)
    objective = objective_of(
        model, reward_by(table), 4, coefficient, batch=recipe.batch, posts=[toy.POST]
    )
    trained, rows = train(model, objective, recipe, 0, tmp_path, 1e9)
    found = toy.distribution(trained, longest=1).exp().detach()
    assert variation(start) > 0.2
    assert variation(found) < 0.03
    assert variation((start.log() - rewards / coefficient).softmax(0)) > 0.3
    assert variation((start.log() + rewards / coefficient / 2).softmax(0)) > 0.08
    exact = (found * (found / start).log()).sum().item()
    assert rows[-1]["kl"] == pytest.approx(exact, abs=0.15)
    assert rows[-1]["reward"] > rows[0]["reward"]


def test_a_constant_added_to_the_reward_changes_nothing():
    model, table = toy.policy(), rewards_of()
    first, second = (
        objective_of(model, reward).batch(0, range(4))["advantages"]
        for reward in (reward_by(table), lambda *those: reward_by(table)(*those) + 10)
    )
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


def test_advantages_leave_the_sample_itself_out():
    rewards = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])
    expected = [[1 - 4, 2 - 3.5, 6 - 1.5], [-1.5, -1.5, 3]]
    np.testing.assert_allclose(leave_one_out(rewards), expected)
    np.testing.assert_allclose(leave_one_out(rewards[:, :2]), [[-1, 1], [0, 0]])


def test_length_is_not_normalised_away():
    """The loss of a sample is minus its advantage times the log-probability of all its tokens, and
    a step's loss the mean over samples.
    """
    model = toy.policy()
    objective = objective_of(model, reward_by(rewards_of()))
    batch = objective.batch(0, range(4))
    lengths = {len(ids) for own in batch["samples"] for ids in own}
    assert lengths == {1, 2}
    log_probs = model(batch["posts"], batch["samples"])
    pairs = zip(batch["advantages"].flatten(), log_probs, strict=True)
    by_hand = -sum(advantage * log_prob for advantage, log_prob in pairs)
    torch.testing.assert_close(objective.loss(model, batch), by_hand)
    assert objective.terms(batch) == 16


def test_a_truncated_sample_counts_all_of_its_tokens_and_is_counted():
    model = toy.policy()
    objective = objective_of(model, reward_by(rewards_of()))
    batch = objective.batch(0, range(4))
    cut = rollouts.truncated(batch["samples"])
    assert 0 < cut.sum() < cut.size
    measures = objective.measures(batch)
    assert measures["truncated"] == cut.sum()
    assert measures["tokens"] == sum(len(ids) for own in batch["samples"] for ids in own)
    assert measures["kl"] == pytest.approx(0, abs=1e-5)  # the first step is at the SFT policy


def test_a_step_draws_new_samples_and_a_row_keeps_its_own():
    """A batch may hold a post twice; and rows that two processes share are those of one."""
    model = toy.policy()
    objective = objective_of(model, reward_by(rewards_of()), posts=[toy.POST])
    first, again, other = (objective.batch(step, range(4)) for step in (0, 0, 1))
    as_lists = [
        [[list(ids) for ids in own] for own in each["samples"]] for each in (first, again, other)
    ]
    assert as_lists[0] == as_lists[1] != as_lists[2]
    assert as_lists[0][0] != as_lists[0][1]
    halves = [objective.batch(0, rows) for rows in (range(2), range(2, 4))]
    for drawn in (halves, objective.batches(0, [range(2), range(2, 4)])):
        assert [list(map(list, own)) for half in drawn for own in half["samples"]] == as_lists[0]
        torch.testing.assert_close(
            torch.cat([half["advantages"] for half in drawn]), first["advantages"]
        )


def trained(checkpoints, stop_at=None):
    torch.set_num_threads(1)
    model = toy.policy()
    objective = objective_of(model, reward_by(rewards_of()))

    def batch(step, rows):
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return objective.batch(step, rows)

    model, rows = train(model, replace(objective, batch=batch), RECIPE, 0, checkpoints, 1e9)
    return model.state_dict(), rows


def test_it_repeats_bit_for_bit_also_when_killed_on_the_way(tmp_path):
    weights, rows = trained(tmp_path / "whole")
    with pytest.raises(Interrupted):
        trained(tmp_path / "killed", stop_at=5)
    resumed, rows_again = trained(tmp_path / "killed")
    assert rows == rows_again and len(rows) == RECIPE.steps
    assert all(torch.equal(value, resumed[name]) for name, value in weights.items())


def test_a_run_with_another_reward_does_not_resume(tmp_path):
    model = toy.policy()
    digests = {
        str(objective_of(model, reward_by(rewards_of()), **changed).settings)
        for changed in ({}, {"samples": 3}, {"coefficient": 0.4}, {"posts": POSTS[:2]})
    }
    assert len(digests) == 4


def test_the_log_has_a_row_every_few_steps(tmp_path):
    """The exact divergence, which it holds, is dear."""
    model = toy.policy()
    recipe = replace(RECIPE, steps=51)
    _, rows = train(model, objective_of(model, reward_by(rewards_of())), recipe, 0, tmp_path, 1e9)
    assert [row["step"] for row in rows] == [*range(2, 51, 2), 51]


def test_a_run_with_a_reward_of_another_identity_does_not_resume():
    model = toy.policy()
    settings = [
        rloo(
            *(model, model.frozen(), reward_by(rewards_of()), POSTS, 4, 4, 0.3, 0),
            {"reward": name},
        ).settings
        for name in "ab"
    ]
    assert settings[0] != settings[1]
