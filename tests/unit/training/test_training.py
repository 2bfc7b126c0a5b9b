"""Training repeats bit for bit, also when it is killed on the way and started again."""

import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from underspec.errors import ConfigError
from underspec.models.reward_model import RewardModel
from underspec.models.t5 import new_t5, t5_config
from underspec.recipe import DeviceLayout, Recipe
from underspec.training import optimizers
from underspec.training.loop import Interrupted, Objective, train
from underspec.training.objectives.denoising import denoising
from underspec.training.objectives.preference import preference

SHAPE = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 1}
VOCABULARY = 130
RECIPE = Recipe(steps=12, batch=4, learning_rate=1e-2, warmup=3, dropout=0.1, weight_decay=0.01)
LONG = replace(RECIPE, steps=400)  # lasts many seconds when each step is saved


def objective(seed=0, data_seed=0):
    tokens = np.random.default_rng(data_seed).integers(3, VOCABULARY - 100, 2000)
    return denoising([tokens], VOCABULARY - 1, RECIPE.batch, seed, 12, 0.15, 3.0)


def trained(checkpoints, recipe=RECIPE, seed=0, save_seconds=1e9, **options):
    """The weights after training, and the log."""
    torch.set_num_threads(1)
    model = new_t5(SHAPE, VOCABULARY, options.pop("start", 0))
    model, rows = train(model, objective(seed, **options), recipe, seed, checkpoints, save_seconds)
    return {name: value.cpu() for name, value in model.state_dict().items()}, rows


def equal(weights, others):
    return weights.keys() == others.keys() and all(
        torch.equal(value, others[name]) for name, value in weights.items()
    )


def test_one_seed_repeats_bit_for_bit_and_two_differ(tmp_path):
    first, rows = trained(tmp_path / "a")
    again, rows_again = trained(tmp_path / "b")
    other, _ = trained(tmp_path / "c", seed=1)
    assert equal(first, again)
    assert rows == rows_again
    assert not any(
        torch.equal(value, other[name]) for name, value in first.items() if value.ndim > 1
    )


def test_adafactor_for_many_tensors_at_once_resumes_bit_for_bit(tmp_path, monkeypatch):
    """As on a GPU, here on this CPU."""
    monkeypatch.setattr(optimizers, "can_batch", lambda parameter: True)
    recipe = replace(RECIPE, optimizer="adafactor")
    whole, rows = trained(tmp_path / "whole", recipe)
    about = objective()

    def batch(step, those):
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return about.batch(step, those)

    with pytest.raises(Interrupted):
        train(
            *(new_t5(SHAPE, VOCABULARY, 0), replace(about, batch=batch), recipe, 0),
            *(tmp_path / "stopped", 1e9),
        )
    assert newest_step(tmp_path / "stopped") == 8
    resumed, rows_again = trained(tmp_path / "stopped", recipe)
    assert equal(resumed, whole) and rows_again == rows
    monkeypatch.setattr(optimizers, "can_batch", lambda parameter: False)
    assert not equal(trained(tmp_path / "one by one", recipe)[0], whole)  # rounded otherwise


def test_compiled_excludes_activation_checkpointing(tmp_path):
    both = DeviceLayout(compiled=True, activation_checkpointing=True)
    with pytest.raises(ConfigError, match="compiled excludes activation_checkpointing"):
        train(new_t5(SHAPE, VOCABULARY, 0), objective(), RECIPE, 0, tmp_path, 1e9, both)


def test_without_a_compiler_a_compiled_training_names_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ConfigError, match="compute: compiled needs a C compiler"):
        train(
            *(new_t5(SHAPE, VOCABULARY, 0), objective(), RECIPE, 0, tmp_path, 1e9),
            layout=DeviceLayout(compiled=True),
        )


def test_dropout_comes_from_the_seed_too(tmp_path):
    """Of a run without dropout the same seed makes another one."""
    with_dropout, _ = trained(tmp_path / "a")
    without, _ = trained(tmp_path / "b", replace(RECIPE, dropout=0.0))
    assert not equal(with_dropout, without)


