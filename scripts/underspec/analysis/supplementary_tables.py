"""Tidy tables beside the paper's: exact best-of-n, shift, components, paired tests, bias."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd

from underspec.analysis import statistics
from underspec.analysis.bootstrap import resampled_posts
from underspec.analysis.disagreement import agreement, rewards_by_judge, shares_of_variance
from underspec.analysis.exact_best_of_n import best_of_n_in, chances, expected, orders
from underspec.analysis.intervals import mean_and_error, over_posts_and_seeds
from underspec.analysis.length_bias import length_coefficient
from underspec.analysis.published import kind_name
from underspec.analysis.quantities import Quantity
from underspec.analysis.rerank import best_of_n
from underspec.analysis.results import ScaleResults
from underspec.analysis.statistics import (
    JUDGES,
    PAIRS,
    over_rankers,
    pick,
    relations,
    variance_components,
)
from underspec.analysis.tables import by_kind, of_scale, tidy
from underspec.analysis.within_posts import sums_of_products

ORDERS = 16  # random orders of the samples, where there is no closed form


def exact(results: ScaleResults, metrics: dict[str, np.ndarray]) -> pd.DataFrame:
    """The paper's first n samples beside the mean over all orders of the samples.

    Columns statistic, n, first and exact, each with its standard error over posts, and
    relative_efficiency: the variance over posts of the first over that of the exact, which is how
    many times as many posts the first would need. Agreement and the share of variance are means
    over ORDERS orders.
    """
    weights = results.each_post
    by_judge, by_metric = _expected(results, metrics)
    first = rewards_by_judge(results, results.rewards, weights)
    first, exact = (over_rankers(each, weights.models)[:, 0] for each in (first, by_judge))
    pairs, share = _over_orders(results)
    parts = [
        ([f"reward by {judge}" for judge in JUDGES], first, exact),
        ([f"agreement, {pair}" for pair in PAIRS], agreement(results, weights)[:, 0], pairs),
    ]
    for (name, metric), exact in zip(metrics.items(), by_metric, strict=True):
        names = [f"{name} of {kind_name(*kind)}" for kind in results.kinds]
        parts.append((names, by_kind(results, metric)[1], exact))
    tables = [_compared(*part, results.ns) for part in parts]
    shares = {"first": _share(results), "exact": share}
    tables.append(tidy({"statistic": ["share of variance"], "n": results.ns}, **shares))
    table = pd.concat(tables, ignore_index=True).dropna(subset="exact")
    return of_scale(table, results, ["statistic", "n"])


def _compared(names: list[str], first: np.ndarray, exact: np.ndarray, ns: list[int]):
    (mean, error), (exact_mean, exact_error) = mean_and_error(first), mean_and_error(exact)
    return tidy(
        {"statistic": names, "n": ns},
        first=mean,
        first_standard_error=error,
        exact=exact_mean,
        exact_standard_error=exact_error,
        relative_efficiency=np.divide(
            error, exact_error, out=np.full_like(error, np.nan), where=exact_error > 0
        )
        ** 2,
    )


def _expected(results: ScaleResults, metrics: dict[str, np.ndarray]):
    """Figure 1's rewards (rankers, judges, 1, ns, posts), and (metrics, kinds, ns, posts)."""
    relation = dict(zip(results.models, relations(results.models), strict=True))
    values = np.stack(list(metrics.values()))
    by_judge, by_kind = [], []
    for rankers in results.kinds.values():
        of_kind = []
        for ranker in rankers:
            chance = chances(results.rewards_of(ranker), results.ns)
            of_kind.append(expected(chance, values))
            if ranker.aggregator is None:
                rewards, judges = expected(chance, results.rewards), relation[ranker.members[0]]
                by_judge.append(statistics.rewards_by_judge(rewards, judges, results.each_post))
        by_kind.append(np.mean(of_kind, axis=0))
    return np.stack(by_judge), np.stack(by_kind, axis=1)


def _over_orders(results: ScaleResults) -> tuple[np.ndarray, np.ndarray]:
    """Means over orders of agreement (pairs, ns, posts) and the share of variance (ns,)."""
    agreeing, share = [], []
    for order in orders(*results.texts.shape, ORDERS):
        choices = {
            f"single-{model.name}": best_of_n_in(order, rewards, results.ns)
            for model, rewards in zip(results.models, results.rewards, strict=True)
        }
        reordered = replace(results, choices=choices)
        agreeing.append(agreement(reordered, results.each_post)[:, 0])
        share.append(_share(reordered))
    return np.mean(agreeing, axis=0), np.mean(share, axis=0)


def _share(results: ScaleResults) -> np.ndarray:
    """(ns,) Figure 3's share of variance, a mean over rankers."""
    weights = resampled_posts(*results.rewards.shape[:2])
    return shares_of_variance(results, weights).mean(axis=0)[0, :, 0]


