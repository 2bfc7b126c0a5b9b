"""RLHF's tables and evidence, from aligned policies made up in a moment: by hand, and faults."""

import itertools
import shutil

import numpy as np
import pandas as pd
import pytest
from fake_aligned import (
    ALIGNED,
    COPIES,
    SAMPLES_OF_ALIGNED,
    align_to_copies,
    make_aligned,
    of_aligned,
)
from fake_results import (
    CLOSE,
    DESIGN,
    EVALUATOR,
    POSTS,
    SAMPLES_A_POST,
    judges,
    make_results,
    of_grid,
    read_made,
)

from rlhf_tables import rlhf_tables
from underspec.analysis import aligned_policies
from underspec.analysis.quantities import UNITS_OF_RLHF, from_table
from underspec.analysis.rank_correlation import correlations
from underspec.analysis.statistics import in_policy_units
from underspec.artifacts import EVIDENCE, read_table
from underspec.csv_files import read_csv
from underspec.errors import ArtifactError
from underspec.grid import RewardModel

TABLES = ["frontier", "equal_kl", "turning", "correlation", "shift", "table1"]
OF_GOLD = ["shared_error"]


def run(folder, design=DESIGN, aligned=ALIGNED, gold=True, cheaper=None):
    names = TABLES + OF_GOLD * gold
    rlhf_tables(
        **of_grid(folder),
        **judges(folder, gold),
        **of_aligned(folder),
        design={key: value for key, value in design.items() if key != "scales"},
        cheaper=cheaper,
        aligned=aligned,
        resamples=100,
        evidence=[folder / "evidence" / scale / "rlhf.parquet" for scale in aligned["rankers"]],
        tables=[folder / "tables" / f"rlhf_{name}.csv" for name in names],
    )
    return {name: read_csv(folder / "tables" / f"rlhf_{name}.csv") for name in names}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_results(folder, DESIGN)
    make_aligned(folder, DESIGN)
    return folder, run(folder)


@pytest.fixture
def small(results, tmp_path):
    """A copy to break, of one path, and what runs it."""
    folder = shutil.copytree(results[0], tmp_path / "results")
    aligned = ALIGNED | {"rankers": {"small": ["pretrain-finetune0-min"]}, "seeds": [0]}
    return folder, lambda: run(folder, aligned=aligned)


def samples_of(folder, ranker, coefficient, seed, scale="small"):
    """All tables of an aligned policy as one, by post_id and sample_index."""
    name = f"aligned/{scale}/{ranker}/kl{coefficient}-seed{seed}.parquet"
    tables = [
        pd.read_parquet(folder / kind / name).set_index(["post_id", "sample_index"])
        for kind in ("samples", "scores", "diagnostics")
    ]
    return pd.concat(tables, axis=1)


def sft_rewards(folder, name):
    table = pd.read_parquet(folder / "scores" / f"{name}.parquet")
    return table.set_index(["post_id", "sample_index"])["reward"].unstack()


def gain(aligned, sft):
    """aligned: a value of each sample; sft: (posts, samples)."""
    above = aligned.groupby("post_id", sort=False).mean() - sft.mean(axis=1)
    return above / np.sqrt(((sft.sub(sft.mean(axis=1), axis=0)) ** 2).to_numpy().mean())


def own_rewards(folder, samples, members, combine):
    """The ranker's reward of aligned samples, and of the SFT policy's."""
    of_sft = {member: sft_rewards(folder, f"small/{member}").stack() for member in members}
    centred = pd.DataFrame({member: rewards - rewards.mean() for member, rewards in of_sft.items()})
    mine = pd.DataFrame({each: samples[each] - of_sft[each].mean() for each in members})
    return combine(mine), combine(centred).unstack()


RANKERS = {
    "single-pretrain1-finetune0": (["pretrain1-finetune0"], lambda each: each.mean(axis=1)),
    "finetune-pretrain0-mean": (
        ["pretrain0-finetune0", "pretrain0-finetune1"],
        lambda each: each.mean(axis=1),
    ),
    "pretrain-finetune0-min": (
        [f"pretrain{seed}-finetune0" for seed in (0, 1, 2)],
        lambda each: each.min(axis=1),
    ),
}


