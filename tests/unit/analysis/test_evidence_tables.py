"""The tables beside the paper's, from results made up in a moment."""

import itertools
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from fake_results import (
    DESIGN,
    EVALUATOR,
    NEWER,
    NO_CHEAPER,
    POSTS,
    PUBLISHED,
    SAMPLES_A_POST,
    judges,
    make_results,
    of_grid,
    read_made,
    score_cheaper,
)

from claims import claims
from evidence import evidence
from underspec.analysis import one_scale, parts
from underspec.analysis.exact_best_of_n import best_of_n_in, orders
from underspec.analysis.length_bias import length_coefficient
from underspec.analysis.statistics import PAIRS, in_policy_units, variance_components
from underspec.analysis.supplementary_tables import ORDERS, holm
from underspec.analysis.within_posts import sums_of_products
from underspec.artifacts import DIAGNOSTICS, write_table

TABLES = ["exact", "shift", "components", "paired", "overoptimisation", "hedging", "rankers"]
TABLES += ["ensemble_size", "feature_coefficients"]
CLAIMS_FILE = Path(__file__).parents[3] / "reports" / "claims.yaml"
OF_GOLD = ["overoptimisation_fit", "bias", "shared_error"]


def test_every_table_says_what_it_needs():
    assert one_scale.TABLES.keys() == parts.OF_EVIDENCE.keys()


def diagnose(folder):
    samples = pd.read_parquet(folder / "samples/best_of_n.parquet")
    generator = np.random.default_rng(3)
    words = generator.integers(3, 30, len(samples))
    measured = samples[["post_id", "sample_index"]].assign(words=words, common_subsequence=1)
    measured = measured.assign(copied=words / 30, similarity=generator.random(len(samples)))
    copied = generator.integers(0, words)
    measured = measured.assign(copied_words=copied, list_items=0, numerals=words % 2)
    write_table(measured, folder / "diagnostics.parquet", DIAGNOSTICS)


def inputs(folder, gold=True):
    """Options of the adapter: paths."""
    others = {"diagnostics": "diagnostics.parquet", "evaluator": f"reward_models/{EVALUATOR}"}
    others = {name: folder / path for name, path in others.items()}
    return of_grid(folder) | judges(folder, gold) | others


