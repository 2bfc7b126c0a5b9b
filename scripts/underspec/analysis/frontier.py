"""How rewards change along the frontier: as the KL divergence from the SFT policy grows.

A *path* is what one ranker and one seed of RLHF lead to: the SFT policy, then an aligned policy for
each coefficient. Two rankers that have the same coefficient go differently far, so kinds of rankers
are compared at equal KL: each path is joined linearly from the SFT policy on, in order of KL, and
read at shares of the largest KL that all paths reach. (A mixture of two policies has the rewards on
that line, and at most that KL, which is convex.) Ours.

All statistics are in every resample of posts and seeds (see `quantities.DRAWS`), the data first.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from underspec.analysis.bootstrap import Resamples
from underspec.grid import Ranker, RewardModel

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the largest common KL
OF_SFT_POLICY = {"win_rate": 0.5}  # against itself; of gains, which are differences to it, 0
Kind = tuple[str, str]


def kinds(rankers: list[Ranker]) -> dict[Kind, list[int]]:
    """The indices of the paths of each kind, (ensemble, aggregator); see `ScaleResults.kinds`."""
    found: dict[Kind, list[int]] = {}
    for path, ranker in enumerate(rankers):
        found.setdefault((ranker.ensemble, ranker.aggregator or "single"), []).append(path)
    return found


def units(rankers: list[Ranker]) -> int:
    """How many of the paths of a kind, which have these rankers, differ in what seeds are drawn of:
    their pretraining seeds, or disjoint sets of them; where they all have the same several, as
    those of one pretrain ensemble do, the paths themselves."""
    sets = _sets(rankers)
    if len(sets) > 1 or len(min(sets)) == 1:
        return len(sets)
    return len(rankers)


def fewest(numbers: Iterable[int]) -> int:
    """Of the `units` of kinds that are compared, the fewest that can vary; 1 if none can."""
    return min((each for each in numbers if each > 1), default=1)


def _sets(rankers: list[Ranker]) -> set[frozenset[int]]:
    return {frozenset(member.pretrain_seed for member in ranker.members) for ranker in rankers}


@dataclass(frozen=True)
class Draws:
    """How often each resample holds what: the reward models, the posts, and the paths of aligned
    policies. models: (models, DRAWS, resamples); paths: (paths, DRAWS, resamples).
    """

    weights: Resamples
    models: np.ndarray
    paths: np.ndarray

    def over_posts(self, values: np.ndarray) -> np.ndarray:
        """(..., posts) to (..., DRAWS, resamples): means over posts, which the last draw leaves as
        they are."""
        return in_draws(self.weights.mean(values))

    def over_paths(self, values: np.ndarray, paths: list[int]) -> np.ndarray:
        """A mean over some paths: (paths, ..., DRAWS, resamples) to (..., DRAWS, resamples), NaN
        where a resample holds none, or only such as have no value."""
        counts = self.paths[paths]
        counts = np.expand_dims(counts, tuple(range(1, values.ndim - 2)))
        has = np.isfinite(values)
        total = (counts * np.where(has, values, 0)).sum(axis=0)
        number = (counts * has).sum(axis=0)
        return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


def in_draws(means: np.ndarray) -> np.ndarray:
    """(..., resamples) of posts to (..., DRAWS, resamples)."""
    as_they_are = np.broadcast_to(means[..., :1], means.shape)
    return np.stack([means, means, as_they_are], axis=-2)


def draws(rankers: list[Ranker], models: list[RewardModel], weights: Resamples) -> Draws:
    """rankers: that of each path.

    A resample holds the path of a reward model, or of a finetune or cheaper ensemble, as often as
    it drew that pretraining seed. A pretrain ensemble cannot be put together again from the seeds
    that were drawn, because no policy was aligned to that one. It counts as often as its members
    were drawn on average; the difference to 1 is multiplied by the square root of their number,
    which gives disjoint ensembles the variance of ensembles that are drawn themselves. Where all
    rankers of a kind have the same pretraining seeds, these stay, and its paths are drawn instead,
    which vary by finetuning seed and seed of RLHF.
    """
    seed_of = np.array([model.pretrain_seed for model in models])
    counts = np.empty((len(rankers), *weights.models.shape[1:]))
    for path, ranker in enumerate(rankers):
        members = [models.index(member) for member in ranker.members if member in models]
        members = members or np.flatnonzero(seed_of == ranker.members[0].pretrain_seed)
        held = weights.models[members].mean(axis=0)
        seeds = len({member.pretrain_seed for member in ranker.members})
        counts[path] = 1 + np.sqrt(seeds) * (held - 1)
    of_kinds = {kind: [rankers[path] for path in paths] for kind, paths in kinds(rankers).items()}
    most = max(units(each) for each in of_kinds.values())
    for kind, paths in kinds(rankers).items():
        if len(_sets(of_kinds[kind])) == 1:
            counts[paths, 1] = _redrawn(len(paths), counts.shape[2], most, kind)
    return Draws(weights, _with_seeds_alone(weights.models), _with_seeds_alone(counts))


def _redrawn(paths: int, resamples: int, most: int, kind: Kind) -> np.ndarray:
    """(paths, resamples) how often each path was drawn, spread so that the variance is right after
    `intervals.variance_of` scaled it up for `most` units (Rao and Wu, 1988), and too large for
    fewer."""
    if paths == 1:
        return np.ones((1, resamples))
    generator = np.random.default_rng(list("".join(kind).encode()))
    counts = generator.multinomial(paths, [1 / paths] * paths, size=resamples).T
    counts[:, 0] = 1  # the data
    spread = paths / (paths - 1) * (most - 1) / most
    return 1 + np.sqrt(spread) * (counts - 1)


def _with_seeds_alone(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([counts, counts[:, 1:]], axis=1)


@dataclass(frozen=True)
class Frontier:
    """The aligned policies of one scale, by path and coefficient.

    rankers, seeds: of each path; coefficients: falling; values: (paths, coefficients, posts) by
    name, see `aligned_policies.values`.
    """

    rankers: list[Ranker]
    seeds: list[int]
    coefficients: list[float]
    values: Mapping[str, np.ndarray]

    @cached_property
    def kinds(self) -> dict[Kind, list[int]]:
        return kinds(self.rankers)

    def units(self, *compared: Kind) -> int:
        """What an interval over seeds rests on, for what compares some kinds (see `units`)."""
        return fewest(units([self.rankers[path] for path in self.kinds[kind]]) for kind in compared)


@dataclass(frozen=True)
class Courses:
    """Every path from the SFT policy on, in each resample: kl and values (paths, points, DRAWS,
    resamples), in order of KL; limit: (DRAWS, resamples) the largest KL that all paths reach."""

    kl: np.ndarray
    values: dict[str, np.ndarray]

    @property
    def limit(self) -> np.ndarray:
        return self.kl[:, -1].min(axis=0)

    def at(self, name: str, kl: np.ndarray) -> np.ndarray:
        """Values at a KL (paths or 1, DRAWS, resamples): (paths, DRAWS, resamples)."""
        return interpolated(self.kl, self.values[name], kl)

    def turning(self, name: str, limit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Up to a KL (paths or 1, DRAWS, resamples), of each path (paths, DRAWS, resamples): the KL
        at which the value is highest, that value, and the value at the limit."""
        end = self.at(name, limit)
        values = np.where(self.kl <= limit[:, None], self.values[name], -np.inf)
        best = values.argmax(axis=1)[:, None]
        highest, kl = (np.take_along_axis(each, best, axis=1)[:, 0] for each in (values, self.kl))
        return np.where(end > highest, limit, kl), np.maximum(end, highest), end