@pytest.mark.parametrize("ranker", RANKERS)
@pytest.mark.parametrize("coefficient", [0.05, 0.8])
def test_the_frontier_of_one_policy_by_hand(results, ranker, coefficient):
    folder, tables = results
    samples = samples_of(folder, ranker, coefficient, 3)
    rows = tables["frontier"].query("scale == 'small' and ranker == @ranker and seed == 3")
    rows = rows[rows.kl_coefficient == coefficient].set_index("by")
    evaluator, gold = (sft_rewards(folder, name) for name in (EVALUATOR, "gold"))
    expected = {
        "kl": samples["kl"].groupby("post_id", sort=False).mean(),
        "proxy": gain(*own_rewards(folder, samples, *RANKERS[ranker])),
        "reward": gain(samples["evaluator"], evaluator),
        "gold": gain(samples["gold"], gold),
    }
    expected["hacked"] = expected["proxy"] - expected["reward"]
    for name, column, sft in (
        ("win_rate", "evaluator", evaluator),
        ("gold_win_rate", "gold", gold),
    ):
        wins = [
            np.mean([1.0 if mine > other else 0.5 if mine == other else 0.0 for other in of_post])
            for (post, _), mine in samples[column].items()
            for of_post in [sft.loc[post]]
        ]
        expected[name] = pd.Series(wins, samples.index).groupby("post_id", sort=False).mean()
    assert set(rows.index) == set(expected)
    for name, values in expected.items():
        assert rows.value[name] == pytest.approx(values.mean(), **CLOSE), name
        reach = 1.959964 * values.std(ddof=1) / np.sqrt(POSTS)
        assert rows.posts_high[name] - rows.value[name] == pytest.approx(reach, rel=1e-3), name
        assert rows.kl[name] == pytest.approx(samples["kl"].mean(), **CLOSE)


def test_a_kind_is_a_mean_over_rankers_and_seeds(results):
    _, tables = results
    rows = tables["frontier"].query("ensemble == 'single' and scale == 'small'")
    rows = rows[~rows.ranker.str.startswith("best of")]
    for _, of_point in rows.groupby(["kl_coefficient", "by"]):
        whole = of_point.ranker == "all"
        assert len(of_point[~whole]) == 3 * 2
        assert of_point[whole].value.item() == pytest.approx(of_point[~whole].value.mean(), **CLOSE)
        assert of_point[whole].kl.item() == pytest.approx(of_point[~whole].kl.mean(), **CLOSE)


def test_best_of_n_is_beside_every_kind(results):
    _, tables = results
    rows = tables["frontier"].query("scale == 'small' and by == 'reward'")
    best = rows[rows.ranker.str.startswith("best of")]
    assert set(best.ensemble) == {"single", "finetune", "pretrain"}
    assert best.kl.max() == pytest.approx(np.log(SAMPLES_A_POST) - 1 + 1 / SAMPLES_A_POST)
    assert best[best.ranker == "best of 1"].value.to_numpy() == pytest.approx(0, abs=1e-9)


@pytest.fixture(scope="module")
def cheaper(results, tmp_path_factory):
    """Policies aligned to cheaper ensembles, and to the rankers of the grid with their rewards."""
    folder = shutil.copytree(results[0], tmp_path_factory.mktemp("cheaper") / "results")
    chosen = align_to_copies(folder, DESIGN)
    aligned = ALIGNED | {"rankers": {"small": [*dict.fromkeys(COPIES.values()), *COPIES]}}
    return folder, aligned, chosen, run(folder, aligned=aligned, cheaper=chosen)