def shift(
    results: ScaleResults, diagnostics: dict[str, np.ndarray], metrics: dict[str, np.ndarray]
) -> pd.DataFrame:
    """Each diagnostic of the chosen samples, by kind of ranker, against n, with its error.

    The gold rater, where there is one, is a kind as well: what it would choose.
    """
    tables = []
    for name, values in diagnostics.items():
        axes, of_kinds = by_kind(results, values)
        if "gold" in metrics:
            gold = pick(values, best_of_n(metrics["gold"], results.ns))
            axes["kind"] = [*axes["kind"], ("gold rater",) * 2]
            of_kinds = np.concatenate([of_kinds, gold[None]])
        mean, error = mean_and_error(of_kinds)
        table = tidy(axes, value=mean, standard_error=error).assign(diagnostic=name)
        tables.append(table)
    keys = ["diagnostic", "n", "ensemble", "aggregator"]
    return of_scale(pd.concat(tables, ignore_index=True), results, keys)


def components(results: ScaleResults) -> pd.DataFrame:
    """Variance components of the choices' rewards, a mean over rankers, beside Figure 3's share.

    Columns component, n, variance and share (of the sum of all four); the component `one-way` is
    the paper's share, which per-model offsets explain.
    """
    seeds = np.array([model.pretrain_seed for model in results.models])
    found = [
        variance_components(pick(results.rewards, choices), seeds) for choices in results.singles
    ]
    names = list(found[0])
    variance = np.stack([np.mean([each[name] for each in found], axis=0) for name in names])
    one_way = _share(results)[None]
    table = tidy(
        {"component": [*names, "one-way"], "n": results.ns},
        variance=np.concatenate([variance, np.full_like(one_way, np.nan)]),
        share=np.concatenate([variance / variance.sum(axis=0), one_way]),
    )
    return of_scale(table, results, ["component", "n"])


def paired(
    results: ScaleResults,
    evidence: dict[Quantity, np.ndarray],
    metrics: dict[str, np.ndarray],
    pretraining_seeds: int,
) -> pd.DataFrame:
    """Kinds of rankers against each other at the largest n, post by post.

    Columns by (the metric), aggregator, better, worse, difference, standard_error, t and
    wilcoxon (the two-sided p-values over posts, of the paired t test and of Wilcoxon's signed
    ranks), t_holm (over all rows of the scale), and low and high: the 95% interval over posts and
    seeds.
    """
    from scipy import stats  # slow to import

    n = results.ns[-1]
    aggregators = dict.fromkeys(r.aggregator for r in results.rankers if r.aggregator)
    pairs = [("pretrain", "single"), ("finetune", "single"), ("pretrain", "finetune")]
    rows = []
    for name, metric in metrics.items():
        values = dict(zip(results.kinds, by_kind(results, metric)[1][:, -1], strict=True))
        for aggregator, pair in itertools.product(aggregators, pairs):
            kinds = [(each, "single" if each == "single" else aggregator) for each in pair]
            if not all(kind in values for kind in kinds):
                continue
            first, second = (values[kind] for kind in kinds)
            sides = [evidence[f"{name} of {kind_name(*kind)}", n] for kind in kinds]
            size = max(abs(side[0, 0]) for side in sides)
            interval = over_posts_and_seeds(*np.subtract(*sides), pretraining_seeds, size)
            p_values = {"t": 1.0, "wilcoxon": 1.0}
            if (first != second).any():
                p_values["t"] = stats.ttest_rel(first, second).pvalue
                p_values["wilcoxon"] = stats.wilcoxon(first, second, method="asymptotic").pvalue
            rows.append(
                {"by": name, "aggregator": aggregator, "better": pair[0], "worse": pair[1]}
                | {"difference": (first - second).mean()}
                | {"standard_error": stats.sem(first - second)}
                | p_values
                | {"low": interval.low, "high": interval.high}
            )
    table = pd.DataFrame(rows)
    if len(table):
        table.insert(7, "t_holm", holm(table["t"].to_numpy()))
    return of_scale(table, results, [])


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of p-values (tests,)."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def bias(
    results: ScaleResults, metrics: dict[str, np.ndarray], words: np.ndarray, planted: float
) -> pd.DataFrame:
    """How rewards depend on length, and how much of them is error (see `length_bias`).

    Columns ensemble, aggregator, ranker, length_coefficient (the reward's) and planted (the
    labels'), both in gold utility per word, and unexplained (share of the variance within posts).
    """
    rewards = {("evaluator", "single", "evaluator"): metrics["reward"]}
    for ranker in results.rankers:
        key = (ranker.ensemble, ranker.aggregator or "single", ranker.name)
        rewards[key] = results.rewards_of(ranker)
    rows = []
    for (ensemble, aggregator, name), reward in rewards.items():
        products = sums_of_products(reward, metrics["gold"], words).sum(axis=0)
        coefficient, unexplained = length_coefficient(products)
        rows.append(
            {"ensemble": ensemble, "aggregator": aggregator, "ranker": name}
            | {"length_coefficient": float(coefficient), "planted": planted}
            | {"unexplained": float(unexplained)}
        )
    return of_scale(pd.DataFrame(rows), results, [])
