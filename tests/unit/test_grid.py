"""The grid of reward models and the rankers on it, counted and spelled out."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underspec.grid import (
    GRIDS,
    RewardModel,
    ensemble_sizes,
    first_of_kinds,
    rankers,
    reward_models,
)

SEEDS = st.lists(st.integers(0, 50), min_size=1, max_size=5, unique=True)
MANY_SEEDS = st.lists(st.integers(0, 50), min_size=1, max_size=12, unique=True)


def test_the_workshop_grid_is_the_papers():
    """Section 2.1: five checkpoints, one of them finetuned five times."""
    names = [model.name for model in reward_models("workshop", [0, 1, 2, 3, 4], [0, 1, 2, 3, 4])]
    assert names == [f"pretrain0-finetune{seed}" for seed in range(5)] + [
        f"pretrain{seed}-finetune0" for seed in range(1, 5)
    ]


@given(SEEDS, SEEDS)
def test_sizes_of_grids(pretrain_seeds, finetune_seeds):
    full = reward_models("full", pretrain_seeds, finetune_seeds)
    workshop = reward_models("workshop", pretrain_seeds, finetune_seeds)
    assert len(set(full)) == len(full) == len(pretrain_seeds) * len(finetune_seeds)
    assert len(set(workshop)) == len(workshop) == len(pretrain_seeds) + len(finetune_seeds) - 1
    assert set(workshop) <= set(full)


@given(
    st.sampled_from(GRIDS),
    MANY_SEEDS,
    MANY_SEEDS,
    st.lists(st.sampled_from(["mean", "median", "min"]), unique=True),
    st.integers(2, 14),
)
def test_rankers(grid, pretrain_seeds, finetune_seeds, aggregators, ensemble_size):
    models = reward_models(grid, pretrain_seeds, finetune_seeds)
    found = rankers(models, aggregators, ensemble_size)
    assert len({ranker.name for ranker in found}) == len(found)
    assert [ranker.members for ranker in found if ranker.ensemble == "single"] == [
        (model,) for model in models
    ]
    for ensemble, fixed, varied in (
        ("finetune", "pretrain_seed", finetune_seeds),
        ("pretrain", "finetune_seed", pretrain_seeds),
    ):
        of_kind = [ranker for ranker in found if ranker.ensemble == ensemble]
        size = min(len(varied), ensemble_size)
        assert bool(of_kind) == (len(varied) > 1 and bool(aggregators))
        assert ensemble_sizes(found).get(ensemble, size) == size
        for ranker in of_kind:
            assert ranker.aggregator in aggregators
            assert len(ranker.members) == size
            assert len({getattr(member, fixed) for member in ranker.members}) == 1
        for aggregator in aggregators:
            disjoint = [ranker.members for ranker in of_kind if ranker.aggregator == aggregator]
            members = [member for each in disjoint for member in each]
            assert len(set(members)) == len(members)
            for seed in {getattr(member, fixed) for member in members}:
                whole = [model for model in models if getattr(model, fixed) == seed]
                groups = [each for each in disjoint if getattr(each[0], fixed) == seed]
                assert [member for each in groups for member in each] == whole[: size * len(groups)]
                assert len(whole) - size * len(groups) < size  # too few for another ensemble
                assert len(groups) == 1 or len(varied) > ensemble_size


def test_ranker_names():
    names = [ranker.name for ranker in rankers(reward_models("full", [0, 1], [0, 3]), ["min"], 5)]
    assert names == [
        "single-pretrain0-finetune0",
        "single-pretrain0-finetune3",
        "single-pretrain1-finetune0",
        "single-pretrain1-finetune3",
        "finetune-pretrain0-min",
        "finetune-pretrain1-min",
        "pretrain-finetune0-min",
        "pretrain-finetune3-min",
    ]


def test_ranker_names_of_several_disjoint_ensembles():
    models = reward_models("full", [4, 5, 6, 7, 8], [0, 1])
    ensembles = {ranker.name: ranker.members for ranker in rankers(models, ["min"], 2)[10:]}
    assert list(ensembles) == [f"finetune-pretrain{seed}-min" for seed in (4, 5, 6, 7, 8)] + [
        f"pretrain-finetune{seed}-min-group{group}" for seed in (0, 1) for group in (1, 2)
    ]
    first, second = (RewardModel(seed, 1) for seed in (6, 7))
    assert ensembles["pretrain-finetune1-min-group2"] == (first, second)


def test_the_workshop_grid_has_disjoint_ensembles_where_its_arms_are_long():
    found = rankers(reward_models("workshop", list(range(12)), [0, 1, 2]), ["min"], 5)
    groups = [[member.pretrain_seed for member in ranker.members] for ranker in found[14:]]
    assert groups == [[0, 0, 0], [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert ensemble_sizes(found) == {"finetune": 3, "pretrain": 5}


def test_ragged_grids_make_ensembles_of_one_size():
    models = [RewardModel(0, 0), RewardModel(0, 1), RewardModel(1, 0)]
    ensembles = [ranker.name for ranker in rankers(models, ["mean"], 5)[3:]]
    assert ensembles == ["finetune-pretrain0-mean", "pretrain-finetune0-mean"]


@pytest.mark.parametrize("heavy", ["numpy", "pandas", "torch"])
def test_the_grid_loads_without(heavy):
    """Snakemake imports it in every job."""
    scripts = Path(__file__).parents[2] / "scripts"
    code = f"import sys; sys.path.insert(0, {str(scripts)!r}); import underspec.grid; "
    code += f"sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(
    st.data(), st.permutations(rankers(reward_models("full", [0, 1], [0, 1]), ["mean", "min"], 2))
)
def test_the_first_of_each_kind_comes_before_others_of_it(data, order):
    some = order[: data.draw(st.integers(0, len(order)))]
    first = first_of_kinds(some)

    def kinds(of):
        return [(ranker.ensemble, ranker.aggregator) for ranker in of]

    assert len(set(kinds(first))) == len(first)
    assert set(kinds(first)) == set(kinds(some))
    for ranker in first:
        assert some.index(ranker) == kinds(some).index((ranker.ensemble, ranker.aggregator))
