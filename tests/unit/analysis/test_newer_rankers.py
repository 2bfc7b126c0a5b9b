"""Newer rankers on results made up in a moment: their table, and how they choose."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_results import (
    DESIGN,
    NEWER,
    NO_CHEAPER,
    POSTS,
    PUBLISHED,
    SAMPLES_A_POST,
    make_results,
    read_made,
    run,
    score_cheaper,
)

from underspec.analysis import newer_rankers
from underspec.analysis.ensembles import aggregate, standardise
from underspec.analysis.published import read_table1
from underspec.analysis.results import read_cheaper
from underspec.analysis.selection_rules import RULES, Candidates, beyond
from underspec.analysis.statistics import in_policy_units
from underspec.cheaper_ensembles import cheaper_ensembles
from underspec.errors import ArtifactError

SIMILARITY = np.random.default_rng(5).random((POSTS, SAMPLES_A_POST))
METRICS = ("reward", "win_rate", "gold")
KEYS = ["n", "ensemble", "aggregator", "rule"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_results(folder, DESIGN)
    return folder


@pytest.fixture(scope="module")
def read(folder):
    return read_made(folder)


def table_of(read, parameters=NEWER, scale=0):
    newer = newer_rankers.read(parameters, SIMILARITY)
    return newer_rankers.table(read.scales[scale], read.metrics, newer)


def test_the_paper_s_rankers_are_those_of_the_paper_s_tables(folder, read):
    tables = run(folder)
    found = table_of(read).query("rule == 'best_of_n' and aggregator != 'uwo'")
    for name, metrics in {"figure4": ("reward", "win_rate"), "gold": ("gold",)}.items():
        paper = tables[name].query("scale == 'small'")
        both = found.merge(paper, on=KEYS[:3], suffixes=("", "_paper"))
        assert len(both) == len(found)
        for metric in metrics:
            error = f"{metric}_standard_error"
            np.testing.assert_allclose(both[metric], both[f"{metric}_paper"], rtol=1e-5)
            of_paper = f"{error}_paper" if f"{error}_paper" in both else "standard_error"
            np.testing.assert_allclose(both[error], both[of_paper], rtol=1e-5)


def rewards_by_hand(scale, members):
    """In standard deviations of the mean within a post."""
    rewards = standardise(scale.rewards[[scale.models.index(model) for model in members]])
    return rewards / rewards.mean(axis=0).std()


@pytest.mark.parametrize("rule", [rule for rule in NEWER if rule in RULES])
@pytest.mark.parametrize("ensemble", ["single", "finetune", "pretrain"])
def test_a_newer_rule_by_hand(read, ensemble, rule):
    scale = read.scales[0]
    table = table_of(read).set_index(KEYS)
    aggregator = "single" if ensemble == "single" else "mean"
    similarity = in_policy_units(SIMILARITY)
    for n in scale.ns:
        values = []
        for ranker in scale.kinds[ensemble, aggregator]:
            mean = rewards_by_hand(scale, ranker.members).mean(axis=0)
            chances = RULES[rule](Candidates(mean, similarity), n, **NEWER[rule])
            metric = read.metrics["gold"][:, : chances.shape[1]]
            values.append((chances * metric).sum(axis=1))
        by_post = np.mean(values, axis=0)
        row = table.loc[(n, ensemble, aggregator, rule)]
        assert row.gold == pytest.approx(by_post.mean(), rel=1e-6)
        error = by_post.std(ddof=1) / POSTS**0.5
        assert row.gold_standard_error == pytest.approx(error, rel=1e-6)


def test_uwo_by_hand(read):
    scale = read.scales[0]
    table = table_of(read).set_index(KEYS)
    (ranker,) = scale.kinds["pretrain", "mean"]
    members = rewards_by_hand(scale, ranker.members)
    score = members.mean(axis=0) - 0.5 * members.var(axis=0)
    chosen = read.metrics["reward"][np.arange(POSTS), score[:, :4].argmax(axis=1)]
    assert table.loc[(4, "pretrain", "uwo", "best_of_n"), "reward"] == pytest.approx(
        chosen.mean(), rel=1e-6
    )
    assert ("single", "uwo") not in set(table.index.droplevel([0, 3]))


def test_gains_are_over_best_of_n_by_the_same_reward_models(read):
    table = table_of(read).set_index(KEYS)
    for (n, ensemble, aggregator, rule), row in table.iterrows():
        plain = table.loc[(n, ensemble, "single" if ensemble == "single" else "mean", "best_of_n")]
        for metric in METRICS:
            gain = row[metric] - plain[metric]
            assert row[f"{metric}_gain"] == pytest.approx(gain, abs=1e-9)
        if rule == "best_of_n" and aggregator in ("single", "mean"):
            assert row.reward_gain_standard_error == 0


def test_gains_are_there_without_the_mean_among_the_aggregators(folder):
    design = DESIGN | {"aggregators": ["min"]}
    read = read_made(folder, design)
    assert set(table_of(read).aggregator) == {"single", "min", "mean", "uwo"}
    assert table_of(read).notna().drop(columns="beyond").all(axis=None)


def test_at_the_policy_all_are_the_same(read):
    first = table_of(read).query("n == 1")
    assert first.gold.to_numpy() == pytest.approx([first.gold.iloc[0]] * len(first))


def test_what_poisson_cannot_have_is_said(read):
    table = table_of(read)
    of_poisson = table[table.rule == "poisson"]
    expected = [beyond(n - 1, SAMPLES_A_POST) for n in of_poisson.n]
    assert of_poisson.beyond.tolist() == pytest.approx(expected)
    assert 0.3 < of_poisson.query("n == 16").beyond.max() < 0.6
    assert table[table.rule != "poisson"].beyond.isna().all()


def test_null_leaves_one_out(read):
    kept = table_of(read, NEWER | {"soft": None, "uwo": None})
    assert set(kept.rule) == {"best_of_n", "poisson", "pessimism", "mbr"}
    assert "uwo" not in set(kept.aggregator)
    none = table_of(read, dict.fromkeys(NEWER))
    assert set(none.rule) == {"best_of_n"} and set(none.aggregator) == {"single", "mean", "min"}


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_the_unit_of_a_reward_model_is_nothing(read, factor):
    scale = replace(read.scales[0], rewards=read.scales[0].rewards * factor)
    newer = newer_rankers.read(NEWER, factor * SIMILARITY)
    found = newer_rankers.table(scale, read.metrics, newer)
    pd.testing.assert_frame_equal(found, table_of(read), rtol=1e-4, atol=1e-4)


def test_table1_in_the_long_form_has_published_numbers_where_the_paper_has(read):
    rankers = pd.concat([table_of(read, scale=scale) for scale in range(2)], ignore_index=True)
    table = newer_rankers.table1_long(rankers, read_table1(PUBLISHED))
    assert len(table) == len(rankers.query("n == 16"))
    published = table[table.published_reward.notna()]
    assert set(published.scale) == {"large"} and set(published.rule) == {"best_of_n"}
    assert set(published.aggregator) == {"single", "mean", "min"}
    (row,) = published.query("ensemble == 'pretrain' and aggregator == 'mean'").itertuples()
    assert row.published_reward == 1.720


def test_a_cheaper_ensemble_is_valued_as_a_ranker_of_the_grid_with_the_same_rewards(tmp_path):
    make_results(tmp_path, DESIGN)
    chosen = score_cheaper(tmp_path, "small")
    read = read_made(tmp_path)
    ensembles = cheaper_ensembles(chosen, DESIGN["finetune_seeds"], 2)
    small = read.scales[0]
    cheaper = read_cheaper(
        tmp_path / "scores", small, read.layout, ensembles, DESIGN["aggregators"]
    )
    table = table_of(replace(read, scales=[cheaper]))
    singles = [each for each in small.rankers if each.name == "single-pretrain0-finetune0"]
    same = {
        "warm": table_of(replace(read, scales=[replace(small, rankers=singles)])),
        "multihead": table_of(read).query("ensemble == 'finetune'"),
    }
    for kind, expected in same.items():
        found = table[table.ensemble == kind].drop(columns="ensemble").reset_index(drop=True)
        expected = expected.drop(columns="ensemble").reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected)
    assert not {*cheaper.models} & {*small.models}


def test_a_table_of_a_cheaper_ensemble_that_is_missing_is_named(folder, read):
    (warm,) = cheaper_ensembles(NO_CHEAPER | {"warm": [1]}, DESIGN["finetune_seeds"], 2)
    with pytest.raises(ArtifactError, match=r"small/pretrain1-warm\.parquet: no such file"):
        read_cheaper(folder / "scores", read.scales[0], read.layout, [warm], ["mean"])


def test_chances_are_those_of_the_posts_shown(read):
    scale, posts = read.scales[0], np.array([7, 2])
    newer = newer_rankers.read(NEWER, SIMILARITY)
    chances = newer_rankers.chances(scale, newer, [1, 4, 16], posts)
    assert set(chances) == {
        *((name, kind) for name in NEWER for kind in ("finetune", "pretrain")),
        *((name, "single") for name in NEWER if name != "uwo"),
    }
    for found in chances.values():
        assert found.shape == (3, 2, SAMPLES_A_POST)
        np.testing.assert_allclose(found.sum(axis=2), 1)
    (ranker,) = scale.kinds["pretrain", "mean"]
    mean = aggregate(scale.rewards[[scale.models.index(model) for model in ranker.members]], "mean")
    chosen = RULES["soft"](Candidates(in_policy_units(mean), SIMILARITY), 4, temperature=0.5)
    np.testing.assert_allclose(chances["soft", "pretrain"][1, :, :4], chosen[posts], rtol=1e-6)
