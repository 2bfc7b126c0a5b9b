"""HedgeTune: where to stop before more optimisation of a reward lowers what it stands for.

Best-of-n, best-of-Poisson and soft best-of-n lead from the policy to the highest reward as their
parameter grows or, for soft, falls. Where the ranker is wrong in its tail, the mean *true* reward
rises and then falls. Khalaf et al. (2506.19248) look for the parameter at which it is stationary.
The truth here is gold, where there is one, and the evaluator, which is none. All means are exact,
over all orders of the samples (see `exact_best_of_n`); nothing is drawn.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

import numpy as np
import pandas as pd

from underspec.analysis.ensembles import standardise
from underspec.analysis.exact_best_of_n import share_of_sets
from underspec.analysis.intervals import mean_and_error
from underspec.analysis.newer_rankers import of_distinct_members
from underspec.analysis.results import ScaleResults
from underspec.analysis.selection_rules import (
    Candidates,
    best_of_n,
    expectation,
    number_of_candidates,
    soft,
)
from underspec.analysis.statistics import in_policy_units, kl_bound, ranks

TRUTHS = ("reward", "gold")
PRECISION = 0.01  # of a stopping point that is no integer, relative
NEGLIGIBLE = 1e-3  # a drop, in standard deviations
TEMPERATURES = [np.inf, *(2.0 ** -np.arange(-4, 5.5, 0.5)), 0.0]  # of soft best-of-n


def stops(results: ScaleResults, metrics: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The stopping point of each rule by each of TRUTHS among the metrics, for single reward models
    and for the mean of each kind of ensemble; one for all rankers of a kind.

    Columns ensemble, by (the metric), rule; course: whether the mean of the metric falls from the
    policy on, turns, or rises to the end, which is the best of all samples (for best-of-Poisson: as
    many expected); stop: the n, the mean of Poisson or the temperature, in standard deviations of
    the reward, at which it is highest, missing unless it turns; kl_bound: of best-of-n at this n;
    gain there and end_gain, above the policy in standard deviations of its samples; drop: the
    difference, with its standard error over posts.
    """
    truths = [name for name in TRUTHS if name in metrics]
    values = in_policy_units(np.stack([metrics[name] for name in truths]))
    kinds: dict[str, list[np.ndarray]] = {}
    for ranker in of_distinct_members(results.rankers):
        members = [results.models.index(model) for model in ranker.members]
        mean = standardise(results.rewards[members]).mean(axis=0)
        kinds.setdefault(ranker.ensemble, []).append(mean)
    rows = [
        {"ensemble": ensemble, "by": by, "rule": rule}
        | stop(strengths, partial(_of_metric, gains, i), integer=rule == "best_of_n")
        for ensemble, rewards in kinds.items()
        for rule, (strengths, gains) in _paths(rewards, values).items()
        for i, by in enumerate(truths)
    ]
    table = pd.DataFrame(rows)
    of_n = table["stop"].where(table["rule"] == "best_of_n")
    table.insert(5, "kl_bound", of_n.map(kl_bound, na_action="ignore"))
    return table


Gains = Callable[[float], np.ndarray]  # from a rule's parameter to gains (metrics, posts)


def _of_metric(gains: Gains, metric: int, strength: float) -> np.ndarray:
    return gains(strength)[metric]


def _paths(
    rewards: list[np.ndarray], values: np.ndarray
) -> dict[str, tuple[Sequence[float], Gains]]:
    """For each rule, its parameter from the policy to the end, and the gains at any, a mean over
    rankers. rewards: (posts, samples) of each; values: (metrics, posts, samples)."""
    size = values.shape[2]
    by_share = np.mean([coefficients(each, values) for each in rewards], axis=0)
    shares = np.stack([share_of_sets(size, n) for n in range(1, size + 1)])
    single = values.astype(np.float32)
    units = [in_policy_units(each).astype(np.float32) for each in rewards]

    @cache
    def of_soft(temperature: float) -> np.ndarray:
        total = np.zeros(values.shape[:2])
        for unit in units:
            each = Candidates(unit, unit)
            if temperature:
                chosen = soft(each, size, np.float32(temperature))
            else:
                chosen = best_of_n(each, size).astype(np.float32)
            total += expectation(chosen, single)
        return total / len(units)

    return {
        "best_of_n": (range(1, size + 1), lambda n: by_share @ shares[n - 1]),
        "poisson": (
            np.linspace(0, size - 1, 4 * size),
            lambda mean: by_share @ (number_of_candidates(mean, size) @ shares),
        ),
        "soft": (TEMPERATURES, of_soft),
    }


def coefficients(rewards: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(metrics, posts, samples + 1) what turns chances into means: the mean over orders of the
    values (metrics, posts, samples) of the best of n is `coefficients @ share_of_sets(samples, n)`.

    As in `exact_best_of_n.chances`, samples that tie share their chance.
    """
    below, up_to = ranks(rewards)
    posts, size = rewards.shape
    row = np.arange(posts)[:, None] * (size + 1)

    def summed(rank: np.ndarray, each: np.ndarray) -> np.ndarray:
        return np.bincount((row + rank).ravel(), each.ravel(), posts * (size + 1))

    shared = values / (up_to - below)
    found = [summed(up_to, each) - summed(below, each) for each in shared]
    return np.reshape(found, (len(values), posts, size + 1))


def stop(strengths: Sequence[float], gains: Callable[[float], np.ndarray], integer: bool) -> dict:
    """Where the mean over posts of `gains` (posts,) is highest on the way through `strengths`.

    Returns course, stop, gain, end_gain, drop and drop_standard_error. Between the strengths, it
    is looked for next to the highest of them, to PRECISION, unless they are integers. What differs
    from an end by less than NEGLIGIBLE is that end.
    """
    means = np.array([gains(each).mean() for each in strengths])
    best = int(means.argmax())
    course = "turns"
    for end, name in ((-1, "rises"), (0, "falls")):
        if means[end] >= means[best] - NEGLIGIBLE:
            course, best = name, range(len(means))[end]
    at = strengths[best]
    if course == "turns" and not integer:
        at = _refined(strengths[best - 1], at, strengths[best + 1], gains)
    highest, end = gains(at), gains(strengths[-1])
    drop, error = mean_and_error(highest - end)
    return {
        "course": course,
        "stop": at if course == "turns" else np.nan,
        "gain": float(highest.mean()),
        "end_gain": float(end.mean()),
        "drop": float(drop),
        "drop_standard_error": float(error),
    }


def _refined(before: float, at: float, after: float, gains: Callable) -> float:
    """The highest between two neighbours of `at`; a neighbour that is 0 or infinite is replaced by
    a quarter or four times of `at`."""
    from scipy.optimize import minimize_scalar  # slow to import

    low, high = sorted((before, after))

    def loss(log: float) -> float:
        return -float(gains(np.exp(log)).mean())

    found = minimize_scalar(
        loss,
        bounds=(np.log(low or at / 4), np.log(min(high, at * 4))),
        method="bounded",
        options={"xatol": PRECISION},
    )
    return float(np.exp(found.x)) if found.fun < loss(np.log(at)) else at
