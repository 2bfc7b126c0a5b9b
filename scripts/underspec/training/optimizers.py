"""Optimizers and learning-rate schedules that a recipe may name."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

MAX_STACKED = 2**27  # weights that Adafactor updates at a time, to bound its memory


def adamw(parameters: Iterable[Tensor], rate: float, weight_decay: float) -> Optimizer:
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=weight_decay, fused=True)


class Adafactor(torch.optim.Adafactor):
    """PyTorch's Adafactor, batched on a GPU.

    PyTorch updates tensors one by one and synchronises twice for each. This class updates all
    tensors of one shape at once, without synchronising, and keeps the same state. It leaves sharded
    parameters to PyTorch.
    """

    @torch.no_grad()
    def step(self, closure=None) -> None:
        parameters = [
            each for group in self.param_groups for each in group["params"] if each.grad is not None
        ]
        if closure or not all(map(can_batch, parameters)):
            return super().step(closure)
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for each in group["params"]:
                if each.grad is not None:
                    by_shape[each.shape, float(self.state[each].get("step", 0))].append(each)
            for (shape, _), same in by_shape.items():
                number = max(1, MAX_STACKED // shape.numel())
                for start in range(0, len(same), number):
                    self._step(same[start : start + number], group)

    def _step(self, parameters: list[Tensor], group: dict) -> None:
        """Update `parameters`, which have the same shape and number of steps so far."""
        gradients = torch.stack([each.grad for each in parameters])
        states = [self.state[each] for each in parameters]
        epsilon = torch.finfo(gradients.dtype).eps if group["eps"][0] is None else group["eps"][0]
        for state in states:
            if not state:
                state["step"] = torch.tensor(0.0)
            state["step"] += 1
        step, size = float(states[0]["step"]), parameters[0].numel() ** 0.5
        new = step ** group["beta2_decay"]
        sizes = torch.stack(torch._foreach_norm(parameters)) / size
        rates = sizes.clamp_(min=group["eps"][1]) * min(group["lr"], step**-0.5)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        if gradients.dim() == 2:
            variance = _averaged(states, "variance", gradients.square(), new)
        else:
            rows, columns = (
                _averaged(states, name, _mean_square(gradients, dim), new)
                for name, dim in (("row_var", -1), ("col_var", -2))
            )
            rows /= rows.mean(-2, keepdim=True).clamp_(min=epsilon)
            variance = rows * columns
        updates = variance.clamp_(min=epsilon**2).rsqrt_().mul_(gradients).flatten(1)
        length = torch.linalg.vector_norm(updates, dim=1) / (size * group["d"])
        updates *= (-rates / length.clamp_(min=1))[:, None]
        torch._foreach_add_(parameters, list(updates.view_as(gradients).unbind()))


def can_batch(parameter: Tensor) -> bool:
    """Whether a parameter can be updated together with others of its shape."""
    return parameter.is_cuda and not isinstance(parameter, DTensor)


def _mean_square(gradients: Tensor, dim: int) -> Tensor:
    norms = torch.linalg.vector_norm(gradients, dim=dim, keepdim=True)
    return norms.square_().div_(gradients.shape[dim])


def _averaged(states: list[dict], name: str, values: Tensor, new: float) -> Tensor:
    """Update the running means `name` of `states` by `values` with weight `new`; returns a copy."""
    for state, each in zip(states, values, strict=True):
        if name not in state:
            state[name] = torch.zeros_like(each)
    old = [state[name] for state in states]
    torch._foreach_lerp_(old, list(values.unbind()), new)
    return torch.stack(old)


def adafactor(parameters: Iterable[Tensor], rate: float, weight_decay: float) -> Optimizer:
    """Adafactor as in T5: updates relative to the size of the weights, decay exponent 0.8, no
    momentum.

    PyTorch caps the learning rate at 1 / sqrt(step), which T5's schedule never exceeds.
    """
    return Adafactor(
        parameters, lr=rate, beta2_decay=-0.8, weight_decay=weight_decay, foreach=False
    )


def linear(step: int, steps: int, warmup: int) -> float:
    """Rises over `warmup` steps, then decays linearly to zero."""
    rising = (step + 1) / max(1, warmup)
    falling = (steps - step) / max(1, steps - warmup)
    return min(1.0, rising, falling)


def constant(step: int, steps: int, warmup: int) -> float:
    """Rises over `warmup` steps, then stays constant."""
    return min(1.0, (step + 1) / max(1, warmup))


def inverse_sqrt(step: int, steps: int, warmup: int) -> float:
    """T5's schedule: constant for `warmup` steps, then proportional to 1 / sqrt(step).

    With a learning rate of 0.01 and a warmup of 10,000, the rate is 1 / sqrt(max(step, 10,000)).
    """
    return (max(1, warmup) / max(step + 1, warmup, 1)) ** 0.5


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adamw": adamw, "adafactor": adafactor}
SCHEDULES: dict[str, Callable[[int, int, int], float]] = {
    "linear": linear,
    "constant": constant,
    "inverse_sqrt": inverse_sqrt,
}
