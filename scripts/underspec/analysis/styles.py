"""How often rankers tell a right text from a wrong one, where the style may favour either.

A cell has the right text in one style against the wrong one in another, and the share of posts
whose right text gets the higher reward, ties one half. As in RM-Bench (2410.16184), the cells are
`hard` where the wrong text is wordier, `normal` where the styles are the same, and `easy` where the
right text is wordier. The mean of an ensemble's rewards needs no standardising here: what all texts
of a post have in common cancels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from underspec.analysis.bootstrap import Resamples
from underspec.analysis.intervals import with_intervals
from underspec.analysis.mean_rankers import (
    aggregator,
    by_kind,
    in_draws,
    of_one_judge,
)
from underspec.analysis.published import kind_name
from underspec.analysis.quantities import Quantity, with_their_seeds
from underspec.analysis.results import ScaleResults
from underspec.analysis.reward_matrix import layout
from underspec.analysis.statistics import value_of_choices
from underspec.analysis.tables import of_scale
from underspec.artifacts import STYLES as SCHEMA
from underspec.artifacts import read_table, scores_by
from underspec.data.styles import STYLES
from underspec.errors import ArtifactError

DIFFICULTIES = ("hard", "normal", "easy")
SIDES = ("right", "wrong")
ALL = "all"  # styles of a difficulty
ALONE = ("single", "evaluator", "gold rater")  # not compared with single reward models
TEXTS = 2 * len(STYLES)  # of a post
CELLS = [(right, wrong) for right in STYLES for wrong in STYLES]


def difficulty(right: str, wrong: str) -> str:
    """Of a cell, by the styles of its right and its wrong text."""
    return DIFFICULTIES[1 + np.sign(STYLES.index(right) - STYLES.index(wrong))]


@dataclass(frozen=True)
class Styled:
    """Rewards (posts, texts) of the texts in all styles: of the scale's reward models and members
    of cheaper ensembles by name, of the evaluator and gold; words: the mean number of words of each
    style."""

    rewards: dict[str, np.ndarray]
    evaluator: np.ndarray
    gold: np.ndarray
    words: dict[str, float]


def read_styled(texts: Path, scores: dict[Path, list[str]], evaluator: Path) -> Styled:
    """texts: data/styles.parquet; scores: tables of rewards, with their columns; evaluator: of it.

    Raises ArtifactError, naming the file, if one is damaged or about other texts, or lacks a
    reward model, or if a post lacks one of its six texts.
    """
    table = read_table(texts, SCHEMA)
    posts = layout(table, texts)
    expected = pd.DataFrame({"style": np.repeat(STYLES, 2), "right": [1, 0] * len(STYLES)})
    number = len(posts.post_ids)
    whole = pd.concat([expected] * number, ignore_index=True)
    if posts.size != TEXTS or (table[["style", "right"]] != whole).any(axis=None):
        raise ArtifactError(
            f"{texts}: a post does not have its {TEXTS} texts, right and wrong in each style; "
            "delete the file and run Snakemake again"
        )

    def rewards(path: Path, names: list[str]) -> dict[str, np.ndarray]:
        found = read_table(path, scores_by(names))
        posts.check(found, path)
        return {name: posts.matrix(found[name]) for name in names}

    of_models = {}
    for path, names in scores.items():
        of_models |= rewards(path, names)
    (of_evaluator,) = rewards(evaluator, [evaluator.stem]).values()
    words = table["text"].str.split().str.len().groupby(table["style"]).mean()
    gold = posts.matrix(table["gold"])
    return Styled(of_models, of_evaluator, gold, words.to_dict())


def correct(rewards: np.ndarray) -> np.ndarray:
    """(posts, texts) to (cells and difficulties, posts): whether the right text has the higher
    reward, one half in a tie; of a difficulty, the mean of its cells."""
    right, wrong = rewards.reshape(len(rewards), len(STYLES), 2).transpose(2, 1, 0)
    cells = np.sign(right[:, None] - wrong[None]) / 2 + 0.5
    cells = cells.reshape(len(CELLS), -1)
    of_cells = np.array([difficulty(*cell) for cell in CELLS])
    means = [cells[of_cells == name].mean(axis=0) for name in DIFFICULTIES]
    return np.concatenate([cells, means])


def accuracy(
    results: ScaleResults, styled: Styled, weights: Resamples, cheaper: ScaleResults | None = None
) -> dict[str, np.ndarray]:
    """(cells and difficulties, DRAWS, resamples) by kind of ranker, and of the evaluator and gold.

    cheaper: the cheaper ensembles, if there are any; weights: resamples of the posts that have such
    texts.
    """
    every = weights.with_seeds_alone()

    def of_members(names: list[str]) -> np.ndarray:
        return correct(np.mean([styled.rewards[name] for name in names], axis=0, dtype="f8"))

    models = [model.name for model in results.models]
    found = by_kind(results, lambda members: of_members([models[i] for i in members]), every)
    for (kind, how), rankers in (cheaper.kinds if cheaper else {}).items():
        if how == aggregator(kind) and (drawn := with_their_seeds(rankers, results, every)):
            names = [[member.name for member in ranker.members] for ranker, _ in drawn]
            values = (of_members(each)[:, None] for each in names)
            counts = (count for _, count in drawn)
            found[kind] = value_of_choices(zip(values, counts, strict=True), every)[:, :, 0]
    found |= {
        "evaluator": of_one_judge(correct(styled.evaluator), every),
        "gold rater": of_one_judge(correct(styled.gold), every),
    }
    return {kind: in_draws(values, weights) for kind, values in found.items()}


def quantities(found: dict[str, np.ndarray]) -> dict[Quantity, np.ndarray]:
    """What claims compare, from `accuracy`: (DRAWS, resamples) by difficulty and kind."""
    return {
        (f"{name} accuracy of {kind_name(kind, aggregator(kind))}", 0): values[len(CELLS) + i]
        for kind, values in found.items()
        for i, name in enumerate(DIFFICULTIES)
    }


def table(
    results: ScaleResults, styled: Styled, found: dict[str, np.ndarray], pretraining_seeds: int
) -> pd.DataFrame:
    """Columns ensemble, aggregator, minus (empty, or the kind whose accuracy was subtracted),
    difficulty, right and wrong (styles, or ALL), right_words and wrong_words (means), and the
    accuracy as `value` with its intervals (see `intervals.with_intervals`)."""
    cells = [(difficulty(*cell), *cell) for cell in CELLS]
    cells += [(name, ALL, ALL) for name in DIFFICULTIES]
    compared = {(kind, ""): values for kind, values in found.items()}
    compared |= {
        (kind, "single"): values - found["single"]
        for kind, values in found.items()
        if kind not in ALONE
    }
    rows = [
        {"ensemble": kind, "aggregator": aggregator(kind), "minus": minus}
        | {"difficulty": name}
        | dict(zip(SIDES, cell, strict=True))
        | {
            f"{side}_words": styled.words.get(style)
            for side, style in zip(SIDES, cell, strict=True)
        }
        | with_intervals(each, pretraining_seeds, size=1.0 if minus else 0.0)
        for (kind, minus), values in compared.items()
        for (name, *cell), each in zip(cells, values, strict=True)
    ]
    return of_scale(pd.DataFrame(rows), results, [])
