"""Intervals: of means over posts, and of statistics from their resamples.

An interval over posts says how these reward models would do on other posts, as in the paper. It
says nothing about other seeds, which are what the paper is about: `over_posts_and_seeds` is ours.
"""

import math
from dataclasses import dataclass

import numpy as np

NORMAL_95 = 1.959964
ROUNDING = 1e-6  # of means in single precision, relative to the numbers they are means of


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


@dataclass(frozen=True)
class Interval:
    """An estimate, and the bounds of its 95% interval; NaN where the data cannot give bounds."""

    estimate: float
    low: float
    high: float


def _around(estimate: float, reach: float) -> Interval:
    return Interval(estimate, estimate - reach, estimate + reach)


def over_posts(resamples: np.ndarray, size: float = 0.0) -> Interval:
    """Estimate and normal interval from resamples of the posts (resamples,), the data first.

    The bounds are NaN where it does not vary (see `_varies`).
    """
    estimate, error = float(resamples[0]), math.sqrt(_variance(resamples[1:]))
    return _around(estimate, NORMAL_95 * error if _varies(error, estimate, size) else math.nan)


def _variance(resamples: np.ndarray) -> float:
    """Of the resamples in which the statistic exists; 0 if there are none."""
    finite = resamples[np.isfinite(resamples)]
    return float(finite.var()) if len(finite) else 0.0


def _varies(error: float, estimate: float, size: float) -> bool:
    """Whether a statistic varies over resamples by more than its rounding. `size` is that of the
    numbers it is a difference of: they are means in single precision.
    """
    return error > ROUNDING * max(abs(estimate), abs(size))


def over_posts_and_seeds(
    posts: np.ndarray, nested: np.ndarray, pretrains: int, size: float = 0.0
) -> Interval:
    """A t interval around the estimate with the variance of the nested bootstrap.

    posts, nested: the statistic in each resample (resamples,), the data first, with posts alone
    and with posts and seeds drawn; pretrains: how many there are.
    What the nested variance has above that over posts is the seeds' part. A bootstrap of P
    pretrains finds (P - 1) / P of it, and knows it from P - 1 degrees of freedom only: the part is
    scaled up, and Satterthwaite's formula gives the degrees of the sum. Percentiles would be too
    narrow with five pretrains, and shifted for an ensemble, which is poorer in every resample than
    it is. Resamples in which the statistic does not exist (NaN: say, no second pretrain was drawn)
    are left out. The bounds are NaN with a single pretrain, which says nothing of other seeds; for
    a statistic that is the same in every resample but for rounding (see `_varies`), as that it does
    not vary is not known; and where fewer than two resamples of the seeds have it.
    """
    from scipy.special import stdtrit  # slow to import

    estimate = float(nested[0])
    variance = _variance(posts[1:])
    seeds = max(0.0, _variance(nested[1:]) - variance)
    known = np.isfinite(nested[1:]).sum() > 1
    if pretrains < 2 or not known or not _varies(math.sqrt(variance + seeds), estimate, size):
        return _around(estimate, math.nan)
    seeds *= pretrains / (pretrains - 1)
    total = variance + seeds
    freedom = (pretrains - 1) * (total / seeds) ** 2 if seeds else math.inf
    return _around(estimate, float(stdtrit(freedom, 0.975)) * math.sqrt(total))
