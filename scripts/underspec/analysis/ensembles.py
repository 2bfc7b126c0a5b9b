"""Several reward models as one: standardise each, then aggregate (the paper's section 3).

Adding an aggregator is one entry in AGGREGATORS; its parameters, if it has any, are keys of the
config (`newer_rankers`), passed by name.
"""

from collections.abc import Callable

import numpy as np
from numpy import ndarray


def _median(rewards: ndarray) -> ndarray:
    """np.median over the models, which are few, in a tenth of its time: whole tables are compared
    at once. Of just over half of all values, the lowest and the highest are never in the middle;
    they go, another comes in, and so on until the one or two in the middle are left."""
    first = len(rewards) // 2 + 2
    kept, others = list(rewards[:first]), list(rewards[first:])
    while len(kept) > 2:
        kept = _without_extremes(kept) + others[:1]
        others = others[1:]
    return kept[0] if len(kept) == 1 else (kept[0] + kept[1]) / 2


def _without_extremes(values: list[ndarray]) -> list[ndarray]:
    """Elementwise, all of three or more values but the lowest and the highest."""
    first, second, *others, last = values
    low, high = np.minimum(first, second), np.maximum(first, second)
    between = []
    for value in others:
        between.append(np.maximum(low, np.minimum(high, value)))
        low, high = np.minimum(low, value), np.maximum(high, value)
    return [*between, np.maximum(low, np.minimum(high, last))]


def _mean_minus_stdev(rewards: ndarray) -> ndarray:
    """The paper does not say which deviation: ours is the population's, ddof = 0."""
    mean, variance = _mean_and_variance(rewards)
    return mean - np.sqrt(variance)


def _mean_probability(rewards: ndarray) -> ndarray:
    """The mean of probabilities instead of log-odds (ours). By a standardised reward, the average
    sample of a post has a probability of one half. (The minimum of probabilities chooses as that of
    log-odds does.)
    """
    from scipy.special import expit  # slow to import

    return expit(rewards).mean(axis=0)


def uwo(rewards: ndarray, coefficient: float) -> ndarray:
    """Uncertainty-weighted optimisation: mean - coefficient * (population) variance over models
    (Coste et al., 2310.02743, Eq. 5)."""
    mean, variance = _mean_and_variance(rewards)
    return mean - coefficient * variance


def _mean_and_variance(rewards: ndarray) -> tuple[ndarray, ndarray]:
    """As numpy's, which would find the mean twice."""
    mean = rewards.mean(axis=0)
    deviations = rewards - mean
    return mean, np.square(deviations, out=deviations).mean(axis=0)


# Each takes standardised rewards (models, posts, samples) to (posts, samples); those that have
# parameters, in units of their mean (see `in_units_of_mean`), the others in nats.
AGGREGATORS: dict[str, Callable[..., ndarray]] = {
    "mean": lambda rewards: rewards.mean(axis=0),
    "median": _median,
    "min": lambda rewards: rewards.min(axis=0),
    "mean_minus_stdev": _mean_minus_stdev,
    "mean_probability": _mean_probability,
    "uwo": uwo,
}


def standardise(rewards: ndarray) -> ndarray:
    """Subtract each reward model's mean over the samples of the same post; no scaling.

    rewards: (models, posts, samples) or any (..., samples), in units of reward; the result has
    the same shape, in double precision. "Before aggregation, each reward model is standardized
    to zero mean reward per prompt" (section 3). The mean runs over all samples of the post, not
    over the first n: how an ensemble ranks two samples does not depend on n.
    """
    rewards = rewards.astype("float64")
    return rewards - rewards.mean(axis=-1, keepdims=True)


def in_units_of_mean(rewards: ndarray) -> ndarray:
    """Standardised rewards (models, posts, samples) in standard deviations, within a post, of their
    mean over models. So parameters mean the same for every ensemble (ours)."""
    return rewards / unit_of_mean(mean_products(rewards))


def mean_products(rewards: ndarray) -> ndarray:
    """(models, models) the mean product of two models' standardised rewards (models, posts,
    samples)."""
    flat = rewards.reshape(len(rewards), -1)
    return flat @ flat.T / flat.shape[1]


def unit_of_mean(products: ndarray) -> float:
    """The standard deviation of the mean of some models, from their mean products; 1 if it does not
    vary."""
    return float(np.sqrt(products.mean())) or 1.0


def aggregate(rewards: ndarray, aggregator: str | None) -> ndarray:
    """The reward of a ranker: (models, posts, samples) to (posts, samples).

    `aggregator` is a name in AGGREGATORS, or None for a single reward model, whose reward stays
    as it is: standardising moves all samples of a post alike and would not change its choice.
    """
    if aggregator is None:
        (reward,) = rewards
        return reward
    return AGGREGATORS[aggregator](standardise(rewards))
