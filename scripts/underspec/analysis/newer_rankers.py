"""Rankers that came since the paper, and what they choose.

A newer selection rule is applied to every single reward model and to the mean of every ensemble; a
newer aggregator to every ensemble, with best-of-n. All see the first n samples, as the paper's do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from underspec.analysis.ensembles import AGGREGATORS
from underspec.analysis.published import KIND, METRICS
from underspec.analysis.results import ScaleResults
from underspec.analysis.selection_rules import RULES, beyond, candidates, expectation
from underspec.analysis.statistics import pick
from underspec.analysis.tables import of_scale, tidy, with_error
from underspec.grid import Ranker

Kind = tuple[str, str, str]  # ensemble, aggregator and selection rule


@dataclass(frozen=True)
class Newer:
    """Newer rankers: the parameters of each by its name, in RULES or AGGREGATORS; and how similar
    every sample is to the others of its post, (posts, samples)."""

    parameters: Mapping[str, Mapping[str, float]]
    similarity: np.ndarray

    @property
    def rules(self) -> list[str]:
        return [name for name in self.parameters if name in RULES]

    @property
    def aggregators(self) -> list[str]:
        return [name for name in self.parameters if name in AGGREGATORS]

    def of(self, name: str | None) -> Mapping[str, float]:
        """The parameters of a rule or an aggregator; the paper's have none."""
        return self.parameters.get(name, {})

    def probabilities(self, ranker: Ranker, rewards: np.ndarray, n: int) -> np.ndarray:
        """With which probability the ranker takes each of the first samples: (posts, samples), or
        fewer samples, if no other can be taken.

        rewards: (posts, samples), what it ranks by.
        """
        choose = RULES[ranker.rule]
        return choose(candidates(rewards, self.similarity), n, **self.of(ranker.rule))


def plain_rankers(rankers: list[Ranker]) -> list[Ranker]:
    """Every single reward model and the mean of every ensemble, with best-of-n."""
    found = {}
    for ranker in rankers:
        found.setdefault((ranker.ensemble, ranker.members), ranker)
    return [_with(ranker, aggregator="mean") for ranker in found.values()]


def newer_rankers(rankers: list[Ranker], newer: Newer) -> list[Ranker]:
    """The newer rankers of the same reward models as `rankers`."""
    plain = plain_rankers(rankers)
    return [
        *(_with(ranker, rule=rule) for rule in newer.rules for ranker in plain),
        *(
            _with(ranker, aggregator=aggregator)
            for aggregator in newer.aggregators
            for ranker in plain
            if ranker.aggregator
        ),
    ]


def _with(ranker: Ranker, rule: str | None = None, aggregator: str | None = None) -> Ranker:
    if rule:
        return replace(ranker, name=f"{ranker.name}-{rule}", rule=rule)
    if ranker.aggregator is None:
        return ranker
    name = ranker.name.removesuffix(ranker.aggregator) + aggregator
    return replace(ranker, name=name, aggregator=aggregator)


def values_by_kind(
    results: ScaleResults, metrics: np.ndarray, newer: Newer
) -> dict[Kind, np.ndarray]:
    """What rankers choose, the paper's and the newer ones: (metrics, ns, posts) by kind, a mean over
    the rankers of a kind.

    metrics: (metrics, posts, samples).
    """
    plain = plain_rankers(results.rankers)
    every = results.rankers + plain + newer_rankers(results.rankers, newer)
    found: dict[Kind, list] = {}
    for ranker in {ranker.name: ranker for ranker in every}.values():
        kind = (ranker.ensemble, ranker.aggregator or "single", ranker.rule)
        found.setdefault(kind, []).append(_values(results, ranker, metrics, newer))
    return {kind: np.mean(values, axis=0) for kind, values in found.items()}


def _values(
    results: ScaleResults, ranker: Ranker, metrics: np.ndarray, newer: Newer
) -> np.ndarray:
    if ranker.name in results.choices:
        return pick(metrics, results.choices[ranker.name])
    rewards = results.rewards_of(ranker, **newer.of(ranker.aggregator))
    chosen = (newer.probabilities(ranker, rewards, n) for n in results.ns)
    return np.stack([expectation(each, metrics) for each in chosen], axis=1)


def table(results: ScaleResults, metrics: dict[str, np.ndarray], newer: Newer) -> pd.DataFrame:
    """Figure 4, the gold figure and Table 1 in the long form: every ranker, at every n.

    Columns n, ensemble, aggregator, rule; each metric, its gain over best-of-n by the same single
    reward models or by the mean of the same ensembles, and their standard errors over posts; and
    beyond, the probability that best-of-Poisson asks for more samples than there are (see
    `selection_rules.poisson`).
    """
    by_kind = values_by_kind(results, np.stack(list(metrics.values())), newer)
    values = np.stack(list(by_kind.values()), axis=1)
    plain = [(kind[0], "single" if kind[0] == "single" else "mean", "best_of_n") for kind in by_kind]
    gains = values - np.stack([by_kind[kind] for kind in plain], axis=1)
    columns = {}
    for i, name in enumerate(metrics):
        columns |= with_error(name, values[i]) | with_error(f"{name}_gain", gains[i])
    made = tidy({"kind": [kind[:2] for kind in by_kind], "n": results.ns}, **columns)
    made["rule"] = np.repeat([kind[2] for kind in by_kind], len(results.ns))
    samples = newer.similarity.shape[1]
    asked_for = [beyond(n - 1, samples) for n in made["n"]]
    made["beyond"] = np.where(made["rule"] == "poisson", asked_for, np.nan)
    return of_scale(made, results, ["n", "ensemble", "aggregator", "rule"])


def table1_long(rankers: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """`table` at the largest n, beside the numbers of the paper's Table 1 for what it has."""
    keys = [*KIND, "rule"]
    ours = rankers[rankers["n"] == rankers["n"].max()]
    theirs = published.rename(columns={name: f"published_{name}" for name in METRICS})
    ours = ours[["parameters", *keys, *METRICS]]
    return ours.merge(theirs.assign(rule="best_of_n"), how="left", on=keys)
