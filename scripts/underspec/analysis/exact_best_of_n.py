"""Best-of-n without the luck of the order: what the paper's "first n samples" gives on average.

The samples of a post are exchangeable draws of the policy, so any n of them could have come
first. For what depends on one choice (a reward, a win rate) the mean over all orders has a closed
form; for what compares choices (agreement, an analysis of variance) seeded orders stand in for
all. At n = all samples there is one set to choose from, and nothing to gain. Ours, not the paper's.
"""

from collections.abc import Iterator

import numpy as np

from underspec.analysis.rerank import best_of_n
from underspec.analysis.statistics import ranks


def chances(rewards: np.ndarray, ns: list[int]) -> np.ndarray:
    """The chance of each sample to be the best of n, over all orders of the samples of its post.

    rewards: (posts, samples); the result: (ns, posts, samples), sums to 1 over samples. The best
    of n has one of the m lowest rewards if all n do: C(m, n) of the C(samples, n) sets of n.
    Samples that tie share their chance, which is what "ties go to the lower index" gives on
    average over orders.
    """
    below, up_to = ranks(rewards)
    size = rewards.shape[1]
    among_lowest = np.stack([share_of_sets(size, n) for n in ns])
    return (among_lowest[:, up_to] - among_lowest[:, below]) / (up_to - below)


def share_of_sets(size: int, n: int) -> np.ndarray:
    """C(m, n) / C(size, n) for m = 0..size: the share of the sets of n within m of the samples."""
    m = np.arange(size + 1.0)[:, None]
    taken = np.arange(n)
    return np.prod(np.maximum(m - taken, 0) / (size - taken), axis=1)


def expected(chances: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The expectation of `values` (..., posts, samples) under `chances` (ns, posts, samples).

    Returns (..., ns, posts), as `statistics.pick` does for the choices of one order.
    """
    weighted = np.einsum("nps,jps->jnp", chances, values.reshape(-1, *values.shape[-2:]))
    return weighted.reshape(*values.shape[:-2], *weighted.shape[1:])


def orders(posts: int, samples: int, number: int, seed: int = 0) -> Iterator[np.ndarray]:
    """`number` random orders of the samples of each post, (posts, samples) each; seeded.

    Every ranker meets the same order, as it does in one draw of the policy.
    """
    generator = np.random.default_rng(seed)
    for _ in range(number):
        yield generator.permuted(np.tile(np.arange(samples), (posts, 1)), axis=1)


def best_of_n_in(order: np.ndarray, rewards: np.ndarray, ns: list[int]) -> np.ndarray:
    """What `rerank.best_of_n` picks if the samples come in `order`: (ns, posts) sample indices."""
    picked = best_of_n(np.take_along_axis(rewards, order, axis=1), ns)
    return np.take_along_axis(order, picked.T, axis=1).T
