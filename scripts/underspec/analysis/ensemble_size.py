"""What a further member adds: ensembles of 1, 2, ... reward models by the mean (ours).

An ensemble of k has k reward models of one finetuning seed (pretrain ensembles) or of one
pretrained checkpoint (finetune ensembles). Its value is a mean over all such subsets of the grid.
Where these are too many, the members stand on circles, each in a random order, and ensembles of k
are the arcs of k neighbours: every member is in equally many, and arcs are nested.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from underspec.analysis.ensembles import standardise
from underspec.analysis.intervals import ROUNDING, Variance, mean_and_error
from underspec.analysis.results import ScaleResults
from underspec.analysis.statistics import pick
from underspec.analysis.tables import of_scale
from underspec.grid import rankers

SUBSETS = 256  # of one kind and size: all if there are no more, else at least so many arcs
POSTS_AT_ONCE, ENSEMBLES_AT_ONCE = 64, 256  # their rewards stay in the processor's cache

Members = tuple[int, ...]  # indices of reward models
BySize = list[list[Members]]  # ensembles of 1, of 2, ...


def table(results: ScaleResults, metrics: dict[str, np.ndarray]) -> pd.DataFrame:
    """Each metric of the best of the largest n by ensembles of every size.

    Columns ensemble, by (the metric), size; ensembles and possible: over how many it is a mean, and
    how many there are; value; gain, above size 1, and added, above the size before, both missing at
    size 1; each with the bounds (_low, _high) of its 95% interval over posts and seeds; share: the
    gain as a share of that of the largest size, missing unless that has an interval above 0.

    metrics: (posts, samples) by name. There are no rows if no two reward models have a seed in
    common.
    """
    every = rankers(results.models, ["mean"], len(results.models))
    parts = []
    for ensemble in ("finetune", "pretrain"):
        groups = [
            tuple(results.models.index(model) for model in ranker.members)
            for ranker in every
            if ranker.ensemble == ensemble
        ]
        if groups:
            parts.append(_of_kind(results, metrics, groups).assign(ensemble=ensemble))
    made = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return of_scale(made, results, ["ensemble", "by", "size"] if parts else [])


def _of_kind(
    results: ScaleResults, metrics: dict[str, np.ndarray], groups: list[Members]
) -> pd.DataFrame:
    """Groups of equal size: reward models of which any make an ensemble."""
    circles = circles_of(groups)
    whole = [subsets(*each) for each in zip(groups, circles, strict=True)]
    values = np.stack(list(metrics.values()))
    curve, without = _curves(results, values, groups, circles)

    sizes = range(1, len(groups[0]) + 1)
    different = [sum(len(set(each[k - 1])) for each in whole) for k in sizes]
    possible = [len(groups) * math.comb(sizes[-1], k) for k in sizes]
    columns = {
        "by": np.repeat(list(metrics), len(sizes)),
        "size": np.tile(sizes, len(metrics)),
        "ensembles": np.tile(different, len(metrics)),
        "possible": np.tile(possible, len(metrics)),
    }
    rounding = ROUNDING * np.abs(curve.mean(axis=1))
    of_replicates = _quantities(without)
    for name, of_posts in _quantities(curve).items():
        estimate, error = mean_and_error(of_posts.swapaxes(-1, -2))
        of_seeds = _jackknife(of_replicates[name], len(sizes))
        reach = _reach(error, of_seeds, len(without), rounding)
        low, high = estimate - reach, estimate + reach
        columns |= {name: estimate, f"{name}_low": low, f"{name}_high": high}
    gains = columns["gain_low"][:, -1:] > 0
    columns["share"] = columns["gain"] / np.where(gains, columns["gain"][:, -1:], np.nan)
    return pd.DataFrame({name: np.ravel(column) for name, column in columns.items()})


def _curves(
    results: ScaleResults,
    values: np.ndarray,
    groups: list[Members],
    circles: list[list[Members]],
) -> tuple[np.ndarray, np.ndarray]:
    """Means over groups of values (metrics, posts, samples): (metrics, posts, sizes), and without
    each seed (seeds, metrics, sizes), a mean over posts."""
    seeds = _seeds(results, groups)
    curves, without = [], {seed: [] for seed in sorted(set(seeds.values()))}
    for members, of_group in zip(groups, circles, strict=True):
        kept = {seed: tuple(m for m in members if seeds[m] != seed) for seed in without}
        left = {seed: subsets(each, of_group) for seed, each in kept.items() if each}
        curve, means = evaluate(
            results.rewards, values, results.ns[-1], subsets(members, of_group), *left.values()
        )
        curves.append(curve)
        for seed, each in zip(left, means, strict=True):
            without[seed].append(each)
    fewest = min(each.shape[-1] for means in without.values() for each in means)
    means = np.stack(
        [np.mean([of[:, :fewest] for of in each], axis=0) for each in without.values()]
    )
    return np.mean(curves, axis=0), means


def _seeds(results: ScaleResults, groups: list[Members]) -> dict[int, int]:
    """The seed by which each reward model varies: its pretraining seed, unless all have the same
    (those of one checkpoint, on the workshop grid)."""
    models = {i: results.models[i] for members in groups for i in members}
    if len({model.pretrain_seed for model in models.values()}) > 1:
        return {i: model.pretrain_seed for i, model in models.items()}
    return {i: model.finetune_seed for i, model in models.items()}


def circles_of(groups: list[Members]) -> list[list[Members]]:
    """The circles of each group: none where all subsets are few; seeded, the same at every
    scale."""
    size = len(groups[0])
    if len(groups) * math.comb(size, size // 2) <= SUBSETS:
        return [[] for _ in groups]
    number = math.ceil(SUBSETS / (len(groups) * size))
    generator = np.random.default_rng(0)
    return [[tuple(generator.permutation(group)) for _ in range(number)] for group in groups]


def subsets(members: Members, circles: Sequence[Members]) -> BySize:
    """The ensembles of these members, of every size: all, or the arcs of circles, from which others
    are taken away first."""
    sizes = range(1, len(members) + 1)
    if not circles:
        return [list(combinations(sorted(members), size)) for size in sizes]
    kept = [[member for member in circle if member in members] for circle in circles]
    return [
        [tuple(sorted((circle * 2)[i : i + size])) for circle in kept for i in range(len(circle))]
        for size in sizes
    ]


def evaluate(
    rewards: np.ndarray, values: np.ndarray, n: int, by_size: BySize, *others: BySize
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The values of what ensembles choose among the first n samples, means over those of a size.

    rewards: (models, posts, samples); values: (metrics, posts, samples). Returns (metrics, posts,
    sizes) for `by_size`, and for each of `others` the means over posts (metrics, sizes). An
    ensemble that several have is evaluated once.
    """
    rows: dict[Members, int] = {}
    for each in (by_size, *others):
        for members in (members for of_size in each for members in of_size):
            rows.setdefault(members, len(rows))
    models = sorted({model for members in rows for model in members})
    holds = np.array([[model in members for model in models] for members in rows], np.float32)
    weights = np.zeros((len(by_size), len(rows)))
    for weight, of_size in zip(weights, by_size, strict=True):
        np.add.at(weight, [rows[members] for members in of_size], 1 / len(of_size))

    posts = rewards.shape[1]
    curve = np.zeros((len(values), posts, len(by_size)))
    totals = np.zeros((len(values), len(rows)))
    for start in range(0, posts, POSTS_AT_ONCE):
        block = slice(start, start + POSTS_AT_ONCE)
        centred = standardise(rewards[models, block])[:, :, :n].astype(np.float32)
        for first in range(0, len(rows), ENSEMBLES_AT_ONCE):
            part = slice(first, first + ENSEMBLES_AT_ONCE)
            sums = np.tensordot(holds[part], centred, axes=1)
            chosen = pick(values[:, block], sums.argmax(axis=-1))
            totals[:, part] += chosen.sum(axis=-1)
            curve[:, block] += np.tensordot(chosen, weights[:, part], axes=(1, 1))
    means = totals / posts
    return curve, [
        np.stack([means[:, [rows[m] for m in of_size]].mean(axis=1) for of_size in each], axis=1)
        for each in others
    ]


