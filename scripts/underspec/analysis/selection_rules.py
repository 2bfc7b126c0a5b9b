"""How a ranker chooses among the samples of a post: with which probability it takes each.

Best-of-n takes one with certainty. The others hedge against errors of the reward. A rule sees the
first n samples, as best-of-n does, but for best-of-Poisson, whose n is random. What is chosen has
the expectation of any metric under the probabilities, so no rule needs draws. Ours, not the
paper's. Adding a rule is one function and one entry in RULES; its parameters are keys of the config
(`newer_rankers`), passed by name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Candidates:
    """The samples of each post in the order they were drawn, both arrays (posts, samples).

    rewards: by the ranker; similarity: how similar a sample is to the others of its post, on
    average (see `text_features`). Both are above the mean of their post, in standard deviations
    within a post (see `statistics.in_policy_units`), so that parameters mean the same for every
    ranker.
    """

    rewards: np.ndarray
    similarity: np.ndarray


def best_of_n(candidates: Candidates, n: int) -> np.ndarray:
    """The highest reward of the first n, ties to the earlier sample."""
    return _certain(candidates.rewards[:, :n])


def soft(candidates: Candidates, n: int, temperature: float) -> np.ndarray:
    """Soft best-of-n: proportional to exp(reward / temperature) (Verdun et al., 2505.03156)."""
    rewards = candidates.rewards[:, :n] / temperature
    weights = np.exp(rewards - rewards.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def poisson(candidates: Candidates, n: int) -> np.ndarray:
    """Best-of-Poisson: the best of the first 1 + Poisson(n - 1) samples (Khalaf et al.,
    2506.19248).

    n is the expected number of samples. Where Poisson asks for more than there are, all are taken
    (see `number_of_candidates`).
    """
    rewards = candidates.rewards
    posts, size = rewards.shape
    at_most = np.append(0.0, number_of_candidates(n - 1, size).cumsum())
    best_so_far = np.ones((posts, size), dtype=bool)
    best_so_far[:, 1:] = rewards[:, 1:] > np.maximum.accumulate(rewards, axis=1)[:, :-1]
    # A sample is chosen if the number of candidates ends at it or after it, and before the next of
    # its post that is better than all before. The first of a post always is.
    post, sample = np.nonzero(best_so_far)
    following = np.append(sample[1:], 0)
    following[following == 0] = size
    probability = np.zeros((posts, size))
    probability[post, sample] = at_most[following] - at_most[sample]
    return probability


def pessimism(candidates: Candidates, n: int, beta: float) -> np.ndarray:
    """Inference-time pessimism: relu((reward - lambda) / beta) / n, where lambda makes the sum 1
    (Huang et al., 2503.21878).

    This is the projection of rewards / (n beta) onto the simplex, so lambda has a closed form:
    with the k highest rewards in, it is their mean less n beta / k, and the highest of these is it.
    """
    rewards = candidates.rewards[:, :n]
    sums = np.sort(rewards, axis=1)[:, ::-1].cumsum(axis=1)
    threshold = ((sums - n * beta) / np.arange(1, n + 1)).max(axis=1, keepdims=True)
    return np.maximum(rewards - threshold, 0) / (n * beta)


def mbr(candidates: Candidates, n: int, beta: float) -> np.ndarray:
    """MBR best-of-n: the highest reward + beta times similarity (Jinnai et al., 2404.01054).

    Similarity is that to all other samples of the post, as standardisation of an ensemble's members
    is over all; at the largest n these are the candidates themselves, as in the source.
    """
    return _certain(candidates.rewards[:, :n] + beta * candidates.similarity[:, :n])


# Each takes Candidates, n and its parameters to the probability of each sample, (posts, n), but
# for best-of-Poisson (posts, samples).
RULES: dict[str, Callable[..., np.ndarray]] = {
    "best_of_n": best_of_n,
    "soft": soft,
    "poisson": poisson,
    "pessimism": pessimism,
    "mbr": mbr,
}


@lru_cache  # the same for every ranker
def number_of_candidates(mean: float, most: int) -> np.ndarray:
    """(most,) the probability that 1 + Poisson(mean) is 1, 2, ..., most; the last entry has what
    lies beyond as well."""
    from scipy.special import pdtr  # slow to import

    probability = np.diff(pdtr(np.arange(most - 1), mean), prepend=0, append=1)
    probability.setflags(write=False)
    return probability


def beyond(mean: float, most: int) -> float:
    """The probability that 1 + Poisson(mean) is more than `most`."""
    from scipy.special import pdtrc  # slow to import

    return float(pdtrc(most - 1, mean))


def expectation(probabilities: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (metrics, posts, samples) of what is chosen: (metrics, posts).

    probabilities: (posts, some of the first samples).
    """
    return np.einsum("ps,jps->jp", probabilities, values[..., : probabilities.shape[1]])


def _certain(scores: np.ndarray) -> np.ndarray:
    chosen = scores.argmax(axis=1)
    return (np.arange(scores.shape[1]) == chosen[:, None]).astype(np.float64)
