"""The frontier: paths joined in order of KL, by hand, and what resamples draw."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from underspec import cheaper_ensembles
from underspec.analysis import bootstrap, frontier
from underspec.analysis.intervals import variance_of
from underspec.grid import rankers, reward_models

MODELS = reward_models("full", [0, 1, 2, 3], [0, 1])
DROPOUT = cheaper_ensembles.rankers(
    [cheaper_ensembles.McDropout(seed, 0, (2,)) for seed in range(4)], ["mean"]
)
BY_NAME = {ranker.name: ranker for ranker in [*rankers(MODELS, ["mean", "min"], 4), *DROPOUT]}
PAIRS_BY_NAME = {ranker.name: ranker for ranker in rankers(MODELS, ["mean"], 2)}
TENTHS = st.integers(0, 90).map(lambda number: number / 10)
SINGLES = [f"single-pretrain{seed}-finetune0" for seed in range(4)]


def found(names, kl, reward, resamples=0, by_name=BY_NAME):
    """A frontier of paths with the KL and reward of each point (paths, points), alike for all of 5
    posts, its draws and its courses."""
    every = [by_name[name] for name in names]
    values = {
        key: np.repeat(np.array(each, float)[:, :, None], 5, axis=2)
        for key, each in (("kl", kl), ("reward", reward))
    }
    coefficients = list(np.arange(len(kl[0]), 0, -1.0))
    made = frontier.Frontier(every, [0] * len(names), coefficients, values)
    drawn = frontier.draws(every, MODELS, bootstrap.draw(MODELS, 5, resamples, "base"))
    return made, drawn, frontier.courses(made, drawn, ["reward"])


def test_joins_points_linearly_from_the_sft_policy_on():
    _, _, course = found([SINGLES[0]], [[2, 4]], [[1, 5]])
    for kl, value in {0: 0, 1: 0.5, 2: 1, 3: 3, 4: 5, 9: 5}.items():
        at = course.at("reward", np.full((1, 3, 1), float(kl)))
        assert at == pytest.approx(np.full((1, 3, 1), value))


def test_orders_points_by_kl_and_not_by_coefficient():
    _, _, course = found([SINGLES[0]], [[4, 2]], [[5, 1]])
    assert course.at("reward", np.full((1, 3, 1), 3.0)) == pytest.approx(np.full((1, 3, 1), 3))


def test_two_points_of_one_kl_are_no_division_by_zero():
    _, _, course = found([SINGLES[0]], [[2, 2, 4]], [[1, 3, 5]])
    at = course.at("reward", np.full((1, 3, 1), 3.0))
    assert at == pytest.approx(np.full((1, 3, 1), 4))


def test_one_coefficient_alone_is_a_line_from_the_sft_policy():
    _, _, course = found([SINGLES[0]], [[4]], [[2]])
    assert course.at("reward", np.full((1, 3, 1), 1.0)) == pytest.approx(np.full((1, 3, 1), 0.5))
    assert course.turning("reward", course.kl[:, -1])[0] == pytest.approx(np.full((1, 3, 1), 4))


def test_a_win_rate_starts_from_one_half_and_a_gain_from_0():
    made, drawn, _ = found([SINGLES[0]], [[2, 4]], [[0.6, 0.7]])
    both = replace(made, values=made.values | {"win_rate": made.values["reward"]})
    course = frontier.courses(both, drawn, ["win_rate", "reward"])
    at = np.full((1, 3, 1), 1.0)
    assert course.at("win_rate", at) == pytest.approx(np.full((1, 3, 1), 0.55))
    assert course.at("reward", at) == pytest.approx(np.full((1, 3, 1), 0.3))


def test_kinds_compare_at_shares_of_what_all_paths_reach():
    """At 1, 2, 3 and 4 nats: the one is 1 at 2, 3 at 4 (and 5 at 8, which the other never
    reaches), the other is twice the KL."""
    names = [SINGLES[0], "pretrain-finetune0-mean"]
    made, drawn, course = found(names, [[2, 8], [2, 4]], [[1, 7], [4, 8]])
    assert course.limit == pytest.approx(np.full((3, 1), 4))
    values = dict(frontier.at_equal_kl(made, course, drawn, "reward"))
    assert values["single", "single"][:, 0, 0] == pytest.approx([0.5, 1, 2, 3])
    assert values["pretrain", "mean"][:, 0, 0] == pytest.approx([2, 4, 6, 8])


def test_the_turning_point_and_the_fall_up_to_an_end():
    _, _, course = found([SINGLES[0]], [[2, 4, 8]], [[3, 1, -1]])
    for limit, expected in {8: (2, 3, -1), 4: (2, 3, 1), 3: (2, 3, 2), 1: (1, 1.5, 1.5)}.items():
        turning = course.turning("reward", np.full((1, 3, 1), float(limit)))
        assert [each[0, 0, 0] for each in turning] == pytest.approx(expected)


def test_a_path_that_never_beats_the_sft_policy_turns_there():
    _, _, course = found([SINGLES[0]], [[2, 4]], [[-1, -3]])
    turning = course.turning("reward", course.kl[:, -1])
    assert [each[0, 0, 0] for each in turning] == pytest.approx([0, 0, -3])


@given(
    st.lists(st.tuples(TENTHS, TENTHS), min_size=1, max_size=5, unique_by=lambda point: point[0]),
    TENTHS,
)
def test_interpolates_as_numpy_does(points, at):
    x, y = np.array(sorted(points)).T
    x, y = np.append(0, x), np.append(0, y)
    found = frontier.interpolated(x[None, :, None], y[None, :, None], np.full((1, 1), at))
    if len(np.unique(x)) == len(x):
        assert found[0, 0] == pytest.approx(np.interp(at, x, y), abs=1e-9)


def test_resamples_hold_paths_as_often_as_their_pretraining_seeds():
    names = [*SINGLES, "finetune-pretrain1-mean", "finetune-pretrain3-mean"]
    names += ["mc_dropout2-pretrain0-mean", "mc_dropout2-pretrain2-mean"]
    _, drawn, _ = found(names, [[1]] * 8, [[1]] * 8, resamples=50)
    counts = drawn.weights.models[:, 1]
    of_seed = {model.pretrain_seed: counts[i] for i, model in enumerate(MODELS)}
    for path, seed in enumerate([0, 1, 2, 3, 1, 3, 0, 2]):
        np.testing.assert_allclose(drawn.paths[path, 1], of_seed[seed], atol=1e-6)
        np.testing.assert_array_equal(drawn.paths[path, 2], drawn.paths[path, 1])
        assert (drawn.paths[path, 0] == 1).all()


def test_a_kind_of_one_set_of_pretraining_seeds_keeps_it_and_draws_its_paths():
    names = ["pretrain-finetune0-mean", "pretrain-finetune1-mean", "pretrain-finetune0-min"]
    _, drawn, _ = found([*names, *SINGLES], [[1]] * 7, [[1]] * 7, resamples=50)
    assert (drawn.paths[2] == 1).all()  # there is one
    assert drawn.paths[:2, 1].std() > 0
    np.testing.assert_allclose(drawn.paths[:2].sum(axis=0), 2)


@pytest.fixture
def many_draws_of_seeds(monkeypatch):
    monkeypatch.setattr(bootstrap, "SEED_DRAWS", 20_000)


def values_of(names, values, resamples, by_name=BY_NAME):
    made, drawn, course = found(names, [[1]] * len(names), values, resamples, by_name)
    return dict(frontier.at_equal_kl(made, course, drawn, "reward")), made


@pytest.mark.parametrize("names", [SINGLES, [f"finetune-pretrain{i}-mean" for i in range(4)]])
def test_the_variance_over_seeds_is_that_of_a_mean(names, many_draws_of_seeds):
    """Four values of four pretraining seeds: their variance / 4, to 5 % with 20,000 resamples."""
    values = [3.0, 1, 4, 1.5]
    by_kind, made = values_of(names, [[each] for each in values], 20_000)
    (found,) = by_kind.values()
    (kind,) = made.kinds
    variance = variance_of(*found[-1], made.units(kind))
    assert variance.seeds == pytest.approx(np.var(values, ddof=1) / 4, rel=0.05)
    assert variance.posts == 0


def test_the_variance_over_seeds_of_disjoint_ensembles(many_draws_of_seeds):
    """Two of two pretraining seeds each: half of their variance, as far as P / (P - 1) for P = 4
    pretraining seeds scales that of two up: two thirds."""
    names = [f"pretrain-finetune0-mean-group{group}" for group in (1, 2)]
    by_kind, _ = values_of([*SINGLES, *names], [[0]] * 4 + [[1], [2]], 20_000, PAIRS_BY_NAME)
    variance = variance_of(*by_kind["pretrain", "mean"][-1], 4)
    assert variance.seeds == pytest.approx(np.var([1, 2], ddof=1) / 2 * 2 / 3, rel=0.05)


def test_the_variance_of_paths_that_are_drawn_themselves():
    """Two paths of one set beside four single reward models: half of their variance, to 5 %."""
    names = [*SINGLES, "pretrain-finetune0-mean", "pretrain-finetune1-mean"]
    by_kind, made = values_of(names, [[0]] * 4 + [[1], [2]], 20_000)
    kinds = ("single", "single"), ("pretrain", "mean")
    assert [made.units(kind) for kind in kinds] == [4, 2]
    variance = variance_of(*by_kind["pretrain", "mean"][-1], 4)
    assert variance.seeds == pytest.approx(np.var([1, 2], ddof=1) / 2, rel=0.05)


@pytest.mark.parametrize(
    ("names", "units"),
    [
        (SINGLES[:1], 1),
        (SINGLES[:3], 3),
        (["single-pretrain0-finetune0", "single-pretrain0-finetune1"], 1),
        (["finetune-pretrain0-mean", "finetune-pretrain0-mean"], 1),
        (["finetune-pretrain0-mean", "finetune-pretrain1-mean"], 2),
        (["mc_dropout2-pretrain0-mean", "mc_dropout2-pretrain1-mean"], 2),
        (["pretrain-finetune0-mean"], 1),
        (["pretrain-finetune0-mean", "pretrain-finetune0-mean", "pretrain-finetune1-mean"], 3),
    ],
)
def test_what_intervals_over_seeds_rest_on(names, units):
    """Of one pretraining seed nothing varies; one pretrain ensemble has several."""
    assert frontier.units([BY_NAME[name] for name in names]) == units


def test_a_comparison_rests_on_the_kind_with_the_fewest_units():
    names = [*SINGLES[:3], "pretrain-finetune0-mean", "finetune-pretrain0-mean"]
    made, _, _ = found([*names, "finetune-pretrain1-mean"], [[1]] * 6, [[1]] * 6)
    single, pretrain, finetune = made.kinds
    assert made.units(single, pretrain) == 3  # there is one pretrain ensemble: it cannot vary
    assert made.units(single, finetune) == made.units(finetune) == 2
    assert made.units(pretrain) == 1


def test_the_data_come_first_in_every_draw():
    names = [*SINGLES, "pretrain-finetune0-mean", "pretrain-finetune1-mean"]
    made, drawn, course = found(names, [[1, 2]] * 6, [[i, -i] for i in range(6)], resamples=30)
    assert (drawn.paths[:, :, 0] == 1).all()
    for _, values in frontier.at_equal_kl(made, course, drawn, "reward"):
        assert values[:, :, 0] == pytest.approx(values[:, :1, 0].repeat(3, axis=1))


def test_a_mean_over_paths_leaves_out_those_without_a_value():
    _, drawn, _ = found(SINGLES, [[1]] * 4, [[1]] * 4)
    values = np.full((4, 3, 1), np.nan)
    assert np.isnan(drawn.over_paths(values, [0, 1, 2, 3])).all()
    values[1:3] = [[[2.0]], [[4.0]]]
    assert drawn.over_paths(values, [0, 1, 2, 3]) == pytest.approx(np.full((3, 1), 3))
    some = replace(drawn, paths=drawn.paths * np.array([1, 3, 1, 1])[:, None, None])
    assert some.over_paths(values, [0, 1, 2, 3]) == pytest.approx(np.full((3, 1), 2.5))