@pytest.mark.parametrize("ranker", COPIES)
def test_a_cheaper_ensemble_is_as_the_ranker_of_the_grid_with_the_same_rewards(cheaper, ranker):
    """But for intervals over seeds, which draw each kind by itself, and for which reward models
    are kept apart from a pair: of the grid, only the one that MC dropout takes passes of."""
    *_, tables = cheaper
    about = {"scale", "parameters", "low", "high", "ranker"}
    for name in ("frontier", "turning", "shift", "table1"):
        ensemble, of_grid = (each.split("-")[0] for each in (ranker, COPIES[ranker]))
        table = tables[name]
        if name == "frontier" and of_grid == "single":  # best-of-n is of all of them
            table = table[~table.ranker.str.startswith("best of")]
        table = table.drop(columns=[*about & {*table}])
        found, expected = (
            table[table.ensemble == each].drop(columns="ensemble").reset_index(drop=True)
            for each in (ensemble, of_grid)
        )
        pd.testing.assert_frame_equal(found, expected)
        assert len(found) > 1
    apart = tables["correlation"].query("ensemble == 'mc_dropout8' and members == 'with'")
    assert set(apart.pair) == {"same pretraining seed", "other pretraining seed"}


def test_cheaper_ensembles_are_compared_with_single_reward_models_at_equal_kl(cheaper):
    folder, *_, tables = cheaper
    rows = tables["equal_kl"].query("by == 'gold' and share == 0.5").set_index(["ensemble"])
    assert set(rows[rows["minus"] == "single"].index) == {
        *("finetune", "warm", "multihead", "mc_dropout8")
    }
    found = from_table(read_table(folder / "evidence" / "small" / "rlhf.parquet", EVIDENCE))
    for what in ("proxy", "reward", "gold", "win_rate"):
        of_kinds = [found[f"RLHF {what} of {each} mean", 0] for each in ("finetune", "mc_dropout8")]
        np.testing.assert_allclose(*(each[0] for each in of_kinds), equal_nan=True)  # over posts
    assert not any("rank correlation" in name and "dropout" in name for name, _ in found)


def test_a_policy_without_the_rewards_of_its_rankers_members_is_refused(cheaper, tmp_path):
    folder, aligned, chosen, _ = cheaper
    folder = shutil.copytree(folder, tmp_path / "results")
    path = folder / "scores/aligned/small/mc_dropout8-pretrain0-mean/kl0.2-seed0.parquet"
    table = pd.read_parquet(path).drop(columns="pretrain0-finetune0-dropout1")
    table.to_parquet(path)
    with pytest.raises(ArtifactError, match="kl0.2.*column pretrain0-finetune0-dropout1 is miss"):
        run(folder, aligned=aligned, cheaper=chosen)


def test_correlations_by_hand(results):
    """Over posts, of the policies of one coefficient aligned to single reward models, for each pair
    without the ranker; seeds of RLHF count alike."""
    folder, tables = results
    by_pair = {"same pretraining seed": [], "other pretraining seed": []}
    models = [RewardModel(0, 0), RewardModel(0, 1), RewardModel(1, 0), RewardModel(2, 0)]
    for seed, checkpoint in itertools.product((0, 3), (0, 1, 2)):
        of_ranker = {"same pretraining seed": [], "other pretraining seed": []}
        samples = samples_of(folder, f"single-pretrain{checkpoint}-finetune0", 0.2, seed)
        for first, second in itertools.combinations(models, 2):
            if RewardModel(checkpoint, 0) in (first, second):
                continue
            same = first.pretrain_seed == second.pretrain_seed
            by_index = [
                each[[first.name, second.name]].corr("spearman").iloc[0, 1]
                for _, each in samples.groupby("sample_index")
            ]
            assert len(by_index) == SAMPLES_OF_ALIGNED
            of_ranker["same pretraining seed" if same else "other pretraining seed"].append(
                np.mean(by_index)
            )
        for pair, values in of_ranker.items():
            if values:  # of pretraining seed 0 there is no pair of others
                by_pair[pair].append(np.mean(values))
    rows = tables["correlation"].query(
        "scale == 'small' and ensemble == 'single' and over == 'posts' and members == 'without'"
    )
    rows = rows[rows.kl_coefficient == 0.2].set_index("pair")
    for pair, values in by_pair.items():
        assert rows.value[pair] == pytest.approx(np.mean(values), **CLOSE)


