"""The stage reward_model: which comparisons or judgements it trains and is judged on."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from small_reward_model import LENGTHS, PAIRS, RECIPE, T5, trainer

from score import score
from underspec.analysis.reward_matrix import read_metrics
from underspec.artifacts import (
    JUDGEMENTS,
    RATINGS,
    SAMPLES,
    SCORES,
    read_table,
    write_table,
)
from underspec.errors import ArtifactError, ConfigError
from warm import warm

# The texts of the last two are equal as token ids: cut to three words and eos, and unknown words.
EQUAL = [("i am sad and sold", "i am sad and my"), ("my cat", "my dog")]


@pytest.fixture
def train(tmp_path):
    return trainer(tmp_path)


def test_comparisons_of_equal_token_ids_are_left_out_and_counted(train, caplog):
    assert train(PAIRS + EQUAL)["pairs"] == len(PAIRS)
    for split in ("preferences", "validation"):
        line = f"{split}: 2 of 5 comparisons left out: their texts are equal after encoding"
        assert line in caplog.text


def test_all_are_used_where_all_differ_and_none_is_too_few(train, caplog):
    assert train(PAIRS)["pairs"] == len(PAIRS)
    assert "left out" not in caplog.text
    with pytest.raises(ArtifactError, match=r"preferences\.parquet: the texts of all comparisons"):
        train(EQUAL)


STATEMENTS = [("my bike", 1), ("i am sad", 0), ("my brother sold bike", 1), ("and", 0), ("i", 0)]


@pytest.fixture
def train_on_judgements(train, tmp_path):
    def train_on_judgements(statements, **changes):
        table = pd.DataFrame(statements * 2, columns=["statement", "label"]).assign(source="us")
        table["post_id"] = ["a"] * len(statements) + ["b"] * len(statements)
        table["split"] = table.post_id.map({"a": "preferences", "b": "validation"})
        write_table(table, tmp_path / "judgements.parquet", JUDGEMENTS)
        pointwise = {"reward": "pointwise", "labelled": tmp_path / "judgements.parquet"}
        return train(PAIRS, **pointwise, **{"centering": 0.0} | changes)

    return train_on_judgements


@pytest.mark.parametrize("heads", [1, 3])
def test_a_pointwise_reward_model_says_how_reliable_it_is(train_on_judgements, heads, tmp_path):
    metrics = train_on_judgements(STATEMENTS, heads=heads)
    assert metrics["judgements"] == len(STATEMENTS) and "pairs" not in metrics
    assert sum(each["count"] for each in metrics["bins"]) == heads * len(STATEMENTS)
    assert 0 <= metrics["accuracy"] <= 1 and 0 <= metrics["ece"] <= 1
    assert read_metrics(tmp_path / "output" / "metrics.json") == metrics
    provenance = json.loads((tmp_path / "output" / "provenance.json").read_text())
    assert (provenance["reward"], provenance["centering"]) == ("pointwise", 0.0)


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ([*STATEMENTS, ("my", 2)], "2 of 12 judgements have a label that is neither 0 nor 1"),
        ([*STATEMENTS, ("my", -1)], "the first in row 5"),
        ([*STATEMENTS, (" \u200b", 1)], "a statement without a visible character"),
        ([(text, 1) for text, _ in STATEMENTS], "all judgements .* preferences have the label 1"),
    ],
)
def test_judgements_that_cannot_be_used_are_refused(train_on_judgements, statements, said):
    with pytest.raises(ArtifactError, match=rf"judgements\.parquet: .*{said}"):
        train_on_judgements(statements)


RATED = [("my bike", 1.5, "films"), ("i am sad", -2.25, "films"), ("my brother", 3.0, "films")]
RATED += [("and", 0.0, "tweets"), ("i", -1.0, "tweets"), ("my", 0.5, "tweets")]


@pytest.mark.parametrize("heads", [1, 3])
def test_a_reward_model_of_ratings_says_how_well_it_agrees_with_people(train, heads, tmp_path):
    """Of the tweets there are none to learn from."""
    table = pd.DataFrame(RATED * 2, columns=["statement", "label", "source"])
    table["post_id"] = ["a"] * len(RATED) + ["b"] * len(RATED)
    table["split"] = table.post_id.map({"a": "preferences", "b": "validation"})
    table = table[(table.source == "films") | (table.split == "validation")]
    table = table.assign(half=table.label - 0.5, other_half=table.label + 0.25)
    write_table(table, tmp_path / "judgements.parquet", RATINGS)
    rating = {"reward": "rating", "labelled": tmp_path / "judgements.parquet", "centering": 0.0}
    metrics = train(PAIRS, **rating, heads=heads)
    assert metrics["ratings"] == 3 and "pairs" not in metrics  # of the films, none is 0
    assert read_metrics(tmp_path / "output" / "metrics.json") == metrics
    films, tweets = metrics["domains"]["films"], metrics["domains"]["tweets"]
    assert films["learned"] and not tweets["learned"]
    assert films["texts"] == tweets["texts"] == 3
    # The halves of the raters differ by a constant.
    assert [films["people"], tweets["people"]] == pytest.approx([1, 1])


def test_pointwise_rewards_are_not_centred(train_on_judgements):
    with pytest.raises(ConfigError, match=r"^centering: 0\.01 is not 0"):
        train_on_judgements(STATEMENTS, centering=0.01)


def head(folder):
    return load_file(folder / "model.safetensors")["head.weight"]


def test_the_head_s_seed_and_the_order_s_seed_are_two(train, tmp_path):
    """At the end of two steps a head is still near where it began."""
    cells = {(order, start): tmp_path / f"{order}{start}" for order in (0, 1) for start in (0, 1)}
    for (order, start), output in cells.items():
        train(PAIRS, finetune_seed=order, head_seed=start, output=output)
    heads = {cell: head(folder) for cell, folder in cells.items()}
    for order in (0, 1):
        assert np.abs(heads[order, 0] - heads[order, 1]).max() > 0.1
    for start in (0, 1):
        assert 0 < np.abs(heads[0, start] - heads[1, start]).max() < 0.01
    provenance = json.loads((cells[1, 0] / "provenance.json").read_text())
    assert (provenance["finetune_seed"], provenance["head_seed"]) == (1, 0)


def test_several_heads_report_their_mean_accuracy(train, tmp_path):
    metrics = train(PAIRS, heads=3)
    assert head(tmp_path / "output").shape[0] == 3
    assert 0 <= metrics["accuracy"] <= 1


@pytest.fixture
def average(train, tmp_path):
    def average(**changes):
        """WARM of two reward models, the second with `changes`."""
        members = [tmp_path / "first", tmp_path / "second"]
        train(PAIRS, output=members[0])
        train(PAIRS, **{"finetune_seed": 1, "output": members[1]} | changes)
        about = {"scale": "base", "pretrain_seed": 0, "architecture": T5, "lengths": LENGTHS}
        tables = {"posts": tmp_path / "posts.parquet", "reward": "preference"}
        tables |= {"labelled": tmp_path / "preferences.parquet"}
        output, tokenizer = tmp_path / "warm", tmp_path / "tokenizer"
        warm(**tables, tokenizer=tokenizer, members=members, **about, output=output)
        return members, output

    return average


def test_warm_says_how_accurate_it_is_and_of_what_it_is_the_average(average):
    members, output = average()
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["pairs"] == len(PAIRS) and 0 <= metrics["accuracy"] <= 1
    assert json.loads((output / "provenance.json").read_text())["members"] == ["first", "second"]
    mean = (head(members[0]).astype(float) + head(members[1])) / 2
    np.testing.assert_array_equal(head(output), mean.astype("float32"))
    assert not (output / "training.csv").exists()


@pytest.mark.parametrize("change", [{"pretrain_seed": 1}, {"head_seed": 1}, {"heads": 2}])
def test_warm_of_what_starts_elsewhere_is_refused(average, tmp_path, change):
    with pytest.raises(ArtifactError, match=f"^{tmp_path}/second: starts from other weights"):
        average(**change)
    assert not (tmp_path / "warm").exists()


@pytest.fixture
def scored(train, tmp_path):
    """The rewards (tables, samples) of a reward model that was trained with some dropout."""

    def scored(dropout, tables, **options):
        train(PAIRS, recipe=RECIPE | {"dropout": dropout})
        texts = ["my bike", "i am sad", "my bike", "my brother"]
        samples = pd.DataFrame({"post_id": "a", "sample_index": range(4), "text": texts})
        write_table(samples.assign(log_prob=-1.0), tmp_path / "samples.parquet", SAMPLES)
        folders = {name: tmp_path / name for name in ("posts.parquet", "samples.parquet")}
        inputs = {path.stem: path for path in folders.values()}
        inputs |= {"tokenizer": tmp_path / "tokenizer", "reward_models": [tmp_path / "output"]}
        paths = [tmp_path / f"scores{i}.parquet" for i in range(tables)]
        about = {"architecture": T5, "lengths": LENGTHS, "precision": "fp32"}
        score(**inputs, **about, **options, scores=paths)
        return np.stack([read_table(path, SCORES).reward for path in paths])

    return scored


def test_members_of_mc_dropout_have_a_table_each(scored):
    rewards = scored(0.3, 3, mc_dropout=3)
    assert (rewards[:, 0] == rewards[:, 2]).all()  # equal texts
    assert len(np.unique(rewards)) == 3 * 3
    plain = scored(0.3, 1)
    assert np.abs(rewards - plain).max() > 0
    np.testing.assert_array_equal(scored(0.3, 2, mc_dropout=2), rewards[:2])


def test_mc_dropout_without_training_dropout_is_refused(scored):
    with pytest.raises(ArtifactError, match="output: was trained without dropout"):
        scored(0.0, 2, mc_dropout=2)


def test_tables_that_are_too_few_for_the_members_are_refused(scored):
    with pytest.raises(ArtifactError, match="output: has 3 reward heads or members and 2 tables"):
        scored(0.3, 2, mc_dropout=3)