def run_evidence(folder, design, length_bias=0.0, newer=NEWER, cheaper=NO_CHEAPER, gold=True):
    make_results(folder, design, gold)
    diagnose(folder)
    for scale in design["scales"]:
        evidence(
            **inputs(folder, gold),
            scale=scale,
            design=design,
            newer=newer,
            cheaper=cheaper,
            length_bias=length_bias,
            resamples=100,
            tables=TABLES + OF_GOLD * gold,
            output=folder / "evidence" / scale,
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    run_evidence(folder, DESIGN, length_bias=0.05)
    return folder


def test_cheaper_ensembles_add_rankers_and_change_nothing_else(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "results")
    cheaper = score_cheaper(tmp_path / "results", "small")
    output = tmp_path / "again"
    evidence(
        **inputs(tmp_path / "results"),
        scale="small",
        design=DESIGN,
        newer=NEWER,
        cheaper=cheaper,
        length_bias=0.05,
        resamples=100,
        tables=TABLES + OF_GOLD,
        output=output,
    )
    before = folder / "evidence" / "small"
    for path in before.iterdir():
        if path.name != "rankers.csv":
            assert path.read_bytes() == (output / path.name).read_bytes()
    old, new = (pd.read_csv(each / "rankers.csv") for each in (before, output))
    pd.testing.assert_frame_equal(new[: len(old)], old)
    assert set(new[len(old) :].ensemble) == {"warm", "multihead"}


def read(folder, name, scale="small"):
    return pd.read_csv(folder / "evidence" / scale / f"{name}.csv")


@pytest.mark.parametrize(
    "changes",
    [
        {"gold": False},
        {"grid": "full"},
        {"pretrain_seeds": [0]},
        {"finetune_seeds": [0]},
        {"pretrain_seeds": [4], "finetune_seeds": [0]},
        {"aggregators": ["min"]},
        {"best_of_n": [2, 16]},
        {"best_of_n": [1, 3]},
        {"scales": ["small"]},
    ],
    ids=str,
)
def test_every_experiment_has_its_evidence_and_claims(tmp_path, changes):
    design = DESIGN | changes
    gold = design.pop("gold", True)
    run_evidence(tmp_path, design, gold=gold)
    names = TABLES + OF_GOLD * gold
    claims(
        claims_file=CLAIMS_FILE,
        published=PUBLISHED,
        evidence=[tmp_path / "evidence" / scale for scale in design["scales"]],
        tables=[tmp_path / "tables" / f"{name}.csv" for name in names],
        best_of_n=design["best_of_n"],
        pretraining_seeds=len(design["pretrain_seeds"]),
        grid=design["grid"],
        ensemble_size=design["ensemble_size"],
        world="debian",
        reward="preference",
        table1_long=tmp_path / "tables" / "table1_long.csv",
        claims=tmp_path / "claims.csv",
    )
    verdicts = pd.read_csv(tmp_path / "claims.csv")
    assert set(verdicts.verdict) <= {"supported", "contradicted", "undecided"}
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == {*names, "table1_long"}
    single = len(design["pretrain_seeds"]) == len(design["finetune_seeds"]) == 1
    empty = ["paired", *["ensemble_size"] * single]  # a single reward model is no ensemble
    for name in set(names).difference(empty):
        assert set(pd.read_csv(tmp_path / "tables" / f"{name}.csv").scale) == set(design["scales"])


def test_exact_and_first_meet_where_all_samples_are_in(folder):
    table = read(folder, "exact")
    last = table[table.n == SAMPLES_A_POST]
    np.testing.assert_allclose(last["first"], last.exact, rtol=1e-4)
    np.testing.assert_allclose(last.relative_efficiency.dropna(), 1, rtol=1e-3)
    first = table[(table.n == 1) & table.statistic.str.startswith("win_rate")]
    np.testing.assert_allclose(first.exact, 0.5, rtol=1e-5)  # any sample against any other
    assert (first["first"] != 0.5).all()


def test_exact_of_the_evaluators_reward_by_brute_force(folder):
    results = read_made(folder)
    scale, reward = results.scales[0], results.metrics["reward"]
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(3000):
        order = generator.permutation(SAMPLES_A_POST)[:2]  # the same for all posts: no matter
        for rewards in scale.rewards:
            best = order[rewards[:, order].argmax(axis=1)]
            drawn.append(reward[np.arange(POSTS), best].mean())
    table = read(folder, "exact").set_index(["statistic", "n"])
    exact = table.loc[("reward of single", 2), "exact"]
    assert exact == pytest.approx(np.mean(drawn), abs=5 * float(np.std(drawn)) / 55)


def test_shift_is_the_mean_over_choices(folder):
    table = read(folder, "shift").set_index(["diagnostic", "ensemble", "aggregator", "n"])
    words = pd.read_parquet(folder / "diagnostics.parquet").set_index(["post_id", "sample_index"])
    choice = pd.read_parquet(folder / "rerank/small/pretrain-finetune0-min.parquet")
    choice = choice[choice.n == 4]
    chosen = words.loc[list(zip(choice.post_id, choice.sample_index, strict=True)), "words"]
    row = table.loc[("words", "pretrain", "min", 4)]
    assert row["value"] == pytest.approx(chosen.mean(), rel=1e-5)
    assert row["standard_error"] == pytest.approx(scipy.stats.sem(chosen), rel=1e-5)
    gold = pd.read_parquet(folder / "scores/gold.parquet")
    best = gold.loc[gold.groupby("post_id", sort=False).reward.idxmax()]
    chosen = words.loc[list(zip(best.post_id, best.sample_index, strict=True)), "words"]
    row = table.loc[("words", "gold rater", "gold rater", SAMPLES_A_POST)]
    assert row["value"] == pytest.approx(chosen.mean(), rel=1e-5)


def test_paired_tests_are_scipys(folder):
    results = read_made(folder)
    scale, reward = results.scales[0], results.metrics["reward"]

    def of_choices(name):
        return reward[np.arange(POSTS), scale.choices[name][-1]].astype(float)

    singles = np.mean([of_choices(f"single-{model.name}") for model in scale.models], axis=0)
    ensemble = of_choices("pretrain-finetune0-min")
    asked = "by == 'reward' and aggregator == 'min' and better == 'pretrain' and worse == 'single'"
    (row,) = read(folder, "paired").query(asked).itertuples()
    assert row.difference == pytest.approx((ensemble - singles).mean(), rel=1e-4)
    assert row.standard_error == pytest.approx(scipy.stats.sem(ensemble - singles), rel=1e-4)
    assert row.t == pytest.approx(scipy.stats.ttest_rel(ensemble, singles).pvalue, rel=1e-3)
    assert row.wilcoxon == pytest.approx(
        scipy.stats.wilcoxon(ensemble, singles, method="asymptotic").pvalue, rel=1e-3
    )
    assert row.low < row.difference < row.high
    assert row.t <= row.t_holm <= 1
    assert {"biased_words", "label_utility"} < set(read(folder, "paired").by)


def test_holm_by_its_definition():
    p = np.array([0.04, 0.01, 0.5, 0.02])
    assert holm(p) == pytest.approx([0.08, 0.04, 0.5, 0.06])
    p = np.array([0.01, 0.04, 0.03, 0.005])  # where adjusted values would fall
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_the_length_coefficient_is_that_of_the_evaluator(folder):
    table = read(folder, "bias").set_index("ensemble")
    resamples = pd.read_parquet(folder / "evidence/small/resamples.parquet")
    of_evaluator = resamples.quantity == "length coefficient of the evaluator"
    coefficient = resamples[of_evaluator].iloc[0]["value"]
    assert table.loc["evaluator", "length_coefficient"] == pytest.approx(coefficient, rel=1e-4)
    assert (table.planted == 0.05).all()


def test_components_add_up_and_find_what_was_planted():
    """100 grids of 5 x 3 reward models with known variances: within 4 standard errors."""
    generator = np.random.default_rng(1)
    seeds = np.repeat(np.arange(5), 3)
    truth = {"pretraining seed": 0.5, "finetuning seed": 0.2, "post": 1.0, "residual": 0.3}
    found = {name: [] for name in truth}
    for _ in range(100):
        draw = {name: generator.normal(0, math.sqrt(value), 60) for name, value in truth.items()}
        x = (
            draw["pretraining seed"][seeds][:, None]
            + draw["finetuning seed"][:15, None]
            + draw["post"]
        )
        x = x + generator.normal(0, math.sqrt(truth["residual"]), (15, 60))
        for name, value in variance_components(x[:, None], seeds).items():
            found[name].append(value[0])
    for name, values in found.items():
        assert np.mean(values) == pytest.approx(truth[name], abs=4 * np.std(values) / 10), name


def test_components_of_a_balanced_grid_by_sums_of_squares():
    x = np.random.default_rng(2).normal(size=(6, 1, 8))
    seeds = np.repeat([3, 5, 9], 2)
    found = {name: value[0] for name, value in variance_components(x, seeds).items()}
    x = x[:, 0].reshape(3, 2, 8)
    means = x.mean(axis=2)
    within = means.var(axis=1, ddof=1).mean()
    between = 2 * means.mean(axis=1).var(ddof=1)
    assert found["pretraining seed"] == pytest.approx((between - within) / 2)
    assert found["finetuning seed"] == pytest.approx(within - found["residual"] / 8)
    flat = x.reshape(6, 8)
    left = flat - flat.mean(axis=1, keepdims=True) - flat.mean(axis=0) + flat.mean()
    assert found["residual"] == pytest.approx((left**2).sum() / (5 * 7))
    assert found["post"] == pytest.approx(flat.mean(axis=0).var(ddof=1) - found["residual"] / 6)


@pytest.mark.parametrize("seeds", [[0, 0, 0], [0, 1, 2]])
def test_components_that_a_grid_cannot_tell_are_nan(seeds):
    x = np.random.default_rng(2).normal(size=(3, 1, 8))
    found = variance_components(x, np.array(seeds))
    assert np.isnan(found["pretraining seed"]).all()
    assert np.isfinite(found["residual"]).all()
    assert np.isnan(found["finetuning seed"]).all() == (len(set(seeds)) == 3)


def test_relative_efficiency_is_the_ratio_of_variances(folder):
    table = read(folder, "exact").query("exact_standard_error > 0")
    ratio = table.first_standard_error / table.exact_standard_error
    np.testing.assert_allclose(table.relative_efficiency, ratio**2, rtol=1e-4)
    assert (abs(ratio - 1) > 0.05).any()


def test_label_utility_is_gold_and_the_planted_bias(folder):
    keys = ["aggregator", "better", "worse", "by"]
    table = read(folder, "paired").set_index(keys).difference.unstack()
    expected = table.gold + 0.05 * table.biased_words
    np.testing.assert_allclose(table.label_utility, expected, rtol=1e-4, atol=1e-5)


def test_exact_agreement_is_the_mean_over_orders(folder):
    scale = read_made(folder).scales[0]
    found = {pair: [] for pair in PAIRS}
    for order in orders(POSTS, SAMPLES_A_POST, ORDERS):
        picks = [best_of_n_in(order, rewards, [2])[0] for rewards in scale.rewards]
        texts = [scale.texts[np.arange(POSTS), each] for each in picks]
        picked = zip(scale.models, texts, strict=True)
        for (one, first), (other, second) in itertools.combinations(picked, 2):
            pair = PAIRS[one.pretrain_seed != other.pretrain_seed]
            found[pair].append((first == second).mean())
    table = read(folder, "exact").set_index(["statistic", "n"])
    for pair, values in found.items():
        row = table.loc[(f"agreement, {pair}", 2)]
        assert row.exact == pytest.approx(np.mean(values), rel=1e-4)
        assert row["first"] != row.exact


def test_the_one_way_share_is_that_of_figure_3(folder):
    table = read(folder, "components").query("component == 'one-way'").set_index("n").share
    figure = read(folder, "exact").query("statistic == 'share of variance'").set_index("n")["first"]
    np.testing.assert_allclose(table, figure, rtol=1e-4)


def test_the_bias_of_every_ranker_by_its_definition(folder):
    results = read_made(folder)
    scale = results.scales[0]
    words = pd.read_parquet(folder / "diagnostics.parquet").words.to_numpy().reshape(POSTS, -1)
    table = read(folder, "bias").set_index("ranker")
    for ranker in scale.rankers:
        products = sums_of_products(scale.rewards_of(ranker), results.metrics["gold"], words)
        expected = length_coefficient(products.sum(axis=0))
        row = table.loc[ranker.name]
        assert (row.length_coefficient, row.unexplained) == pytest.approx(expected, rel=1e-4)


def test_the_coefficients_of_gold_by_least_squares(folder):
    results = read_made(folder)
    found = pd.read_parquet(folder / "diagnostics.parquet")
    columns = {"copied_words": found.copied_words, "numerals": found.numerals}
    columns |= {"other_words": found.words - found.copied_words}
    shaped = [each.to_numpy().reshape(POSTS, -1) for each in columns.values()]
    terms = [(each - each.mean(axis=1, keepdims=True)).ravel() for each in shaped]
    gold = in_policy_units(results.metrics["gold"]).ravel()
    expected = np.linalg.lstsq(np.stack(terms, axis=1), gold, rcond=None)[0]
    rows = read(folder, "feature_coefficients").query("ensemble == 'gold rater'")
    table = rows.set_index("feature").value
    assert table[[*columns]].to_numpy() == pytest.approx(expected, rel=1e-3, abs=1e-5)
