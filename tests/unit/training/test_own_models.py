"""Reward models of other families: from a published folder to a folder that transformers opens."""

import json
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from own_models import ARCHITECTURES, LINES, WRITE
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from import_checkpoint import import_checkpoint
from reward_model import reward_model
from score import score
from underspec.architectures import architecture_of
from underspec.artifacts import POSTS, PREFERENCES, SAMPLES, SCORES, read_table, write_table
from underspec.training.loop import Interrupted
from underspec.training.objectives import preference as module
from warm import warm

LENGTHS = {"post": 12, "summary": 8}
RECIPE = {"steps": 4, "batch": 2, "learning_rate": 1e-3, "warmup": 1}
RECIPE |= {"dropout": 0.1, "weight_decay": 0.0}
TOLERANCE = 1e-5  # single precision; rewards are about 1


@pytest.fixture(scope="module", params=list(WRITE))
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory):
    """Data, and an imported pretrained checkpoint."""
    folder = tmp_path_factory.mktemp(family)
    WRITE[family](folder / "given")
    checkpoint = {"source": "hub", "path": str(folder / "given"), "revision": "main"}
    import_checkpoint(
        checkpoint=checkpoint | {"trust_pickle": False},
        tokenizer=folder,
        architecture=ARCHITECTURES[family],
        output=folder / "pretrained",
    )
    posts = pd.DataFrame({"post_id": ["a", "b", "c"], "post": LINES[:3], "reference": ""})
    posts["split"] = ["preferences", "validation", "best_of_n"]
    write_table(posts, folder / "posts.parquet", POSTS)
    pairs = [("sold the bike", "left"), ("", "I am sad"), ("the truth", "the truth, told")]
    table = pd.DataFrame(pairs * 2, columns=["chosen", "rejected"]).assign(source="people")
    table["post_id"] = ["a"] * 3 + ["b"] * 3
    table["split"] = ["preferences"] * 3 + ["validation"] * 3
    write_table(table, folder / "preferences.parquet", PREFERENCES)
    texts = ["sold the bike", "left", "", "left", "the truth", "the truth!"]
    samples = pd.DataFrame({"post_id": "c", "sample_index": range(6), "text": texts})
    write_table(samples.assign(log_prob=-1.0), folder / "samples.parquet", SAMPLES)
    return folder


def train(folder, family, output, **changes):
    settings = {"posts": folder / "posts.parquet", "labelled": folder / "preferences.parquet"}
    settings |= {"tokenizer": folder, "pretrained": folder / "pretrained", "lengths": LENGTHS}
    settings |= {"reward": "preference", "scale": "own", "architecture": ARCHITECTURES[family]}
    settings |= {"recipe": RECIPE, "centering": 0.01, "pretrain_seed": 0, "finetune_seed": 0}
    settings |= {"head_seed": 0, "heads": 1, "checkpoints": output.with_name("checkpoints")}
    settings |= {"save_seconds": 1e9, "device_layout": {}, "output": output} | changes
    reward_model(**settings)
    return output


@pytest.fixture(scope="module")
def trained(folder, family):
    return train(folder, family, folder / "trained")


def scored(folder, family, models, tables):
    score(
        posts=folder / "posts.parquet",
        samples=folder / "samples.parquet",
        tokenizer=folder,
        reward_models=models,
        architecture=ARCHITECTURES[family],
        lengths=LENGTHS,
        precision="fp32",
        scores=tables,
    )
    return [read_table(table, SCORES).reward.to_numpy() for table in tables]


def plain(trained, family, post, text):
    """The reward by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(trained)
    model = AutoModelForSequenceClassification.from_pretrained(trained).eval()
    if family == "bert":
        inputs = tokenizer([post], [text], return_tensors="pt")
    elif family == "neox":
        inputs = tokenizer(f"{post}\n\nTL;DR: {text}<|endoftext|>", return_tensors="pt")
    else:
        turns = [{"role": "user", "content": post}, {"role": "assistant", "content": text}]
        whole = tokenizer.apply_chat_template(turns, tokenize=False)
        inputs = tokenizer(whole, add_special_tokens=False, return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs).logits.item()


def test_rewards_are_those_of_transformers_on_the_saved_folder(folder, family, trained, tmp_path):
    """The post is longer than `lengths`: what is left of it ends within a word."""
    (rewards,) = scored(folder, family, [trained], [tmp_path / "scores.parquet"])
    reader = architecture_of(folder, ARCHITECTURES[family]).reader(trained, LENGTHS)
    (post,) = reader._beginnings([LINES[2]], LENGTHS["post"])
    samples = read_table(folder / "samples.parquet", SAMPLES)
    expected = [plain(trained, family, post, text) for text in samples.text]
    np.testing.assert_allclose(rewards, expected, atol=TOLERANCE, rtol=0)
    assert rewards[1] == rewards[3] and np.std(rewards) > 100 * TOLERANCE
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["pairs"] == 3 and metrics["scale"] == "own"


def test_an_interrupted_training_ends_with_the_same_weights(folder, family, trained, tmp_path):
    load = AutoModelForSequenceClassification.from_pretrained
    make, calls = module.bradley_terry, []

    def interrupted(*given):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return make(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "bradley_terry", interrupted)
        with pytest.raises(Interrupted):
            train(folder, family, tmp_path / "again")
    train(folder, family, tmp_path / "again")
    again, whole = (load(path).state_dict() for path in (tmp_path / "again", trained))
    for name, values in whole.items():
        torch.testing.assert_close(again[name], values, atol=0, rtol=0)


def test_several_heads_are_several_rewards(folder, family, tmp_path):
    several = train(folder, family, tmp_path / "several", heads=3)
    rewards = scored(folder, family, [several], [tmp_path / f"{i}.parquet" for i in range(3)])
    assert np.std(rewards, axis=0).min() > 0


def test_an_average_of_weights(folder, family, trained, tmp_path):
    other = train(folder, family, tmp_path / "other", finetune_seed=1)
    settings = {"posts": folder / "posts.parquet", "labelled": folder / "preferences.parquet"}
    settings |= {"tokenizer": folder, "members": [trained, other], "reward": "preference"}
    settings |= {"scale": "own", "pretrain_seed": 0, "lengths": LENGTHS}
    warm(**settings, architecture=ARCHITECTURES[family], output=tmp_path / "average")
    load = AutoModelForSequenceClassification.from_pretrained
    average, *two = (load(path).state_dict() for path in (tmp_path / "average", trained, other))
    for name, values in average.items():
        torch.testing.assert_close(values, (two[0][name] + two[1][name]) / 2)
    assert AutoTokenizer.from_pretrained(tmp_path / "average").is_fast


def test_the_head_is_drawn_by_its_seed_and_nothing_else_is(folder, family):
    architecture = architecture_of(folder, ARCHITECTURES[family])
    one, same, other = (architecture.new(folder / "pretrained", seed, 1) for seed in (0, 0, 1))
    differing = {
        name
        for name, values in one.state_dict().items()
        if not torch.equal(values, other.state_dict()[name])
    }
    assert {name.split(".")[-2] for name in differing} <= {"score", "classifier"} and differing
    assert all(torch.equal(v, same.state_dict()[name]) for name, v in one.state_dict().items())
