"""One training loop for every objective, on Accelerate, resumable bit for bit.

A run is a pure function of its start, its data and its seeds: the batch of a step, and the
dropout in it, depend on (seed, step) alone. So a checkpoint is the model, the optimizer and an
integer, and an interrupted run ends with the weights of an uninterrupted one.
"""

import hashlib
import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from underspec.errors import ConfigError
from underspec.models import set_dropout
from underspec.order import DROPOUT, stream_seed

log = logging.getLogger(__name__)
# Tied weights are saved once; Accelerate warns of it at every checkpoint.
logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How long and how fast: rate rises linearly over `warmup` steps, then falls to zero."""

    steps: int
    batch: int
    learning_rate: float
    warmup: int
    dropout: float
    weight_decay: float

    def rate(self, step: int) -> float:
        rising = (step + 1) / max(1, self.warmup)
        falling = (self.steps - step) / max(1, self.steps - self.warmup)
        return self.learning_rate * min(1.0, rising, falling)


@dataclass(frozen=True)
class Objective:
    """What a stage trains on: `batch(step, rows)` is pure, `loss(model, batch)` is scalar.

    `settings` say which data and which loss these are: with others, it is another run.
    """

    batch: Callable[[int, range], Batch]
    loss: Callable[[nn.Module, Batch], Tensor]
    settings: dict = field(default_factory=dict)


class Interrupted(SystemExit):
    """Training was told to stop and has saved a checkpoint; the exit code is not zero."""


def train(
    model: nn.Module,
    objective: Objective,
    recipe: Recipe,
    seed: int,
    checkpoints: Path,
    save_seconds: float,
) -> list[dict]:
    """Train `model` in place to `recipe.steps`; returns the log, a row every few steps.

    Goes on from the newest checkpoint in the folder `checkpoints` that the same run wrote, and
    saves one there every `save_seconds` and when SIGTERM or SIGINT arrives (then raises
    Interrupted). Only a run that has reached its last step returns. Raises ConfigError if the
    batch cannot be shared equally by the processes.
    """
    accelerator = Accelerator()
    set_dropout(model, recipe.dropout)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    run = checkpoints / _identity(model, objective, recipe, seed)
    model, optimizer = accelerator.prepare(model, optimizer)
    model.train()
    step, rows = _resume(accelerator, run)
    share, left_over = divmod(recipe.batch, accelerator.num_processes)
    if left_over:
        raise ConfigError(
            f"batch: {recipe.batch} rows cannot be shared by {accelerator.num_processes} processes"
        )
    mine = range(accelerator.process_index * share, (accelerator.process_index + 1) * share)
    progress = _Progress(recipe.steps, step)
    saved = time.monotonic()
    with _stop_requested() as stop:
        while step < recipe.steps:
            torch.manual_seed(stream_seed(seed, DROPOUT, step, accelerator.process_index))
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step)
            batch = {
                name: value.to(accelerator.device)
                for name, value in objective.batch(step, mine).items()
            }
            loss = objective.loss(model, batch)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if step % max(1, recipe.steps // 100) == 0 or step == recipe.steps:
                rows.append({"step": step, "loss": loss.item(), "rate": recipe.rate(step - 1)})
                progress.show(step, rows[-1]["loss"])
            stopping = bool(stop)
            due = _any(accelerator, stopping or time.monotonic() - saved > save_seconds)
            if due:
                _save(accelerator, run, step, rows)
                saved = time.monotonic()
            if stopping and step < recipe.steps:
                log.warning("stopped by signal %d; step %d is saved", stop[0], step)
                raise Interrupted(128 + stop[0])
    model.eval()
    return rows


def _identity(model: nn.Module, objective: Objective, recipe: Recipe, seed: int) -> str:
    """A digest of what a run is: recipe, seed, data, loss and a sample of the initial weights."""
    digest = hashlib.sha256(json.dumps([vars(recipe), seed, objective.settings]).encode())
    for values in model.parameters():
        digest.update(values.detach().flatten()[:4096].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _resume(accelerator: Accelerator, run: Path) -> tuple[int, list[dict]]:
    """Load the newest whole checkpoint of `run`; (0, []) if there is none."""
    finished = sorted(run.glob("step-*[0-9]"))
    if not finished:
        return 0, []
    accelerator.load_state(str(finished[-1]))
    state = json.loads((finished[-1] / "progress.json").read_text())
    log.info("going on from step %d", state["step"])
    return state["step"], state["rows"]


def _save(accelerator: Accelerator, run: Path, step: int, rows: list[dict]) -> None:
    """Write a checkpoint under a temporary name, rename it, then drop older ones."""
    final = run / f"step-{step:09d}"
    unfinished = run / f"{final.name}.unfinished"
    accelerator.save_state(str(unfinished))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _finish(unfinished, final, step, rows)
    accelerator.wait_for_everyone()


def _any(accelerator: Accelerator, here: bool) -> bool:
    """Whether `here` is true in any process, so that all of them save at the same step."""
    if accelerator.num_processes == 1:
        return here
    return bool(accelerator.reduce(torch.tensor(float(here), device=accelerator.device)) > 0)


def _finish(unfinished: Path, final: Path, step: int, rows: list[dict]) -> None:
    (unfinished / "progress.json").write_text(json.dumps({"step": step, "rows": rows}))
    os.replace(unfinished, final)
    for other in final.parent.iterdir():
        if other != final:
            shutil.rmtree(other)


@contextmanager
def _stop_requested():
    """A list that is empty until SIGTERM or SIGINT arrives, and then holds its number."""
    received: list[int] = []
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda got, _: received.append(got)) for number in signals]
    try:
        yield received
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


class _Progress:
    """A line on the log every few seconds: step of steps, loss, time left."""

    def __init__(self, steps: int, start: int, every: float = 10.0):
        self.steps, self.start, self.every = steps, start, every
        self.began = self.shown = time.monotonic()

    def show(self, step: int, loss: float) -> None:
        now = time.monotonic()
        if now - self.shown < self.every and step < self.steps:
            return
        self.shown = now
        left = (now - self.began) / (step - self.start) * (self.steps - step)
        log.info("step %d of %d, loss %.3f, %.0f s left", step, self.steps, loss, left)