def test_the_sft_policy_is_compared_by_as_many_samples(results):
    """Over samples, in sets of as many as an aligned policy has."""
    folder, tables = results
    first, second = (sft_rewards(folder, f"small/pretrain{seed}-finetune0") for seed in (0, 2))
    found = []
    for post in first.index:
        sets = [
            pd.Series(one).corr(pd.Series(other), method="spearman")
            for one, other in zip(
                first.loc[post].to_numpy().reshape(-1, SAMPLES_OF_ALIGNED),
                second.loc[post].to_numpy().reshape(-1, SAMPLES_OF_ALIGNED),
                strict=True,
            )
        ]
        found.append(np.nanmean(sets))
    sets = aligned_policies.in_sets(
        np.stack([first.to_numpy(), second.to_numpy()]), SAMPLES_OF_ALIGNED
    )
    assert correlations(sets).over_samples[0] == pytest.approx(found, abs=1e-6)
    rows = tables["correlation"]
    assert (rows[rows.kl_coefficient.isna()].kl == 0).all()


def test_shift_by_hand(results):
    folder, tables = results
    rows = tables["shift"].query("scale == 'large' and ensemble == 'single'")
    rows = rows[rows.kl_coefficient == 0.05].set_index("diagnostic")
    every = [samples_of(folder, "single-pretrain1-finetune0", 0.05, s, "large") for s in (0, 3)]
    for name in ("words", "common_subsequence", "copied", "truth", "form"):
        expected = np.mean([each[name].mean() for each in every])
        assert rows.value[name] == pytest.approx(expected, **CLOSE)
    empty = np.mean([(each.text == "").mean() for each in every])
    assert rows.value["empty"] == pytest.approx(empty, **CLOSE)
    distinct = np.mean([each.text.nunique() / len(each) for each in every])
    assert rows.value["distinct"] == pytest.approx(distinct, **CLOSE)


def test_the_sft_policys_distinct_texts_are_counted_among_as_many(results):
    folder, tables = results
    texts = pd.read_parquet(folder / "samples/best_of_n.parquet").text.to_numpy()
    texts = texts.reshape(POSTS, -1, SAMPLES_OF_ALIGNED)
    shares = [len(set(texts[:, i].ravel())) / texts[:, i].size for i in range(texts.shape[1])]
    rows = tables["shift"].query("ensemble == 'policy' and diagnostic == 'distinct'")
    assert rows.value.to_numpy() == pytest.approx([np.mean(shares)] * 2, **CLOSE)


def test_equal_kl_has_kinds_and_their_differences(results):
    _, tables = results
    rows = tables["equal_kl"].query("scale == 'small' and by == 'gold' and share == 0.5")
    of_kind = rows[rows["minus"] == ""].set_index(["ensemble", "aggregator"]).value
    differences = rows[rows["minus"] != ""]
    assert {(row.ensemble, row.aggregator, row.minus) for row in differences.itertuples()} == {
        ("finetune", "mean", "single"),
        ("pretrain", "mean", "single"),
        ("pretrain", "min", "single"),
        ("pretrain", "mean", "finetune mean"),
    }
    for row in differences.itertuples():
        less = (
            of_kind[tuple(row.minus.split())] if " " in row.minus else of_kind["single", "single"]
        )
        assert row.value == pytest.approx(of_kind[row.ensemble, row.aggregator] - less, **CLOSE)


def test_the_common_end_is_the_end_of_some_path(results):
    _, tables = results
    rows = tables["frontier"].query("scale == 'small' and by == 'kl' and seed == seed")
    reached = rows.groupby(["ranker", "seed"]).value.max()
    turning = tables["turning"].query("scale == 'small'")
    assert turning[turning.end == "common"].kl_at_end.to_numpy() == pytest.approx(
        reached.min(), **CLOSE
    )
    assert (turning.value >= 0).all()
    assert (turning.kl_of_highest <= turning.kl_at_end * (1 + 1e-5)).all()


def test_table1_is_the_frontier_at_two_coefficients(results):
    folder, tables = results
    for row in tables["table1"].query("scale == 'small'").itertuples():
        if row.at == "lowest coefficient":
            assert row.kl_coefficient == 0.05
    (row,) = (
        tables["table1"]
        .query("scale == 'small' and aggregator == 'min' and at == 'lowest coefficient'")
        .itertuples()
    )
    rewards = [
        samples_of(folder, "pretrain-finetune0-min", 0.05, seed).evaluator for seed in (0, 3)
    ]
    of_posts = np.mean([each.groupby("post_id").mean() for each in rewards], axis=0)
    assert row.reward == pytest.approx(of_posts.mean(), **CLOSE)
    error = of_posts.std(ddof=1) / np.sqrt(POSTS)
    assert row.reward_standard_error == pytest.approx(error, rel=1e-4)


