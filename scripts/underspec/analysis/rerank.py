"""Best-of-n reranking: of the first n samples of a post, the one with the highest reward.

Section 2 of the paper; ties go to the lower index.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from underspec.analysis.ensembles import aggregate
from underspec.errors import ArtifactError, ConfigError
from underspec.grid import Ranker


@dataclass(frozen=True)
class Choices:
    """What a ranker picks: sample_index and its (aggregated) reward, both (ns, posts)."""

    sample_index: np.ndarray
    reward: np.ndarray


def best_of_n(rewards: np.ndarray, ns: list[int]) -> np.ndarray:
    """The index of the highest reward among the first n samples, ties to the lower index.

    rewards: (posts, samples); the result: (ns, posts). One pass over the samples serves every n.
    Raises ConfigError if an n is below 1 or above the number of samples.
    """
    size = rewards.shape[1]
    if not 1 <= min(ns) <= max(ns) <= size:
        raise ConfigError(f"best_of_n: {ns} must lie between 1 and the {size} samples of a post")
    highest = np.maximum.accumulate(rewards, axis=1)
    improves = np.zeros(rewards.shape, dtype=bool)
    improves[:, 1:] = rewards[:, 1:] > highest[:, :-1]
    best = np.maximum.accumulate(np.where(improves, np.arange(size), 0), axis=1)
    return best[:, np.asarray(ns) - 1].T


def rerank(
    scores: dict[str, np.ndarray], rankers: list[Ranker], ns: list[int]
) -> dict[str, Choices]:
    """What each ranker picks, by its name.

    scores: the rewards (posts, samples) of each reward model, by its name. An ensemble is
    standardised over all samples of the post, not the first n (see `ensembles.standardise`).
    """
    return {ranker.name: _choose(scores, ranker, ns) for ranker in rankers}


def _choose(scores: dict[str, np.ndarray], ranker: Ranker, ns: list[int]) -> Choices:
    members = np.stack([scores[model.name] for model in ranker.members])
    rewards = aggregate(members, ranker.aggregator)
    index = best_of_n(rewards, ns)
    return Choices(index, rewards[np.arange(len(rewards)), index])


def to_table(choices: Choices, post_ids: np.ndarray, ns: list[int]) -> pd.DataFrame:
    """A table of the schema artifacts.RERANK: the posts at the first n, at the second, ..."""
    return pd.DataFrame(
        {
            "post_id": np.tile(post_ids, len(ns)),
            "n": np.repeat(ns, len(post_ids)),
            "sample_index": choices.sample_index.ravel(),
            "reward": choices.reward.ravel(),
        }
    )


def from_table(table: pd.DataFrame, path: Path, post_ids: np.ndarray, ns: list[int]) -> Choices:
    """The inverse of `to_table`.

    Raises ArtifactError, naming `path`, if the table holds other posts or another n, or picks a
    sample beyond the first n.
    """
    index = table["sample_index"].to_numpy()
    n = table["n"].to_numpy()
    if not (
        np.array_equal(n, np.repeat(ns, len(post_ids)))
        and np.array_equal(table["post_id"].to_numpy(), np.tile(post_ids, len(ns)))
        and np.all((index >= 0) & (index < n))
    ):
        raise ArtifactError(
            f"{path}: does not rerank the {len(post_ids)} posts at n = "
            f"{', '.join(map(str, ns))}; delete it and run Snakemake again"
        )
    shape = (len(ns), len(post_ids))
    return Choices(index.reshape(shape), table["reward"].to_numpy().reshape(shape))
