"""Checkpoints are whole or not there, whatever goes wrong while one is written."""

import multiprocessing
import resource
import time

import pytest
import torch
from accelerate import Accelerator

from underspec import checkpoints
from underspec.checkpoints import KEPT, STALE_SECONDS, resume, save
from underspec.errors import ArtifactError, UserError
from underspec.models import new_t5

SHAPE = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 1}


def started(seed=0):
    """A model one step into its training, and its optimizer."""
    torch.set_num_threads(1)
    model = new_t5(SHAPE, 120, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(input_ids=torch.tensor([[5, 1]]), labels=torch.tensor([[6, 1]])).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return model, optimizer


def names(run):
    return sorted(path.name for path in run.iterdir())


def equal(model, other):
    first, second = model.state_dict(), other.state_dict()
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_checkpoint_brings_back_weights_moments_step_and_log(tmp_path):
    model, optimizer = started()
    save(Accelerator(), tmp_path, 3, [{"step": 3, "loss": 1.5}], model, optimizer)
    other, its_optimizer = started(seed=1)
    assert not equal(model, other)
    assert resume(Accelerator(), tmp_path, other, its_optimizer) == (3, [{"step": 3, "loss": 1.5}])
    assert equal(model, other)
    for mine, its in zip(model.parameters(), other.parameters(), strict=True):
        for name, value in optimizer.state[mine].items():
            assert torch.equal(value, its_optimizer.state[its][name]), name


def test_without_a_checkpoint_a_run_begins_at_its_start(tmp_path):
    assert resume(Accelerator(), tmp_path / "none", *started()) == (0, [])


def test_the_last_ones_are_kept_and_the_newest_is_used(tmp_path):
    model, optimizer = started()
    for step in (2, 10, 100):
        save(Accelerator(), tmp_path, step, [], model, optimizer)
    assert names(tmp_path) == ["step-000000010", "step-000000100"]
    assert KEPT == 2
    assert resume(Accelerator(), tmp_path, model, optimizer)[0] == 100


def test_a_second_copy_that_was_faster_does_no_harm(tmp_path, monkeypatch):
    """Both write step 3; the other one's is there when ours is to get its name."""
    model, optimizer = started()
    finish = checkpoints._finish

    def finish_after_the_other(unfinished, final):
        monkeypatch.setattr(checkpoints, "_finish", finish)
        save(Accelerator(), tmp_path, 3, [], model, optimizer)
        finish(unfinished, final)

    monkeypatch.setattr(checkpoints, "_finish", finish_after_the_other)
    save(Accelerator(), tmp_path, 3, [], model, optimizer)
    assert names(tmp_path) == ["step-000000003"]
    assert resume(Accelerator(), tmp_path, model, optimizer)[0] == 3


def test_what_a_second_copy_is_writing_is_left_alone(tmp_path, monkeypatch):
    unfinished = tmp_path / "step-000000001.x.unfinished"
    unfinished.mkdir()
    model, optimizer = started()
    save(Accelerator(), tmp_path, 3, [], model, optimizer)
    assert unfinished.exists()
    later = time.time() + STALE_SECONDS + 1
    monkeypatch.setattr(checkpoints.time, "time", lambda: later)
    save(Accelerator(), tmp_path, 4, [], model, optimizer)
    assert names(tmp_path) == ["step-000000003", "step-000000004"]


def write_in_little_room(run, output):
    model, optimizer = started()
    save(Accelerator(), run, 3, [], model, optimizer)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # as if the disk were full
    try:
        save(Accelerator(), run, 4, [], model, optimizer)
    except UserError as error:
        output.write_text(str(error))


def test_a_disk_that_fills_up_costs_one_checkpoint_and_leaves_nothing_behind(tmp_path):
    run, output = tmp_path / "run", tmp_path / "message"
    process = multiprocessing.get_context("forkserver").Process(
        target=write_in_little_room, args=(run, output)
    )
    process.start()
    process.join()
    message = output.read_text()
    assert message.startswith(f"{run}: the checkpoint of step 4 could not be written (")
    assert "\n" not in message
    assert names(run) == ["step-000000003"]
    assert resume(Accelerator(), run, *started())[0] == 3


def lose_weights(checkpoint):
    (checkpoint / "__0_0.distcp").unlink()


def truncate_weights(checkpoint):
    file = checkpoint / "__0_0.distcp"
    file.write_bytes(file.read_bytes()[:3000])


def lose_metadata(checkpoint):
    (checkpoint / ".metadata").unlink()


def break_progress(checkpoint):
    (checkpoint / "progress.json").write_text('{"step": 3, "ro')


@pytest.mark.parametrize("damage", [lose_weights, truncate_weights, lose_metadata, break_progress])
def test_a_damaged_checkpoint_is_named_and_left_alone(tmp_path, damage):
    model, optimizer = started()
    save(Accelerator(), tmp_path, 3, [], model, optimizer)
    damage(tmp_path / "step-000000003")
    with pytest.raises(ArtifactError, match="^.*step-000000003: not a whole checkpoint") as caught:
        resume(Accelerator(), tmp_path, model, optimizer)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["step-000000003"]
