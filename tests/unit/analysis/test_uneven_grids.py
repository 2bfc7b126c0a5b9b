"""Grids of which the groups differ in size: every statistic against plain loops, or absent."""

import itertools
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from fake_results import (
    DESIGN,
    NEWER,
    NO_CHEAPER,
    PUBLISHED,
    make_results,
    of_grid,
    read_made,
    run,
)
from hypothesis import given
from hypothesis import strategies as st
from test_evidence_tables import CLAIMS_FILE, diagnose, inputs

from claims import claims
from disagreement_tables import disagreement_tables
from evaluation_tables import evaluation_tables
from evidence import evidence
from underspec.analysis import bootstrap, newer_rankers, quantities
from underspec.analysis.ensembles import aggregate
from underspec.analysis.parts import NEEDS, missing, parts, possible
from underspec.analysis.rerank import best_of_n
from underspec.analysis.results import read_results
from underspec.grid import RewardModel, rankers, reward_models

# Four groups of 3, 2, 2 and 1; a member is shared by four, three and one of them.
UNEVEN = DESIGN | {
    "grid": [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0], [2, 1], [3, 0]],
    "pretrain_seeds": [0, 1, 2, 3],
    "finetune_seeds": [0, 1, 2],
    "ensemble_size": 2,
    "scales": ["small"],
}
# No member is in all groups, and those of a member differ.
CROSSED = UNEVEN | {"grid": [[0, 0], [1, 0], [0, 1], [2, 1], [3, 1], [1, 2], [2, 2]]}
CELLS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12, unique=True
)


