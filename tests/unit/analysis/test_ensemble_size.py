"""Ensembles of every size: against brute force, the single reward models and the full ensembles."""

from collections import Counter
from dataclasses import replace
from itertools import chain, combinations, product

import numpy as np
import pytest
from fake_results import DESIGN, make_results, read_made
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from underspec.analysis import ensemble_size
from underspec.analysis.ensembles import AGGREGATORS, standardise
from underspec.analysis.intervals import mean_and_error
from underspec.analysis.results import ScaleResults
from underspec.analysis.tables import by_kind
from underspec.grid import reward_models

POSTS, SAMPLES = 6, 8
# Of four integers the mean is exact in binary, so ties are the same ties everywhere.
REWARDS = arrays(np.float32, (4, 3, 4), elements=st.integers(0, 5).map(float))
VALUES = arrays(np.float64, (2, 3, 4), elements=st.integers(-5, 5).map(float))
MEMBERS = [(i, k) for k in range(1, 5) for i in combinations(range(4), k)]


def grid(checkpoints, finetuning_seeds, kind="full", posts=POSTS, seed=0):
    """Results whose reward models share a quality and, of one checkpoint, an error; its metrics."""
    generator = np.random.default_rng(seed)
    models = reward_models(kind, list(range(checkpoints)), list(range(finetuning_seeds)))
    shape = (posts, SAMPLES)
    quality, errors = generator.normal(size=shape), generator.normal(size=(checkpoints, *shape))
    rewards = [quality + errors[m.pretrain_seed] + generator.normal(size=shape) for m in models]
    rewards = np.array(rewards, np.float32)
    results = ScaleResults("small", 100, models, [], [1, 4, SAMPLES], rewards, None, {}, [])
    return results, {"reward": quality + generator.normal(size=shape), "gold": quality}


def curve(table, ensemble, by="gold", column="value"):
    found = table[(table.ensemble == ensemble) & (table.by == by)]
    return found.set_index("size")[column]


def value_of(results, members, metric):
    """(posts,) the metric of what one ensemble chooses."""
    rewards = AGGREGATORS["mean"](standardise(results.rewards[list(members)]))
    return np.array([of_post[row.argmax()] for row, of_post in zip(rewards, metric, strict=True)])


def groups(results, fixed, varied):
    """Indices of the reward models that have a seed in common, if they are as many as can be."""
    found = {}
    for i, model in enumerate(results.models):
        found.setdefault(getattr(model, f"{fixed}_seed"), []).append(i)
    most = len({getattr(model, f"{varied}_seed") for model in results.models})
    return [members for members in found.values() if len(members) == most]


KINDS = [("pretrain", "finetune"), ("finetune", "pretrain")]  # of ensembles; what members share


@given(REWARDS, VALUES, st.integers(1, 4))
def test_evaluates_as_brute_force_does(rewards, values, n):
    by_size = ensemble_size.subsets((0, 1, 2, 3), [])
    found, (of_others,) = ensemble_size.evaluate(rewards, values, n, by_size, by_size[:2])
    expected = np.zeros((2, 3, 4))
    for i, members in enumerate(by_size):
        for each, metric, post in product(members, range(2), range(3)):
            centred = [rewards[m, post] - rewards[m, post].mean() for m in each]
            best = max(range(n), key=lambda s: (sum(c[s] for c in centred), -s))  # noqa: B023
            expected[metric, post, i] += values[metric, post, best] / len(members)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(of_others, expected[:, :, :2].mean(axis=1), atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, "workshop"), (2, 4), (3, 1), (1, 3)], ids=str)
def test_is_the_mean_over_all_ensembles_of_a_size(shape):
    results, metrics = grid(*shape)
    table = ensemble_size.table(results, metrics)
    for ensemble, shared in KINDS:
        of_kind = [g for g in groups(results, shared, ensemble) if len(g) > 1]
        assert set(curve(table, ensemble).index) == set(range(1, len([*of_kind, []][0]) + 1))
        for size, by in product(curve(table, ensemble).index, metrics):
            members = [each for group in of_kind for each in combinations(group, size)]
            expected = np.mean([value_of(results, each, metrics[by]) for each in members])
            assert curve(table, ensemble, by)[size] == pytest.approx(expected)
            for column in ("ensembles", "possible"):
                assert curve(table, ensemble, by, column)[size] == len(members)


