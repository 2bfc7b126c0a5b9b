"""Intervals: of means over posts, and of statistics from their resamples.

An interval over posts says how these reward models would do on other posts, as in the paper. It
says nothing about other seeds, which are what the paper is about: `over_posts_and_seeds` is ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Variance:
    """The variance of a statistic: what posts cause, and what `pretraining_seeds` cause, alone and
    together with posts. `sets` of them, independent of each other, cause about as much each.
    """

    posts: float
    seeds: float
    pretraining_seeds: float
    sets: float = 1.0

    @property
    def error(self) -> float:
        return math.sqrt(self.posts + self.seeds)

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom: every set of seeds has one less than there are
        pretraining seeds; the posts' part is taken as known."""
        if not self.seeds:
            return math.inf
        of_seeds = self.sets * (self.pretraining_seeds - 1)
        return of_seeds * ((self.posts + self.seeds) / self.seeds) ** 2

    @property
    def quantile(self) -> float:
        """Of Student's t distribution: a 95% interval reaches so many standard errors."""
        from scipy.special import stdtrit  # slow to import

        return float(stdtrit(self.freedom, 0.975))

    def with_seeds(self, pretraining_seeds: float) -> "Variance":
        """The same with another number of pretraining seeds, as a mean over them has it."""
        seeds = self.seeds * self.pretraining_seeds / pretraining_seeds
        return replace(self, seeds=seeds, pretraining_seeds=pretraining_seeds)


def variance_of(
    posts: np.ndarray,
    both: np.ndarray,
    seeds: np.ndarray,
    pretraining_seeds: int,
    size: float = 0.0,
    sets: float = 1.0,
) -> Variance | None:
    """The parts of a statistic's variance, from its resamples (see `over_posts_and_seeds`).

    A bootstrap of P pretraining seeds finds (P - 1) / P of what seeds cause, so that is scaled up.
    Either of posts and seeds, drawn alone, finds what they cause together as well, and both find it
    three times (Owen, 2007, The pigeonhole bootstrap): the difference says how much it is, and it
    counts once. None with a single pretraining seed, which says nothing about others; for a
    statistic that is the same in every resample but for rounding (see `_varies`); and where fewer
    than two resamples of the seeds have it.
    """
    if pretraining_seeds < 2 or np.isfinite(seeds[1:]).sum() < 2:
        return None
    scale = pretraining_seeds / (pretraining_seeds - 1)
    of_posts, of_both, of_seeds = (_variance(each[1:]) for each in (posts, both, seeds))
    together = scale * (of_both - of_posts - of_seeds)
    of_seeds *= scale
    if not _varies(math.sqrt(of_posts + of_seeds), float(both[0]), size):
        return None
    together = min(max(together, 0.0), of_posts)
    return Variance(of_posts - together, of_seeds, pretraining_seeds, sets)


def over_posts_and_seeds(
    posts: np.ndarray,
    both: np.ndarray,
    seeds: np.ndarray,
    pretraining_seeds: int,
    size: float = 0.0,
    sets: float = 1.0,
) -> Interval:
    """A t interval around the estimate with the variance of the nested bootstrap.

    posts, both, seeds: the statistic in each resample (resamples,), the data first, with posts
    alone, both, or seeds alone drawn; pretraining_seeds: how many there are, in each of `sets`
    (two, say, if it compares two scales). The variance is that of `variance_of`, with
    Satterthwaite's degrees of freedom. Percentiles would be too narrow with five pretraining seeds,
    and shifted for an ensemble, which is poorer in every resample than it is. Resamples in which
    the statistic does not exist (NaN: say, no second pretraining seed was drawn) are left out. The
    bounds are NaN where there is no variance.
    """
    variance = variance_of(posts, both, seeds, pretraining_seeds, size, sets)
    reach = variance.quantile * variance.error if variance else math.nan
    return _around(float(both[0]), reach)


def with_intervals(
    values: np.ndarray, pretraining_seeds: int, size: float = 0.0
) -> dict[str, float]:
    """Columns of a table: `value` with its 95% interval over posts and seeds (low, high) and over
    posts alone (posts_low, posts_high).

    values: (draws, resamples), the data first: posts, posts and seeds, seeds drawn; size: that of
    the numbers that they are differences of.
    """
    both = over_posts_and_seeds(*values, pretraining_seeds, size)
    posts = over_posts(values[0], size)
    return {
        "value": both.estimate,
        **{"low": both.low, "high": both.high},
        **{"posts_low": posts.low, "posts_high": posts.high},
    }


def independent_sets(of_sets: Sequence[np.ndarray]) -> float:
    """The number of sets of seeds of which a statistic's variance is made up, as degrees of freedom
    count them (Welch): all if each causes as much, one if a single one causes all.

    of_sets: of each, the statistic in resamples of its seeds alone, the data first.
    """
    parts = np.array([_variance(each[1:]) for each in of_sets])
    return float(parts.sum() ** 2 / (parts**2).sum()) if parts.any() else 1.0
