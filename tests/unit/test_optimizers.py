"""Adafactor against transformers' own, schedules against their formulas."""

import pytest
import torch
from transformers.optimization import Adafactor

from underspec.optimizers import SCHEDULES, adafactor


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
