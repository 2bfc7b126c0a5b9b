"""What of a ranker's error at its own best-of-n choice other reward models have as well.

The error of a reward model on a text is its reward less gold's, each in its standard deviations
within a post. Of the ranker's error at its choice, what reward models of other pretraining seeds
have as well is `shared`, and no ensemble removes it; what only those of the same checkpoint have is
the pretraining seed's; what only the ranker has is the finetuning seed's. The three parts sum to
the whole.

There are two measures. The gap is the mean error: how far the ranker's reward is above gold. The
squared error is split by the product of the ranker's error with that of another reward model on the
same text, whose mean is the square of what both have, if the rest of their errors is independent.
Rankers are single reward models, as in Figure 1, and judges as there.
"""

import numpy as np
import pandas as pd

from underspec.analysis import statistics
from underspec.analysis.aligned_policies import Judged, in_sft_units
from underspec.analysis.bootstrap import Resamples
from underspec.analysis.intervals import ROUNDING, with_intervals
from underspec.analysis.quantities import Quantity, by_draw
from underspec.analysis.results import ScaleResults
from underspec.analysis.statistics import in_policy_units, over_rankers, pick, relations
from underspec.analysis.tables import of_scale
from underspec.grid import RewardModel

MEASURES = ("gap", "squared error")
WHOLE = "whole"


def error_measures(errors: np.ndarray, ranker: int) -> np.ndarray:
    """errors (models, ...) on one ranker's texts, to (MEASURES, models, ...): each model's error,
    and its product with the ranker's."""
    return np.stack([errors, errors * errors[ranker]])


def parts(by_judge: np.ndarray) -> dict[str, np.ndarray]:
    """(JUDGES, ...) to the whole and its parts, (...) each; NaN where a judge is missing."""
    itself, same, other = by_judge
    return {
        WHOLE: itself,
        "shared": other,
        "pretraining seed": same - other,
        "finetuning seed": itself - same,
    }


def share(part: float, whole: float) -> float:
    """NaN where there is no error but that of rounding."""
    return part / whole if abs(whole) > ROUNDING else np.nan


def split(
    results: ScaleResults, gold: np.ndarray, weights: Resamples
) -> dict[str, dict[str, np.ndarray]]:
    """(ns, DRAWS, resamples) by measure and part, a mean over rankers that have every judge.

    gold: (posts, samples).
    """
    errors = in_policy_units(results.rewards) - in_policy_units(gold)
    every = weights.with_seeds_alone()
    of_rankers = []
    judges = relations(results.models)
    for i, choices in enumerate(results.singles):
        measured = error_measures(pick(errors, choices), i)
        of_rankers.append(
            [statistics.rewards_by_judge(each, judges[i], every) for each in measured]
        )
    found = {}
    for name, values in zip(MEASURES, np.stack(of_rankers, axis=1), strict=True):
        by_judge = over_rankers(values, every.models)  # (judges, 2, ns, resamples)
        of_parts = parts(by_judge)
        found[name] = {
            part: np.stack([by_draw(each, weights) for each in values.swapaxes(0, 1)])
            for part, values in of_parts.items()
        }
    return found


def of_aligned(
    judged: Judged, sft_policy: Judged, ranker: int, models: list[RewardModel]
) -> np.ndarray:
    """(MEASURES, JUDGES, posts): means over the samples of a policy, of the errors that judges make
    on them; NaN where there is no such judge. ranker: the index of the reward model to which the
    policy was aligned. Errors are in the SFT policy's standard deviations."""
    gold = in_sft_units(judged.metrics["gold"], sft_policy.metrics["gold"])
    both = zip(judged.rewards, sft_policy.rewards, strict=True)
    errors = np.stack([in_sft_units(*rewards) - gold for rewards in both])
    measured = error_measures(errors, ranker).mean(axis=-1)
    of_judges = relations(models)[ranker]
    missing = np.full_like(measured[:, 0], np.nan)
    means = [measured[:, each].mean(axis=1) if each.any() else missing for each in of_judges]
    return np.stack(means, axis=1)


def quantities(
    found: dict[str, dict[str, np.ndarray]], ns: list[int]
) -> dict[Quantity, np.ndarray]:
    """What claims compare, (DRAWS, resamples), where the grid has it."""
    squared = found["squared error"]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = squared["shared"] / squared[WHOLE]
    name = "share of squared error by other pretraining seeds"
    return {(name, n): each for n, each in zip(ns, shares, strict=True) if np.isfinite(each[0, 0])}


def table(
    results: ScaleResults, found: dict[str, dict[str, np.ndarray]], pretraining_seeds: int
) -> pd.DataFrame:
    """Columns measure, n, part (WHOLE, or one of `parts`), value with its intervals (see
    `intervals.with_intervals`) and share of the whole."""
    rows = [
        {"measure": measure, "n": n, "part": part}
        | with_intervals(of_parts[part][i], pretraining_seeds, size=whole)
        | {"share": share(of_parts[part][i, 0, 0], whole)}
        for measure, of_parts in found.items()
        for i, n in enumerate(results.ns)
        for whole in [of_parts[WHOLE][i, 0, 0]]
        for part in of_parts
        if np.isfinite(of_parts[part][i, 0, 0])
    ]
    return of_scale(pd.DataFrame(rows), results, [])
