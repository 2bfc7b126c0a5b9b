"""What can happen to a training on a cluster. The run must end by itself, with the same weights."""

import re
import shutil
from pathlib import Path

import pytest
from cluster import wait
from slurm_run import Run, fresh_copy, jobs, processes, release
from workflow import snakemake

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
    assert "going on from step" in log


def test_cancelled_from_outside(cluster, folder, undisturbed):
    run, job = train(folder, cluster)
    cluster.run("scancel", job)
    run.succeeds(600)
    log = folder / f".snakemake/slurm_logs/rule_pretrain/base_0/{job}.log"
    assert re.search(r"stopped by a signal; step \d+ is saved", log.read_text())
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


def test_more_gpus_than_there_are_end_the_run_with_slurm_s_own_words(cluster, folder):
    asked = ["--retries", "0", "--set-resources", "pretrain:gpu=64"]
    run = Run(folder, cluster, str(RESULT), *CONFIG, *asked)
    assert run.process.wait(300) != 0
    assert "Requested node configuration is not available" in run.log.read_text()
    assert not (folder / RESULT).exists()


@pytest.mark.parametrize("orphan_ends", ["meanwhile", "afterwards"])
def test_snakemake_is_killed_and_its_orphan_meets_a_second_copy(
    cluster, folder, undisturbed, orphan_ends
):
    run, orphan = train(folder, cluster)
    run.process.kill()
    run.process.wait()
    (training,) = processes(folder, "pretrain")
    training.suspend()
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
