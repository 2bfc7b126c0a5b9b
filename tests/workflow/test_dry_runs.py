"""The DAG as a user meets it before anything runs. Dry runs: a few seconds each."""

import pytest
from picture import README, picture
from published import paper_data
from workflow import REPOSITORY, overlay, scheduled, snakemake

TARGETS = ["all", "figure1", "figure2", "figure3", "figure4", "table1", "tables"]
SMOKE = ["--configfile", "experiments/smoke.yaml"]
TRAINING = {"pretrain", "policy", "reward_model"}


@pytest.mark.parametrize("target", TARGETS)
def test_every_named_target_dry_runs(target):
    rules = scheduled(REPOSITORY, *SMOKE, "--forceall", target)
    assert rules >= TRAINING
    drawn = {rule for rule in rules if rule.startswith("draw_")}
    expected = {"all": drawn, "tables": set()}.get(target, {f"draw_{target}"})
    assert drawn == expected


@pytest.mark.parametrize("experiment", ["debian", "tuning"])
def test_every_experiment_dry_runs(experiment):
    rules = scheduled(
        REPOSITORY, "--configfile", f"experiments/{experiment}.yaml", "--forceall", "all"
    )
    assert rules >= TRAINING
    assert ("fetch" in rules) == (experiment == "debian")


@pytest.mark.parametrize("experiment", ["paper", "released", "budget"])
def test_the_experiments_on_the_paper_s_data_dry_run(experiment):
    rules = scheduled(
        REPOSITORY, "--configfile", f"experiments/{experiment}.yaml", "--forceall", "all"
    )
    assert rules >= {"import_pretrain", "policy", "sample", "reward_model", "evaluator"}
    assert ("pretrain" in rules) == (experiment != "released")


def test_the_paper_s_data_dry_runs(tmp_path):
    rules = scheduled(REPOSITORY, "--forceall", "all", *overlay(tmp_path, paper_data(tmp_path)))
    assert rules >= TRAINING | {"fetch", "import_tokenizer", "pretraining_text", "tokens"}
    assert not rules & {"tokenizer", "gold_score", "draw_gold"}  # people's comparisons, no gold


def test_the_slurm_profile_runs_what_a_configfile_names():
    profile = ["--profile", "slurm", *SMOKE, "--forceall", "all"]
    assert scheduled(REPOSITORY, *profile) == scheduled(REPOSITORY, *SMOKE, "--forceall", "all")


def test_figures_of_underspecification_need_no_evaluator():
    for figure in ("figure1", "figure2", "figure3"):
        rules = scheduled(REPOSITORY, *SMOKE, "--forceall", figure)
        assert not rules & {"evaluator", "score_evaluator", "gold_score", "evaluation_tables"}
    assert scheduled(REPOSITORY, *SMOKE, "--forceall", "figure4") >= {"evaluator"}


@pytest.mark.parametrize(
    ("change", "key", "cure"),
    [
        ({"temprature": 1}, "temprature", "config.yaml"),
        ({"best_of_n": [1, 128]}, "best_of_n", "samples drawn"),
        ({"aggregators": ["mode"]}, "aggregators", "mean"),
        ({"scales": ["huge"]}, "scales", "base"),
        ({"world": "tldr"}, "pretraining.world", "c4, debian, micro_tldr"),
    ],
)
def test_a_bad_config_ends_before_any_job(tmp_path, change, key, cure):
    done = snakemake(REPOSITORY, "--dry-run", *overlay(tmp_path, change))
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "config:" in line]
    assert done.returncode != 0
    assert len(lines) == 1
    assert key in lines[0] and cure in lines[0]
    assert "Job stats" not in done.stdout + done.stderr


def test_the_picture_in_the_readme_is_the_dag():
    assert picture() in README.read_text(), "run: make picture"
