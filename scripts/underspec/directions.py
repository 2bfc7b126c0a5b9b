"""The paper's directional findings, each as one number with its 95% interval: above 0 if it holds.

All intervals but those of accuracies reflect the finite sample of posts, paired within posts.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from underspec.results import Results
from underspec.statistics import (
    JUDGES,
    NORMAL_95,
    difference_of_means,
    mean_and_error,
    percentile_interval,
)
from underspec.summary import Summary

COLUMNS = ["direction", "figure", "scale", "n"]
COLUMNS += ["statistic", "estimate", "low", "high", "holds"]
ITSELF, SAME, OTHER = range(len(JUDGES))
YARDSTICKS = {
    "reward": ("figure4", "the evaluator's reward"),
    "win_rate": ("figure4", "win rate over the policy"),
    "gold": ("gold", "the gold reward"),
}
KINDS = {
    ("single", "single"): "single reward models",
    ("finetune", "mean"): "the finetune ensemble (mean)",
    ("pretrain", "mean"): "the pretrain ensemble (mean)",
}


@dataclass(frozen=True)
class Direction:
    """One finding, in plain English, and the statistic that is above 0 if it holds."""

    direction: str
    figure: str
    scale: str
    n: int | None
    statistic: str
    estimate: float
    low: float
    high: float

    @property
    def holds(self) -> str:
        if self.low > 0:
            return "yes"
        return "no" if self.high < 0 else "undecided"


def directions(results: Results, summaries: list[Summary]) -> pd.DataFrame:
    """Every direction at every scale; those the grid has no reward models for are absent."""
    found = [*_accuracies(results)]
    for summary in summaries:
        found += [*_figure1(summary), *_figure2(summary), *_figure3(summary), *_figure4(summary)]
    table = pd.DataFrame([vars(each) | {"holds": each.holds} for each in found], columns=COLUMNS)
    return table.astype({"n": "Int64"})


def _accuracies(results: Results):
    accuracies = [
        np.array([metrics["accuracy"] for metrics in scale.metrics]) for scale in results.scales
    ]
    names = [scale.scale for scale in results.scales]
    for first, second, *values in zip(names, names[1:], accuracies, accuracies[1:], strict=False):
        yield Direction(
            f"Held-out accuracy grows from {first} to {second}",
            "accuracy",
            f"{first} to {second}",
            None,
            f"mean accuracy: {second} - {first} (t interval over reward models)",
            *difference_of_means(*values),
        )
    gap = results.evaluator["accuracy"] - max(map(np.max, accuracies))
    yield Direction(
        "The evaluator is more accurate than every reward model",
        "accuracy",
        "all",
        None,
        "accuracy: evaluator - best reward model (no interval)",
        float(gap),
        math.nan,
        math.nan,
    )


def _figure1(summary: Summary):
    gain = summary.judged - summary.policy_judged
    for kind, values in (("reward", summary.judged), ("reward above the policy's mean", gain)):
        for better, worse in ((ITSELF, SAME), (SAME, OTHER), (ITSELF, OTHER)):
            both = summary.has_judge[:, better] & summary.has_judge[:, worse]
            if both.any():
                first, second = JUDGES[better], JUDGES[worse]
                difference = values[both, better, -1] - values[both, worse, -1]
                yield _over_posts(
                    f"A ranker's choices earn more {kind} from {_judge(better)} "
                    f"than from {_judge(worse)}",
                    "figure1",
                    summary,
                    summary.results.ns[-1],
                    f"{kind}: {first} - {second}",
                    difference.mean(axis=0),
                )


def _judge(judge: int) -> str:
    if judge == ITSELF:
        return "the ranker itself"
    pretrain = "its own pretrain" if judge == SAME else "other pretrains"
    return f"reward models of {pretrain}"


def _figure2(summary: Summary):
    ns = summary.results.ns
    n = 16 if 16 in ns else ns[-1]
    same, other = summary.agreement[:, ns.index(n)]
    difference = same - other
    if not np.isnan(difference).any():
        yield _over_posts(
            "Reward models of one pretrain pick the same text more often than those of two",
            "figure2",
            summary,
            n,
            "agreement: same pretrain - other pretrain",
            difference,
        )


def _figure3(summary: Summary):
    first = next((i for i, n in enumerate(summary.results.ns) if n > 1), None)
    if first is None:
        return
    smallest, largest = summary.results.ns[first], summary.results.ns[-1]
    share = summary.share.mean(axis=0)
    resamples = summary.share_resamples.mean(axis=0)
    low, high = percentile_interval(resamples[-1] - resamples[first])
    yield Direction(
        "More candidates: a larger share of the variance lies between reward models",
        "figure3",
        summary.results.scale,
        largest,
        f"share: n = {largest} - n = {smallest}",
        float(share[-1] - share[first]),
        float(low),
        float(high),
    )


def _figure4(summary: Summary):
    single, finetune, pretrain = KINDS
    for name, worth in summary.worth.items():
        figure, yardstick = YARDSTICKS[name]
        for better, worse in ((pretrain, finetune), (finetune, single), (pretrain, single)):
            if better in worth and worse in worth:
                yield _over_posts(
                    f"By {yardstick}, {KINDS[better]} beats {KINDS[worse]}",
                    figure,
                    summary,
                    summary.results.ns[-1],
                    f"{name.replace('_', ' ')}: {better[0]} - {worse[0]}",
                    worth[better][-1] - worth[worse][-1],
                )


def _over_posts(
    direction: str, figure: str, summary: Summary, n: int, statistic: str, values: np.ndarray
) -> Direction:
    mean, error = mean_and_error(values)
    estimate, reach = float(mean), float(NORMAL_95 * error)
    bounds = (estimate, estimate - reach, estimate + reach)
    return Direction(direction, figure, summary.results.scale, n, statistic, *bounds)
