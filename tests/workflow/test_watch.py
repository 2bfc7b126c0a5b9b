"""What the terminal says of a run and of a failed job, and the lock of a run that is over or not:
real runs.
"""

import json
import os
import pty
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


TOKENIZER = str(RESULTS / "data/tokenizer")
BLOCK = "rule tokenizer:\n    input: results/smoke/data/pretraining/0.txt"


def in_full(folder: Path) -> str:
    """The last of Snakemake's own logs."""
    return max((folder / ".snakemake/log").glob("*.snakemake.log")).read_text()


@pytest.mark.slow
def test_a_run_is_a_line_for_each_rule_and_its_log_has_everything(tmp_path):
    folder = copy_repository(tmp_path)
    done = snakemake(folder, TOKENIZER, *SMOKE)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()[1:]  # the first is of before the workflow is read
    assert lines[0] == "Jobs: 2, cores: 2, logs: results/smoke/logs/"
    assert re.fullmatch(r"1 of 2 jobs  pretraining_text done \(\d+ s\)", lines[1])
    assert re.fullmatch(r"2 of 2 jobs  tokenizer done \(\d+ s\)", lines[2])
    assert [line.split(":")[0] for line in lines[3:]] == ["Complete log(s)", "Elapsed time"]
    assert BLOCK in in_full(folder) and "2 of 2 steps" in in_full(folder)
    assert "500 documents" in (folder / RESULTS / "logs/pretraining_text/0.log").read_text()


@pytest.mark.slow
def test_one_flag_shows_everything_and_a_dry_run_shows_its_jobs(tmp_path):
    folder = copy_repository(tmp_path)
    dry = snakemake(folder, TOKENIZER, *SMOKE, "--dry-run")
    assert BLOCK in dry.stdout + dry.stderr and "Job stats:" in dry.stdout + dry.stderr
    full = snakemake(folder, TOKENIZER, *SMOKE, "--printshellcmds").stderr
    assert BLOCK in full and "python scripts/tokenizer.py --text" in full
    assert "[pretraining_text/0] 500 documents" in full
    missing = [line for line in in_full(folder).splitlines() if line not in full.splitlines()]
    assert not [line for line in missing if not re.fullmatch(r"\[.* \d{4}\]", line)]


@pytest.mark.slow
def test_a_terminal_has_a_live_line(tmp_path):
    folder = copy_repository(tmp_path)
    try:
        ours, theirs = pty.openpty()
    except OSError:
        pytest.skip("this machine has no pseudo-terminals")
    process = subprocess.Popen(
        command(PRETRAIN, *SMOKE),
        cwd=folder,
        env={**environment(), "TERM": "xterm", "COLUMNS": "60"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    while part := read(ours):
        said += part
    assert process.wait() == 0
    assert b"\r\033[K3 of 4 jobs  running: pretrain base 0 (" in said
    assert b"\r\033[K\033[33m4 of 4 jobs  pretrain done (" in said


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # closed by the last process that had it
        return b""


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
    assert re.fullmatch(rf"\S*/0\.npy: not a whole \.npy file .* \(log: {LOG}\)", first)
    assert done.stderr.count("Error in rule pretrain:") == 2
    assert "CalledProcessError" not in done.stderr and "CalledProcessError" in in_full(folder)

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


# Where there is Slurm, its controller does not answer; without one it is looked for in the network.
NOBODY = """ClusterName=x
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=1
AuthType=auth/none
MessageTimeout=2
"""


def unlock(folder: Path) -> subprocess.CompletedProcess:
    conf = folder.with_name("slurm.conf")
    conf.write_text(NOBODY)
    return subprocess.run(
        [sys.executable, "scripts/unlock.py", *SMOKE],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**environment(), "SLURM_CONF": str(conf)},
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


@pytest.mark.slow
def test_a_local_run_looks_for_jobs_only_when_one_has_ended(tmp_path):
    """Snakemake's limit of jobs per second would make it look every second, and more often with
    every job."""
    folder = copy_repository(tmp_path)
    both = [str(RESULTS / path) for path in ("data/pretraining/0.txt", "data/posts.parquet")]
    said = snakemake(folder, *both, *SMOKE, "--cores", "1", "--verbose").stderr
    assert said.count("Execute 1 jobs...") == 2
    assert said.count("Ready jobs: ") <= 3
