"""A nested bootstrap as counts: posts, pretrain seeds, and finetune seeds within a pretrain.

An interval over posts says how these reward models would do on other posts. It tells nothing of
other seeds, which are what the paper is about. So whole pretrains are drawn with replacement, then
finetunes within each pretrain that was drawn, then posts, the same posts for every ranker and
scale (paired). Ours: the paper's intervals are over posts alone.
"""

import math
from dataclasses import dataclass

import numpy as np

from underspec.analysis.statistics import NORMAL_95, bootstrap_weights
from underspec.grid import RewardModel

ROUNDING = 1e-6  # of means in single precision, relative to the numbers they are means of


@dataclass(frozen=True)
class Resamples:
    """How often each resample holds what; the first resample is the data as they are.

    posts: (resamples, posts) float32; drawn: (resamples, pretrains, models) int, the reward
    models within each of the drawn pretrains; pretrain: (models,) the index of a model's pretrain.
    """

    posts: np.ndarray
    drawn: np.ndarray
    pretrain: np.ndarray

    @property
    def models(self) -> np.ndarray:
        """(resamples, models) how often each reward model was drawn."""
        return self.drawn.sum(axis=1)

    @property
    def pretrains(self) -> np.ndarray:
        """(resamples, pretrains) how often each pretrain was drawn."""
        which = self.pretrain[self.drawn.argmax(axis=2)]
        return (which[:, :, None] == np.arange(self.drawn.shape[1])).sum(axis=1)

    @property
    def weights(self) -> np.ndarray:
        """(models, 2, resamples) how often each reward model counts: as they are, and as drawn."""
        drawn = self.models.T
        return np.stack(
            [np.broadcast_to(drawn[:, :1], drawn.shape), drawn], axis=1, dtype=np.float32
        )


def draw(models: list[RewardModel], posts: int, resamples: int, scale: str) -> Resamples:
    """`resamples` seeded resamples after the data themselves.

    Posts are drawn alike for every scale and seeds independently, as they were trained.
    """
    names = sorted({model.pretrain_seed for model in models})
    pretrain = np.array([names.index(model.pretrain_seed) for model in models])
    members = pretrain == np.arange(len(names))[:, None]
    generator = np.random.default_rng(list(scale.encode()))
    which = generator.integers(len(names), size=(resamples, len(names)))
    sizes = members.sum(axis=1)
    drawn = generator.multinomial(sizes[which], members[which] / sizes[which][..., None])
    return Resamples(
        np.concatenate([np.ones((1, posts)), bootstrap_weights(posts, resamples)]).astype(
            "float32"
        ),
        np.concatenate([members[None], drawn]),
        pretrain,
    )


def distinct(pretrains: int) -> int:
    """How many distinct resamples of so many pretrains there are: 126 of five."""
    return math.comb(2 * pretrains - 1, pretrains)


@dataclass(frozen=True)
class Interval:
    """An estimate, and the bounds of its 95% interval; NaN where the data cannot give bounds."""

    estimate: float
    low: float
    high: float


def over_posts(resamples: np.ndarray, size: float = 0.0) -> Interval:
    """Estimate and normal interval from resamples of the posts (resamples,), the data first.

    The bounds are NaN where it does not vary (see `_varies`).
    """
    estimate, error = float(resamples[0]), math.sqrt(_variance(resamples[1:]))
    if not _varies(error, estimate, size):
        return Interval(estimate, math.nan, math.nan)
    return Interval(estimate, estimate - NORMAL_95 * error, estimate + NORMAL_95 * error)


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
        return Interval(estimate, math.nan, math.nan)
    seeds *= pretrains / (pretrains - 1)
    total = variance + seeds
    freedom = (pretrains - 1) * (total / seeds) ** 2 if seeds else math.inf
    reach = float(stdtrit(freedom, 0.975)) * math.sqrt(total)
    return Interval(estimate, estimate - reach, estimate + reach)
