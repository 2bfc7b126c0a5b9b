"""Names of cheaper ensembles, their tables and their members."""

import re

from hypothesis import given
from hypothesis import strategies as st

from underspec.cheaper_ensembles import (
    TABLES,
    McDropout,
    Multihead,
    Warm,
    cheaper_ensembles,
    dropout_members,
    folder,
    folders,
    has_log,
    rankers,
)
from underspec.grid import RewardModel, reward_models
from underspec.grid import rankers as grid_rankers

SEEDS = st.lists(st.integers(0, 10**6), min_size=2, max_size=8, unique=True)


def chosen(warm=(), multihead=(), dropout=(), members=(8,)):
    mc_dropout = {"pretrain_seeds": dropout, "members": members}
    return {"warm": warm, "multihead": multihead, "mc_dropout": mc_dropout}


@given(SEEDS, SEEDS, SEEDS, SEEDS, st.lists(st.integers(2, 12), min_size=1), st.integers(2, 10))
def test_names_are_unique_and_lead_back_to_the_folder(
    warm, multihead, dropout, seeds, members, size
):
    made = cheaper_ensembles(chosen(warm, multihead, dropout, members), seeds, size)
    assert len(made) == len(warm) + len(multihead) + len(dropout)
    tables = [table for each in made for table in each.tables]
    others = [name for each in made for name in each.folders]
    assert len({*tables}) == len(tables) and len({*others}) == len(others)
    assert {folder(table) for table in tables} == {each.folder for each in made}
    assert all(re.fullmatch(TABLES, table) for table in tables)
    of_grid = [RewardModel(p, f).name for p in {*warm, *multihead, *dropout} for f in seeds]
    assert not {*of_grid} & {*tables, *others}
    assert [folder(name) for name in of_grid] == of_grid
    for each in made:
        assert {each.folder} <= {*each.folders, *of_grid}  # trained, for this or for the grid
    for ranker in rankers(made, ["mean"]):
        (its_folder,) = folders(ranker)
        assert its_folder in {each.folder for each in made}
        dropout = ranker.ensemble.startswith("mc_dropout")
        assert dropout_members(ranker) == dropout * len(ranker.members)
    of_ensembles = {each.name for ranker in rankers(made, ["mean"]) for each in ranker.members}
    assert of_ensembles == {*tables}


def test_an_ensemble_has_as_many_members_as_there_are_seeds_at_most():
    warm, multihead = cheaper_ensembles(chosen([3], [4]), [7, 8, 9], 2)
    assert (warm, multihead) == (Warm(3, (7, 8)), Multihead(4, (7, 8)))
    assert warm.members == ["pretrain3-finetune7", "pretrain3-finetune8-head7"]
    assert warm.folders == ["pretrain3-finetune8-head7", "pretrain3-warm"]
    assert multihead.tables == ["pretrain4-finetune7-heads2-0", "pretrain4-finetune7-heads2-1"]
    assert [has_log(each.folder) for each in (warm, multihead)] == [False, True]


def test_the_folders_of_a_ranker_of_the_grid_are_those_of_its_members():
    every = grid_rankers(reward_models("full", [3, 4], [7, 8]), ["mean"], 2)
    for ranker in every:
        assert folders(ranker) == [member.name for member in ranker.members]
        assert dropout_members(ranker) == 0


def test_a_small_ensemble_of_mc_dropout_is_part_of_a_large_one():
    (dropout,) = cheaper_ensembles(chosen(dropout=[3], members=[3, 2]), [7, 8], 2)
    assert dropout == McDropout(3, 7, (3, 2))
    assert (dropout.folder, dropout.folders, dropout.passes) == ("pretrain3-finetune7", [], 3)
    large, small = rankers([dropout], ["mean"])
    assert (large.name, small.name) == ("mc_dropout3-pretrain3-mean", "mc_dropout2-pretrain3-mean")
    assert small.members == large.members[:2]
    assert [each.name for each in large.members] == dropout.tables
    assert dropout.tables == [f"pretrain3-finetune7-dropout{i}" for i in range(3)]