def _quantities(curve: np.ndarray) -> dict[str, np.ndarray]:
    """Value, gain and added of curves (..., sizes)."""
    gain = curve - curve[..., :1]
    gain[..., 0] = np.nan
    added = np.diff(curve, axis=-1, prepend=np.nan)
    return {"value": curve, "gain": gain, "added": added}


def _jackknife(replicates: np.ndarray, sizes: int) -> np.ndarray:
    """The variance over seeds (metrics, sizes), from the quantity without each of them (seeds,
    metrics, sizes).

    A mean over subsets is a U-statistic, of which the jackknife's variance is too large rather than
    too small (Efron and Stein, 1981). Without a seed there may be one size less: there the largest
    stands for the size that needs all seeds.
    """
    number = len(replicates)
    missing = sizes - replicates.shape[-1]
    replicates = np.pad(replicates, ((0, 0), (0, 0), (0, missing)), mode="edge")
    return (number - 1) * replicates.var(axis=0)


def _reach(error: np.ndarray, of_seeds: np.ndarray, seeds: int, rounding: np.ndarray) -> np.ndarray:
    """How far 95% intervals reach, from standard errors over posts and variances over seeds; NaN
    where they vary by no more than their rounding."""
    reach = np.full_like(error, np.nan)
    for at in np.ndindex(error.shape):
        variance = Variance(float(error[at]) ** 2, float(of_seeds[at]), seeds)
        if variance.error > rounding[at]:
            reach[at] = variance.quantile * variance.error
    return reach
