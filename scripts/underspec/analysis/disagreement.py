"""Figures 1 to 3 at one scale: how far its reward models part (section 2.2).

Rankers here are the single reward models, in the order of `results.models`.
"""

import numpy as np

from underspec.analysis import statistics
from underspec.analysis.bootstrap import Weights
from underspec.analysis.results import ScaleResults
from underspec.analysis.statistics import pick, relations


def rewards_by_judge(results: ScaleResults, rewards: np.ndarray, weights: Weights) -> np.ndarray:
    """Figure 1: (rankers, judges, draws, ns, resamples), see `statistics.rewards_by_judge`.

    rewards: (models, posts, samples), of the reward models as they are or standardised.
    """
    relation = relations(results.models)
    return np.stack(
        [
            statistics.rewards_by_judge(pick(rewards, choices), judges, weights)
            for choices, judges in zip(results.singles, relation, strict=True)
        ]
    )


def agreement(results: ScaleResults, weights: Weights) -> np.ndarray:
    """Figure 2: (pairs, draws, ns, resamples), see `statistics.agreement`."""
    texts = np.stack([pick(results.texts, choices) for choices in results.singles])
    return statistics.agreement(texts, relations(results.models), weights)


def shares_of_variance(results: ScaleResults, weights: Weights) -> np.ndarray:
    """Figure 3: (rankers, draws, ns, resamples), see `statistics.share_of_variance`."""
    picked = (pick(results.rewards, choices) for choices in results.singles)
    return np.stack([statistics.share_of_variance(each, weights) for each in picked])
