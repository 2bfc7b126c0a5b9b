"""Rankers that came since the paper, and what they choose.

A newer selection rule is applied to every single reward model and to the mean of every ensemble, a
newer aggregator to every ensemble, with best-of-n. All see the first n samples, as the paper's do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from underspec.analysis.ensembles import AGGREGATORS, in_units_of_mean, standardise
from underspec.analysis.published import KIND, METRICS
from underspec.analysis.results import ScaleResults
from underspec.analysis.selection_rules import RULES, Candidates, best_of_n, beyond, expectation
from underspec.analysis.statistics import in_policy_units
from underspec.analysis.tables import by_kind, of_scale, tidy, with_error
from underspec.grid import Ranker

PLAIN = (("single", "best_of_n"), ("mean", "best_of_n"))  # what newer rankers are compared with


@dataclass(frozen=True)
class Newer:
    """Newer rankers: the parameters of each by its name, in RULES or AGGREGATORS; and how similar
    every sample is to the others of its post, (posts, samples) in the units of Candidates."""

    parameters: Mapping[str, Mapping[str, float]]
    similarity: np.ndarray

    def ways(self, members: int) -> list[tuple[str, str]]:
        """(aggregator, rule) of every newer ranker of so many reward models; the aggregator of one
        is "single"."""
        plain = "mean" if members > 1 else "single"
        rules = [(plain, name) for name in self.parameters if name in RULES]
        aggregators = [(name, "best_of_n") for name in self.parameters if name in AGGREGATORS]
        return rules + aggregators * (members > 1)

    def part(self, posts: slice | np.ndarray) -> "Newer":
        """The same of some posts."""
        return replace(self, similarity=self.similarity[posts])

    def probabilities(self, rewards: np.ndarray, n: int) -> Iterable[np.ndarray]:
        """How each of `ways` chooses: the probability of each sample, (posts, samples), or of the
        first n if no other can be taken.

        rewards: (members, posts, samples), standardised, in units of their mean.
        """
        mean = Candidates(rewards.mean(axis=0), self.similarity)
        for aggregator, rule in self.ways(len(rewards)):
            if aggregator in ("single", "mean"):
                yield RULES[rule](mean, n, **self.parameters[rule])
            else:
                combined = AGGREGATORS[aggregator](rewards, **self.parameters[aggregator])
                yield best_of_n(Candidates(combined, self.similarity), n)

    def values(self, rewards: np.ndarray, n: int, metrics: np.ndarray) -> np.ndarray:
        """Metrics (metrics, posts, samples) of what each of `ways` chooses: (metrics, ways, posts).

        rewards: as for `probabilities`.
        """
        chosen = [expectation(each, metrics) for each in self.probabilities(rewards, n)]
        return np.reshape(chosen, (-1, *metrics.shape[:2])).swapaxes(0, 1)


def read(parameters: Mapping[str, Mapping | None], similarity: np.ndarray) -> Newer:
    """Newer rankers from the config's `newer_rankers`, in which null leaves one out, and
    similarities (posts, samples) in any unit."""
    kept = {name: found for name, found in parameters.items() if found is not None}
    return Newer(kept, in_policy_units(similarity))


def of_distinct_members(rankers: list[Ranker]) -> list[Ranker]:
    """Of the rankers that have the same reward models and differ in their aggregator, the first."""
    found = {}
    for ranker in rankers:
        found.setdefault((ranker.ensemble, ranker.members), ranker)
    return list(found.values())


def _members(
    results: ScaleResults, ranker: Ranker, posts: slice | np.ndarray = slice(None)
) -> np.ndarray:
    """The rewards of a ranker's members for some posts, as `Newer.probabilities` takes them; their
    unit is that over all posts."""
    members = [results.models.index(model) for model in ranker.members]
    return in_units_of_mean(standardise(results.rewards[members]))[:, posts]


def chances(
    results: ScaleResults, newer: Newer, ns: list[int], posts: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """How likely newer rankers take each sample of some posts: (ns, posts, samples) by newer ranker
    and kind of ensemble, a mean over the rankers of a kind."""
    found: dict[tuple[str, str], list] = {}
    newer = newer.part(posts)
    for ranker in of_distinct_members(results.rankers):
        rewards = _members(results, ranker, posts)
        names = [
            aggregator if rule == "best_of_n" else rule
            for aggregator, rule in newer.ways(len(rewards))
        ]
        by_n = np.zeros((len(names), len(ns), *rewards.shape[1:]))
        for i, n in enumerate(ns):
            for of_name, each in zip(by_n, newer.probabilities(rewards, n), strict=True):
                of_name[i, :, : each.shape[1]] = each
        for name, of_name in zip(names, by_n, strict=True):
            found.setdefault((name, ranker.ensemble), []).append(of_name)
    return {key: np.mean(each, axis=0) for key, each in found.items()}


def values_by_kind(
    results: ScaleResults, metrics: np.ndarray, newer: Newer
) -> dict[tuple[str, str, str], np.ndarray]:
    """Metrics of what newer rankers choose, (metrics, ns, posts), by kind (ensemble, aggregator,
    rule), a mean over its rankers. Best-of-n by the mean of an ensemble is there in any case.

    metrics: (metrics, posts, samples).
    """
    found: dict[tuple[str, str, str], list] = {}
    newer = replace(newer, parameters={"best_of_n": {}} | newer.parameters)
    for ranker in of_distinct_members(results.rankers):
        rewards = _members(results, ranker)
        values = np.stack([newer.values(rewards, n, metrics) for n in results.ns], axis=2)
        for i, way in enumerate(newer.ways(len(rewards))):
            found.setdefault((ranker.ensemble, *way), []).append(values[:, i])
    return {kind: np.mean(values, axis=0) for kind, values in found.items()}


def table(results: ScaleResults, metrics: dict[str, np.ndarray], newer: Newer) -> pd.DataFrame:
    """Figure 4, the gold figure and Table 1 in the long form: every ranker, at every n.

    Columns n, ensemble, aggregator, rule; each metric, its gain over best-of-n by the same single
    reward models or by the mean of the same ensembles, and their standard errors over posts; and
    beyond, the probability that best-of-Poisson asks for more samples than there are (see
    `selection_rules.poisson`).
    """
    of_newer = values_by_kind(results, np.stack(list(metrics.values())), newer)
    of_paper = np.stack([by_kind(results, metric)[1] for metric in metrics.values()], axis=1)
    every = {
        (*kind, "best_of_n"): values for kind, values in zip(results.kinds, of_paper, strict=True)
    }
    every |= {kind: values for kind, values in of_newer.items() if kind not in every}
    plain = {kind[0]: every[kind] for kind in every if kind[1:] in PLAIN}
    values = np.stack(list(every.values()), axis=1)
    gains = values - np.stack([plain[kind[0]] for kind in every], axis=1)
    columns = {}
    for i, name in enumerate(metrics):
        columns |= with_error(name, values[i]) | with_error(f"{name}_gain", gains[i])
    made = tidy({"kind": [kind[:2] for kind in every], "n": results.ns}, **columns)
    made["rule"] = np.repeat([kind[2] for kind in every], len(results.ns))
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
