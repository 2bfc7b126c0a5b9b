"""The statistics of the paper's figures and table, on arrays, each written once.

Shapes: rewards are (models, posts, samples), choices (sample indices) are (ns, posts). Every
statistic takes weights over posts and reward models (`bootstrap.Weights`) and has their axes,
(..., draws, ns, resamples): a figure asks for each post by itself, a claim for resamples. A
statistic of one ranker is averaged over rankers by `over_rankers`, within a resample.
"""

import math
from collections.abc import Iterable

import numpy as np

from underspec.analysis.bootstrap import Weights, over_models
from underspec.grid import RewardModel

PAIRS = ("same pretraining seed", "other pretraining seed")
JUDGES = ("itself", *PAIRS)


def kl_bound(n: int) -> float:
    """Upper bound on KL(best-of-n || policy) in nats: log n - (n - 1) / n (section 2)."""
    return math.log(n) - (n - 1) / n


def pick(rewards: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """The reward of every choice: (..., posts, samples) and (ns, posts) to (..., ns, posts)."""
    posts, samples = rewards.shape[-2:]
    flat = np.arange(posts) * samples + choices
    return rewards.reshape(*rewards.shape[:-2], -1).take(flat, axis=-1)


def in_policy_units(values: np.ndarray) -> np.ndarray:
    """Values (..., posts, samples) above the mean of their post, in standard deviations within a
    post (pooled over posts); 0 where nothing varies."""
    centred = values - values.mean(axis=-1, keepdims=True, dtype=np.float64)
    unit = np.sqrt((centred**2).mean(axis=(-2, -1), keepdims=True))
    return centred / np.where(unit > 0, unit, 1)


def spread_within_posts(values: np.ndarray) -> float:
    """The unit of `in_policy_units` for values (posts, samples)."""
    return float(np.sqrt(values.var(axis=-1, dtype=np.float64).mean()))


def relations(models: list[RewardModel]) -> np.ndarray:
    """(models, judges, models) bool: is the last model this judge (JUDGES) of the first?"""
    seeds = np.array([model.pretrain_seed for model in models])
    itself = np.eye(len(models), dtype=bool)
    same = seeds[:, None] == seeds
    return np.stack([itself, same & ~itself, ~same], axis=1)


def rewards_by_judge(rewards: np.ndarray, relation: np.ndarray, weights: Weights) -> np.ndarray:
    """Figure 1 for one ranker: the mean reward of its choices under each kind of reward model.

    rewards: (models, ns, posts), of the ranker's choices under every reward model; relation:
    (judges, models) bool, as `relations` gives it. Returns (judges, draws, ns, resamples), in units
    of reward, NaN where there is no such reward model.
    """
    means = weights.mean(rewards)
    sums = [over_models(weights.models[judge], means[judge]) for judge in relation]
    number = np.tensordot(relation.astype(means.dtype), weights.models, axes=1)
    return _ratio(np.stack(sums), number[:, :, None])


def agreement(texts: np.ndarray, relation: np.ndarray, weights: Weights) -> np.ndarray:
    """Figure 2: the share of pairs of reward models whose best-of-n texts coincide.

    texts: (models, ns, posts) int, the text that each reward model picks; relation: (models,
    judges, models) bool. A pair counts as often as both were drawn; one of the same pretraining
    seed as often as that was, and not as its square, for two draws of a seed are no pair of one.
    Returns (PAIRS, draws, ns, resamples), NaN where there is no such pair.
    """
    models, draws, resamples = weights.models.shape
    agreeing = np.zeros((len(PAIRS), draws, texts.shape[1], resamples))
    number = np.zeros((len(PAIRS), draws, 1, resamples))
    for model in range(models - 1):
        equal = weights.mean(texts[model + 1 :] == texts[model])
        pairs = weights.models[model] * weights.models[model + 1 :]
        own_seed = weights.models[relation[model, :2].any(axis=0)].mean(axis=0)
        same = np.divide(pairs, own_seed, out=np.zeros_like(pairs), where=own_seed > 0)
        of_kinds = zip((same, pairs), relation[model, 1:, model + 1 :], strict=True)
        for kind, (of_kind, mask) in enumerate(of_kinds):
            agreeing[kind] += over_models(of_kind[mask], equal[mask])
            number[kind] += of_kind[mask].sum(axis=0)[:, None]
    return _ratio(agreeing, number)


def share_of_variance(rewards: np.ndarray, weights: Weights) -> np.ndarray:
    """Figure 3 for one ranker: the share of the variance that per-model offsets explain.

    rewards: (models, ns, posts), X[i, m] of section 2.2 at each n. One-way analysis of variance
    with the reward models as groups: sum of squares between groups / total sum of squares.
    Returns (draws, ns, resamples); 0 where nothing varies.
    """
    rewards = rewards.astype(weights.models.dtype, copy=False)
    centred = rewards - rewards.mean(axis=(0, 2), keepdims=True)
    means = weights.mean(centred)
    number = weights.models.sum(axis=0)[:, None]
    of_grand_mean = number * (over_models(weights.models, means) / number) ** 2
    between = over_models(weights.models, means**2) - of_grand_mean
    squares = weights.total(centred**2)
    total = squares - of_grand_mean
    varies = total > 1e-12 * squares
    return np.divide(between, total, out=np.zeros_like(total), where=varies)


def value_of_choices(
    rankers: Iterable[tuple[np.ndarray, np.ndarray]], weights: Weights
) -> np.ndarray:
    """Figure 4 and Table 1: the values of what rankers of one kind choose, a mean over rankers.

    rankers: of each, the values of its choices (metrics, ns, posts), in the unit of each metric (if
    it chooses at random, their expectations), and how often each resample holds it (draws,
    resamples). Returns (metrics, draws, ns, resamples), NaN where a resample holds no such ranker.
    """
    total = None
    for values, count in rankers:
        held = count.any(axis=0)
        held = slice(None) if held.all() else np.flatnonzero(held)
        means = weights.mean(values, held)[:, None]
        if total is None:
            draws, resamples = count.shape
            total = np.zeros((len(values), draws, values.shape[1], resamples), means.dtype)
            number = np.zeros((draws, 1, resamples), means.dtype)
        total[..., held] += count[:, None, held] * means
        number[..., held] += count[:, None, held]
    return _ratio(total, number)


def over_rankers(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """A mean over the rankers that have every kind of value that any ranker has.

    values: (rankers, kinds, draws, ns, resamples), NaN where a ranker lacks a kind; counts:
    (rankers, draws, resamples). Returns (kinds, draws, ns, resamples), so that all kinds compare
    the same choices (in the workshop grid: those of the checkpoint finetuned many times).
    """
    has = ~np.isnan(values[:, :, :, 0])
    counts = (counts * has[:, has.any(axis=(0, 2, 3))].all(axis=1))[:, None, :, None]
    total = (counts * np.where(counts > 0, values, 0)).sum(axis=0)
    return _ratio(total, counts.sum(axis=0))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    undefined = np.full_like(numerator, np.nan)
    denominator = np.broadcast_to(denominator, numerator.shape)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def ranks(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many samples of its post each sample outranks, and how many it at least equals.

    rewards: (posts, samples), finite; returns two of (posts, samples) int. The second count
    includes the sample itself, so their difference is the number of samples that tie with it.
    """
    below, up_to = np.zeros((2, *rewards.shape), np.int32)
    for other in rewards.T[:, :, None]:
        below += rewards > other
        up_to += rewards >= other
    return below, up_to


def win_probability(rewards: np.ndarray) -> np.ndarray:
    """For every sample, the probability that it beats a random sample of the same post.

    rewards: (posts, samples) by the evaluator; the same shape is returned. The random sample is
    any of the policy's samples of the post, the sample itself included; ties count one half.
    The win rate (section 3, Table 1) is the mean of it over the choices of a ranker.
    """
    below, up_to = ranks(rewards)
    return (below + up_to) / 2 / rewards.shape[1]


def variance_components(rewards: np.ndarray, seeds: np.ndarray) -> dict[str, np.ndarray]:
    """Where the variance of X[m, i] lies: pretraining seed, finetuning seed within that, post, and
    the residual.

    rewards: (models, ns, posts) of one ranker's choices; seeds: (models,) the pretraining
    seed of each model. Returns four of (ns,), in squared units of reward, unbiased and so perhaps
    below 0: the analysis-of-variance estimators of a nested random-effects model with a random
    post, X = mean + pretraining + finetuning + post + residual (Searle, Casella and McCulloch,
    1992, chapters 3 and 4); pretraining seeds may have different numbers of finetuning seeds. NaN
    where a grid cannot tell (one pretraining seed, or none finetuned twice). Ours: the paper's
    share (Figure 3) is one-way.
    """
    models, _, posts = rewards.shape
    rewards = rewards.astype(np.float64)
    by_model, by_post = rewards.mean(axis=2), rewards.mean(axis=0)
    grand = by_post.mean(axis=1)
    residual = rewards - by_model[:, :, None] - by_post + grand[:, None]
    residual = _ratio_or_nan((residual**2).sum(axis=(0, 2)), (models - 1) * (posts - 1))
    between_posts = ((by_post - grand[:, None]) ** 2).sum(axis=1)
    between_posts = _ratio_or_nan(models * between_posts, posts - 1)
    groups = [by_model[seeds == seed] for seed in np.unique(seeds)]
    sizes = np.array([len(group) for group in groups])
    within = sum(((group - group.mean(axis=0)) ** 2).sum(axis=0) for group in groups)
    within = _ratio_or_nan(within, models - len(groups))
    means = np.stack([group.mean(axis=0) for group in groups])
    between = (sizes[:, None] * (means - grand) ** 2).sum(axis=0)
    between = _ratio_or_nan(between, len(groups) - 1)
    typical_size = _ratio_or_nan(models - (sizes**2).sum() / models, len(groups) - 1)
    return {
        "pretraining seed": (between - within) / typical_size,
        "finetuning seed": within - residual / posts,
        "post": (between_posts - residual) / models,
        "residual": residual,
    }


def _ratio_or_nan(numerator, degrees: int):
    return numerator / degrees if degrees else np.nan * numerator
