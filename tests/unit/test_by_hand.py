"""Stages called by hand with what is missing or wrong: one line, which `command` shows."""

import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from underspec.artifacts import POSTS, PREFERENCES, SAMPLES, SCORES, write_table
from underspec.command import arguments, file_errors_explained
from underspec.data.tokenization import save_tokenizer, train_tokenizer
from underspec.errors import UserError

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
SHAPE, LENGTHS = CONFIG["models"]["base"]["shape"], CONFIG["lengths"]
RECIPE = CONFIG["recipe"] | CONFIG["models"]["base"]["pretrain"]
GRID = {key: CONFIG[key] for key in ("grid", "pretrain_seeds", "finetune_seeds", "aggregators")}
GRID |= {"ensemble_size": CONFIG["ensemble_size"]}
DESIGN = GRID | {"best_of_n": [1, 2]}
MATRIX = dict.fromkeys(["samples", "scores", "choices", "reward_models"], "gone")
EVIDENCE = MATRIX | dict.fromkeys(["diagnostics", "evaluator", "evaluator_scores"], "gone")
EVIDENCE |= {"scale": "base", "design": DESIGN, "newer": CONFIG["newer_rankers"]}
EVIDENCE |= {"cheaper": CONFIG["cheaper_ensembles"], "length_bias": 0.0, "resamples": 100}
EVIDENCE |= {"tables": ["exact"]}
OUTPUTS = {"rerank": "choices", "score": "scores", "claims": "claims", "overview": "page"}
OUTPUTS |= {"pretraining_text": "text"}
LISTS = {"choices", "scores"}  # of outputs
FILES = {"posts", "preferences", "samples", "tokenizer", "text", "tokens", "empty", "binary"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Artifacts of posts a and b, as far as these tests go."""
    folder = tmp_path_factory.mktemp("artifacts")
    posts = {"post_id": ["a", "b"], "split": ["policy", "best_of_n"], "post": "x", "reference": "y"}
    write_table(pd.DataFrame(posts), folder / "posts", POSTS)
    compared = {"post_id": ["a", "c"], "split": ["preferences", "validation"], "source": "people"}
    compared = pd.DataFrame(compared | {"chosen": "x y", "rejected": "y"})
    write_table(compared, folder / "preferences", PREFERENCES)
    keys = pd.DataFrame({"post_id": ["b", "b", "c", "c"], "sample_index": [0, 1, 0, 1]})
    write_table(keys.assign(text="x", log_prob=-1.0), folder / "samples", SAMPLES)
    write_table(keys.assign(reward=1.0), folder / "pretrain0-finetune0.parquet", SCORES)
    save_tokenizer(train_tokenizer(["x y z"], "word", 200), folder / "tokenizer")
    (folder / "text").write_text("x y\n")
    (folder / "empty").write_text("")
    (folder / "binary").write_bytes(b"caf\xe9\n")
    with (folder / "tokens").open("wb") as file:
        np.save(file, np.arange(900, dtype=np.uint16))
    return folder


def option(folder, value):
    if isinstance(value, list | dict):
        return json.dumps(value)
    return str(folder / value) if value in FILES else str(value)


PRETRAIN = {"tokens": [], "tokenizer": "tokenizer", "shape": SHAPE, "save_seconds": 9}
PRETRAIN |= {"pretrain_seed": 0}
PRETRAIN |= {"corruption": CONFIG["corruption"], "recipe": RECIPE, "device_layout": {}}
PRETRAIN |= {"checkpoints": "checkpoints"}
T5 = {"name": "t5", "shape": SHAPE}
FINETUNE = {key: PRETRAIN[key] for key in ("recipe", "save_seconds", "device_layout")}
FINETUNE |= {"posts": "posts", "tokenizer": "tokenizer", "pretrained": "gone", "lengths": LENGTHS}
FINETUNE |= {"checkpoints": "checkpoints"}
REWARD = FINETUNE | {
    "architecture": T5,
    "labelled": "preferences",
    "reward": "preference",
    "scale": "base",
    "centering": 0.01,
}
REWARD |= {"pretrain_seed": 0, "finetune_seed": 0, "head_seed": 0, "heads": 1}
SCORE = {"posts": "posts", "samples": "samples", "tokenizer": "tokenizer"}
SCORE |= {"reward_models": ["gone"], "architecture": T5, "lengths": LENGTHS, "precision": "fp32"}
SAMPLE = {"posts": "posts", "tokenizer": "tokenizer", "policy": "gone", "shape": SHAPE, "seed": 0}
SAMPLE |= {"lengths": LENGTHS, "split": "best_of_n", "samples": 2, "precision": "fp32"}
SAMPLE |= {"distribution": {"temperature": 1.0, "top_k": None, "top_p": 1.0}}
RATED = {"rater": "micro_tldr", "posts": "posts", "samples": "samples"}
TLDR = CONFIG["worlds"]["tldr"]
MICRO = CONFIG["worlds"]["micro_tldr"]

CASES = {
    "no text to encode": ("tokens", {"text": "gone", "tokenizer": "tokenizer"}, "gone: no such"),
    "an empty text": ("tokens", {"text": "empty", "tokenizer": "tokenizer"}, "empty: empty; "),
    "a text in Latin-1": ("tokens", {"text": "binary", "tokenizer": "tokenizer"}, "not UTF-8"),
    "not a tokenizer": (
        "tokens",
        {"text": "text", "tokenizer": "gone"},
        "json: not a token",
    ),
    "no text to learn": (
        "tokenizer",
        {"text": "empty", "kind": "word", "vocabulary": 200},
        "empty: empty; ",
    ),
    "no such kind": ("tokenizer", {"text": "text", "kind": "x", "vocabulary": 200}, "--kind: 'x'"),
    "no vocabulary": (
        "tokenizer",
        {"text": "text", "kind": "word", "vocabulary": 0},
        "--vocabulary: '0' is not allowed",
    ),
    "no tokens": ("pretrain", PRETRAIN | {"tokens": ["gone.npy"]}, "gone.npy: no such file"),
    "a recipe without steps": (
        "pretrain",
        PRETRAIN | {"recipe": {key: value for key, value in RECIPE.items() if key != "steps"}},
        "--recipe.steps: missing",
    ),
    "a shape without a size": (
        "pretrain",
        PRETRAIN | {"shape": {key: value for key, value in SHAPE.items() if key != "d_ff"}},
        "--shape.d_ff: missing",
    ),
    "a shape with a typo": (
        "pretrain",
        PRETRAIN | {"shape": SHAPE | {"d": 1}},
        "--shape.d: no such",
    ),
    "no such optimizer": (
        "pretrain",
        PRETRAIN | {"recipe": RECIPE | {"optimizer": "sgd"}},
        "--recipe.optimizer: 'sgd' is not allowed",
    ),
    "posts of no split": (
        "sample",
        SAMPLE | {"split": "test"},
        "posts: has no rows of the split test, only of policy, best_of_n",
    ),
    "no policy": ("sample", SAMPLE, "gone: no checkpoint there"),
    "no temperature": (
        "sample",
        SAMPLE | {"distribution": {"temperature": 0.0, "top_k": None, "top_p": 1.0}},
        "--distribution.temperature: 0.0 is not allowed",
    ),
    "no checkpoint": (
        "policy",
        FINETUNE | {"shape": SHAPE, "seed": 0},
        "gone: no checkpoint there",
    ),
    "samples of other posts": ("score", SCORE, "posts: lacks posts that "),
    "comparisons of other posts": ("reward_model", REWARD, "posts: lacks posts that "),
    "gold of other posts": ("gold_score", RATED, "posts: lacks posts that "),
    "diagnostics of other posts": ("diagnostics", RATED, "posts: lacks posts that "),
    "a world without styles": (
        "styles",
        {"world": "c4", "rater": "debian", "posts": "posts", "number": 1},
        "world: 'c4' has no styles",
    ),
    "nothing to compare": (
        "preferences",
        {"world": "micro_tldr", "options": MICRO, "labels": CONFIG["labels"], "posts": "posts"},
        "world: micro_tldr has no comparisons; say which --samples",
    ),
    "no such option of a world": (
        "posts",
        {"world": "micro_tldr", "options": MICRO | {"sede": 1}},
        "worlds.micro_tldr.sede: no such key",
    ),
    "no raw files": ("posts", {"world": "tldr", "options": TLDR}, "world: tldr reads raw files"),
    "no such option to fetch": (
        "fetch",
        {"world": "tldr", "options": {"posts": TLDR["posts"]}},
        "worlds.tldr.comparisons: missing",
    ),
    "nothing to fetch": ("fetch", {"world": "micro_tldr", "options": {}}, "nothing to fetch"),
    "a shard beyond the last": (
        "pretraining_text",
        {"world": "micro_tldr", "options": MICRO, "shard": 2, "shards": 2},
        "--shard: 2 is beyond the 2 shards",
    ),
    "no shards": (
        "pretraining_text",
        {"world": "micro_tldr", "options": MICRO, "shards": 0},
        "--shards: '0' is not allowed",
    ),
    "an n twice as large first": (
        "rerank",
        GRID | {"scores": [], "best_of_n": [4, 1]},
        "--best_of_n: [4, 1] is not allowed: must rise and begin with 1",
    ),
    "no such grid": (
        "rerank",
        GRID | {"scores": [], "best_of_n": [1, 2], "grid": "diagonal"},
        "--grid: 'diagonal' is not allowed",
    ),
    "no results": ("evidence", EVIDENCE, "gone: no such file"),
    "an empty experiment": ("evidence", EVIDENCE | {"design": {}}, "--design.grid: missing"),
    "no strength": (
        "evidence",
        EVIDENCE | {"newer": CONFIG["newer_rankers"] | {"soft": {"temperature": 0}}},
        "--newer.soft.temperature: 0 is not allowed",
    ),
    "no resamples": ("evidence", EVIDENCE | {"resamples": 0}, "--resamples: '0' is not allowed"),
    "no evidence": (
        "claims",
        {
            "claims_file": ROOT / "reports/claims.yaml",
            "evidence": [],
            "tables": [],
            "pretraining_seeds": 2,
            "reward": "preference",
        }
        | {"published": ROOT / "reports/published/table1.csv", "best_of_n": [1, 2]}
        | {
            "grid": "full",
            "ensemble_size": 5,
            "world": "debian",
            "reward": "preference",
            "table1_long": "gone",
        },
        "--evidence: names no scale",
    ),
    "no trainings": ("training_table", {"runs": []}, "no training.csv in any of the folders"),
    "a run without a folder": (
        "training_table",
        {"runs": [{"stage": "x", "scale": "base", "name": "x"}]},
        "--runs.0.folder: missing",
    ),
    "no files": ("checksums", {"files": ["gone*"]}, "gone*: no such file"),
    "a figure that is not there": (
        "overview",
        {"about": {"world": "c4"}, "accuracy": "x", "figures": [], "claims": "x", "template": "x"}
        | {"models": [], "opening": "x"},
        "--about.experiment: missing",
    ),
}


@pytest.mark.parametrize(("stage", "options", "said"), CASES.values(), ids=CASES)
def test_what_is_wrong_is_one_line(folder, tmp_path, monkeypatch, stage, options, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pairs = [(f"--{key}", option(folder, value)) for key, value in options.items()]
    output = OUTPUTS.get(stage, "output")
    path = '["made/output"]' if output in LISTS else "made/output"
    given = [f"--{output}", path, *(text for pair in pairs for text in pair)]
    function = getattr(importlib.import_module(stage), stage)
    with pytest.raises(UserError) as caught, file_errors_explained():
        function(**arguments(function, given))
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not Path("made/output").is_file()
