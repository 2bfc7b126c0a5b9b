"""The smallest experiment from nothing to its report, every heavy job by Slurm."""

import re

import pytest
from cluster import wait
from slurm_run import Run, fresh_copy
from workflow import snakemake

pytestmark = pytest.mark.slurm

SMOKE = ["--configfile", "experiments/smoke.yaml"]
ACCOUNT = "JobID,State,AllocTRES"
GPU = ["policy:gpu=1", "policy:gpu_model=fake"]
BY_SLURM = {"posts", "pretrain", "policy", "sample", "reward_model", "evaluator", "score", "tokens"}


def test_the_smoke_experiment_runs_to_its_report(cluster, tmp_path):
    folder = fresh_copy(tmp_path)
    Run(folder, cluster, *SMOKE, "--set-resources", *GPU).succeeds(900)
    done = snakemake(folder, *SMOKE, "--report", "reports/smoke.html")
    assert done.returncode == 0, done.stderr
    assert (folder / "reports/smoke.html").stat().st_size > 100_000
    submitted = re.findall(r"SLURM jobid (\d+) \(log: \S*/rule_(\w+)", log(folder))
    assert {rule for _, rule in submitted} >= BY_SLURM
    completed = wait(lambda: accounted(cluster, submitted), 60, "accounting of all jobs")
    assert {rule for job, rule in submitted if "gres/gpu=1" in completed[job]} == {"policy"}


def log(folder):
    return (folder / "snakemake.log").read_text()


def accounted(cluster, submitted) -> dict[str, str]:
    """What each job was given, by Slurm's accounting; empty until it knows all as completed."""
    rows = [row.split("|") for row in cluster.run("sacct", "-nPX", "-o", ACCOUNT).splitlines()]
    completed = {job: given for job, state, given in rows if state == "COMPLETED"}
    return completed if all(job in completed for job, _ in submitted) else {}
