"""Optimizers and learning-rate schedules that a recipe may name."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


def adamw(parameters: Iterable[Tensor], rate: float, weight_decay: float) -> Optimizer:
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=weight_decay, fused=True)


def adafactor(parameters: Iterable[Tensor], rate: float, weight_decay: float) -> Optimizer:
    """T5's: the step is relative to the weights' own size; decay exponent 0.8, no momentum.

    PyTorch's own takes at most 1 / sqrt(step) of `rate`, which T5's schedule never exceeds.
    """
    return torch.optim.Adafactor(
        parameters, lr=rate, beta2_decay=-0.8, weight_decay=weight_decay, foreach=False
    )


def linear(step: int, steps: int, warmup: int) -> float:
    """Rises over `warmup` steps, then falls to zero."""
    rising = (step + 1) / max(1, warmup)
    falling = (steps - step) / max(1, steps - warmup)
    return min(1.0, rising, falling)


def constant(step: int, steps: int, warmup: int) -> float:
    """Rises over `warmup` steps, then stays."""
    return min(1.0, (step + 1) / max(1, warmup))


def inverse_sqrt(step: int, steps: int, warmup: int) -> float:
    """T5's: stays for `warmup` steps, then falls with the root of the step.

    With a learning rate of 0.01 and a warmup of 10,000 it is 1 / sqrt(max(step, 10,000)).
    """
    return (max(1, warmup) / max(step + 1, warmup, 1)) ** 0.5


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adamw": adamw, "adafactor": adafactor}
SCHEDULES: dict[str, Callable[[int, int, int], float]] = {
    "linear": linear,
    "constant": constant,
    "inverse_sqrt": inverse_sqrt,
}
