"""Two processes train what one trains, however they share the model (gloo, on the CPU)."""

import multiprocessing
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from underspec.alignment.policy import AlignedPolicy
from underspec.alignment.rloo import rloo
from underspec.errors import UserError
from underspec.models.reward_model import RewardModel
from underspec.models.t5 import new_t5, t5_config
from underspec.recipe import DeviceLayout, Recipe
from underspec.training.loop import train
from underspec.training.objectives.denoising import denoising
from underspec.training.objectives.preference import preference
from underspec.training.objectives.sft import sft

SHAPE = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 2}
VOCABULARY = 130
RECIPE = Recipe(steps=16, batch=4, learning_rate=1e-2, warmup=3, dropout=0.0, weight_decay=0.01)
LAYOUTS = {
    "replicated": DeviceLayout(),
    "in micro-batches": DeviceLayout(micro_batch=1),
    "activations computed twice": DeviceLayout(activation_checkpointing=True),
    "sharded": DeviceLayout(sharded=True),
    "sharded, activations computed twice": DeviceLayout(
        micro_batch=1, sharded=True, activation_checkpointing=True
    ),
}
# Sums of single-precision numbers in another order; the losses fall by more than 0.3.
TOLERANCE = 2e-4


def texts(seed, count=12):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, 30, length) for length in rng.integers(2, 9, count)]


def task(name):
    """A model at its start, and what to train it on."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if name == "preference":
        model = RewardModel(t5_config(SHAPE, VOCABULARY))
        return model, preference(texts(0), texts(1), texts(2), RECIPE.batch, 0, 0.01)
    model = new_t5(SHAPE, VOCABULARY, 0)
    if name == "rlhf":
        policy = AlignedPolicy(model.config, (9, 8), model.eval())
        settings = {"posts": texts(0), "batch": RECIPE.batch, "samples": 8, "coefficient": 0.01}
        return policy, rloo(policy, policy.frozen(), low_tokens, seed=0, identity={}, **settings)
    if name == "sft":  # processes have different numbers of target tokens
        return model, sft(texts(0), texts(1), RECIPE.batch, 0)
    tokens = np.random.default_rng(0).integers(3, 30, 2000)
    return model, denoising([tokens], VOCABULARY - 1, RECIPE.batch, 0, 12, 0.15, 3.0)


def low_tokens(posts, samples):
    """The share of a sample's tokens in the lower half of the vocabulary."""
    return np.array([[(ids < VOCABULARY / 2).mean() for ids in own] for own in samples])


def run(name, recipe, layout, checkpoints, output, stop_at=None):
    """Train; the first process writes weights and log to `output`. At the batch of step
    `stop_at`, process 1 (or the only one) gets a SIGTERM.
    """
    model, objective = task(name)
    last = int(os.environ.get("WORLD_SIZE", 1)) - 1

    def batch(step, rows):
        if step == stop_at and int(os.environ.get("RANK", 0)) == last:
            os.kill(os.getpid(), signal.SIGTERM)
        return objective.batch(step, rows)

    stopped = replace(objective, batch=batch)
    try:
        result = train(model, stopped, recipe, 0, checkpoints, 1e9, layout)
    except UserError as error:
        output.with_suffix(".error").write_text(str(error))
        raise SystemExit(1) from None
    if result is not None:
        trained, rows = result
        torch.save({"weights": trained.state_dict(), "rows": rows}, output)


def process(rank, world, port, arguments):
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        ACCELERATE_USE_CPU="true",
    )
    run(*arguments)


# Forked from a process that has done the slow imports.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["accelerate", "pandas", "transformers.models.t5.modeling_t5"])


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def by_two(*arguments):
    """Run in two processes at once; their exit statuses."""
    port = free_port()
    started = [
        PROCESSES.Process(target=process, args=(rank, 2, port, arguments)) for rank in (0, 1)
    ]
    for each in started:
        each.start()
    for each in started:
        each.join()
    return [each.exitcode for each in started]


