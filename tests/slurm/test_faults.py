"""What can happen to a training on a cluster. The run must end by itself, with the same weights."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster import wait
from slurm_run import Run, fresh_copy, jobs, processes, release
from workflow import environment, snakemake

pytestmark = pytest.mark.slurm

HERE = Path(__file__).parent
CONFIG = ["--configfile", "experiments/smoke.yaml", "victim.yaml"]
RESULT = Path("results/victim/pretrain/base/seed0")
WEIGHTS = RESULT / "model.safetensors"
CHECKPOINTS = Path("results/victim/checkpoints/pretrain/base/seed0")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A copy of the repository with all that the training reads."""
    folder = fresh_copy(tmp_path_factory.mktemp("prepared"))
    shutil.copy(HERE / "victim.yaml", folder)
    done = snakemake(folder, "results/victim/data/pretraining/0.npy", *CONFIG)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def undisturbed(prepared, tmp_path_factory):
    """The weights of a training that nothing happens to, without Slurm."""
    folder = shutil.copytree(
        prepared, tmp_path_factory.mktemp("undisturbed") / "run", symlinks=True
    )
    done = snakemake(folder, str(RESULT), *CONFIG)
    assert done.returncode == 0, done.stderr
    return (folder / WEIGHTS).read_bytes()


@pytest.fixture
def folder(prepared, tmp_path, cluster, undisturbed):
    yield shutil.copytree(prepared, tmp_path / "run", symlinks=True)
    cluster.run("scancel", "--user", "root")
    wait(lambda: not cluster.run("squeue", "-h"), 60, "an empty queue")


def train(folder, cluster, *arguments, resources=()):
    """A run that has just begun to train, and the Slurm job that does it."""
    run = Run(folder, cluster, str(RESULT), *CONFIG, *arguments, resources=resources)
    wait(lambda: saved(folder) or run.process.poll() is not None, 300, "a checkpoint")
    assert run.process.poll() is None, run.log.read_text()
    (job,) = running(cluster)
    return run, job


def saved(folder):
    return list((folder / CHECKPOINTS).glob("*/step-*[0-9]"))


def running(cluster):
    return [job for job, state in jobs(cluster, "pretrain").items() if state == "RUNNING"]


def assert_resumed(folder):
    log = (folder / "results/victim/logs/pretrain/base/seed0.log").read_text()
    assert "resuming from step" in log


def test_cancelled_from_outside(cluster, folder, undisturbed):
    run, job = train(folder, cluster)
    cluster.run("scancel", job)
    run.succeeds(600)
    log = folder / f".snakemake/slurm_logs/rule_pretrain/base_0/{job}.log"
    assert re.search(r"stopped by a signal; saved a checkpoint at step \d+", log.read_text())
    assert_resumed(folder)
    assert (folder / WEIGHTS).read_bytes() == undisturbed
    assert jobs(cluster, "pretrain")[job] == "CANCELLED"


def test_node_fails(cluster, folder, undisturbed):
    run, job = train(folder, cluster)
    node = cluster.run("squeue", "-h", "-j", job, "-o", "%N")
    cluster.crash(node)
    try:
        release(cluster, job)
        run.succeeds(600)
    finally:
        cluster.boot(node)
    assert_resumed(folder)
    assert (folder / WEIGHTS).read_bytes() == undisturbed
    assert jobs(cluster, "pretrain")[job] == "COMPLETED", "the same job, on another node"


def test_time_out_with_a_longer_second_attempt(cluster, folder, undisturbed):
    run, job = train(folder, cluster, "--set-resources", "pretrain:runtime=20 * attempt")
    (training,) = processes(folder, "pretrain")
    training.suspend()  # until Slurm ends the job: a node too slow for the first attempt
    cluster.run("scontrol", "update", f"jobid={job}", "timelimit=1")  # the shortest there is
    run.succeeds(600)
    assert_resumed(folder)
    assert (folder / WEIGHTS).read_bytes() == undisturbed
    assert list(jobs(cluster, "pretrain").values())[-2:] == ["TIMEOUT", "COMPLETED"]
    limits = cluster.run("squeue", "-h", "--states=all", "-S", "i", "-o", "%l").split()
    assert limits[-1] == "40:00"


def test_preempted_by_a_job_of_a_higher_tier(cluster, folder, undisturbed):
    run, job = train(folder, cluster, resources=["slurm_partition=spot"])
    urgent = ["sbatch", "--parsable", "-p", "urgent", "-N2", "--exclusive", "-o", "/dev/null"]
    cluster.run(*urgent, "--wrap", "sleep 5")
    release(cluster, job)
    run.succeeds(600)
    assert_resumed(folder)
    assert (folder / WEIGHTS).read_bytes() == undisturbed
    assert jobs(cluster, "pretrain")[job] == "COMPLETED", "the same job, requeued"


