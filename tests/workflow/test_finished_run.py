"""What a finished experiment does when something changes, breaks or is interrupted: real runs."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from workflow import (
    SMOKE,
    command,
    copy_repository,
    environment,
    left_after_deletion,
    overlay,
    scheduled,
    snakemake,
)

pytestmark = pytest.mark.slow

RESULTS = Path("results/smoke")
EVIDENCE = {"evidence", "claims", "overview"}
FIGURES_OF_EVIDENCE = {f"draw_{name}" for name in ("exact", "components", "shift")}
FIGURES_OF_EVIDENCE |= {"draw_overoptimisation", "draw_rankers", "draw_ensemble_size"}
FIGURES_OF_EVIDENCE |= {"draw_shared_error", "draw_style_accuracy", "draw_feature_coefficients"}
FIGURES_OF_EVALUATION = {f"draw_{name}" for name in ("figure4", "accuracy", "gold", "table1")}
FIGURES_OF_RLHF = {f"draw_rlhf_{name}" for name in ("frontier", "correlation", "shift")}
FIGURES_OF_RLHF |= {"draw_rlhf_shared_error"}
AFTER_ALIGNMENT = {"rlhf_tables", *FIGURES_OF_RLHF}
AFTER_EVALUATION = {"evaluation_tables", *EVIDENCE, *FIGURES_OF_EVALUATION, *FIGURES_OF_EVIDENCE}
AFTER_EVALUATION |= AFTER_ALIGNMENT
FIGURES = {f"draw_figure{i}" for i in (1, 2, 3)} | FIGURES_OF_EVALUATION | FIGURES_OF_EVIDENCE
FIGURES |= FIGURES_OF_RLHF
PAGES = {"overview", "browser", "manifest"}
OF_TRAINING = {"training_table", "draw_training", "checksums"}
AFTER_SCORES = {"rerank", "disagreement_tables", *FIGURES, *AFTER_EVALUATION, *PAGES}
ALIGNMENT = {"align", "sample_aligned", "score_aligned", "measure_aligned"}
AFTER_REWARD_MODELS = {"score", *ALIGNMENT, *OF_TRAINING, *AFTER_SCORES}
TRAINED_ON_PREFERENCES = {"reward_model", "score_evaluator", *AFTER_REWARD_MODELS}
CHEAPER = {"warm_member", "warm", "multihead", "score_cheaper_ensembles"}
AFTER_PREFERENCES = {"data_card", *TRAINED_ON_PREFERENCES}
ON_JUDGEMENTS = {
    "judgements",
    "gold_score",
    "styles",
    "diagnostics",
    "draw_reliability",
    *AFTER_PREFERENCES,
}
AFTER_POLICY = {"sample", "preferences", "gold_score", "diagnostics", *AFTER_PREFERENCES}


def test_a_finished_run_has_nothing_to_do(finished):
    assert scheduled(finished, *SMOKE) == set()


def test_a_report_of_a_single_figure(finished, tmp_path):
    report = tmp_path / "part.html"
    done = snakemake(finished, "figure2", "--report", str(report), *SMOKE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"Adding (\S+) ", done.stdout + done.stderr) == ["figure2.svg"]
    assert report.stat().st_size > 1e6


@pytest.mark.parametrize(
    ("change", "rerun"),
    [
        # What changes no result is written down in the manifest and reruns nothing else.
        ({"checkpoint_seconds": 7}, {"manifest"}),
        ({"protect_pretrained": True}, {"manifest"}),
        ({"compute": {"pretrain": {"base": {"gpus": 8, "mem_mb": 9000}}}}, {"manifest"}),
        ({"recipe": {"dropout": 0.1}}, {"pretrain", "policy", "reward_model", *AFTER_POLICY}),
        ({"best_of_n": [1, 2, 8]}, AFTER_SCORES),
        ({"resamples": 150}, {*EVIDENCE, *FIGURES_OF_EVIDENCE, *AFTER_ALIGNMENT, "manifest"}),
        ({"aggregators": ["mean", "min"]}, AFTER_SCORES),
        (
            {"newer_rankers": {"soft": {"temperature": 0.1}}},
            {*EVIDENCE, *FIGURES_OF_EVIDENCE, "browser", "manifest"},
        ),
        (
            {"newer_rankers": dict.fromkeys(("uwo", "soft", "poisson", "pessimism", "mbr"))},
            {*EVIDENCE, *FIGURES_OF_EVIDENCE, "browser", "manifest"} - {"draw_rankers"},
        ),
        ({"ensemble_size": 3}, AFTER_SCORES),
        ({"centering": 0.1}, TRAINED_ON_PREFERENCES),
        ({"labels": {"noise": 0.1}}, {"preferences", *AFTER_PREFERENCES}),
        ({"judgements": {"per_post": 3}}, {"manifest"}),
        (
            {"styles": {"posts": 6}},
            {"styles", "score", "score_evaluator", "checksums", *AFTER_SCORES},
        ),
        ({"reward": "pointwise", "centering": 0}, ON_JUDGEMENTS),
        (
            {"models": {"base": {"reward_model": {"steps": 5}}}},
            {"reward_model", *AFTER_REWARD_MODELS},
        ),
        (
            {"models": {"xxl": {"reward_model": {"steps": 5}}}},
            {"reward_model", "score_evaluator", "score_aligned", *AFTER_EVALUATION, *OF_TRAINING}
            | PAGES,
        ),
        (
            {"cheaper_ensembles": {"warm": [0], "multihead": [1]}},
            {*CHEAPER, *OF_TRAINING, *EVIDENCE, *FIGURES_OF_EVIDENCE, "browser", "manifest"},
        ),
        ({"policy": {"recipe": {"steps": 5}}}, {"policy", *AFTER_POLICY}),
        ({"sampling": {"temperature": 0.9}}, AFTER_POLICY),
        ({"sampling": {"precision": "bf16"}}, AFTER_POLICY),
        ({"compute": {"pretrain": {"base": {"compiled": True}}}}, {"manifest"}),
        ({"corruption": {"noise_density": 0.2}}, {"pretrain", "policy", *AFTER_POLICY}),
    ],
)
def test_a_changed_key_reruns_what_depends_on_it(finished, tmp_path, change, rerun):
    assert scheduled(finished, *overlay(tmp_path, change)) == rerun


@pytest.mark.parametrize(
    ("module", "edit", "rerun"),
    [
        ("analysis/ensembles", "", {*ALIGNMENT, "checksums", *AFTER_SCORES}),
        ("data/span_corruption", "", {"pretrain", "policy", *AFTER_POLICY}),
        ("data/preferences", "", {"preferences", *AFTER_PREFERENCES}),
        (
            "data/gold_raters/micro_tldr",
            "",
            {"preferences", "gold_score", "styles", "diagnostics", *AFTER_PREFERENCES},
        ),
        ("report/plots", "", {*FIGURES, *PAGES, "draw_training"} - {"browser"}),
        ("report/look", "", {*FIGURES, *PAGES, "draw_training", "data_card"}),
        ("data/span_corruption", "comment", set()),
        ("training/loop", "comment", set()),
        ("models/t5", "comment", set()),
    ],
)
def test_an_edited_module_reruns_the_stages_that_use_it(finished, module, edit, rerun):
    path = finished / f"scripts/underspec/{module}.py"
    before = path.read_text()
    try:
        path.write_text(before + ("\n# a remark\n" if edit else "\nEDITED = True\n"))
        assert scheduled(finished, *SMOKE) == rerun
    finally:
        path.write_text(before)


def test_a_pointwise_experiment_runs_to_its_end_and_its_judgements_rerun_no_more_than_they_must(
    finished, tmp_path
):
    folder = shutil.copytree(finished, tmp_path / "pointwise", symlinks=True)
    pointwise = {"reward": "pointwise", "centering": 0, "rlhf": {"rankers": {"large": []}}}
    done = snakemake(folder, *overlay(tmp_path, pointwise))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / RESULTS / "figures/reliability.svg").exists()
    assert "on held-out judgements" in (folder / RESULTS / "claims.csv").read_text()
    assert "<h2>Judgements</h2>" in (folder / RESULTS / "report/data_card.html").read_text()
    more = overlay(tmp_path, pointwise | {"judgements": {"per_post": 3}})
    assert scheduled(folder, *more) == {
        *("judgements", "draw_reliability", *AFTER_PREFERENCES),
    }


def test_a_judge_runs_to_its_end_and_is_asked_again_only_what_it_must(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "judged", symlinks=True)
    judge = {"url": "gold", "posts": 6, "answers": 2}
    done = snakemake(folder, *overlay(tmp_path, {"judge": judge}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / RESULTS / "figures/judge.svg").exists()
    assert "judge, pretrain above single" in (folder / RESULTS / "claims.csv").read_text()

    def rerun(**change):
        return scheduled(folder, *overlay(tmp_path, {"judge": judge | change}))

    after_answers = {"judge_tables", "draw_judge", "claims", "overview", *FIGURES_OF_EVIDENCE}
    after_answers |= {"manifest"}
    assert rerun(concurrency=2, timeout=9, attempts=2) == {"manifest"}
    assert rerun(answers=3) == {"ask_judge", *after_answers}
    assert rerun(posts=5) == {"judge_comparisons", "ask_judge", *after_answers}


def test_a_damaged_artifact_is_named_and_nothing_is_lost(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "damaged", symlinks=True)
    scores = folder / RESULTS / "scores/base/pretrain0-finetune0.parquet"
    damaged = scores.read_bytes()[: scores.stat().st_size // 2]
    scores.write_bytes(damaged)
    models = {path: path.read_bytes() for path in folder.glob(f"{RESULTS}/*/**/*.safetensors")}
    done = snakemake(folder, "figure1", *SMOKE)
    log = (folder / RESULTS / "logs/rerank/base.log").read_text()
    assert done.returncode != 0
    assert "pretrain0-finetune0.parquet: not a whole Parquet file" in log
    assert "Traceback" not in done.stdout + done.stderr  # it is in the log, after the line
    assert scores.read_bytes() == damaged
    assert models and models == {path: path.read_bytes() for path in models}


def test_nothing_is_left_of_deleted_results_but_logs_and_benchmarks(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    assert left_after_deletion(folder, RESULTS, *SMOKE) == {"logs", "benchmarks"}


# Root may overwrite what is write-protected, so the test gives that right up.
UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv (util-linux) is missing")
def test_a_protected_checkpoint_is_not_thrown_away(tmp_path):
    (tmp_path / "repository").mkdir()
    folder = copy_repository(tmp_path / "repository")
    arguments = overlay(tmp_path, {"protect_pretrained": True})
    checkpoint = RESULTS / "pretrain/base/seed0"

    def run(*more):
        return subprocess.run(
            [*UNPRIVILEGED, *command(str(checkpoint), *arguments, *more)],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
        )

    done = run()
    assert done.returncode == 0, done.stderr
    weights = (folder / checkpoint / "model.safetensors").read_bytes()
    done = run("--forcerun", "pretrain")
    assert done.returncode != 0
    assert "protected" in done.stderr and str(checkpoint) in done.stderr
    assert (folder / checkpoint / "model.safetensors").read_bytes() == weights


def test_a_training_of_two_processes_is_started_by_its_rule(tmp_path):
    """Asked for two GPUs where there are none, it runs on the CPU."""
    (tmp_path / "repository").mkdir()
    folder = copy_repository(tmp_path / "repository")
    arguments = overlay(tmp_path, {"compute": {"pretrain": {"base": {"gpus": 2}}}})
    checkpoint = RESULTS / "pretrain/base/seed0"
    done = snakemake(folder, str(checkpoint), *arguments, "--printshellcmds")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / checkpoint / "model.safetensors").exists()
    assert "torch.distributed.run" in done.stderr + done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_goes_on_from_its_checkpoint(tmp_path, number):
    folder = copy_repository(tmp_path)
    target = str(RESULTS / "pretrain/base/seed0")
    steps = {"models": {"base": {"pretrain": {"steps": 2000}}}}
    long = overlay(tmp_path, {**steps, "checkpoint_seconds": 1})
    process = subprocess.Popen(
        command(target, *long),
        cwd=folder,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoints = folder / RESULTS / "checkpoints/pretrain/base/seed0"
    while not list(checkpoints.glob("*/step-*[0-9]")):
        assert process.poll() is None, "the run ended before it was interrupted"
        time.sleep(0.2)
    os.killpg(process.pid, number)
    process.wait()
    assert not (folder / target).exists()
    snakemake(folder, "--unlock", *long)
    done = snakemake(folder, "--rerun-incomplete", target, *long)
    log = (folder / RESULTS / "logs/pretrain/base/seed0.log").read_text()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resuming from step" in log
    assert (folder / target / "model.safetensors").exists()