def test_ends_are_the_single_reward_models_and_the_ensembles_of_the_paper(tmp_path):
    make_results(tmp_path, DESIGN | {"grid": "full"})
    read = read_made(tmp_path, DESIGN | {"grid": "full"})
    table = ensemble_size.table(read.scales[0], read.metrics)
    for by, metric in read.metrics.items():
        values = dict(zip(*(part for part in _at_largest(read.scales[0], metric)), strict=True))
        for ensemble, size in (("pretrain", 3), ("finetune", 2)):
            found = curve(table, ensemble, by)
            assert found[1] == pytest.approx(values["single", "single"], rel=1e-6)
            assert found[size] == pytest.approx(values[ensemble, "mean"], rel=1e-6)


def _at_largest(scale, metric):
    axes, values = by_kind(scale, metric)
    return axes["kind"], values[:, -1].mean(axis=-1)


def test_gain_added_and_share_follow_from_the_values():
    table = ensemble_size.table(*grid(6, 2, posts=200))
    for ensemble in ("pretrain", "finetune"):
        value, gain, added, share = (
            curve(table, ensemble, column=name) for name in ("value", "gain", "added", "share")
        )
        assert np.isnan([gain[1], added[1], share[1]]).all()
        np.testing.assert_allclose(gain[1:], (value - value[1])[1:])
        np.testing.assert_allclose(added[1:], np.diff(value))
        np.testing.assert_allclose(share[1:], gain[1:] / gain.iloc[-1])


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, "workshop")], ids=str)
def test_the_order_of_reward_models_does_not_matter(shape):
    results, metrics = grid(*shape)
    order = np.random.default_rng(1).permutation(len(results.models))
    reordered = replace(
        results, models=[results.models[i] for i in order], rewards=results.rewards[order]
    )
    keys = ["ensemble", "by", "size"]
    first, second = (
        ensemble_size.table(each, metrics).set_index(keys).sort_index().select_dtypes("number")
        for each in (results, reordered)
    )
    np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-12)


@given(st.integers(1, 3), st.integers(11, 14), st.data())
def test_arcs_are_nested_and_hold_every_member_equally_often(number, size, data):
    every = [tuple(range(start, start + size)) for start in range(0, number * size, size)]
    for members, circles in zip(every, ensemble_size.circles_of(every), strict=True):
        assert len(circles) * size * number >= ensemble_size.SUBSETS
        gone = data.draw(st.sampled_from([None, *members]))
        left = tuple(member for member in members if member != gone)
        by_size = ensemble_size.subsets(left, circles)
        for k, (smaller, larger) in enumerate(zip([[], *by_size], by_size, strict=False), start=1):
            counts = Counter(chain.from_iterable(larger))
            assert set(counts) == set(left) and len(set(counts.values())) == 1
            assert all(len(set(each)) == k for each in larger)
            assert all(
                set(inner) < set(outer) for inner, outer in zip(smaller, larger, strict=False)
            )


def test_where_subsets_are_too_many_the_ends_are_still_all_of_them():
    results, metrics = grid(12, 2)
    table = ensemble_size.table(results, metrics)
    of_kind = groups(results, "finetune", "pretrain")
    for size in (1, 11, 12):
        members = [each for group in of_kind for each in combinations(group, size)]
        expected = np.mean([value_of(results, each, metrics["gold"]) for each in members])
        assert curve(table, "pretrain")[size] == pytest.approx(expected)
        assert curve(table, "pretrain", column="ensembles")[size] == len(members)
    assert curve(table, "pretrain", column="possible")[6] == 2 * 924
    # 11 circles of 12 for each of 2 finetuning seeds; two circles may have an arc in common
    assert 240 < curve(table, "pretrain", column="ensembles")[6] <= 264
    again = ensemble_size.table(results, {"gold": metrics["gold"]})
    np.testing.assert_allclose(curve(again, "pretrain"), curve(table, "pretrain"))


@pytest.mark.parametrize("checkpoints", [4, 11])
def test_intervals_are_those_of_leaving_out_each_pretraining_seed(checkpoints):
    """Around the mean over posts and pretraining seeds; the variances are put together by hand."""
    finetuning_seeds = 2
    results, metrics = grid(checkpoints, finetuning_seeds)
    table = ensemble_size.table(results, metrics)
    values = np.zeros(
        (checkpoints, POSTS)
    )  # of finetune ensembles of both: a plain mean over seeds
    for i, members in enumerate(groups(results, "pretrain", "finetune")):
        values[i] = value_of(results, members, metrics["gold"])
    _, of_posts = mean_and_error(values.mean(axis=0))
    of_seeds = values.mean(axis=1).var(ddof=1) / checkpoints
    _check(table, "finetune", finetuning_seeds, values.mean(), of_posts**2, of_seeds, checkpoints)

    if checkpoints > 10:
        return  # circles without a seed are not those of a grid without it
    of_posts = ensemble_means(results, metrics["gold"], 2)
    without = [
        ensemble_means(_without(results, seed), metrics["gold"], 2).mean()
        for seed in range(checkpoints)
    ]
    of_seeds = (checkpoints - 1) * np.var(without)
    error = mean_and_error(of_posts)[1]
    _check(table, "pretrain", 2, of_posts.mean(), error**2, of_seeds, checkpoints)