def test_the_first_resample_is_what_the_tables_say(results):
    folder, tables = results
    found = from_table(read_table(folder / "evidence/small/rlhf.parquet", EVIDENCE))
    units = {"single": 3, "finetune mean": 1, "pretrain mean": 2, "pretrain min": 2}
    for kind, number in units.items():
        assert found[UNITS_OF_RLHF + kind, 0][0, 0] == number
    checked = 0
    close = {"rel": 1e-4, "abs": 1e-5}
    equal = tables["equal_kl"].query("scale == 'small'")
    equal = equal[equal["minus"] == ""]
    for (by, ensemble, aggregator), rows in equal.groupby(["by", "ensemble", "aggregator"]):
        kind = ensemble if ensemble == "single" else f"{ensemble} {aggregator}"
        estimate = found[f"RLHF {by} of {kind}", 0][:, 0]
        assert estimate == pytest.approx([rows.value.mean()] * 3, **close)
        checked += 1
    for row in tables["turning"].query("scale == 'small' and end == 'common'").itertuples():
        kind = row.ensemble if row.ensemble == "single" else f"{row.ensemble} {row.aggregator}"
        estimate = found[f"RLHF fall in {row.by} of {kind}", 0][:, 0]
        assert estimate == pytest.approx([row.value] * 3, **close)
        checked += 1
    rows = tables["correlation"].query(
        "scale == 'small' and ensemble == 'single' and over == 'posts' and members == 'without'"
    )
    for when, of_when in (
        ("before", rows[rows.kl_coefficient.isna()]),
        ("after", rows[rows.kl_coefficient == 0.05]),
    ):
        for row in of_when.itertuples():
            estimate = found[f"RLHF rank correlation {when}, {row.pair}", 0][:, 0]
            assert estimate == pytest.approx([row.value] * 3, **close)
            checked += 1
    assert checked == 4 * 4 + 2 * 4 + 4


def test_a_world_without_gold_and_one_coefficient_of_one_ranker(tmp_path):
    design = DESIGN | {"scales": ["small"]}
    aligned = ALIGNED | {
        "rankers": {"small": ["single-pretrain1-finetune0"]},
        "kl_coefficients": [0.2],
        "seeds": [0],
    }
    make_results(tmp_path, design)
    make_aligned(tmp_path, design, aligned, gold=False)
    tables = run(tmp_path, design, aligned, gold=False)
    assert set(tables["frontier"].by) == {"kl", "proxy", "reward", "win_rate", "hacked"}
    assert list(tables["table1"]["at"]) == ["highest reward", "lowest coefficient"]
    assert "gold" not in tables["table1"]
    assert (tables["equal_kl"]["minus"] == "").all()
    found = from_table(read_table(tmp_path / "evidence/small/rlhf.parquet", EVIDENCE))
    assert found[UNITS_OF_RLHF + "single", 0][0, 0] == 1
    assert tables["frontier"].low.isna().all()  # one pretraining seed says nothing of others
    of_kind = tables["frontier"].query("ranker == 'all' and by == 'reward'")
    assert of_kind.posts_low.notna().all()


def change(folder, kind, edit, policy="kl0.05-seed0"):
    path = folder / kind / "aligned/small/pretrain-finetune0-min" / f"{policy}.parquet"
    table = edit(pd.read_parquet(path))
    table.to_parquet(path)
    return path


def with_value(column, value):
    def edit(table):
        table.loc[table.index[3], column] = value
        return table

    return edit


