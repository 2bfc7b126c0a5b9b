"""Everything after the reward matrix, redrawn from a bundle in a copy of the repository."""

import shutil
import subprocess

import pytest
from workflow import (
    REPOSITORY,
    SMOKE,
    command,
    copy_repository,
    environment,
    left_after_deletion,
    overlay,
    scheduled,
    snakemake,
)

from underspec.csv_files import read_csv
from underspec.report.overview import directions, read_claims
from underspec.report.shipped_verdicts import against, beside

pytestmark = pytest.mark.slow

TRAINED, RESTORED = "results/smoke", "results/smoke-bundle"
FROM_BUNDLE = ["--config", "bundle=bundles/smoke.zip"]
MAKING = {"posts", "tokens", "pretrain", "policy", "sample", "reward_model", "score", "gold_score"}


@pytest.fixture(scope="module")
def packed(finished, tmp_path_factory):
    """A copy of the repository that has the bundle of a finished experiment, and no results."""
    assert scheduled(finished, "bundle", *SMOKE) == {"bundle"}
    done = snakemake(finished, "bundle", *SMOKE)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = copy_repository(tmp_path_factory.mktemp("packed"))
    shutil.copytree(finished / "bundles", folder / "bundles")
    return folder


@pytest.fixture(scope="module")
def drawn(packed, tmp_path_factory):
    """The same after a run from the bundle, where importing torch fails."""
    broken = tmp_path_factory.mktemp("no_torch")
    for name in ("torch", "transformers"):
        (broken / f"{name}.py").write_text(f"raise ImportError('{name} is not for the analysis')\n")
    done = subprocess.run(
        command(*FROM_BUNDLE),
        cwd=packed,
        env=environment() | {"PYTHONPATH": str(broken)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return packed


def test_only_what_comes_after_the_matrix_runs(finished, packed):
    everything = scheduled(finished, *SMOKE, "--forceall", "all")
    from_bundle = scheduled(packed, "all", *FROM_BUNDLE, "--forceall")
    assert from_bundle - everything == {"unbundle"}
    assert from_bundle >= {"rerank", "disagreement_tables", "evaluation_tables", "draw_figure1"}
    assert everything >= MAKING and not from_bundle & MAKING


def test_the_tables_are_those_of_the_run_that_was_packed(finished, drawn):
    def of(folder, pattern):
        """All but what tells of the training itself, which a bundle leaves out."""
        found = (path for path in folder.glob(pattern) if path.stem != "training")
        return {str(path.relative_to(folder)): path for path in found}

    trained, restored = finished / TRAINED, drawn / RESTORED
    tables = of(trained, "tables/*.csv") | of(trained, "claims.csv")
    assert len(tables) >= 14
    for name, path in tables.items():
        assert (restored / name).read_bytes() == path.read_bytes(), name
    assert of(trained, "figures/*").keys() == of(restored, "figures/*").keys()
    assert not (drawn / TRAINED).exists()


def test_neither_a_second_run_nor_an_edited_training_has_anything_to_do(drawn):
    training = drawn / "scripts/underspec/training/loop.py"
    training.write_text(training.read_text() + "\nEDITED = True\n")
    for path in (drawn / RESTORED / "scores").rglob("*.parquet"):
        path.touch()
    again = scheduled(drawn, *FROM_BUNDLE)
    assert not again & MAKING and "unbundle" not in again
    snakemake(drawn, *FROM_BUNDLE)
    assert scheduled(drawn, *FROM_BUNDLE) == set()


def test_the_report_names_where_its_figures_come_from(drawn):
    done = snakemake(drawn, *FROM_BUNDLE, "--report", "report.html")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "What this report was drawn from" in (drawn / "report.html").read_text()


def test_nothing_is_left_of_deleted_results_but_logs_and_benchmarks(drawn, tmp_path):
    folder = shutil.copytree(drawn, tmp_path / "copy", symlinks=True)
    assert left_after_deletion(folder, RESTORED, *FROM_BUNDLE) == {"logs", "benchmarks"}


def test_what_comes_after_the_matrix_may_be_changed(drawn, tmp_path):
    (tmp_path / "overlay.yaml").write_text("{experiment: two, aggregators: [mean], scales: [base]}")
    done = snakemake(drawn, "tables", "--configfile", str(tmp_path / "overlay.yaml"), *FROM_BUNDLE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (drawn / "results/two-bundle/tables/figure1.csv").exists()
    assert not (drawn / "results/two-bundle/rerank/large").exists()


def test_a_trained_experiment_is_never_written_over(finished):
    assert "unbundle" in scheduled(finished, *SMOKE, *FROM_BUNDLE)
    listed = snakemake(finished, *SMOKE, *FROM_BUNDLE, "--summary").stdout
    assert f"{RESTORED}/tables/figure1.csv" in listed and f"{TRAINED}/" not in listed


def test_reward_models_that_a_bundle_lacks_are_named(packed, tmp_path):
    changes = {"experiment": "more", "finetune_seeds": [0, 1, 2]}
    done = snakemake(packed, "tables", *overlay(tmp_path, changes), *FROM_BUNDLE)
    assert done.returncode != 0
    assert "bundles/smoke.zip/scores.parquet: has no rewards of base/" in done.stdout + done.stderr
    assert not (packed / "results/more-bundle/scores/base/pretrain0-finetune0.parquet").exists()


@pytest.mark.parametrize("cut", [None, 0.5])
def test_a_bundle_that_is_not_there_or_damaged_ends_before_any_job(packed, tmp_path, cut):
    path = tmp_path / "damaged.zip"
    if cut:
        whole = (packed / "bundles/smoke.zip").read_bytes()
        path.write_bytes(whole[: int(cut * len(whole))])
    done = snakemake(packed, "--config", f"bundle={path}")
    lines = [line for line in (done.stdout + done.stderr).splitlines() if str(path) in line]
    assert done.returncode != 0
    assert lines == [line for line in lines if "config: " in line] and len(lines) == 1
    assert ("not a whole zip file" if cut else "no such file") in lines[0]
    assert "Traceback" not in done.stdout + done.stderr


def test_the_shipped_verdicts_are_those_of_the_shipped_bundle(tmp_path):
    """After a change to what is claimed or how, scripts/verdicts.py renews them."""
    folder, bundle = copy_repository(tmp_path), REPOSITORY / "bundles/miniature.zip"
    done = snakemake(folder, "claims", "--config", f"bundle={bundle}")
    assert done.returncode == 0, done.stdout + done.stderr
    claims = read_claims(folder / "results/miniature-bundle/claims.csv")
    found = against(claims, beside(bundle))
    assert (
        found["same"] == found["total"] == len(read_csv(beside(bundle))) == len(directions(claims))
    )
