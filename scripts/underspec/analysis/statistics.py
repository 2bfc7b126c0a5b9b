"""The statistics of the paper's figures and table, on arrays.

Shapes: rewards are (models, posts, samples), choices (sample indices) are (ns, posts).
What a figure draws is a mean over posts; its standard error and interval reflect the finite
sample of posts only ("confidence intervals reflect finite-sample variance", Figures 1 and 2):
values are averaged over rankers within a post first.
"""

import math

import numpy as np

from underspec.grid import RewardModel

JUDGES = ("itself", "same pretrain", "other pretrain")
PAIRS = ("same pretrain", "other pretrain")
NORMAL_95 = 1.959964


def kl_bound(n: int) -> float:
    """Upper bound on KL(best-of-n || policy) in nats: log n - (n - 1) / n (section 2)."""
    return math.log(n) - (n - 1) / n


def pick(rewards: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """The reward of every choice: (..., posts, samples) and (ns, posts) to (..., ns, posts)."""
    posts, samples = rewards.shape[-2:]
    flat = np.arange(posts) * samples + choices
    return rewards.reshape(*rewards.shape[:-2], -1).take(flat, axis=-1)


def relations(models: list[RewardModel]) -> np.ndarray:
    """(models, judges, models) bool: is the last model this judge (JUDGES) of the first?"""
    pretrain = np.array([model.pretrain_seed for model in models])
    itself = np.eye(len(models), dtype=bool)
    same = pretrain[:, None] == pretrain
    return np.stack([itself, same & ~itself, ~same], axis=1)


def judged(rewards: np.ndarray, relation: np.ndarray) -> np.ndarray:
    """Figure 1 for one ranker: the mean reward of its choices under each kind of judge.

    rewards: (models, ns, posts), of the ranker's choices under every reward model; relation:
    (judges, models) bool. Returns (judges, ns, posts), NaN where there is no such judge.
    """
    number = relation.sum(axis=1, keepdims=True)
    weights = relation / np.where(number, number, np.nan)
    return np.stack(
        [
            np.tensordot(row[mask], rewards[mask], axes=1) if mask.any() else rewards[0] * np.nan
            for row, mask in zip(weights, relation, strict=True)
        ]
    )


def agreement(texts: np.ndarray, relation: np.ndarray) -> np.ndarray:
    """Figure 2: the share of pairs of reward models whose best-of-n texts coincide, by post.

    texts: (models, ns, posts) int, the text that each reward model picks; relation: as
    `relations` gives it. Returns (PAIRS, ns, posts), NaN where there is no such pair.
    """
    agreeing = np.zeros((len(PAIRS), *texts.shape[1:]))
    number = np.zeros(len(PAIRS))
    for model in range(len(texts) - 1):
        equal = texts[model + 1 :] == texts[model]
        later = relation[model, 1:, model + 1 :]
        for pair, mask in enumerate(later):
            agreeing[pair] += equal[mask].sum(axis=0)
        number += later.sum(axis=1)
    return agreeing / np.where(number, number, np.nan)[:, None, None]


def anova_share(rewards: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Figure 3 for one ranker: the share of the variance that per-model offsets explain.

    rewards: (models, ns, posts), X[i, m] of section 2.2 at each n. One-way analysis of variance
    with the reward models as groups: sum of squares between groups / total sum of squares.
    weights: (resamples, posts), how often each resample of the posts holds each post (left out:
    every post once). Returns (ns, resamples), or (ns,) without weights; 0 where nothing varies.
    """
    if weights is None:
        return anova_share(rewards, np.ones((1, rewards.shape[-1])))[:, 0]
    models, ns, posts = rewards.shape
    centred = rewards - rewards.mean(axis=(0, 2), dtype=np.float64, keepdims=True)
    # One matrix product for all sums: of the rewards of each model, and of all squares.
    terms = np.concatenate([centred, (centred**2).sum(axis=0, keepdims=True)])
    sums = (terms.reshape(-1, posts) @ weights.T).reshape(models + 1, ns, -1)
    group_means, squares = sums[:-1] / posts, sums[-1]
    grand_means = group_means.mean(axis=0)
    between = posts * ((group_means - grand_means) ** 2).sum(axis=0)
    total = squares - models * posts * grand_means**2
    varies = total > 1e-12 * squares
    return np.divide(between, total, out=np.zeros_like(total), where=varies)


def bootstrap_weights(posts: int, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """(resamples, posts) how often each bootstrap resample holds each post; rows sum to posts."""
    drawn = np.random.default_rng(seed).integers(posts, size=(resamples, posts))
    drawn += np.arange(resamples)[:, None] * posts
    counts = np.bincount(drawn.ravel(), minlength=resamples * posts)
    return counts.reshape(resamples, posts).astype(np.float64)


def standing(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many samples of its post each sample outdoes, and how many it at least equals.

    rewards: (posts, samples), finite; returns two of (posts, samples) int. The second count
    includes the sample itself, so their difference is the number of samples that tie with it.
    """
    order = np.argsort(rewards, axis=1)
    ascending = np.take_along_axis(rewards, order, axis=1)
    size = rewards.shape[1]
    rises = ascending[:, 1:] != ascending[:, :-1]
    first, last = np.zeros(rewards.shape, np.int64), np.full(rewards.shape, size - 1)
    first[:, 1:] = np.where(rises, np.arange(1, size), 0)
    last[:, :-1] = np.where(rises, np.arange(size - 1), size - 1)
    first = np.maximum.accumulate(first, axis=1)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    below, up_to = np.empty_like(first), np.empty_like(last)
    np.put_along_axis(below, order, first, axis=1)
    np.put_along_axis(up_to, order, last + 1, axis=1)
    return below, up_to


def win_probability(rewards: np.ndarray) -> np.ndarray:
    """For every sample, the probability that it beats a random sample of the same post.

    rewards: (posts, samples) by the evaluator; the same shape is returned. The random sample is
    any of the policy's samples of the post, the sample itself included; ties count one half.
    The win rate (section 3, Table 1) is the mean of it over the choices of a ranker.
    """
    below, up_to = standing(rewards)
    return (below + up_to) / 2 / rewards.shape[1]


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over posts: (..., posts) to two of (...); one post has no error."""
    posts = values.shape[-1]
    mean = values.mean(axis=-1)
    if posts < 2:
        return mean, np.full_like(mean, np.nan)
    return mean, values.std(axis=-1, ddof=1) / math.sqrt(posts)


def percentile_interval(resamples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bootstrap's 95% percentile interval: (..., resamples) to low and high (...); NaN where
    all resamples are the same, as with one post: that says nothing of others."""
    low, high = np.percentile(resamples, [2.5, 97.5], axis=-1)
    varies = np.ptp(resamples, axis=-1) > 0
    return np.where(varies, low, np.nan), np.where(varies, high, np.nan)


def variance_components(rewards: np.ndarray, pretrain: np.ndarray) -> dict[str, np.ndarray]:
    """Where the variance of X[m, i] lies: pretrain, finetune within pretrain, post, and the rest.

    rewards: (models, ns, posts) of one ranker's choices; pretrain: (models,) which pretrain a
    model has. Returns four of (ns,), in squared units of reward, unbiased and so perhaps below 0:
    the analysis-of-variance estimators of a nested random-effects model with a random post,
    X = mean + pretrain + finetune + post + rest (Searle, Casella and McCulloch, 1992, chapters 3
    and 4); the numbers of finetunes may differ. NaN where a grid cannot tell (one pretrain, or none
    finetuned twice). Ours: the paper's share (Figure 3) is one-way.
    """
    models, _, posts = rewards.shape
    rewards = rewards.astype(np.float64)
    by_model, by_post = rewards.mean(axis=2), rewards.mean(axis=0)
    grand = by_post.mean(axis=1)
    left = rewards - by_model[:, :, None] - by_post + grand[:, None]
    rest = _ratio_or_nan((left**2).sum(axis=(0, 2)), (models - 1) * (posts - 1))
    between_posts = ((by_post - grand[:, None]) ** 2).sum(axis=1)
    between_posts = _ratio_or_nan(models * between_posts, posts - 1)
    groups = [by_model[pretrain == group] for group in np.unique(pretrain)]
    sizes = np.array([len(group) for group in groups])
    within = sum(((group - group.mean(axis=0)) ** 2).sum(axis=0) for group in groups)
    within = _ratio_or_nan(within, models - len(groups))
    means = np.stack([group.mean(axis=0) for group in groups])
    between = (sizes[:, None] * (means - grand) ** 2).sum(axis=0)
    between = _ratio_or_nan(between, len(groups) - 1)
    typical_size = _ratio_or_nan(models - (sizes**2).sum() / models, len(groups) - 1)
    return {
        "pretrain": (between - within) / typical_size,
        "finetune": within - rest / posts,
        "post": (between_posts - rest) / models,
        "rest": rest,
    }


def _ratio_or_nan(numerator, degrees: int):
    return numerator / degrees if degrees else np.nan * numerator
