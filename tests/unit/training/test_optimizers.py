"""Adafactor against transformers' own, schedules against their formulas."""

import pytest
import torch
from transformers.optimization import Adafactor

from underspec.training import optimizers
from underspec.training.optimizers import SCHEDULES, adafactor


def test_adafactor_is_transformers_own():
    """Single precision: weights of order one agree to 1e-5 after twenty steps."""
    starts = [torch.randn(6, 4), torch.randn(5)]
    mine, its = ([start.clone().requires_grad_() for start in starts] for _ in range(2))
    optimizer = adafactor(mine, 0.01, 0.0)
    oracle = Adafactor(its, lr=0.01, scale_parameter=True, relative_step=False, warmup_init=False)
    target = torch.randn(4, 5)
    for _ in range(20):
        for weights, each in ((mine, optimizer), (its, oracle)):
            each.zero_grad()
            (weights[0] @ target + weights[1]).square().sum().backward()
            each.step()
    for weight, other, start in zip(mine, its, starts, strict=True):
        torch.testing.assert_close(weight, other, atol=1e-5, rtol=0)
        assert (weight - start).abs().max() > 0.01


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("stacked", [1, 50, 2**20])
def test_tensors_of_one_shape_are_stepped_together_as_they_are_alone(
    monkeypatch, stacked, weight_decay
):
    """As on a GPU, here on this CPU, against PyTorch's own: to 1e-6 after ten steps of single
    precision. A state goes from one to the other.
    """
    monkeypatch.setattr(optimizers, "MAX_STACKED", stacked)
    torch.manual_seed(0)
    starts = [torch.randn(shape) for shape in ((6, 4), (5,), (6, 4), (4, 6), (5,), (6, 4), (1, 3))]
    starts[2] *= 1e-5  # smaller than the least size of a step
    ours, its = ([start.clone().requires_grad_() for start in starts] for _ in range(2))
    optimizer, oracle = (adafactor(each, 0.1, weight_decay) for each in (ours, its))
    for step in range(20):
        gradients = [torch.randn_like(start) * 10.0 ** (step % 7 - 4) for start in starts]
        gradients[3][:2] = 0
        for weights, each, group in ((ours, optimizer, True), (its, oracle, False)):
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.clone()
            monkeypatch.setattr(optimizers, "can_batch", lambda parameter, group=group: group)
            each.step()
        if step == 9:
            states = optimizer.state_dict(), oracle.state_dict()
            optimizer.load_state_dict(states[1])
            oracle.load_state_dict(states[0])
    for weight, other, start in zip(ours, its, starts, strict=True):
        torch.testing.assert_close(weight, other, atol=1e-6, rtol=1e-5)
        assert (weight - start).norm() > 0.05 * start.norm()


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        ("linear", 0, 1 / 10),
        ("linear", 9, 1.0),
        ("linear", 55, 45 / 90),
        ("linear", 99, 1 / 90),
        ("constant", 0, 1 / 10),
        ("constant", 99, 1.0),
        ("inverse_sqrt", 0, 1.0),
        ("inverse_sqrt", 9, 1.0),
        ("inverse_sqrt", 39, 0.5),
    ],
)
def test_schedules(name, step, expected):
    assert SCHEDULES[name](step, 100, 10) == pytest.approx(expected)


@pytest.mark.parametrize("name", SCHEDULES)
def test_no_warmup_is_allowed(name):
    assert SCHEDULES[name](0, 100, 0) == 1.0


def test_t5_s_schedule_is_the_published_one():
    """1 / sqrt(max(step, 10,000)), steps counted from 1."""
    for step in (1, 5_000, 10_000, 40_000, 1_000_000):
        rate = 0.01 * SCHEDULES["inverse_sqrt"](step - 1, 2_000_000, 10_000)
        assert rate == pytest.approx(max(step, 10_000) ** -0.5, rel=1e-12)
