"""Every direction against loops over the artifacts on disk."""

import itertools
import math

import numpy as np
import pytest
from fake_results import (
    CLOSE,
    EXPERIMENT,
    MODELS,
    SAMPLES_A_POST,
    SCALES,
    agreement_values,
    anova_share,
    figure1_values,
    judges_of,
    make_results,
    mean_and_error,
    read_world,
    rows,
    run,
    win_rate,
    worth_values,
)

from underspec.directions import Direction
from underspec.statistics import bootstrap_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_results(folder, EXPERIMENT)
    return folder


@pytest.fixture(scope="module")
def tables(folder):
    return run(folder)


@pytest.fixture(scope="module")
def world(folder):
    return read_world(folder)


def direction(tables, scale, statistic):
    table = tables["directions"]
    (row,) = rows(table[(table["scale"] == scale) & (table["statistic"] == statistic)])
    return row


def check_direction(row, values):
    mean, error = mean_and_error(values)
    assert row["estimate"] == pytest.approx(mean, **CLOSE)
    assert row["low"] == pytest.approx(mean - 1.959964 * error, **CLOSE)
    assert row["high"] == pytest.approx(mean + 1.959964 * error, **CLOSE)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("better", "worse"), [("itself", "same pretrain"), ("same pretrain", "other pretrain")]
)
def test_figure1_directions_are_paired_within_rankers_that_have_both(
    tables, world, scale, better, worse
):
    both = [model for model in MODELS if model.pretrain_seed == 0]
    values = np.mean(
        [
            np.subtract(*(figure1_values(world, scale, model, k, 16) for k in (better, worse)))
            for model in both
        ],
        axis=0,
    )
    check_direction(direction(tables, scale, f"reward: {better} - {worse}"), values)
    # The second form is free of offsets: each judge's mean over a post's samples is taken off.
    means = {
        (model.name, post): np.mean(
            [world["reward"][scale, model.name][post, i] for i in range(SAMPLES_A_POST)]
        )
        for model in MODELS
        for post in world["posts"]
    }
    offsets = np.mean(
        [
            [
                np.subtract(
                    *(
                        np.mean([means[j.name, post] for k, j in judges_of(model) if k == kind])
                        for kind in (better, worse)
                    )
                )
                for post in world["posts"]
            ]
            for model in both
        ],
        axis=0,
    )
    statistic = f"reward above the policy's mean: {better} - {worse}"
    check_direction(direction(tables, scale, statistic), values - offsets)


def resampled(posts):
    """The resamples of the posts that the tables use, spelled out."""
    for counts in bootstrap_weights(len(posts)).astype(int):
        yield list(np.repeat(posts, counts))


def shares(world, scale, model, posts):
    return [anova_share(world, scale, f"single-{model.name}", n, posts) for n in (16, 2)]


@pytest.mark.parametrize("scale", SCALES)
def test_other_directions(tables, world, scale):
    kinds = ("same pretrain", "other pretrain")
    same, other = (np.array(agreement_values(world, scale, kind, 16)) for kind in kinds)
    row = direction(tables, scale, "agreement: same pretrain - other pretrain")
    check_direction(row, same - other)
    assert row["n"] == 16

    share = tables["figure3"].query("ranker == 'all' and scale == @scale").set_index("n")["share"]
    row = direction(tables, scale, "share: n = 16 - n = 2")
    assert row["estimate"] == pytest.approx(share[16] - share[2], abs=1e-5)
    differences = [
        np.mean([np.subtract(*shares(world, scale, model, posts)) for model in MODELS])
        for posts in resampled(world["posts"])
    ]
    assert [row["low"], row["high"]] == pytest.approx(
        np.percentile(differences, [2.5, 97.5]), **CLOSE
    )

    means = {"single": "single", "finetune": "mean", "pretrain": "mean"}
    values = {
        ensemble: {
            name: np.array(
                worth_values(
                    world,
                    {"scale": scale, "ensemble": ensemble, "aggregator": aggregator, "n": 16},
                    value,
                )
            )
            for name, value in {
                "reward": lambda *sample: world["evaluator"][sample],
                "win rate": lambda *sample: win_rate(world, *sample),
                "gold": lambda *sample: world["gold"][sample],
            }.items()
        }
        for ensemble, aggregator in means.items()
    }
    for better, worse in itertools.combinations(("pretrain", "finetune", "single"), 2):
        for name in ("reward", "win rate", "gold"):
            row = direction(tables, scale, f"{name}: {better} - {worse}")
            check_direction(row, values[better][name] - values[worse][name])


def test_accuracy_directions(tables):
    row = direction(
        tables, "small to large", "mean accuracy: large - small (t interval over reward models)"
    )
    accuracy = tables["accuracy"].query("role == 'reward model'").groupby("scale")["accuracy"]
    assert row["estimate"] == pytest.approx(
        accuracy.mean()["large"] - accuracy.mean()["small"], abs=1e-5
    )
    assert row["holds"] == "yes" and row["low"] > 0
    row = direction(tables, "all", "accuracy: evaluator - best reward model (no interval)")
    assert math.isnan(row["low"]) and math.isnan(row["high"]) and row["holds"] == "undecided"
    assert row["estimate"] == pytest.approx(0.8 - accuracy.max().max(), abs=1e-5)


@pytest.mark.parametrize(
    ("low", "high", "holds"),
    [(0.1, 0.2, "yes"), (-0.2, -0.1, "no"), (-0.1, 0.1, "undecided")]
    + [(math.nan, math.nan, "undecided")],
)
def test_holds(low, high, holds):
    assert Direction("", "", "", None, "", 0.0, low, high).holds == holds
