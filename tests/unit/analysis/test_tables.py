"""Every table against loops over the artifacts on disk."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from fake_results import (
    CLOSE,
    DESIGN,
    MODELS,
    POSTS,
    PUBLISHED,
    SCALES,
    agreement_values,
    anova_share,
    figure1_values,
    make_results,
    mean_and_error,
    read_world,
    rows,
    run,
    values_of_kind,
    win_rate,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_results(folder, DESIGN)
    return folder


@pytest.fixture(scope="module")
def tables(folder):
    return run(folder)


@pytest.fixture(scope="module")
def world(folder):
    return read_world(folder)


def check_interval(row, value, values):
    mean, error = mean_and_error(values)
    assert row[value] == pytest.approx(mean, **CLOSE)
    assert row["standard_error"] == pytest.approx(error, **CLOSE)
    assert row["low"] == pytest.approx(mean - 1.959964 * error, **CLOSE)
    assert row["high"] == pytest.approx(mean + 1.959964 * error, **CLOSE)


def test_columns(tables):
    kind = ["n", "ensemble", "aggregator"]
    metrics = ["reward", "reward_standard_error", "win_rate", "win_rate_standard_error"]
    interval = ["standard_error", "low", "high"]
    assert {name: list(table.columns) for name, table in tables.items()} == {
        "accuracy": ["scale", "role", "reward_model", "pretrain_seed", "finetune_seed"]
        + ["parameters", "accuracy", "pairs"],
        "figure1": ["scale", "parameters", "n", "ranker", "judge", "reward", *interval],
        "figure2": ["scale", "parameters", "n", "pair", "agreement", *interval, "chance"],
        "figure3": ["scale", "parameters", "n", "ranker", "share", "low", "high"],
        "figure4": ["scale", "parameters", *kind, *metrics, "kl_bound"],
        "gold": ["scale", "parameters", *kind, "gold", "standard_error"],
        "table1": [
            "parameters",
            "scale",
            *kind[1:],
            *metrics,
            *(f"published_{name}" for name in metrics),
        ],
    }


def test_every_point_is_there_once(tables):
    own = {"figure1": ["ranker", "judge"], "figure2": ["pair"], "figure3": ["ranker"]}
    own |= dict.fromkeys(("figure4", "gold"), ["ensemble", "aggregator"])
    for name, keys in own.items():
        table = tables[name]
        assert not table.duplicated(["scale", "n", *keys]).any()
        assert not table.isna().any(axis=None)
        assert dict(zip(table["scale"], table["parameters"], strict=True)) == SCALES
        assert set(table["n"]) == ({2, 4, 16} if name == "figure2" else {1, 2, 4, 16})
    # Pretraining seed 0 has two finetuning seeds: only its two rankers have judges of the same.
    judges = tables["figure1"].groupby("judge")["ranker"].nunique()
    assert judges.to_dict() == {
        "itself": 5,
        "same pretraining seed": 3,
        "other pretraining seed": 5,
    }


def test_figure1(tables, world):
    for row in rows(tables["figure1"]):
        by_ranker = {
            f"single-{ranker.name}": values
            for ranker in MODELS
            if (values := figure1_values(world, row["scale"], ranker, row["judge"], row["n"]))
        }
        # All curves of "all" average the same rankers: those that have every kind of judge.
        complete = [by_ranker[f"single-pretrain0-finetune{seed}"] for seed in (0, 1)]
        every = row["ranker"] == "all"
        values = np.mean(complete, axis=0) if every else by_ranker[row["ranker"]]
        check_interval(row, "reward", values)


def test_figure2(tables, world):
    for row in rows(tables["figure2"]):
        values = agreement_values(world, row["scale"], row["pair"], row["n"])
        check_interval(row, "agreement", values)
        assert row["chance"] == pytest.approx(1 / row["n"])


def test_figure3(tables, world):
    names = [f"single-{model.name}" for model in MODELS]
    for row in rows(tables["figure3"]):
        used = names if row["ranker"] == "all" else [row["ranker"]]
        shares = [anova_share(world, row["scale"], r, row["n"], world["posts"]) for r in used]
        assert row["share"] == pytest.approx(np.mean(shares), **CLOSE)
        assert 0 <= row["low"] <= row["high"] <= 1


def test_figure3_interval_is_that_of_a_plain_bootstrap(tables, world):
    """Another 1,000 resamples, one by one: percentiles agree to their own noise."""
    rng = np.random.default_rng(11)
    (row,) = rows(tables["figure3"].query("scale == 'small' and n == 16 and ranker == 'all'"))
    names = [f"single-{model.name}" for model in MODELS]
    shares = [
        np.mean([anova_share(world, "small", name, 16, posts) for name in names])
        for posts in (rng.choice(world["posts"], POSTS) for _ in range(1000))
    ]
    low, high = np.percentile(shares, [2.5, 97.5])
    width = high - low
    assert row["low"] == pytest.approx(low, abs=0.2 * width)
    assert row["high"] == pytest.approx(high, abs=0.2 * width)


def test_figure4(tables, world):
    for row in rows(tables["figure4"]):
        rewards = values_of_kind(world, row, lambda *sample: world["evaluator"][sample])
        wins = values_of_kind(world, row, lambda *sample: win_rate(world, *sample))
        for name, values in (("reward", rewards), ("win_rate", wins)):
            mean, error = mean_and_error(values)
            assert row[name] == pytest.approx(mean, **CLOSE)
            assert row[f"{name}_standard_error"] == pytest.approx(error, **CLOSE)
        bound = math.log(row["n"]) - (row["n"] - 1) / row["n"]
        assert row["kl_bound"] == pytest.approx(bound, **CLOSE)


def test_gold(tables, world):
    table = tables["gold"]
    for row in rows(table):
        if row["ensemble"] == "policy":
            assert row["n"] == 1
            values = [world["gold"][post, 0] for post in world["posts"]]
        elif row["ensemble"] == "best possible":
            values = [
                max(world["gold"][post, sample] for sample in range(row["n"]))
                for post in world["posts"]
            ]
        else:
            values = values_of_kind(world, row, lambda *sample: world["gold"][sample])
        mean, error = mean_and_error(values)
        assert row["gold"] == pytest.approx(mean, **CLOSE)
        assert row["standard_error"] == pytest.approx(error, **CLOSE)
    best = table[table["ensemble"] == "best possible"].groupby(["scale", "n"])["gold"].max()
    assert (best == table.groupby(["scale", "n"])["gold"].max()).all()
    assert (table["ensemble"] == "policy").sum() == len(SCALES)


def test_n_of_1_is_the_policy_whoever_ranks(tables):
    policy = tables["figure4"].query("n == 1")
    assert (policy.groupby("scale")[["reward", "win_rate"]].nunique() == 1).all(axis=None)


def test_table1_sets_the_published_numbers_beside_ours(tables):
    table = tables["table1"].set_index(["scale", "ensemble", "aggregator"])
    ours = tables["figure4"].query("n == 16").set_index(["scale", "ensemble", "aggregator"])
    assert len(table) == len(ours)
    assert (table["reward"] == ours["reward"]).all()
    assert (table["win_rate"] == ours["win_rate"]).all()
    assert table.loc["small"].filter(like="published").isna().all(axis=None)
    large = table.loc["large"].filter(like="published").round(3)
    assert large.loc["pretrain", "mean"].tolist() == [1.72, 0.011, 0.847, 0.004]
    assert large.loc["single", "single"].tolist() == [1.451, 0.008, 0.797, 0.004]


def test_the_published_table_has_every_row_of_the_paper():
    published = pd.read_csv(PUBLISHED)
    kinds = {("single", "single")}
    aggregators = {"mean", "median", "min", "mean_minus_stdev"}
    kinds |= set(itertools.product(("finetune", "pretrain"), aggregators))
    expected = set(itertools.product(("base", "large", "xl"), kinds))
    found = zip(
        published["scale"],
        zip(published["ensemble"], published["aggregator"], strict=True),
        strict=True,
    )
    assert set(found) == expected and len(published) == 27
    # Sums over the columns of the paper's supplement, taken from its text.
    assert published["reward"].sum() == pytest.approx(40.150)
    assert published["win_rate"].sum() == pytest.approx(21.680)


def test_accuracy_and_reliability_of_pointwise_rewards(tmp_path):
    make_results(tmp_path, DESIGN)
    bins = [{"count": 20, "probability": 0.2, "share": 0.1}]
    bins.append({"count": 30, "probability": 0.9, "share": 0.8})
    for path in tmp_path.glob("reward_models/*/*/metrics.json"):
        metrics = json.loads(path.read_text())
        judged = {"judgements": metrics.pop("pairs"), "ece": 0.1, "bins": bins}
        path.write_text(json.dumps(metrics | judged))
    tables = run(tmp_path)
    table = tables["reliability"]
    assert list(tables["accuracy"].columns)[-1] == "judgements"
    assert (tables["accuracy"]["judgements"] == 50).all()
    assert len(table) == 2 * (len(SCALES) * len(MODELS) + 1)
    assert set(table[table["role"] == "evaluator"]["scale"]) == {"huge"}
    for row in rows(table):
        assert {key: row[key] for key in bins[0]} == pytest.approx(bins[row["bin"]])


def test_agreement_with_people_by_domain(tmp_path):
    make_results(tmp_path, DESIGN)
    domains = {"films": {"texts": 103, "correlation": 0.5, "people": 0.9, "learned": False}}
    domains["tweets"] = {"texts": 2, "correlation": -1.0, "people": 1.0, "learned": True}
    for path in tmp_path.glob("reward_models/*/*/metrics.json"):
        metrics = json.loads(path.read_text())
        rated = {"ratings": metrics.pop("pairs"), "domains": domains}
        path.write_text(json.dumps(metrics | rated))
    tables = run(tmp_path)
    assert list(tables["accuracy"].columns)[-1] == "ratings"
    table = tables["people"]
    assert len(table) == 2 * (len(SCALES) * len(MODELS) + 1)
    for row in rows(table):
        assert {key: row[key] for key in domains["films"]} == domains[row["domain"]]
    films = table[table["domain"] == "films"].iloc[0]
    # Fisher's interval of r = 0.5 with 103 texts, by hand: atanh(0.5) -+ 1.96 / 10.
    assert (films.low, films.high) == pytest.approx((0.339, 0.632), abs=1e-3)
    tweets = table[table["domain"] == "tweets"]
    assert tweets[["low", "high"]].isna().all(axis=None)  # two texts say nothing about others


def test_accuracy(tables):
    table = tables["accuracy"]
    assert len(table) == len(SCALES) * len(MODELS) + 1
    assert set(table.loc[table["role"] == "reward model", "parameters"]) == {100, 1000}
    (evaluator,) = rows(table[table["role"] == "evaluator"])
    assert (evaluator["scale"], evaluator["accuracy"]) == ("huge", 0.8)
    assert math.isnan(evaluator["pretrain_seed"])
