"""One training loop for every objective, on Accelerate; interrupted runs resume bit for bit.

A run is a pure function of its initial weights, data and seed: the batch and the dropout masks of a
step depend only on (seed, step), and on whether the model is compiled. So a checkpoint is the
model, the optimizer and a step number, and an interrupted run ends with the weights of an
uninterrupted one.
"""

import hashlib
import json
import logging
import signal
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from underspec.errors import ConfigError
from underspec.models.t5 import set_dropout, use_fast_norms
from underspec.progress import Progress
from underspec.random_streams import DROPOUT, stream_seed
from underspec.recipe import DeviceLayout, Recipe
from underspec.training import checkpoints as checkpointing
from underspec.training.distributed import (
    distribute,
    sum_over_processes,
    whole,
    whole_model,
)
from underspec.training.optimizers import OPTIMIZERS, SCHEDULES

log = logging.getLogger(__name__)

DEFAULT_LAYOUT = DeviceLayout()
Batch = dict[str, Tensor | list]


@dataclass(frozen=True)
class Objective:
    """The data and the loss of a training, as pure functions.

    `batch(step, rows)` returns some rows of a step's batch. `loss(model, batch)` is a scalar: the
    sum over the `terms(batch)` terms (tokens or pairs). A step's loss is the mean over the terms of
    the whole batch, however many processes share it. `settings` identify the data and the loss: a
    run only resumes from checkpoints with the same settings. `measures(batch)` are sums over the
    terms, whose means are logged beside the loss, in about `logged` rows. What samples from the
    model in training may depend on its weights too: `batch` and `measures` are called before the
    step's update.
    """

    batch: Callable[[int, range], Batch]
    loss: Callable[[nn.Module, Batch], Tensor]
    terms: Callable[[Batch], int | Tensor]
    settings: dict = field(default_factory=dict)
    measures: Callable[[Batch], dict[str, float]] = lambda batch: {}
    logged: int = 100

    def batches(self, step: int, micro_batches: list[range]) -> list[Batch]:
        """The rows of a process in micro-batches."""
        return [self.batch(step, rows) for rows in micro_batches]


class Interrupted(SystemExit):
    """A signal stopped the training, which has saved a checkpoint; the exit code is not zero."""


