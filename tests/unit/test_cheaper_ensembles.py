"""Names of cheaper ensembles, their tables and their members."""

import re

from hypothesis import given
from hypothesis import strategies as st

from underspec.cheaper_ensembles import (
    TABLES,
    Multihead,
    Warm,
    cheaper_ensembles,
    folder,
    has_log,
)
from underspec.grid import RewardModel

SEEDS = st.lists(st.integers(0, 10**6), min_size=2, max_size=8, unique=True)


@given(SEEDS, SEEDS, SEEDS, st.integers(2, 10))
def test_names_are_unique_and_lead_back_to_the_folder(warm, multihead, seeds, size):
    made = cheaper_ensembles({"warm": warm, "multihead": multihead}, seeds, size)
    assert len(made) == len(warm) + len(multihead)
    tables = [table for each in made for table in each.tables]
    folders = [name for each in made for name in each.folders]
    assert len({*tables}) == len(tables) and len({*folders}) == len(folders)
    assert {folder(table) for table in tables} == {each.folder for each in made}
    assert all(re.fullmatch(TABLES, table) for table in tables)
    of_grid = [RewardModel(p, f).name for p in {*warm, *multihead} for f in seeds]
    assert not {*of_grid} & {*tables, *folders}
    assert [folder(name) for name in of_grid] == of_grid


def test_an_ensemble_has_as_many_members_as_there_are_seeds_at_most():
    warm, multihead = cheaper_ensembles({"warm": [3], "multihead": [4]}, [7, 8, 9], 2)
    assert (warm, multihead) == (Warm(3, (7, 8)), Multihead(4, (7, 8)))
    assert warm.members == ["pretrain3-finetune7", "pretrain3-finetune8-head7"]
    assert warm.folders == ["pretrain3-finetune8-head7", "pretrain3-warm"]
    assert multihead.tables == ["pretrain4-finetune7-heads2-0", "pretrain4-finetune7-heads2-1"]
    assert [has_log(each.folder) for each in (warm, multihead)] == [False, True]
