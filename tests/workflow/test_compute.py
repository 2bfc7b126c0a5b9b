"""What the jobs of the paper's experiment ask of a cluster, by a dry run of it."""

import re
import subprocess
import sys

import pytest
from workflow import REPOSITORY

PAPER = ["--profile", "slurm", "--configfile", "experiments/paper.yaml", "--forceall"]
PAPER += ["--config", "compute={score: {xl: {max_mem_mb: 70000, growth_minutes: 3}}}"]
PRETRAIN = "results/paper/pretrain/{}/seed0"
REWARD_MODEL = "results/paper/reward_models/{}/pretrain0-finetune0"
EVALUATOR = "xxl/pretrain6-finetune0"
SCORES = "results/paper/scores/{}/pretrain0-finetune0.parquet"
# Output, GPUs in all, nodes, CPUs a node; memory (MB a node) and minutes of attempts 1 and 2.
ASKED = [
    (PRETRAIN.format("base"), 8, 1, 32, (128000, 192000), (600, 900)),
    (PRETRAIN.format("large"), 8, 1, 32, (192000, 288000), (1200, 1800)),
    (PRETRAIN.format("xl"), 16, 2, 32, (384000, 576000), (2400, 3600)),
    ("results/paper/policy", 8, 1, 32, (192000, 288000), (720, 1080)),
    ("results/paper/samples/best_of_n.parquet", 1, 1, 8, (64000, 96000), (720, 1080)),
    (REWARD_MODEL.format("base"), 1, 1, 8, (64000, 96000), (720, 1080)),
    (REWARD_MODEL.format("large"), 1, 1, 8, (64000, 96000), (720, 1080)),
    (REWARD_MODEL.format("xl"), 4, 1, 16, (256000, 384000), (720, 1080)),
    (f"results/paper/reward_models/{EVALUATOR}", 8, 1, 32, (768000, 1152000), (1440, 2160)),
    (SCORES.format("base"), 1, 1, 8, (64000, 96000), (720, 1080)),
    (SCORES.format("xl"), 1, 1, 8, (64000, 70000), (720, 2160)),  # a limit and a growth of its own
    (f"results/paper/scores/{EVALUATOR}.parquet", 1, 1, 8, (128000, 192000), (720, 1080)),
]


@pytest.fixture(scope="module", params=[1, 2])
def attempt(request):
    """Which attempt it is, and the jobs of a dry run of it: output -> what Snakemake says."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "64", *PAPER]
    done = subprocess.run(
        [*command, "--attempt", str(request.param)], cwd=REPOSITORY, capture_output=True, text=True
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    jobs = [block for block in re.split(r"\n\[", output) if "    output: " in block]
    return request.param, {
        output: block
        for block in jobs
        for output in re.search(r"output: (.*)", block)[1].split(", ")
    }


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked[0])
def test_a_job_asks_for_what_the_experiment_says(attempt, asked):
    number, jobs = attempt
    output, gpus, nodes, cpus, memory, minutes = asked
    resources = dict(
        pair.split("=", 1)
        for pair in re.search(r"resources: (.*)", jobs[output])[1].split(", ")
        if "=" in pair
    )
    assert resources["gpu"] == str(gpus)
    assert resources["nodes"] == str(nodes)
    assert resources["mem_mb"] == str(memory[number - 1])
    assert resources["runtime"] == str(minutes[number - 1])
    assert f"threads: {cpus}\n" in jobs[output]


def test_what_needs_no_gpu_asks_for_none(attempt):
    _, jobs = attempt
    for output in ("results/paper/data/posts.parquet", "results/paper/data/pretraining/0.npy"):
        assert "gpu=" not in re.search(r"resources: (.*)", jobs[output])[1]
