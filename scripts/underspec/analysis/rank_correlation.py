"""Spearman's rank correlation of the rewards that two reward models give to samples of a policy.

Over posts: how they order one sample of each post; a mean over sample indices. Over samples: how
they order the samples of one post; a mean over posts. The first mixes what reward models think of
posts with what they think of samples, as a correlation over a set of outputs does; the second is
what decides within a post. The details are ours.
"""

from collections.abc import Collection, Sized
from dataclasses import dataclass

import numpy as np

from underspec.analysis.bootstrap import Weights
from underspec.analysis.statistics import ranks
from underspec.grid import RewardModel

OVER = ("posts", "samples")


@dataclass(frozen=True)
class Correlations:
    """Of every pair of reward models on the samples of one policy, all arrays (pairs, posts).

    over_posts: pseudo-values, whose mean is the correlation (see `over_posts`); over_samples: the
    correlation within each post, 0 where it has none; defined: where it has one.
    """

    over_posts: np.ndarray
    over_samples: np.ndarray
    defined: np.ndarray

    def mean(self, weights: Weights) -> np.ndarray:
        """(OVER, pairs, resamples); NaN where no post has a correlation over samples."""
        within, defined = weights.mean(self.over_samples), weights.mean(self.defined)
        missing = np.full_like(within, np.nan)
        within = np.divide(within, defined, out=missing, where=defined > 0)
        return np.stack([weights.mean(self.over_posts), within])


def pairs(models: Sized) -> tuple[np.ndarray, np.ndarray]:
    """(pairs,) the two reward models of each pair, as indices."""
    return np.triu_indices(len(models), 1)


def correlations(sets: list[np.ndarray]) -> Correlations:
    """sets: rewards (models, posts, samples) of some sets of samples; a mean over sets, so that two
    policies compare by as many samples of a post: with few, correlations over samples are lower."""
    samples = np.concatenate(sets, axis=2)
    of_posts = np.mean([over_posts(each) for each in np.moveaxis(samples, 2, 0)], axis=0)
    of_samples, defined = np.sum([over_samples(each) for each in sets], axis=0)
    found = defined > 0
    within = np.divide(of_samples, defined, out=np.zeros_like(of_samples), where=found)
    return Correlations(of_posts, within, found.astype(np.float64))


def over_samples(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rank correlation of each pair within each post, and whether it exists, (pairs, posts)
    each: 0 and 0 where a reward model gives all samples of the post the same.

    rewards: (models, posts, samples).
    """
    centred = np.stack([_mid_ranks(each) for each in rewards])
    centred -= centred.mean(axis=2, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=2, keepdims=True))
    units = np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)
    varies = size[:, :, 0] > 0
    first, second = pairs(rewards)
    found = np.stack(
        [(units[a] * units[b]).sum(axis=1) for a, b in zip(first, second, strict=True)]
    )
    return found, (varies[first] & varies[second]).astype(np.float64)


def _mid_ranks(rewards: np.ndarray) -> np.ndarray:
    below, up_to = ranks(rewards)
    return (below + up_to) / 2


def over_posts(rewards: np.ndarray) -> np.ndarray:
    """Pseudo-values of the rank correlation over posts, (pairs, posts): their mean is the
    correlation, and the mean of resampled ones its linear bootstrap.

    rewards: (models, posts). A pseudo-value is the correlation plus its derivative by the weight of
    the post (Efron, 1982, The jackknife, the bootstrap and other resampling plans, chapter 6),
    which has what the post's own ranks contribute and what it does to the ranks of others. 0 where
    a reward model gives all posts the same.
    """
    posts = rewards.shape[1]
    order = np.argsort(rewards, axis=1, kind="stable")
    ordered = np.take_along_axis(rewards, order, axis=1)
    starts, ends = (
        np.stack([np.searchsorted(each, each, side) for each in ordered])
        for side in ("left", "right")
    )
    ranked = np.empty(rewards.shape)
    np.put_along_axis(ranked, order, (starts + ends) / 2 / posts - 0.5, axis=1)
    # What post l does to others: (a, b, l), the mean of b's ranks over the posts that a ranks above
    # l, half of those that tie.
    raised = np.empty((len(rewards), *rewards.shape))
    for of_a, row, start, end in zip(raised, order, starts, ends, strict=True):
        up_to = np.pad(ranked[:, row].cumsum(axis=1), ((0, 0), (1, 0)))
        of_a[:, row] = up_to[:, -1:] - (up_to[:, start] + up_to[:, end]) / 2
    raised /= posts
    product = ranked @ ranked.T / posts
    own = np.einsum("aal->al", raised)
    variance = product.diagonal()
    of_variance = ranked**2 + 2 * own - 3 * variance[:, None]
    first, second = pairs(rewards)
    of_product = ranked[first] * ranked[second] + raised[first, second] + raised[second, first]
    of_product -= 3 * product[first, second][:, None]
    scale = np.sqrt(variance[first] * variance[second])[:, None]
    defined = scale > 0
    scale = np.where(defined, scale, 1)
    shares = of_variance / np.where(variance > 0, variance, 1)[:, None]
    rho = product[first, second][:, None] / scale
    found = rho + of_product / scale - rho / 2 * (shares[first] + shares[second])
    return np.where(defined, found, 0)


@dataclass(frozen=True)
class Pairs:
    """Averages over pairs of reward models of one scale, in every resample.

    counts: (pairs, draws, resamples), how often a resample holds each pair, as for
    `statistics.agreement`; same: (pairs,) whether its pretraining seed is the same.
    """

    models: list[RewardModel]
    counts: np.ndarray
    same: np.ndarray

    def average(self, correlations: np.ndarray, of_ranker: Collection[str]) -> np.ndarray:
        """(OVER, PAIRS, MEMBERS, draws, resamples), NaN where there is no such pair.

        correlations: (OVER, pairs, draws, resamples). Those of the ranker's own reward models, by
        name, are kept apart: the policy was trained to raise their rewards, and the range of what
        is raised shrinks, so their ranks change even where no reward is wrong.
        """
        own = np.array([model.name in of_ranker for model in self.models])
        first, second = pairs(self.models)
        with_member = own[first] | own[second]
        found = [
            [
                _mean(correlations[:, which], self.counts[which])
                for which in (of_kind & ~with_member, of_kind & with_member)
            ]
            for of_kind in (self.same, ~self.same)
        ]
        return np.moveaxis(np.array(found), 2, 0)


def weighted_pairs(models: list[RewardModel], counts: np.ndarray) -> Pairs:
    """counts: (models, draws, resamples), how often each resample holds each reward model."""
    first, second = pairs(models)
    seeds = np.array([model.pretrain_seed for model in models])
    same = seeds[first] == seeds[second]
    both = counts[first] * counts[second]
    of_seed = np.stack([counts[seeds == each].mean(axis=0) for each in seeds])[first[same]]
    # Two draws of a pretraining seed are no pair of one: it counts as often as that was drawn.
    both[same] = np.divide(both[same], of_seed, out=np.zeros_like(both[same]), where=of_seed > 0)
    return Pairs(models, both, same)


def _mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """A mean over pairs that leaves out those without a value: (OVER, pairs, draws, resamples) to
    (OVER, draws, resamples)."""
    has = np.isfinite(values)
    total = (counts * np.where(has, values, 0)).sum(axis=1)
    number = (counts * has).sum(axis=1)
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