def ensemble_means(results, metric, size):
    """(posts,) of pretrain ensembles of a size, a mean over all."""
    of_kind = groups(results, "finetune", "pretrain")
    members = [each for group in of_kind for each in combinations(group, size)]
    return np.mean([value_of(results, each, metric) for each in members], axis=0)


def _without(results, seed):
    kept = [i for i, model in enumerate(results.models) if model.pretrain_seed != seed]
    return replace(results, models=[results.models[i] for i in kept], rewards=results.rewards[kept])


def _check(table, ensemble, size, mean, of_posts, of_seeds, seeds):
    from scipy.stats import t

    freedom = (seeds - 1) * ((of_posts + of_seeds) / of_seeds) ** 2
    reach = t.ppf(0.975, freedom) * np.sqrt(of_posts + of_seeds)
    for column, bound in {
        "value": mean,
        "value_low": mean - reach,
        "value_high": mean + reach,
    }.items():
        assert curve(table, ensemble, column=column)[size] == pytest.approx(bound)


def test_reward_models_of_a_single_checkpoint_vary_over_finetuning_seeds():
    results, metrics = grid(3, 4, "workshop", posts=40)
    table = ensemble_size.table(results, metrics)
    (members,) = groups(results, "pretrain", "finetune")
    means = [value_of(results, [member], metrics["gold"]) for member in members]
    reach = curve(table, "finetune", column="value_high")[1] - np.mean(means)
    over_posts = mean_and_error(np.mean(means, axis=0))[1]
    assert reach > 1.96 * np.hypot(over_posts, np.std(np.mean(means, axis=1), ddof=1) / 2)


def test_reward_models_that_agree_gain_nothing_and_have_no_interval_of_it():
    results, metrics = grid(4, 2)
    results = replace(results, rewards=np.repeat(results.rewards[:1], 8, axis=0))
    table = ensemble_size.table(results, metrics)
    later = table[table["size"] > 1]
    assert (later[["gain", "added"]].abs() < 1e-12).all(axis=None)
    bounds = [f"{name}_{side}" for name in ("gain", "added") for side in ("low", "high")]
    assert later[bounds + ["share"]].isna().all(axis=None)
    assert later[["value_low", "value_high"]].notna().all(axis=None)


def test_one_post_has_no_interval():
    results, metrics = grid(4, 2, posts=1)
    table = ensemble_size.table(results, metrics)
    assert table.value.notna().all()
    assert table.filter(regex="_(low|high)$").isna().all(axis=None)


def test_two_seeds_say_nothing_about_what_a_second_adds():
    results, metrics = grid(2, 1, posts=40)
    table = ensemble_size.table(results, metrics)
    assert curve(table, "pretrain", column="gain")[2] != 0
    assert np.isnan(curve(table, "pretrain", column="gain_low")[2])


def test_a_single_reward_model_has_no_rows():
    assert ensemble_size.table(*grid(1, 1)).empty


def test_share_is_missing_where_the_gain_may_be_0():
    for seed in range(20):
        table = ensemble_size.table(*grid(4, 2, posts=6, seed=seed))
        last = table[table["size"] == table.groupby("ensemble")["size"].transform("max")]
        unsure = last[(last.gain > 0) & ~(last.gain_low > 0)]
        if len(unsure):
            break
    assert len(unsure) and unsure.share.isna().all()


@pytest.mark.parametrize("at_once", [(4, 256), (64, 5)])
def test_sizes_are_evaluated_in_blocks(monkeypatch, at_once):
    results, metrics = grid(5, 3)
    whole = ensemble_size.table(results, metrics)
    for name, number in zip(("POSTS_AT_ONCE", "ENSEMBLES_AT_ONCE"), at_once, strict=True):
        monkeypatch.setattr(ensemble_size, name, number)
    again = ensemble_size.table(results, metrics)
    for name in ("value", "value_low", "gain", "added"):
        np.testing.assert_allclose(again[name], whole[name], rtol=1e-9)