def train(
    model: nn.Module,
    objective: Objective,
    recipe: Recipe,
    seed: int,
    checkpoints: Path,
    save_seconds: float,
    layout: DeviceLayout = DEFAULT_LAYOUT,
) -> tuple[nn.Module, list[dict]] | None:
    """Train `model` for `recipe.steps` steps; returns the model and the log (a row every few
    steps).

    With several processes, the first one returns them and the others return None. Training resumes
    from the newest checkpoint of the same run in the folder `checkpoints`, with any number of
    processes. It saves a checkpoint every `save_seconds`, and when any process gets SIGTERM or
    SIGINT; then it raises Interrupted. Raises ConfigError if the batch cannot be shared equally by
    the processes.
    """
    run = checkpoints / _identity(model, objective, recipe, seed)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # needed for several processes on CPUs
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
    )
    micro_batches = _micro_batches(recipe.batch, accelerator, layout)
    use_fast_norms(model)
    set_dropout(model, recipe.dropout)
    kind = type(model)
    trained = distribute(model, accelerator, layout)
    optimizer = OPTIMIZERS[recipe.optimizer](
        trained.parameters(), recipe.learning_rate, recipe.weight_decay
    )
    trained.train()
    step, rows = checkpointing.resume(accelerator, run, trained, optimizer)
    progress = Progress(log, recipe.steps, step)
    saved = time.monotonic()
    with _stop_requested() as stop:
        while step < recipe.steps:
            batches = objective.batches(step, micro_batches)
            terms, stopping, due = sum_over_processes(
                accelerator,
                sum(map(objective.terms, batches)),
                bool(stop),
                time.monotonic() - saved > save_seconds,
            )
            torch.manual_seed(stream_seed(seed, DROPOUT, step, accelerator.process_index))
            for group in optimizer.param_groups:
                group["lr"] = _rate(recipe, step)
            every = max(1, recipe.steps // objective.logged)
            logged = (step + 1) % every == 0 or step + 1 == recipe.steps
            measures = _measures(accelerator, objective, batches, terms) if logged else {}
            loss = _backward(accelerator, trained, objective, batches, terms)
            norm = nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if logged:
                (value,) = sum_over_processes(accelerator, loss.item())
                rate, norm = _rate(recipe, step - 1), whole(norm).item()
                row = {"step": step, "loss": value, "rate": rate, "gradient_norm": norm}
                rows.append(row | measures)
                progress.show(step, f"step {step} of {recipe.steps}, loss {value:.3f}")
            if due or stopping:
                checkpointing.save(accelerator, run, step, rows, trained, optimizer)
                saved = time.monotonic()
            if stopping and step < recipe.steps:
                log.warning("stopped by a signal; saved a checkpoint at step %d", step)
                raise Interrupted(128 + (stop[0] if stop else signal.SIGTERM))
    finished = whole_model(kind, trained, accelerator)
    return (finished.eval(), rows) if finished else None


def _rate(recipe: Recipe, step: int) -> float:
    """The learning rate of a step, which starts at 0."""
    return recipe.learning_rate * SCHEDULES[recipe.schedule](step, recipe.steps, recipe.warmup)


def _micro_batches(batch: int, accelerator: Accelerator, layout: DeviceLayout) -> list[range]:
    """This process's rows of a batch, split into micro-batches."""
    rows, left_over = divmod(batch, accelerator.num_processes)
    if left_over:
        raise ConfigError(
            f"batch: {batch} rows cannot be shared equally by {accelerator.num_processes} processes"
        )
    start, size = accelerator.process_index * rows, layout.micro_batch or rows
    return [
        range(first, min(first + size, start + rows)) for first in range(start, start + rows, size)
    ]


def _backward(
    accelerator: Accelerator,
    model: nn.Module,
    objective: Objective,
    batches: list[Batch],
    terms: float,
) -> Tensor:
    """Accumulate the gradients of `batches`; returns this process's part of the loss.

    Gradients are averaged over processes, so each process multiplies its loss by their number.
    """
    loss = torch.zeros((), device=accelerator.device)
    for batch in batches:
        batch = {name: _on(accelerator.device, value) for name, value in batch.items()}
        with accelerator.autocast():
            part = objective.loss(model, batch) / terms
        accelerator.backward(part * accelerator.num_processes)
        loss += part.detach()
    return loss


def _measures(
    accelerator: Accelerator, objective: Objective, batches: list[Batch], terms: float
) -> dict[str, float]:
    """The mean over terms of each of the objective's measures."""
    of_batches = [objective.measures(batch) for batch in batches]
    sums = {name: sum(each[name] for each in of_batches) for name in of_batches[0]}
    values = sum_over_processes(accelerator, *sums.values()) if sums else []
    return {name: value / terms for name, value in zip(sums, values, strict=True)}


def _on(device: torch.device, value: Tensor | list) -> Tensor | list:
    """A tensor on `device`, with an asynchronous copy to a GPU; anything else stays as it is."""
    if not isinstance(value, Tensor):
        return value
    if device.type == "cuda":
        value = value.pin_memory()
    return value.to(device, non_blocking=True)


def _identity(model: nn.Module, objective: Objective, recipe: Recipe, seed: int) -> str:
    """A digest that identifies a run: recipe, seed, data, loss and some of the initial weights."""
    digest = hashlib.sha256(json.dumps([asdict(recipe), seed, objective.settings]).encode())
    for values in model.parameters():
        digest.update(values.detach().flatten()[:4096].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _stop_requested():
    """A list that is empty until SIGTERM or SIGINT arrives, and then holds the signal's number."""
    received: list[int] = []
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda got, _: received.append(got)) for number in signals]
    try:
        yield received
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