def courses(frontier: Frontier, drawn: Draws, names: list[str]) -> Courses:
    def from_sft_policy(name: str) -> np.ndarray:
        means = drawn.over_posts(frontier.values[name])
        start = np.full_like(means[:, :1], OF_SFT_POLICY.get(name, 0.0))
        return np.concatenate([start, means], axis=1)

    kl = np.maximum(from_sft_policy("kl"), 0)
    order = np.argsort(kl, axis=1, kind="stable")
    values = {name: np.take_along_axis(from_sft_policy(name), order, axis=1) for name in names}
    return Courses(np.take_along_axis(kl, order, axis=1), values)


def interpolated(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Linear interpolation between points: x, rising, and y (paths, points, ...), at (paths or 1,
    ...), at least the lowest x. Beyond the last point, its value."""
    found = y[:, -1]
    for i in range(x.shape[1] - 2, -1, -1):
        width = x[:, i + 1] - x[:, i]
        share = np.divide(at - x[:, i], width, out=np.ones_like(width), where=width > 0)
        on_segment = y[:, i] + np.clip(share, 0, 1) * (y[:, i + 1] - y[:, i])
        found = np.where(at <= x[:, i + 1], on_segment, found)
    return found


def at_equal_kl(
    frontier: Frontier, course: Courses, drawn: Draws, name: str
) -> Iterator[tuple[Kind, np.ndarray]]:
    """Each kind, and its mean value over paths at SHARES of the largest common KL: (SHARES, DRAWS,
    resamples)."""
    every = [course.at(name, share * course.limit[None]) for share in SHARES]
    for kind, paths in frontier.kinds.items():
        yield kind, np.stack([drawn.over_paths(each[paths], paths) for each in every])
