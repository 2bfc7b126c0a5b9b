"""Finished reward models: one number out, measured on held-out examples, or refused by name."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from own_models import ARCHITECTURES, LINES, write_bert, write_llama
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

from import_reward_model import import_reward_model
from score import score
from underspec.analysis.reward_matrix import read_metrics
from underspec.artifacts import POSTS, PREFERENCES, SAMPLES, SCORES, read_table, write_table
from underspec.data.tokenization import save_tokenizer, train_tokenizer
from underspec.errors import ArtifactError
from underspec.models.reward_model import RewardModel
from underspec.models.t5 import t5_config

LENGTHS = {"post": 30, "summary": 8}
SHAPE = {"version": "v1.0", "d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    posts = pd.DataFrame({"post_id": ["a", "b"], "post": LINES[:2], "reference": ""})
    write_table(posts.assign(split=["validation", "best_of_n"]), folder / "posts.parquet", POSTS)
    pairs = [("sold", "left"), ("", "I am sad"), ("the truth", "the party")]
    table = pd.DataFrame(pairs, columns=["chosen", "rejected"])
    table = table.assign(source="people", post_id="a", split="validation")
    write_table(table, folder / "preferences.parquet", PREFERENCES)
    samples = pd.DataFrame({"post_id": "b", "sample_index": range(2), "text": ["sold", "left"]})
    write_table(samples.assign(log_prob=-1.0), folder / "samples.parquet", SAMPLES)
    save_tokenizer(train_tokenizer(LINES, "word", 140), folder / "tokenizer")
    return folder


def run(data, given, architecture, output):
    import_reward_model(
        finished={"path": str(given), "revision": "main", "trust_pickle": False},
        posts=data / "posts.parquet",
        labelled=data / "preferences.parquet",
        tokenizer=data / "tokenizer",
        reward="preference",
        scale="own",
        architecture=architecture,
        lengths=LENGTHS,
        pretrain_seed=3,
        finetune_seed=4,
        output=output,
    )
    return output


def write_finished(folder, **changes):
    changes = {"num_labels": 1} | changes
    return write_llama(folder, kind=LlamaForSequenceClassification, **changes)


def test_a_finished_model_is_copied_and_measured_and_scores(data, tmp_path):
    given = write_finished(tmp_path / "given")
    output = run(data, given, ARCHITECTURES["llama"], tmp_path / "output")
    metrics = read_metrics(output / "metrics.json")
    assert (metrics["pretrain_seed"], metrics["finetune_seed"]) == (3, 4)
    assert metrics["pairs"] == 3 and 0 <= metrics["accuracy"] <= 1
    for path in given.iterdir():
        assert (output / path.name).read_bytes() == path.read_bytes()
    assert json.loads((output / "provenance.json").read_text())["stage"] == "import"
    score(
        posts=data / "posts.parquet",
        samples=data / "samples.parquet",
        tokenizer=data / "tokenizer",
        reward_models=[output],
        architecture=ARCHITECTURES["llama"],
        lengths=LENGTHS,
        precision="fp32",
        scores=[tmp_path / "scores.parquet"],
    )
    assert np.ptp(read_table(tmp_path / "scores.parquet", SCORES).reward) > 0


def test_a_finished_t5_is_one_of_ours(data, tmp_path):
    torch.manual_seed(0)
    vocabulary = json.loads((data / "tokenizer/tokenizer.json").read_text())
    size = len(vocabulary["model"]["vocab"]) + 100
    RewardModel(t5_config(SHAPE, size)).save_pretrained(tmp_path / "given")
    output = run(data, tmp_path / "given", {"name": "t5", "shape": SHAPE}, tmp_path / "output")
    assert read_metrics(output / "metrics.json")["pairs"] >= 1


def refused(data, given, family, cause, tmp_path):
    with pytest.raises(ArtifactError, match=cause) as caught:
        run(data, given, ARCHITECTURES[family], tmp_path / "output")
    assert "\n" not in str(caught.value) and str(given) in str(caught.value)
    assert not (tmp_path / "output").exists()


def test_several_numbers(data, tmp_path):
    given = write_finished(tmp_path / "given", num_labels=2)
    refused(data, given, "llama", "returns 2 numbers .* num_labels 1", tmp_path)


def test_a_head_of_another_name(data, tmp_path):
    given = write_finished(tmp_path / "given")
    path = given / "model.safetensors"
    weights = load_file(path)
    weights["v_head.summary.weight"] = weights.pop("score.weight")
    save_file(weights, path, metadata={"format": "pt"})
    refused(
        data,
        given,
        "llama",
        "without weights of score.weight, and with v_head.summary.weight",
        tmp_path,
    )


def test_a_pretrained_checkpoint(data, tmp_path):
    refused(data, write_bert(tmp_path / "given"), "bert", "pretrained checkpoint", tmp_path)


def test_a_model_without_a_padding_token_is_read_to_its_last_token(data, tmp_path):
    given = write_finished(tmp_path / "given", pad_token_id=None)
    path = given / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["pad_token"]
    path.write_text(json.dumps(settings))
    output = run(data, given, ARCHITECTURES["llama"], tmp_path / "output")
    model = AutoModelForSequenceClassification.from_pretrained(output)
    assert model.config.pad_token_id is None
