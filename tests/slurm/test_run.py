"""The smallest experiment from nothing to its report, every heavy job by Slurm."""

import re

import pytest
from cluster import wait
from slurm_run import Run, fresh_copy
from workflow import snakemake

pytestmark = pytest.mark.slurm

SMOKE = ["--configfile", "experiments/smoke.yaml"]
BY_SLURM = {"posts", "pretrain", "policy", "sample", "reward_model", "evaluator", "score"}


def test_the_smoke_experiment_runs_to_its_report(cluster, tmp_path):
    folder = fresh_copy(tmp_path)
    Run(folder, cluster, *SMOKE).succeeds(900)
    done = snakemake(folder, *SMOKE, "--report", "reports/smoke.html")
    assert done.returncode == 0, done.stderr
    assert (folder / "reports/smoke.html").stat().st_size > 100_000
    submitted = re.findall(r"SLURM jobid (\d+) \(log: \S*/(?:rule|group)_(\w+)", log(folder))
    assert {rule for _, rule in submitted} >= BY_SLURM | {"data"}
    wait(lambda: accounted(cluster) >= {job for job, _ in submitted}, 60, "accounting")


def log(folder):
    return (folder / "snakemake.log").read_text()


def accounted(cluster) -> set[str]:
    """The jobs that Slurm's accounting knows as completed."""
    rows = cluster.run("sacct", "-nPX", "-o", "JobID,State").split()
    return {row.split("|")[0] for row in rows if row.endswith("|COMPLETED")}