def by_one(*arguments):
    single = PROCESSES.Process(target=run, args=arguments)
    single.start()
    single.join()
    return single.exitcode


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process makes of a task, by its name."""
    done = {}

    def result(name, recipe=RECIPE):
        key = (name, recipe)
        if key not in done:
            folder = tmp_path_factory.mktemp("alone")
            run(name, recipe, DeviceLayout(), folder / "checkpoints", folder / "output.pt")
            done[key] = torch.load(folder / "output.pt")
        return done[key]

    return result


def assert_alike(output: Path, expected: dict):
    found = torch.load(output)
    losses, others = ([row["loss"] for row in each["rows"]] for each in (found, expected))
    np.testing.assert_allclose(losses, others, atol=TOLERANCE, rtol=0)
    assert found["weights"].keys() == expected["weights"].keys()
    for name, value in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], value, atol=5e-3, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("denoising", "replicated"),
        ("preference", "activations computed twice"),
        ("denoising", "sharded, activations computed twice"),
        ("sft", "in micro-batches"),
        ("sft", "sharded"),
        ("preference", "sharded"),
    ],
)
def test_two_processes_train_what_one_trains(tmp_path, alone, name, layout):
    arguments = (name, RECIPE, LAYOUTS[layout], tmp_path / "c", tmp_path / "output.pt")
    assert by_two(*arguments) == [0, 0]
    expected = alone(name)
    assert expected["rows"][-1]["loss"] < expected["rows"][0]["loss"] - 0.05
    assert_alike(tmp_path / "output.pt", expected)


@pytest.mark.parametrize("layout", ["replicated", "in micro-batches"])
def test_two_processes_share_the_samples_of_rlhf(tmp_path, alone, layout):
    """Every process draws for its own posts. Its loss is no sum of many terms of one sign, so
    rewards, which rise, are compared too.
    """
    recipe = replace(RECIPE, learning_rate=3e-2)
    arguments = ("rlhf", recipe, LAYOUTS[layout], tmp_path / "c", tmp_path / "output.pt")
    assert by_two(*arguments) == [0, 0]
    expected = alone("rlhf", recipe)
    rewards = [row["reward"] for row in expected["rows"]]
    assert np.mean(rewards[-4:]) > np.mean(rewards[:4]) + 0.1
    found = [row["reward"] for row in torch.load(tmp_path / "output.pt")["rows"]]
    np.testing.assert_allclose(found, rewards, atol=1e-6)
    assert_alike(tmp_path / "output.pt", expected)


def test_adafactor_in_two_processes(tmp_path, alone):
    recipe = replace(RECIPE, optimizer="adafactor", schedule="inverse_sqrt")
    arguments = ("denoising", recipe, DeviceLayout(), tmp_path / "c", tmp_path / "output.pt")
    assert by_two(*arguments) == [0, 0]
    assert_alike(tmp_path / "output.pt", alone("denoising", recipe))


def test_bfloat16_is_near(tmp_path, alone):
    """bfloat16 has three digits: losses near 5 agree to some hundredths."""
    recipe = replace(RECIPE, precision="bf16")
    arguments = ("denoising", recipe, LAYOUTS["sharded"], tmp_path / "c", tmp_path / "o.pt")
    assert by_two(*arguments) == [0, 0]
    losses = [row["loss"] for row in torch.load(tmp_path / "o.pt")["rows"]]
    exact = [row["loss"] for row in alone("denoising")["rows"]]
    np.testing.assert_allclose(losses, exact, atol=0.1, rtol=0)
    assert losses != pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("layout", ["replicated", "sharded"])
@pytest.mark.parametrize(("first", "then"), [(by_two, by_one), (by_one, by_two)])
def test_a_checkpoint_goes_on_with_more_or_fewer_processes(tmp_path, alone, first, then, layout):
    """A SIGTERM to one process stops all, at the same step."""
    arguments = ("denoising", RECIPE, LAYOUTS[layout], tmp_path / "c", tmp_path / "o.pt")
    status = first(*arguments, 7)
    assert status in (128 + signal.SIGTERM, [128 + signal.SIGTERM] * 2)
    (checkpoint,) = (tmp_path / "c").glob("*/step-*")
    assert checkpoint.name == "step-000000008"
    assert not (tmp_path / "o.pt").exists()
    assert then(*arguments) in (0, [0, 0])
    assert_alike(tmp_path / "o.pt", alone("denoising"))


def test_two_processes_leave_out_the_same_damaged_checkpoint(tmp_path, alone):
    """The damage is in what the second process wrote, and the first one decides."""
    arguments = ("denoising", RECIPE, LAYOUTS["sharded"], tmp_path / "c", tmp_path / "o.pt")
    for step in (4, 9):
        assert by_two(*arguments, step) == [128 + signal.SIGTERM] * 2
    newest = max((tmp_path / "c").glob("*/step-*"))
    assert newest.name == "step-000000010"
    (newest / "__1_0.distcp").write_bytes((newest / "__1_0.distcp").read_bytes()[:-1] + b"x")
    assert by_two(*arguments) == [0, 0]
    assert not newest.exists() and len(list((tmp_path / "c").glob("*/step-*.unfinished"))) == 1
    assert_alike(tmp_path / "o.pt", alone("denoising"))


def test_a_batch_that_cannot_be_shared(tmp_path):
    recipe = replace(RECIPE, batch=5)
    arguments = ("denoising", recipe, DeviceLayout(), tmp_path / "c", tmp_path / "o.pt")
    assert by_two(*arguments) == [1, 1]
    message = (tmp_path / "o.error").read_text()
    assert message == "batch: 5 rows cannot be shared equally by 2 processes"
