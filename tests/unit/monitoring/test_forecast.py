"""How long a run will take here: from the first jobs, and what the same stages took elsewhere."""

import os
from pathlib import Path

import pytest
import yaml

from underspec import grid
from underspec.config.sources import pretrained_checkpoints
from underspec.errors import ArtifactError
from underspec.monitoring.forecast import OVERHEAD, finished, left, read_reference, stage

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "docs/benchmarks/miniature-stages.csv"
REFERENCE = {"policy": (1, 10.0), "pretrain/xl": (4, 80.0), "score": (2, 20.0)}
POLICY, PRETRAIN = Path("policy.tsv"), Path("pretrain/xl/seed0.tsv")


@pytest.mark.parametrize(
    ("job", "name"),
    [("policy.tsv", "policy"), ("pretrain/xl/seed0.tsv", "pretrain/xl"), ("score/xl.tsv", "score")],
)
def test_the_stage_of_a_job(job, name):
    assert stage(Path(job)) == name


def test_what_is_left_takes_as_much_longer_as_what_is_done_did():
    minutes, times = left({POLICY: 20.0, PRETRAIN: 40.0}, REFERENCE, cores=2)
    assert times == 2
    assert minutes == pytest.approx(OVERHEAD * 2 * (60 + 20) / 2 / 60)


def test_jobs_that_the_reference_does_not_have_do_not_count():
    known = left({POLICY: 20.0}, REFERENCE, cores=2)
    assert left({POLICY: 20.0, Path("other.tsv"): 1e6}, REFERENCE, cores=2) == known


def test_more_jobs_than_the_reference_had_leave_none():
    done = {POLICY: 10.0} | {Path(f"score/{number}.tsv"): 10.0 for number in range(9)}
    assert left(done, REFERENCE | {"pretrain/xl": (1, 0.0)}, cores=2)[0] == 0


def test_reference_that_is_no_table_is_named(tmp_path):
    (tmp_path / "stages.csv").write_text("stage,jobs\npolicy,1\n")
    with pytest.raises(ArtifactError, match=r"stages\.csv: not a table of stages"):
        read_reference(tmp_path / "stages.csv")


@pytest.fixture
def run(tmp_path):
    """The benchmarks of a run that has just trained its policy, and of jobs of an earlier one."""

    def benchmark(path, seconds, ended):
        file = tmp_path / "benchmarks" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"s\th:m:s\tcpu_time\n{seconds}\t0:00:20\t-\n")
        os.utime(file, (ended, ended))

    benchmark(POLICY, 20.0, 1000)
    benchmark(PRETRAIN, 30.0, 990)
    benchmark("score/xl.tsv", 9.0, 979)
    rows = [f"{name},{jobs},{seconds}" for name, (jobs, seconds) in REFERENCE.items()]
    (tmp_path / "stages.csv").write_text("\n".join(["stage,jobs,cpu_seconds", *rows]))
    return tmp_path


def test_jobs_of_an_earlier_run_will_run_again(run):
    done = finished(run / "benchmarks", run / "benchmarks/policy.tsv")
    assert done == {POLICY: 20.0, PRETRAIN: 30.0}


@pytest.mark.parametrize("text", ["", "s\th:m", "s\th:m:s\n", "s\th:m:s\n-"])
def test_a_benchmark_that_is_being_written_does_not_count(run, text):
    (run / "benchmarks" / PRETRAIN).write_text(text)
    assert finished(run / "benchmarks", run / "benchmarks/policy.tsv") == {POLICY: 20.0}


def test_the_shipped_reference_has_every_training_of_the_miniature():
    config, reference = yaml.safe_load((ROOT / "config.yaml").read_text()), read_reference(SHIPPED)
    trained = [f"pretrain/{scale}" for scale, _ in set(pretrained_checkpoints(config))]
    seeds = config["pretrain_seeds"], config["finetune_seeds"]
    models = len(grid.reward_models(config["grid"], *seeds))
    trained += [f"reward_models/{scale}" for scale in config["scales"] for _ in range(models)]
    trained += ["policy", f"reward_models/{config['evaluator']['scale']}"]
    assert {name: reference[name][0] for name in trained} == {
        name: trained.count(name) for name in trained
    }