def test_the_loss_falls_and_the_log_follows_the_recipe(tmp_path):
    _, rows = trained(tmp_path, replace(RECIPE, steps=60, dropout=0.0))
    assert rows[-1]["step"] == 60
    assert np.mean([row["loss"] for row in rows[-5:]]) < rows[0]["loss"] - 0.1
    for row in rows:
        assert row["rate"] == pytest.approx(
            1e-2 * min(row["step"] / 3, 1, (61 - row["step"]) / 57), rel=1e-9
        )


def test_weight_decay_counts(tmp_path):
    light, _ = trained(tmp_path / "a")
    heavy, _ = trained(tmp_path / "b", replace(RECIPE, weight_decay=1.0))
    assert heavy["shared.weight"].norm() < light["shared.weight"].norm()


def newest_step(checkpoints):
    names = [path.name for path in checkpoints.glob("*/step-*") if path.name[-1].isdigit()]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


class Stopped(Exception):
    pass


def interrupted(whole, step, action):
    """The objective `whole` that does `action` when the batch of `step` is asked for."""

    def batch(asked, rows):
        if asked == step:
            action()
        return whole.batch(asked, rows)

    return replace(whole, batch=batch)


def leave_a_checkpoint(checkpoints):
    """Train for six of twelve steps, saving each, and break off without a word."""

    def stop():
        raise Stopped

    torch.set_num_threads(1)
    model = new_t5(SHAPE, VOCABULARY, 0)
    with pytest.raises(Stopped):
        train(model, interrupted(objective(), 6, stop), RECIPE, 0, checkpoints, save_seconds=-1)
    assert newest_step(checkpoints) == 6


def test_a_run_goes_on_from_its_checkpoint(tmp_path, caplog):
    leave_a_checkpoint(tmp_path / "a")
    with caplog.at_level("INFO", logger="underspec"):
        resumed, rows = trained(tmp_path / "a")
    assert "resuming from step 6" in caplog.text
    whole, rows_of_whole = trained(tmp_path / "b")
    assert equal(resumed, whole)
    assert rows == rows_of_whole


def test_a_damaged_checkpoint_costs_steps_and_changes_nothing(tmp_path, caplog):
    """The bit is of a weight, and the file reads as well as before."""
    leave_a_checkpoint(tmp_path / "a")
    weights = next((tmp_path / "a").glob("*/step-000000006/*.distcp"))
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with caplog.at_level("INFO", logger="underspec"):
        resumed, rows = trained(tmp_path / "a")
    assert "step-000000006: damaged (not as written: __0_0.distcp)" in caplog.text
    assert "resuming from step 5" in caplog.text
    whole, rows_of_whole = trained(tmp_path / "b")
    assert equal(resumed, whole)
    assert rows == rows_of_whole


def test_an_unfinished_checkpoint_is_not_used(tmp_path, caplog):
    leave_a_checkpoint(tmp_path / "a")
    for checkpoint in (tmp_path / "a").glob("*/step-*"):
        checkpoint.rename(checkpoint.with_name(f"{checkpoint.name}.x.unfinished"))
    with caplog.at_level("INFO", logger="underspec"):
        resumed, _ = trained(tmp_path / "a")
    assert "resuming" not in caplog.text
    assert equal(resumed, trained(tmp_path / "b")[0])