@given(CELLS, st.integers(2, 5))
def test_every_seed_with_enough_reward_models_has_ensembles_of_one_size(cells, size):
    models = [RewardModel(*cell) for cell in cells]
    found = rankers(models, ["mean"], size)
    assert len({ranker.name for ranker in found}) == len(found)
    for kind, seed in (("finetune", "pretrain_seed"), ("pretrain", "finetune_seed")):
        of_kind = [ranker.members for ranker in found if ranker.ensemble == kind]
        counts = Counter(getattr(model, seed) for model in models)
        members = min(size, max(counts.values()))
        assert {len(each) for each in of_kind} <= {members}
        wanted = sum(count // members for count in counts.values()) if members > 1 else 0
        assert len(of_kind) == wanted
        assert max(Counter(itertools.chain(*of_kind)).values(), default=1) == 1


def test_listed_reward_models_come_in_the_order_of_the_seeds():
    models = reward_models([[1, 5], [0, 5], [1, 4]], [1, 0], [4, 5])
    assert [model.name for model in models] == [
        *("pretrain1-finetune4", "pretrain1-finetune5", "pretrain0-finetune5")
    ]


@pytest.fixture(scope="module", params=[UNEVEN, CROSSED], ids=["uneven", "crossed"])
def read(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("results")
    make_results(folder, request.param)
    read = read_made(folder, request.param)
    return folder, request.param, read


def ensembles_by_hand(scale, drawn, resample, kind):
    """The members of the ensembles of two that one resample drew."""
    seeds = list(dict.fromkeys(model.pretrain_seed for model in scale.models))
    if kind == "pretrain":
        finetuning = dict.fromkeys(model.finetune_seed for model in scale.models)
        sequences = [
            [RewardModel(seeds[slot], seed) for slot in drawn.drawn_seeds[resample]]
            for seed in finetuning
            if sum(model.finetune_seed == seed for model in scale.models) > 1
        ]
        sequences = [[model for model in each if model in scale.models] for each in sequences]
    else:
        sequences = [
            [scale.models[model] for model in slot if model >= 0] for slot in drawn.drawn[resample]
        ]
    return [each[i - 2 : i] for each in sequences for i in range(2, len(each) + 1, 2)]


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
@pytest.mark.parametrize("aggregator", ["mean", "min"])
def test_ensembles_are_put_together_again_in_every_resample(read, kind, aggregator):
    _, _, results = read
    scale, metric = results.scales[0], results.metrics["reward"]
    drawn = bootstrap.draw(scale.models, metric.shape[0], 30, scale.scale)
    newer = newer_rankers.read(NEWER, np.random.default_rng(5).random(metric.shape))
    found = quantities.evidence(scale, results.metrics, None, drawn, newer)
    values = found[f"reward of {kind} {aggregator}", 16][1]
    for resample, value in enumerate(values):
        of_ensembles = []
        for members in ensembles_by_hand(scale, drawn, resample, kind):
            rewards = scale.rewards[[scale.models.index(model) for model in members]]
            chosen = best_of_n(aggregate(rewards, aggregator), [16])[0]
            of_post = np.take_along_axis(metric, chosen[:, None], axis=1)[:, 0]
            of_ensembles.append(of_post @ drawn.posts[resample] / metric.shape[0])
        expected = np.mean(of_ensembles) if of_ensembles else np.nan
        assert value == pytest.approx(expected, rel=1e-4, nan_ok=True)
    assert len(set(np.round(values, 6))) > 3
    assert ("accuracy of the evaluator", 0) not in found


def test_reward_models_are_drawn_again_only_where_one_group_alone_has_several(read):
    """Otherwise their part would count twice."""
    _, _, results = read
    models = results.scales[0].models
    drawn = bootstrap.draw(models, 5, 200, "small")
    for slot in drawn.drawn.reshape(-1, drawn.drawn.shape[-1]):
        members = slot[slot >= 0]
        own = [
            i
            for i, each in enumerate(models)
            if drawn.seed_of_model[i] == drawn.seed_of_model[members[0]]
        ]
        assert members.tolist() == own
    alone = [RewardModel(0, 0), RewardModel(0, 1), RewardModel(1, 0), RewardModel(2, 0)]
    again = bootstrap.draw(alone, 5, 200, "small").drawn
    assert (again[..., 0] == again[..., 1]).any()


def test_every_table_and_claim_is_there(read, tmp_path):
    folder, design, results = read
    run(folder, design)
    diagnose(folder)
    has = parts(["evaluator", "gold", "texts", "accuracy"], results.scales[0].models)
    elsewhere = {"figure4", "table1", "gold", "accuracy", "judge", "rlhf_shared_error"}
    names = [name for name in possible(NEEDS, has) if name not in elsewhere]
    assert {"shared_error", "feature_coefficients"} < set(names)
    assert not {"style_accuracy", "people", "reliability"} & set(names)
    write_evidence(folder, design, names, tmp_path / "small")
    table = judged(tmp_path, design, names)
    assert set(table["scale"]) == {"small"}
    assert table["id"].is_unique and "ensembles above single, reward" in set(table["id"])
    assert not table["id"].str.contains("xl|base").any()
    for name in names:
        assert len(pd.read_csv(tmp_path / f"small/{name}.csv"))


def write_evidence(folder, design, names, output, **changes):
    given = inputs(folder) | changes
    evidence(
        **{name: path for name, path in given.items() if path},
        design=design,
        newer=NEWER,
        cheaper=NO_CHEAPER,
        length_bias=0.0,
        scale="small",
        resamples=100,
        tables=names,
        output=output,
    )


def judged(folder, design, names):
    claims(
        claims_file=CLAIMS_FILE,
        published=PUBLISHED,
        evidence=[folder / "small"],
        best_of_n=design["best_of_n"],
        pretraining_seeds=4,
        grid=design["grid"],
        ensemble_size=2,
        world="elsewhere",
        reward="preference",
        words={"group": "base model", "member": "run"},
        claims=folder / "claims.csv",
        tables=[folder / f"tables/{name}.csv" for name in names],
    )
    return pd.read_csv(folder / "claims.csv")


def test_without_an_evaluator_its_tables_are_absent_and_its_claims_undecided(read, tmp_path):
    folder, design, results = read
    disagreement_tables(**of_grid(folder), design=design, output=tmp_path)
    evaluation_tables(**of_grid(folder), design=design, published=PUBLISHED, output=tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {
        "figure1",
        "figure2",
        "figure3",
        "accuracy",
    }
    diagnose(folder)
    names = possible(
        ["components", "shift", "exact", "rankers"], parts([], results.scales[0].models)
    )
    assert names == ["components"]
    unjudged = dict.fromkeys(["evaluator", "evaluator_scores", "gold_scores"])
    write_evidence(folder, design, names, tmp_path / "small", **unjudged)
    table = judged(tmp_path, design, names).set_index("id")
    row = table.loc["ensembles above single, reward"]
    assert (
        row.verdict == "undecided"
        and row.reason == "this experiment has no reward of base model mean at n = 16"
    )
    assert "base model" in table.loc["different pretraining seeds agree less"].claim
    assert set(table.scale) == {"small"}  # the paper's claims, at the scale that there is


def test_gold_alone_is_not_the_evaluator_s_reward(read):
    folder, design, _ = read
    found = read_results(
        **of_grid(folder), design=design, gold_scores=folder / "scores/gold.parquet"
    )
    assert set(found.metrics) == {"gold"}


def test_what_a_grid_cannot_show_is_named():
    apart = [RewardModel(0, 0), RewardModel(1, 1)]
    assert (
        missing("ensemble_size", parts(["evaluator"], apart))
        == "no two reward models have a seed in common"
    )
    assert missing("components", parts([], apart)).startswith("it needs two pretraining seeds")
    one_group = [RewardModel(0, 0), RewardModel(0, 1)]
    assert missing("components", parts([], one_group))
    assert missing("ensemble_size", parts(["evaluator"], one_group)) is None
    assert missing("figure1", set()) is None