@pytest.mark.parametrize(
    ("kind", "edit", "message"),
    [
        ("scores", lambda t: t.drop(columns="evaluator"), "column evaluator is missing"),
        ("scores", lambda t: t.drop(columns="pretrain1-finetune0"), "pretrain1-finetune0 is"),
        ("scores", with_value("pretrain1-finetune0", np.nan), "1 missing or non-finite values"),
        ("scores", lambda t: t[::-1], "its samples are not those of"),
        ("samples", with_value("kl", np.nan), "column kl has 1 missing or non-finite values"),
        ("samples", with_value("kl", -0.5), "has a divergence of -0.5 nats"),
        ("samples", lambda t: t.drop(columns="kl"), "column kl is missing"),
        ("samples", lambda t: t[t.post_id != "post3"], "its posts are not those of"),
        ("samples", lambda t: t.replace({"post3": "other"}), "its posts are not those of"),
        ("samples", lambda t: t[:-1], "every post must have the same number of samples"),
        ("diagnostics", lambda t: t.drop(columns="gold"), "column gold is missing"),
        ("diagnostics", lambda t: t.drop(columns="truth"), "column truth is missing"),
        ("diagnostics", with_value("form", np.inf), "column form has 1 missing"),
        ("diagnostics", lambda t: t[t.sample_index > 0], "its samples are not those of"),
    ],
)
def test_refuses_damaged_tables_by_name(small, kind, edit, message):
    folder, run_it = small
    path = change(folder, kind, edit)
    with pytest.raises(ArtifactError) as caught:
        run_it()
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)


def test_refuses_policies_of_unequally_many_samples(small):
    folder, run_it = small
    for kind in ("samples", "scores", "diagnostics"):
        path = change(folder, kind, lambda table: table[table.sample_index < 2], "kl0.2-seed0")
    with pytest.raises(ArtifactError, match="has 2 samples of each post, where others have 4"):
        run_it()
    assert path.exists()


def test_refuses_a_missing_policy_by_name(small):
    folder, run_it = small
    path = folder / "scores/aligned/small/pretrain-finetune0-min/kl0.8-seed0.parquet"
    path.unlink()
    with pytest.raises(ArtifactError, match="kl0.8-seed0.parquet: no such file"):
        run_it()


def test_table1_has_the_coefficient_of_the_highest_reward(results):
    _, tables = results
    rows = tables["frontier"].query("by == 'reward' and ranker == 'all'")
    keys = ["scale", "ensemble", "aggregator"]
    best = rows.loc[rows.groupby(keys).value.idxmax()].set_index(keys).kl_coefficient
    found = tables["table1"].query("`at` == 'highest reward'").set_index(keys).kl_coefficient
    assert found.to_dict() == best.to_dict()
    assert found.nunique() > 1


def test_the_own_end_of_a_kind_is_the_mean_over_its_paths(results):
    _, tables = results
    rows = tables["frontier"].query("by == 'kl' and seed == seed")
    keys = ["scale", "ensemble", "aggregator"]
    ends = rows.groupby([*keys, "ranker", "seed"]).value.max().groupby(keys).mean()
    found = tables["turning"].query("end == 'own'")
    for row in found.itertuples():
        assert row.kl_at_end == pytest.approx(
            ends[row.scale, row.ensemble, row.aggregator], **CLOSE
        )
    np.testing.assert_allclose(found.value, found.highest - found.at_end, atol=1e-5)


def test_the_best_of_all_samples_by_hand(results):
    folder, tables = results
    read = read_made(folder)
    scale = read.scales[0]
    rows = tables["frontier"].query(f"scale == 'small' and ranker == 'best of {SAMPLES_A_POST}'")
    rows = rows.set_index(["ensemble", "by"]).value
    for ensemble in ("single", "finetune", "pretrain"):
        found = []
        for ranker in scale.kinds[ensemble, "single" if ensemble == "single" else "mean"]:
            own = scale.rewards_of(ranker)
            by = {"proxy": own} | {name: read.metrics[name] for name in ("reward", "gold")}
            best = np.arange(POSTS), own.argmax(axis=1)
            found.append([in_policy_units(each)[best].mean() for each in by.values()])
        proxy, reward, gold = np.mean(found, axis=0)
        expected = {"proxy": proxy, "reward": reward, "gold": gold, "hacked": proxy - reward}
        assert rows[ensemble].to_dict() == pytest.approx(expected, rel=1e-4)