OTHERS = {
    "recipe": {"recipe": replace(RECIPE, learning_rate=2e-2)},
    "length": {"recipe": replace(RECIPE, steps=13)},
    "seed": {"seed": 1},
    "data": {"data_seed": 1},
    "start": {"start": 1},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_the_checkpoint_of_another_run_is_not_used(tmp_path, other):
    leave_a_checkpoint(tmp_path / "a")
    assert equal(trained(tmp_path / "a", **other)[0], trained(tmp_path / "b", **other)[0])


def test_the_checkpoint_of_another_centering_is_not_used(tmp_path):
    """The same data and recipe, another loss."""
    texts = [[np.array([word, 1])] * 8 for word in (5, 6, 7)]
    weights = []
    for folder, centering in [("a", 0.01), ("a", 1.0), ("b", 1.0)]:
        torch.manual_seed(0)
        model = RewardModel(t5_config(SHAPE, VOCABULARY))
        compared = preference(*texts, RECIPE.batch, 0, centering)
        model, _ = train(model, compared, RECIPE, 0, tmp_path / folder, save_seconds=-1)
        weights.append(model.state_dict())
    assert not equal(weights[0], weights[1])
    assert equal(weights[1], weights[2])


# Real processes, forked from one that has done the slow imports.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["accelerate", "pandas", "transformers.models.t5.modeling_t5"])


def run(checkpoints, save_seconds, output):
    found = newest_step(checkpoints)
    weights, _ = trained(checkpoints, LONG, save_seconds=save_seconds)
    torch.save({"weights": weights, "checkpoint": found}, output)


def start(*arguments):
    process = PROCESSES.Process(target=run, args=arguments)
    process.start()
    return process


def ended(process):
    """The exit status; -9 is that of a process killed by signal 9."""
    process.join()
    return process.exitcode


def stop_somewhere(checkpoints, number, output):
    """Start a run that saves every step, send it `number` at a random moment after a checkpoint
    of its own; returns the exit status.
    """
    before = newest_step(checkpoints)
    process = start(checkpoints, -1, output)
    while newest_step(checkpoints) <= before:
        assert process.is_alive(), "ended before its first checkpoint"
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.2))
    os.kill(process.pid, number)
    return ended(process)


def test_a_process_killed_and_stopped_ends_as_if_it_had_run_through(tmp_path):
    checkpoints, output = tmp_path / "checkpoints", tmp_path / "weights.pt"
    assert stop_somewhere(checkpoints, signal.SIGKILL, output) == -signal.SIGKILL
    killed_at = newest_step(checkpoints)
    assert stop_somewhere(checkpoints, signal.SIGTERM, output) == 128 + signal.SIGTERM
    assert 0 < killed_at < newest_step(checkpoints) < LONG.steps
    assert not output.exists()
    assert ended(start(checkpoints, 1e9, output)) == 0
    resumed = torch.load(output)
    assert resumed["checkpoint"] > killed_at
    assert equal(resumed["weights"], trained(tmp_path / "uninterrupted", LONG)[0])


def test_sigterm_saves_what_there_is(tmp_path, caplog):
    """Also where nothing was saved so far; handlers are put back afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    stopped = interrupted(objective(), 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    torch.set_num_threads(1)
    model = new_t5(SHAPE, VOCABULARY, 0)
    with pytest.raises(Interrupted) as caught:
        train(model, stopped, RECIPE, 0, tmp_path / "a", save_seconds=1e9)
    assert caught.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    with caplog.at_level("INFO", logger="underspec"):
        resumed, _ = trained(tmp_path / "a")
    assert "resuming from step 5" in caplog.text
    assert equal(resumed, trained(tmp_path / "b")[0])


class Masked(nn.Module):
    """Keeps the dropout masks that it was given."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(64))
        self.dropout = nn.Dropout(0.5)
        self.masks = []

    def forward(self, ones):
        self.masks.append(self.dropout(ones).detach().clone())
        return self.masks[-1]


CONSTANT = replace(RECIPE, steps=3, batch=1, learning_rate=0.5, dropout=0.5, schedule="constant")


def of_sums(size):
    """The loss: `size` times the sum of the weights that the mask leaves."""
    return Objective(
        lambda step, rows: {"ones": torch.ones(64)},
        lambda model, batch: size * (model(batch["ones"]) * model.weight).sum(),
        lambda batch: 1,
    )


def test_every_step_has_a_dropout_mask_of_its_own(tmp_path):
    model = Masked()
    train(model, of_sums(1.0), CONSTANT, 0, tmp_path, 1e9)
    first, second, third = model.masks
    assert not torch.equal(first, second) and not torch.equal(second, third)


def test_gradients_are_clipped_to_norm_1_and_logged_as_they_were(tmp_path):
    model, norms = Masked(), []
    hook = register_optimizer_step_pre_hook(
        lambda *_: norms.append(model.weight.grad.norm().item())
    )
    try:
        _, rows = train(model, of_sums(100.0), CONSTANT, 0, tmp_path, 1e9)
    finally:
        hook.remove()
    assert norms == pytest.approx([1.0] * 3, rel=1e-4)
    before = [100 * mask.norm().item() for mask in model.masks]
    assert [row["gradient_norm"] for row in rows] == pytest.approx(before)
