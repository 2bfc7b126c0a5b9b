"""Means over the rankers of a kind: single reward models, and ensembles by their mean."""

from collections.abc import Callable

import numpy as np

from underspec.analysis.bootstrap import Resamples
from underspec.analysis.quantities import by_draw, ensembles
from underspec.analysis.results import ScaleResults
from underspec.analysis.statistics import value_of_choices

ENSEMBLES = ("finetune", "pretrain")
WITHOUT_AGGREGATOR = ("single", "warm", "evaluator", "gold rater")


def by_kind(
    results: ScaleResults, of_members: Callable[[np.ndarray], np.ndarray], weights: Resamples
) -> dict[str, np.ndarray]:
    """Means over posts and the rankers of a kind, (values, 2, resamples) each, by kind: `single`,
    and `finetune` and `pretrain` where the grid has them.

    of_members: takes the indices of a ranker's members to its values (values, posts); weights: in
    each of its resamples with the reward models as they are, and as drawn, from which ensembles
    are put together again.
    """

    def values(members: np.ndarray) -> np.ndarray:
        return of_members(members)[:, None]

    singles = ((values(np.array([i])), count) for i, count in enumerate(weights.models))
    found = {"single": value_of_choices(singles, weights)}
    for ensemble in ENSEMBLES:
        if of_kind := [ranker for ranker in results.rankers if ranker.ensemble == ensemble]:
            drawn = ensembles(results, of_kind, weights)
            rankers = ((values(members), count) for members, count in drawn)
            found[ensemble] = value_of_choices(rankers, weights)
    return {kind: each[:, :, 0] for kind, each in found.items()}


def aggregator(kind: str) -> str:
    """By which a kind's rankers choose, in the words of tables and quantities."""
    return "single" if kind in WITHOUT_AGGREGATOR else "mean"


def of_one_judge(values: np.ndarray, weights: Resamples) -> np.ndarray:
    """The same of the evaluator or gold, of which there is one: (values, posts) to (values, 2,
    resamples)."""
    return np.repeat(weights.mean(values)[:, None], 2, axis=1)


def in_draws(values: np.ndarray, weights: Resamples) -> np.ndarray:
    """(values, 2, resamples of `weights.with_seeds_alone()`) to (values, DRAWS, resamples)."""
    return np.stack([by_draw(each, weights) for each in values])
