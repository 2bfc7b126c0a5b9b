"""The smallest experiment from nothing to its report, every heavy job by Slurm."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cluster import wait
from own_experiment import own_models
from published import helpful_data, with_text, xsum_data
from slurm_run import Run, fresh_copy, jobs
from workflow import SMOKE, overlay, snakemake

pytestmark = pytest.mark.slurm

ACCOUNT = "JobID,State,AllocTRES"
GPU = ["policy:gpu=1", "policy:gpu_model=fake"]
BY_SLURM = {"posts", "pretrain", "policy", "sample", "reward_model", "score", "tokens"}


def test_the_smoke_experiment_runs_to_its_report(cluster, tmp_path):
    submitted, completed, said = runs_to_its_report(cluster, fresh_copy(tmp_path), SMOKE)
    assert re.search(r"^ *\d+ of \d+ jobs  pretrain done \(6 jobs, ", said, re.MULTILINE)
    assert {rule for job, rule in submitted if "gres/gpu=1" in completed[job]} == {"policy"}


@pytest.mark.parametrize("task", [helpful_data, xsum_data])
def test_the_long_paper_s_other_tasks_run_to_their_report(cluster, tmp_path, task):
    """In small, on files as published."""
    folder, published = fresh_copy(tmp_path), tmp_path / "published"
    published.mkdir()
    changes = with_text(published, task(published)) | {"scales": ["base"]}
    submitted, _, _ = runs_to_its_report(cluster, folder, overlay(published, changes))
    assert {rule for _, rule in submitted} >= {"align", "sample_aligned", "score_aligned"}
    data = folder / "results/smoke"
    if task is helpful_data:
        assert (
            pd.read_parquet(data / "data/preferences.parquet").rejected.str.contains("\n- ").all()
        )
        assert "lists" in set(pd.read_csv(data / "tables/rlhf_shift.csv").diagnostic)
    else:
        sources = set(pd.read_parquet(data / "data/judgements.parquet").source)
        assert sources == {f"ANLI round {i}" for i in (1, 2, 3)}


def test_reward_models_of_other_families_run_to_their_report(cluster, tmp_path):
    """Decoders and encoders that are trained here, and finished decoders."""
    folder, models = fresh_copy(tmp_path), tmp_path / "models"
    models.mkdir()
    changes = own_models(models)
    submitted, _, _ = runs_to_its_report(cluster, folder, overlay(models, changes))
    assert {rule for _, rule in submitted} >= {"import_checkpoint", "import_reward_model"}
    results = folder / "results/smoke"
    assert set(pd.read_csv(results / "tables/figure1.csv").scale) == set(changes["scales"])
    claims = pd.read_csv(results / "claims.csv")
    assert set(claims.scale.dropna()) <= set(changes["scales"])
    assert claims.claim.str.contains("base model").any()


def runs_to_its_report(cluster, folder, config):
    """The Slurm jobs with their rules, what each was given, and what the terminal said."""
    run = Run(folder, cluster, *config, "--set-resources", *GPU)
    run.succeeds(1800)
    submitted = re.findall(r"SLURM jobid (\d+) \(log: \S*/rule_(\w+)", log(folder))
    said = run.log.read_text()
    assert "reason: " not in said
    done = snakemake(folder, *config, "--report", "reports/smoke.html")
    assert done.returncode == 0, done.stderr
    assert (folder / "reports/smoke.html").stat().st_size > 100_000
    assert {rule for _, rule in submitted} >= BY_SLURM
    completed = wait(lambda: accounted(cluster, submitted), 60, "accounting of all jobs")
    return submitted, completed, said


TWO_NODES = """\
experiment: two_nodes
models: {base: {pretrain: {steps: 40, batch: 8}}}
compute: {pretrain: {base: {gpus: GPUS, nodes: NODES, sharded: true}}}
"""
PRETRAIN = Path("results/two_nodes/pretrain/base/seed0")


def test_a_training_on_two_nodes_follows_that_of_one_process(cluster, tmp_path):
    """Two GPUs on each of two nodes, sharded. The losses fall by more than 0.5 and differ by the
    order of sums in single precision: 1e-3.
    """
    losses = {}
    for name, gpus, nodes in [("one", 0, 1), ("two", 2, 2)]:
        (tmp_path / name).mkdir()
        folder = fresh_copy(tmp_path / name)
        overlay = TWO_NODES.replace("GPUS", str(gpus)).replace("NODES", str(nodes))
        (folder / "two_nodes.yaml").write_text(overlay)
        config = [*SMOKE, "two_nodes.yaml"]
        Run(folder, cluster, str(PRETRAIN), *config).succeeds(600)
        losses[name] = pd.read_csv(folder / PRETRAIN / "training.csv").loss
    (job,) = [job for job, state in jobs(cluster, "pretrain").items()][-1:]
    given = cluster.run("squeue", "-h", "--states=all", "-j", job, "-o", "%D %b %N")
    assert given.startswith("2 ") and "node1,node2" in given.replace("node[1-2]", "node1,node2")
    assert losses["one"].iloc[0] - losses["one"].iloc[-1] > 0.5
    np.testing.assert_allclose(losses["two"], losses["one"], atol=1e-3, rtol=0)


def log(folder):
    """What Snakemake says in full."""
    (path,) = (folder / ".snakemake/log").glob("*.snakemake.log")
    return path.read_text()


def accounted(cluster, submitted) -> dict[str, str]:
    """What each job was given, by Slurm's accounting; empty until it knows all as completed."""
    rows = [row.split("|") for row in cluster.run("sacct", "-nPX", "-o", ACCOUNT).splitlines()]
    completed = {job: given for job, state, given in rows if state == "COMPLETED"}
    return completed if all(job in completed for job, _ in submitted) else {}
