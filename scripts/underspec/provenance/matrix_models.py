"""The reward models of a matrix from elsewhere, as the table `reward_models` describes them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from underspec.errors import UserError
from underspec.grid import GRIDS, RewardModel, reward_models
from underspec.provenance.matrix_files import Table
from underspec.schema import NAME

EVALUATOR = "evaluator"  # its table, its row here, and its scale if none is given
GOLD = "gold"
ONE_SCALE = "all"  # the scale of reward models of which none is given
MOST_MEMBERS = 5  # of ensembles, as in the paper


@dataclass(frozen=True)
class Model:
    """A row of reward_models, with its cell of the grid."""

    name: str
    group: str
    member: str
    scale: str
    cell: RewardModel
    said: dict  # accuracy, parameters and pairs, as far as given

    @property
    def score(self) -> str:
        """Its name below scores/."""
        return f"{self.scale}/{self.cell.name}"

    @property
    def metrics(self) -> dict:
        seeds = {"pretrain_seed": self.cell.pretrain_seed, "finetune_seed": self.cell.finetune_seed}
        about = {"name": self.name, "group": self.group, "member": self.member}
        return {"scale": self.scale, "from_elsewhere": True} | seeds | about | self.said


def models(table: Table) -> tuple[list[Model], Model]:
    """The reward models, and the evaluator (which need have no row)."""
    table.require("name", "group")
    number = table.columns.num_rows

    def texts(name: str, default: str) -> list[str]:
        given = table.texts(name, blank=True) if name in table.names else [""] * number
        return [text or default for text in given]

    names, scales = table.texts("name").tolist(), texts("scale", "")
    groups, members = texts("group", ""), texts("member", "")
    said, rows = _said(table), range(number)
    if len(set(names)) < number:
        row = next(row for row in rows if names[row] in names[:row])
        raise table.fault(row, f"the second with the name {names[row]}; rename or remove it")
    ranked = [row for row in rows if names[row] != EVALUATOR]
    for row in ranked:
        if not groups[row]:
            raise table.fault(row, f"{names[row]} has no group; say what it shares with others")
    for row in rows:
        scales[row] = scales[row] or (ONE_SCALE if row in ranked else EVALUATOR)
        if not re.fullmatch(NAME, scales[row]) or scales[row] == GOLD:
            raise table.fault(
                row, f"{scales[row]!r} cannot name a scale; use letters, digits, '_', '-' and '.'"
            )
    found = []
    for scale in dict.fromkeys(scales[row] for row in ranked):
        of_scale = [row for row in ranked if scales[row] == scale]
        if len(of_scale) < 2:
            raise table.fault(of_scale[0], f"the only one of scale {scale}; at least 2 are needed")
        cells = _cells(table, of_scale, names, groups, members)
        found += [
            Model(names[row], groups[row], members[row], scale, cell, said[row])
            for row, cell in zip(of_scale, cells, strict=True)
        ]
    _one_grid(table, found)
    if EVALUATOR in names:
        row = names.index(EVALUATOR)
        cell = RewardModel(*(_seeds([each])[each] for each in (groups[row], members[row])))
        judge = Model(EVALUATOR, groups[row], members[row], scales[row], cell, said[row])
    else:
        unknown = {"accuracy": None, "parameters": 0}
        judge = Model(EVALUATOR, "", "", EVALUATOR, RewardModel(0, 0), unknown)
    if any(each.score == judge.score for each in found):
        raise UserError(
            f"{table.path}: the evaluator has the scale, group and member of a reward model; give "
            "it a group of its own"
        )
    return found, judge


def _said(table: Table) -> list[dict]:
    """Of each row, its accuracy (None if not given), parameters (0) and, if given, pairs."""
    found = [{"accuracy": None, "parameters": 0} for _ in range(table.columns.num_rows)]
    bounds = {"accuracy": (0, 1), "parameters": (1, 2**62), "pairs": (1, 2**31)}
    for name, (low, high) in bounds.items():
        for row, text in enumerate(_optional(table, name)):
            if text == "":
                continue
            try:
                value = float(text) if name == "accuracy" else int(text)
            except ValueError:
                value = np.nan
            if not low <= value <= high:
                raise table.fault(
                    row, f"{name} is {text}; write a number from {low} to {high}, or leave it empty"
                )
            found[row][name] = value
    return found


def _optional(table: Table, name: str) -> list[str]:
    if name not in table.names:
        return []
    values = table.columns[name].to_pylist()
    texts = ["" if value is None or value != value else str(value) for value in values]
    return [text.removesuffix(".0") for text in texts] if name != "accuracy" else texts


def _seeds(labels: Sequence[str]) -> dict[str, int]:
    """A seed for each label: itself if all are whole numbers, or else in the order in which they
    come."""
    distinct = list(dict.fromkeys(labels))
    if all(re.fullmatch("0|[1-9][0-9]{0,8}", label) for label in distinct):
        return {label: int(label) for label in distinct}
    return {label: seed for seed, label in enumerate(distinct)}


def _cells(
    table: Table, rows: list[int], names: list[str], groups: list[str], members: list[str]
) -> list[RewardModel]:
    """The cells of the reward models of one scale. Members that no two groups have in common are
    numbered within their group."""
    own = [groups[row] for row in rows]
    labels = [members[row] for row in rows]
    of_label: dict[str, set[str]] = {}
    for group, label in zip(own, labels, strict=True):
        of_label.setdefault(label, set()).add(group)
    if "" in labels or (len(set(own)) > 1 and max(map(len, of_label.values())) == 1):
        if any(labels) and "" in labels:
            row = rows[labels.index("")]
            raise table.fault(row, f"{names[row]} has no member; name it, or leave all empty")
        labels = [str(own[:i].count(group)) for i, group in enumerate(own)]
    pairs = list(zip(own, labels, strict=True))
    for i, pair in enumerate(pairs):
        if pair in pairs[:i]:
            first = names[rows[pairs.index(pair)]]
            raise table.fault(
                rows[i], f"{first} is member {pair[1]} of group {pair[0]} too; rename one of them"
            )
    seed_of_group, seed_of_member = _seeds(own), _seeds(labels)
    return [RewardModel(seed_of_group[group], seed_of_member[label]) for group, label in pairs]


def _one_grid(table: Table, found: list[Model]) -> None:
    by_scale: dict[str, list[RewardModel]] = {}
    for each in found:
        by_scale.setdefault(each.scale, []).append(each.cell)
    (first, cells), *others = by_scale.items()
    for scale, other in others:
        if set(other) != set(cells):
            raise UserError(
                f"{table.path}: the scales {first} and {scale} differ in their groups or members; "
                "give them the same ones, in the same order, or analyse each scale by itself"
            )


def grid_of(cells: list[RewardModel]) -> dict:
    """The keys of the config that describe these reward models."""
    seeds = {
        "pretrain_seeds": list(dict.fromkeys(cell.pretrain_seed for cell in cells)),
        "finetune_seeds": list(dict.fromkeys(cell.finetune_seed for cell in cells)),
    }
    usual = (name for name in GRIDS if set(reward_models(name, **seeds)) == set(cells))
    listed = [[cell.pretrain_seed, cell.finetune_seed] for cell in cells]
    return seeds | {"grid": next(usual, listed)}


def ensemble_size(cells: list[RewardModel]) -> int:
    """The largest size, up to MOST_MEMBERS, at which both kinds of ensembles exist; of one kind, if
    the other has none of two members."""
    most = [
        int(pd.Series([getattr(cell, seed) for cell in cells]).value_counts().max())
        for seed in ("pretrain_seed", "finetune_seed")
    ]
    return max(2, min([MOST_MEMBERS, *(each for each in most if each > 1)]))
