"""Checkpoints are whole or not there, whatever goes wrong while one is written."""

import copy
import multiprocessing
import resource
import subprocess
import time

import pytest
import torch
from accelerate import Accelerator

from underspec import files
from underspec.errors import ArtifactError, UserError
from underspec.files import STALE_SECONDS
from underspec.models.t5 import new_t5
from underspec.training.checkpoints import KEPT, resume, save

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
    replace = files.os.replace

    def replace_after_the_other(unfinished, final):
        monkeypatch.setattr(files.os, "replace", replace)
        save(Accelerator(), tmp_path, 3, [], model, optimizer)
        replace(unfinished, final)

    monkeypatch.setattr(files.os, "replace", replace_after_the_other)
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
    monkeypatch.setattr(files.time, "time", lambda: later)
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


def warnings(caplog):
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


def lose(name):
    return lambda checkpoint: (checkpoint / name).unlink()


def cut(name):
    return lambda checkpoint: rewrite(checkpoint / name, lambda data: data[: len(data) // 2])


def flip(name):
    """One bit in the middle."""

    def flipped(data):
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]

    return lambda checkpoint: rewrite(checkpoint / name, flipped)


def rewrite(file, change):
    file.write_bytes(change(file.read_bytes()))


def advance_step(checkpoint):
    rewrite(checkpoint / "progress.json", lambda data: data.replace(b'"step": 7', b'"step": 8'))


def empty_checksums(checkpoint):
    """No line of it is wrong."""
    rewrite(checkpoint / "checksums.txt", lambda _: b"")


FILES = ["__0_0.distcp", ".metadata", "progress.json", "checksums.txt"]
DAMAGES = {
    f"{damage.__name__} {name}": damage(name) for damage in (lose, cut, flip) for name in FILES
} | {"another step": advance_step, "no checksums in the file": empty_checksums}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(tmp_path, damage, caplog):
    before, its_optimizer = started(seed=1)
    save(Accelerator(), tmp_path, 3, [{"step": 3}], before, its_optimizer)
    save(Accelerator(), tmp_path, 7, [], *started(seed=2))
    damage(tmp_path / "step-000000007")
    model, optimizer = started()
    assert resume(Accelerator(), tmp_path, model, optimizer) == (3, [{"step": 3}])
    assert equal(model, before)
    (warning,) = warnings(caplog)
    assert warning.startswith(f"{tmp_path}/step-000000007: damaged (") and "\n" not in warning
    # It does not stand in the way of another one of its step.
    save(Accelerator(), tmp_path, 7, [], model, optimizer)
    other, its_optimizer = started(seed=1)
    assert resume(Accelerator(), tmp_path, other, its_optimizer)[0] == 7
    assert equal(model, other)


def test_without_a_whole_checkpoint_a_run_begins_at_its_start(tmp_path, caplog):
    for step in (3, 7):
        save(Accelerator(), tmp_path, step, [], *started(seed=1))
        flip("__0_0.distcp")(tmp_path / f"step-{step:09d}")
    model, optimizer = started()
    before = copy.deepcopy(model)
    assert resume(Accelerator(), tmp_path, model, optimizer) == (0, [])
    assert equal(model, before)
    assert len(warnings(caplog)) == 2


def test_the_checksums_are_what_sha256sum_reads(tmp_path):
    save(Accelerator(), tmp_path, 3, [], *started())
    check = ["sha256sum", "--check", "--strict", "checksums.txt"]
    done = subprocess.run(check, cwd=tmp_path / "step-000000003", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(FILES) - 1


def test_a_whole_checkpoint_that_cannot_be_read_is_named(tmp_path):
    """It is of another model: nothing is damaged."""
    save(Accelerator(), tmp_path, 3, [], *started())
    wider = new_t5(SHAPE | {"d_ff": 24}, 120, 0)
    optimizer = torch.optim.AdamW(wider.parameters(), lr=0.1)
    with pytest.raises(ArtifactError, match="^.*step-000000003: cannot be read .*; delete it"):
        resume(Accelerator(), tmp_path, wider, optimizer)
    assert names(tmp_path) == ["step-000000003"]