def test_controller_and_accounting_away_together(cluster, folder, undisturbed):
    run, job = train(folder, cluster)
    cluster.end("slurmctld", "slurmdbd")
    try:
        # The training ends meanwhile. By then 30 queries would long have failed, had they been
        # made one after the other.
        wait(lambda: not processes(folder, "pretrain"), 600, "the end of the training")
        time.sleep(60)
    finally:
        cluster.start_database()
        cluster.start_controller()
    run.succeeds(900)
    assert (folder / WEIGHTS).read_bytes() == undisturbed
    assert jobs(cluster, "pretrain")[job] == "COMPLETED"


def test_the_cause_of_a_failed_attempt_is_on_the_terminal(cluster, folder, undisturbed):
    run, job = train(folder, cluster)
    (training,) = processes(folder, "pretrain")
    training.kill()
    run.succeeds(600)
    (killed,) = re.findall(r"^pretrain base 0 failed: (.*)$", run.log.read_text(), re.M)
    assert re.fullmatch(rf"killed \(SIGKILL\) \(log: \S*/{job}\.log\)", killed)
    assert (folder / WEIGHTS).read_bytes() == undisturbed


def test_a_held_job_is_on_the_terminal(cluster, folder, undisturbed):
    held = ["slurm_extra='--hold'"]
    run = Run(folder, cluster, str(RESULT), *CONFIG, resources=held)
    job = waits_in_vain(run, "JobHeldUser")
    cluster.run("scontrol", "release", job)
    run.succeeds(600)
    assert (folder / WEIGHTS).read_bytes() == undisturbed


def test_a_job_longer_than_its_partition_allows_is_on_the_terminal(cluster, folder, undisturbed):
    short = ["scontrol", "update", "partitionname=spot"]
    cluster.run(*short, "maxtime=10")
    try:
        run = Run(folder, cluster, str(RESULT), *CONFIG, resources=["slurm_partition=spot"])
        job = waits_in_vain(run, "PartitionTimeLimit")
        cluster.run("scontrol", "update", f"jobid={job}", "timelimit=10")  # as the line says
        run.succeeds(600)
    finally:
        cluster.run(*short, "maxtime=INFINITE")
    assert (folder / WEIGHTS).read_bytes() == undisturbed


def waits_in_vain(run, reason):
    """The job of which a run says that it waits in vain."""
    line = re.compile(rf"^pretrain_base_0 waits in vain \(Slurm job (\d+): {reason}\): ", re.M)
    said = wait(lambda: line.findall(run.log.read_text()) or run.process.poll(), 600, reason)
    assert isinstance(said, list), run.log.read_text()
    return said[0]


def test_more_gpus_than_there_are_end_the_run_with_slurm_s_own_words(cluster, folder):
    asked = ["--retries", "0", "--set-resources", "pretrain:gpu=64"]
    run = Run(folder, cluster, str(RESULT), *CONFIG, *asked)
    assert run.process.wait(300) != 0
    assert "Requested node configuration is not available" in run.log.read_text()
    assert not (folder / RESULT).exists()


def unlock_from_outside(folder, cluster):
    """What the script says that `make run` calls, where it sees the queue but no process."""
    script = [sys.executable, "scripts/unlock.py", *CONFIG]
    outside = ["unshare", "--pid", "--fork", "--mount", "--mount-proc", *script]
    slurm = {**environment(), "SLURM_CONF": cluster.environment["SLURM_CONF"]}
    return subprocess.run(outside, cwd=folder, capture_output=True, text=True, env=slurm).stderr


@pytest.mark.parametrize("orphan_ends", ["meanwhile", "afterwards"])
def test_snakemake_is_killed_and_its_orphan_meets_a_second_copy(
    cluster, folder, undisturbed, orphan_ends
):
    run, orphan = train(folder, cluster)
    run.process.kill()
    run.process.wait()
    (training,) = processes(folder, "pretrain")
    training.suspend()
    assert f"Slurm has jobs of this folder (scancel {orphan})" in unlock_from_outside(
        folder, cluster
    )
    assert snakemake(folder, "--unlock", *CONFIG).returncode == 0
    again = Run(folder, cluster, str(RESULT), *CONFIG)
    wait(lambda: len(processes(folder, "pretrain")) == 2, 120, "a second copy")
    if orphan_ends == "meanwhile":
        training.resume()
    again.succeeds(600)
    assert (folder / WEIGHTS).read_bytes() == undisturbed
    if orphan_ends == "afterwards":
        assert orphan in running(cluster)
        training.resume()
    wait(lambda: not running(cluster), 300, "the end of the orphan")
    assert (folder / WEIGHTS).read_bytes() == undisturbed
    assert jobs(cluster, "pretrain")[orphan] == "COMPLETED"
