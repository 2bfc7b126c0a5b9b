"""What the terminal says of a failed job, and the lock of a run that is over or not: real runs."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from workflow import SMOKE, command, copy_repository, environment, overlay, snakemake

RESULTS = Path("results/smoke")
PRETRAIN = str(RESULTS / "pretrain/base/seed0")
LOG = RESULTS / "logs/pretrain/base/seed0.log"
LOCKS = Path(".snakemake/locks")


def causes(done: subprocess.CompletedProcess) -> list[str]:
    return re.findall(r"^pretrain base 0 failed: (.*)$", done.stderr, re.MULTILINE)


@pytest.mark.slow
def test_each_failed_attempt_has_its_cause_and_its_log_on_the_terminal(tmp_path):
    folder = copy_repository(tmp_path)
    assert snakemake(folder, str(RESULTS / "data/pretraining/0.npy"), *SMOKE).returncode == 0
    (folder / RESULTS / "data/pretraining/0.npy").write_text("not an array")
    as_it_stands = [PRETRAIN, *SMOKE, "--rerun-triggers", "mtime"]
    done = snakemake(folder, *as_it_stands, "--retries", "1")
    assert done.returncode == 1
    first, second = causes(done)
    assert first == second
    assert re.fullmatch(rf".*0\.npy: not a whole \.npy file .* \(log: {LOG}\)", first)

    # What never begins leaves the log of the attempt before it, which says nothing of this one.
    launcher = ["--set-resources", "pretrain:launcher=no-such-launcher"]
    (cause,) = causes(snakemake(folder, *as_it_stands, *launcher))
    assert cause == f"exit status 127 (log: {LOG})"


@pytest.mark.slow
def test_a_killed_job_is_said_to_be_killed(tmp_path):
    folder = copy_repository(tmp_path)
    kill = ["--set-resources", "pretrain:launcher=kill -KILL $$ ; python"]
    (cause,) = causes(snakemake(folder, PRETRAIN, *SMOKE, *kill))
    assert cause.startswith("killed (SIGKILL)")


def unlock(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "scripts/unlock.py", *SMOKE],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**environment(), "SLURM_CONF": "nowhere/slurm.conf"},  # no Slurm that answers
    )


def lock(folder: Path, **note) -> None:
    (folder / LOCKS).mkdir(parents=True)
    (folder / LOCKS / "0.output.lock").write_text("results/smoke/claims.csv\n")
    if note:
        (folder / LOCKS / "note.json").write_text(json.dumps(note))


def of(process: psutil.Process) -> dict:
    started = process.create_time()
    return dict(host=socket.gethostname(), pid=process.pid, started=started, slurm=False)


@pytest.mark.parametrize(
    ("note", "said"),
    [
        ({}, "nothing says by which run"),
        (of(psutil.Process(1)), "A run is at work in this folder: process 1"),
        (of(psutil.Process(1)) | {"host": "login2"}, "locked by process 1 on login2"),
        ({**of(psutil.Process(1)), "started": 0.0, "slurm": True}, "Whether Slurm runs jobs"),
    ],
)
def test_a_lock_stays_while_a_run_may_be_at_work(tmp_path, note, said):
    folder = copy_repository(tmp_path)
    lock(folder, **note)
    done = unlock(folder)
    assert done.returncode == 1
    assert said in done.stderr
    assert f"lift the lock: snakemake --unlock {' '.join(SMOKE)}" in done.stderr
    assert list((folder / LOCKS).glob("*.lock"))


@pytest.mark.slow
def test_the_lock_of_a_killed_run_is_lifted_once_nothing_of_it_is_left(tmp_path):
    folder = copy_repository(tmp_path)
    steps = {"models": {"base": {"pretrain": {"steps": 2000}}}}
    long = overlay(tmp_path, steps)
    process = subprocess.Popen(
        command(PRETRAIN, *long),
        cwd=folder,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (folder / LOG).exists():
        assert process.poll() is None, "the run ended before it was interrupted"
        time.sleep(0.2)
    assert "A run is at work" in unlock(folder).stderr
    process.kill()
    process.wait()
    orphan = unlock(folder).stderr
    os.killpg(process.pid, signal.SIGKILL)
    assert "A run is at work" in orphan, "the training goes on without Snakemake"
    while "A run is at work" in (done := unlock(folder)).stderr:
        time.sleep(0.2)
    assert done.returncode == 0, done.stderr
    assert not list((folder / LOCKS).glob("*"))
