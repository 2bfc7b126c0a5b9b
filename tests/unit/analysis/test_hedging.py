"""HedgeTune: on curves with a known maximum, and its means against orders of the samples."""

from dataclasses import replace

import numpy as np
import pytest
from fake_results import DESIGN, make_results, read_made
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from underspec.analysis import exact_best_of_n, hedging
from underspec.analysis.ensembles import standardise
from underspec.analysis.selection_rules import (
    Candidates,
    expectation,
    number_of_candidates,
    soft,
)
from underspec.analysis.statistics import in_policy_units, kl_bound

REWARDS = arrays(np.float64, (2, 5), elements=st.integers(0, 3).map(float))
VALUES = arrays(np.float64, (2, 2, 5), elements=st.integers(-5, 5).map(float))


def parabola(top, posts=4):
    """Gains of some posts whose mean is highest at `top`, where it is 3."""
    offsets = np.linspace(-1, 1, posts)
    return lambda x: 3 - (np.log(max(x, 1e-9)) - np.log(top)) ** 2 + offsets


@pytest.mark.parametrize("top", [0.3, 1.0, 5.0, 17.0])
def test_finds_the_maximum_of_a_known_curve(top):
    found = hedging.stop(np.geomspace(0.1, 40, 15), parabola(top), integer=False)
    assert found["course"] == "turns"
    assert found["stop"] == pytest.approx(top, rel=2 * hedging.PRECISION)
    assert found["gain"] == pytest.approx(3, abs=1e-3)
    end = 3 - np.log(40 / top) ** 2
    assert found["end_gain"] == pytest.approx(end)
    assert found["drop"] == pytest.approx(3 - end, abs=1e-3)
    assert found["drop_standard_error"] == pytest.approx(0, abs=1e-9)  # the same in every post


def test_stops_at_integers_where_nothing_lies_between():
    found = hedging.stop(range(1, 65), parabola(9.4), integer=True)
    assert found["stop"] == 9


@pytest.mark.parametrize(("top", "course"), [(1000.0, "rises"), (1e-3, "falls")])
def test_a_curve_that_does_not_turn_has_no_stopping_point(top, course):
    found = hedging.stop(range(1, 65), parabola(top), integer=True)
    assert found["course"] == course and np.isnan(found["stop"])
    assert (found["drop"] == 0) == (course == "rises")


def test_a_drop_that_is_nothing_is_no_turn():
    gains = {1: 0.0, 2: 1.0, 3: 1.0 + hedging.NEGLIGIBLE / 2, 4: 1.0}
    found = hedging.stop([1, 2, 3, 4], lambda n: np.full(3, gains[n]), integer=True)
    assert found["course"] == "rises"


def test_a_maximum_next_to_the_limit_of_the_temperature_is_found():
    """Between the lowest temperature that is tried and 0, and between the highest and infinity."""
    temperatures = [np.inf, 4.0, 1.0, 0.25, 0.0]
    for top in (0.2, 5.0):
        found = hedging.stop(temperatures, parabola(top), integer=False)
        assert found["stop"] == pytest.approx(top, rel=2 * hedging.PRECISION)


@given(REWARDS, VALUES)
def test_coefficients_give_the_mean_over_all_orders(rewards, values):
    """With ties, as `exact_best_of_n` has it, which is tested by brute force."""
    found = hedging.coefficients(rewards, values)
    for n in (1, 2, 3, 5):
        chances = exact_best_of_n.chances(rewards, [n])
        expected = exact_best_of_n.expected(chances, values)[:, 0]
        by_share = found @ exact_best_of_n.share_of_sets(5, n)
        np.testing.assert_allclose(by_share, expected, atol=1e-12)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_results(folder, DESIGN)
    return read_made(folder)


def test_stops_of_results(results):
    scale = results.scales[0]
    table = hedging.stops(scale, results.metrics)
    assert len(table) == 3 * 2 * 3  # kinds, truths, rules
    turns = table.course == "turns"
    assert (table.stop.notna() == turns).all()
    of_n = table.rule == "best_of_n"
    assert (table.kl_bound.notna() == (turns & of_n)).all()
    for row in table[turns & of_n].itertuples():
        assert row.kl_bound == pytest.approx(kl_bound(row.stop))
    # The end of best-of-n and of soft best-of-n is the same: the best of all.
    ends = table[table.rule != "poisson"].groupby(["ensemble", "by"]).end_gain
    assert (ends.max() - ends.min()).max() < 1e-5
    assert (table.drop_standard_error[table.course == "rises"] == 0).all()


def test_the_gain_at_a_stop_is_that_of_the_exact_curve(results):
    scale = results.scales[0]
    gold = in_policy_units(results.metrics["gold"])
    table = hedging.stops(scale, results.metrics).query("by == 'gold' and rule == 'best_of_n'")
    for row in table.itertuples():
        gains = []
        kind = scale.kinds[row.ensemble, "single" if row.ensemble == "single" else "mean"]
        for ranker in kind:
            members = [scale.models.index(model) for model in ranker.members]
            rewards = standardise(scale.rewards[members]).mean(axis=0)
            chances = exact_best_of_n.chances(rewards, list(range(1, 17)))
            gains.append(exact_best_of_n.expected(chances, gold))
        curve = np.mean(gains, axis=(0, 2))
        assert row.end_gain == pytest.approx(curve[-1])
        assert row.gain >= curve.max() - hedging.NEGLIGIBLE
        if row.course == "turns":
            assert row.stop == 1 + curve.argmax()


def test_without_gold_the_evaluator_stands_in(results):
    metrics = {name: results.metrics[name] for name in ("reward", "win_rate")}
    assert set(hedging.stops(results.scales[0], metrics).by) == {"reward"}


def test_a_ranker_that_knows_the_truth_never_stops(results):
    gold = results.metrics["gold"]
    scale = results.scales[0]
    scale = replace(scale, rewards=np.broadcast_to(gold, (len(scale.models), *gold.shape)))
    table = hedging.stops(scale, {"gold": gold})
    assert set(table.course) == {"rises"}


def test_the_end_of_poisson_and_the_unit_of_soft_by_hand(results):
    scale, gold = results.scales[0], in_policy_units(results.metrics["gold"])
    table = hedging.stops(scale, results.metrics).query("ensemble == 'single' and by == 'gold'")
    table = table.set_index("rule")
    ns = list(range(1, 17))
    curves = [
        exact_best_of_n.expected(exact_best_of_n.chances(each, ns), gold).mean(axis=1)
        for each in scale.rewards
    ]
    expected = number_of_candidates(15, 16) @ np.mean(curves, axis=0)
    assert table.end_gain["poisson"] == pytest.approx(expected)
    units = [in_policy_units(each) for each in scale.rewards]
    at_stop = [
        expectation(soft(Candidates(each, each), 16, table.stop["soft"]), gold[None])
        for each in units
    ]
    assert table.gain["soft"] == pytest.approx(np.mean(at_stop), rel=1e-5)
