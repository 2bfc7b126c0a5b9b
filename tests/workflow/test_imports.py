"""An experiment that starts from existing pretrained checkpoints: dry runs, and one real import."""

import json
from pathlib import Path

import pytest
import yaml
from t5x_checkpoint import write_t5x
from workflow import REPOSITORY, copy_repository, overlay, scheduled, snakemake

from underspec.data.tokenization import load_tokenizer
from underspec.models.t5 import new_t5

RESULTS = Path("results/smoke")


def from_elsewhere(folder, checkpoints=None):
    """Arguments for the smoke experiment on T5X checkpoints in `folder`."""
    scales = ("base", "large", "xxl")
    paths = {scale: {"path": f"{folder}/{scale}-{{seed}}"} for scale in scales}
    section = {"source": "released", "checkpoints": checkpoints or paths}
    return overlay(folder, {"pretrain": section})


def test_nothing_is_pretrained(tmp_path):
    rules = scheduled(REPOSITORY, *from_elsewhere(tmp_path), "--forceall", "all")
    assert rules >= {"import_checkpoint", "reward_model", "policy", "tokenizer"}
    assert not rules & {"pretrain", "tokens"}


def test_a_checkpoint_without_a_path_ends_before_any_job(tmp_path):
    arguments = from_elsewhere(tmp_path, {"base": {"path": "/models/{seed}"}})
    done = snakemake(REPOSITORY, "--dry-run", *arguments)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "config: pretrain.checkpoints: large/0 is missing" in output
    assert "Job stats" not in output


@pytest.mark.slow
def test_a_checkpoint_is_imported_for_real_and_only_once(tmp_path):
    (tmp_path / "repository").mkdir()
    folder = copy_repository(tmp_path / "repository")
    arguments = from_elsewhere(tmp_path)
    done = snakemake(folder, str(RESULTS / "data/tokenizer"), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    vocabulary = load_tokenizer(folder / RESULTS / "data/tokenizer").get_vocab_size()
    shape = yaml.safe_load((folder / "config.yaml").read_text())["models"]["base"]["shape"]
    write_t5x(new_t5(shape, vocabulary, 0), tmp_path / "base-0")
    target = str(RESULTS / "pretrain/base/seed0")
    done = snakemake(folder, target, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    provenance = json.loads((folder / target / "provenance.json").read_text())
    assert provenance["path"] == str(tmp_path / "base-0")
    assert (folder / target / "model.safetensors").exists()
    assert (folder / RESULTS / "benchmarks/pretrain/base/seed0.tsv").exists()
    assert scheduled(folder, target, *arguments) == set()
    done = snakemake(folder, str(RESULTS / "pretrain/base/seed1"), *arguments)
    log = (folder / RESULTS / "logs/pretrain/base/seed1.log").read_text()
    assert done.returncode != 0
    assert "base-1: no such folder" in log and "Traceback" not in log
    assert not (folder / RESULTS / "pretrain/base/seed1").exists()


def test_reward_models_of_another_family_are_trained_or_taken_as_they_are(tmp_path):
    recipe = {"steps": 2, "learning_rate": 1e-3, "warmup": 0}
    own = {"architecture": "decoder", "template": "{post} {sample}", "reward_model": recipe}
    section = {
        "scales": ["own"],
        "models": {"own": own},
        "pretrain": {"checkpoints": {"own": {"source": "hub", "path": "/own-{seed}"}}},
        "reward_models": {"own/pretrain1-finetune0": {"path": "/finished"}},
        "rlhf": {"rankers": {}},
    }
    arguments = overlay(tmp_path, section)
    done = snakemake(REPOSITORY, "--dry-run", "--forceall", "-p", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    commands = done.stdout
    assert "import_reward_model.py" in commands and "import_checkpoint.py" in commands
    assert f"{RESULTS}/pretrain/own/seed0" in commands
    assert f"{RESULTS}/pretrain/own/seed1" not in commands
    assert f"--pretrained {RESULTS}/pretrain/own/seed0" in commands
