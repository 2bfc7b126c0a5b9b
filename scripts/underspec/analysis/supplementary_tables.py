"""Tidy tables beside the paper's: exact best-of-n, shift, components, paired tests, bias."""

import itertools

import numpy as np
import pandas as pd

from underspec.analysis import exact_best_of_n as orders
from underspec.analysis.bootstrap import over_posts_and_seeds
from underspec.analysis.ensembles import aggregate
from underspec.analysis.length_bias import price_of_a_word, sums_of_products
from underspec.analysis.quantities import Quantity
from underspec.analysis.rerank import best_of_n
from underspec.analysis.results import ScaleResults
from underspec.analysis.statistics import (
    JUDGES,
    PAIRS,
    agreement,
    anova_share,
    judged,
    mean_and_error,
    pick,
    relations,
    variance_components,
)
from underspec.analysis.summary import Summary
from underspec.analysis.tables import by_kind, of_scale, tidy

ORDERS = 16  # random orders of the samples, where there is no closed form


def exact(summary: Summary, yardsticks: dict[str, np.ndarray]) -> pd.DataFrame:
    """The paper's first n samples beside the mean over all orders of the samples.

    Columns statistic, n, first and exact, each with its standard error over posts, and
    posts_worth: the variance over posts of the first over that of the exact, which is how many
    times as many posts the first would need. Agreement and the share of variance are means over
    ORDERS orders.
    """
    results = summary.results
    by_judge, by_yardstick = _expected(results, yardsticks)
    pairs, share = _over_orders(results)
    complete = summary.has_judge.all(axis=1)
    complete = complete if complete.any() else slice(None)
    parts = [
        ([f"reward by {judge}" for judge in JUDGES], summary.judged[complete].mean(axis=0))
        + (by_judge[complete].mean(axis=0),),
        ([f"agreement, {pair}" for pair in PAIRS], summary.agreement, pairs),
    ]
    for name in yardsticks:
        names = [f"{name} of {' '.join(dict.fromkeys(kind))}" for kind in summary.worth[name]]
        parts.append((names, np.stack(list(summary.worth[name].values())), by_yardstick[name]))
    tables = [_compared(*part, results.ns) for part in parts]
    share = {"first": summary.share.mean(axis=0), "exact": share}
    tables.append(tidy({"statistic": ["share of variance"], "n": results.ns}, **share))
    table = pd.concat(tables, ignore_index=True).dropna(subset="exact")
    return of_scale(table, summary, ["statistic", "n"])


def _compared(names: list[str], first: np.ndarray, exact: np.ndarray, ns: list[int]):
    (mean, error), (exact_mean, exact_error) = mean_and_error(first), mean_and_error(exact)
    return tidy(
        {"statistic": names, "n": ns},
        first=mean,
        first_standard_error=error,
        exact=exact_mean,
        exact_standard_error=exact_error,
        posts_worth=np.divide(
            error, exact_error, out=np.full_like(error, np.nan), where=exact_error > 0
        )
        ** 2,
    )


def _expected(results: ScaleResults, yardsticks: dict[str, np.ndarray]):
    """Figure 1's rewards (rankers, judges, ns, posts), and by yardstick (kinds, ns, posts)."""
    relation = relations(results.models)
    values = np.stack(list(yardsticks.values()))
    by_judge, worth = [], {}
    for ranker in results.rankers:
        members = [results.models.index(model) for model in ranker.members]
        chances = orders.chances(aggregate(results.rewards[members], ranker.aggregator), results.ns)
        if ranker.aggregator is None:
            rewards = orders.expected(chances, results.rewards)
            by_judge.append(judged(rewards, relation[members[0]]))
        kind = (ranker.ensemble, ranker.aggregator)
        worth.setdefault(kind, []).append(orders.expected(chances, values))
    means = np.stack([np.mean(group, axis=0) for group in worth.values()], axis=1)
    return np.stack(by_judge), dict(zip(yardsticks, means, strict=True))


def _over_orders(results: ScaleResults) -> tuple[np.ndarray, np.ndarray]:
    """Means over orders of agreement (pairs, ns, posts) and the share of variance (ns,)."""
    relation = relations(results.models)
    agreeing, share = [], []
    for order in orders.orders(*results.texts.shape, ORDERS):
        choices = [orders.best_of_n_in(order, rewards, results.ns) for rewards in results.rewards]
        texts = np.stack([pick(results.texts, each) for each in choices])
        agreeing.append(agreement(texts, relation))
        share.append(
            np.mean([anova_share(pick(results.rewards, each)) for each in choices], axis=0)
        )
    return np.mean(agreeing, axis=0), np.mean(share, axis=0)


def shift(
    summary: Summary, diagnostics: dict[str, np.ndarray], yardsticks: dict[str, np.ndarray]
) -> pd.DataFrame:
    """Each diagnostic of the chosen samples, by kind of ranker, against n, with its error.

    The gold rater, where there is one, is a kind as well: what it would choose.
    """
    tables = []
    for name, values in diagnostics.items():
        axes, of_kinds = by_kind(summary, name)
        if "gold" in yardsticks:
            gold = pick(values, best_of_n(yardsticks["gold"], summary.results.ns))
            axes["kind"] = [*axes["kind"], ("gold rater",) * 2]
            of_kinds = np.concatenate([of_kinds, gold[None]])
        mean, error = mean_and_error(of_kinds)
        table = tidy(axes, value=mean, standard_error=error).assign(diagnostic=name)
        tables.append(table)
    keys = ["diagnostic", "n", "ensemble", "aggregator"]
    return of_scale(pd.concat(tables, ignore_index=True), summary, keys)


def components(summary: Summary) -> pd.DataFrame:
    """Variance components of the choices' rewards, a mean over rankers, beside Figure 3's share.

    Columns component, n, variance and share (of the sum of all four); the component `one-way` is
    the paper's share, which per-model offsets explain.
    """
    results = summary.results
    pretrain = np.array([model.pretrain_seed for model in results.models])
    found = [
        variance_components(
            pick(results.rewards, results.choices[f"single-{model.name}"]), pretrain
        )
        for model in results.models
    ]
    names = list(found[0])
    variance = np.stack([np.mean([each[name] for each in found], axis=0) for name in names])
    one_way = summary.share.mean(axis=0, keepdims=True)
    table = tidy(
        {"component": [*names, "one-way"], "n": results.ns},
        variance=np.concatenate([variance, np.full_like(one_way, np.nan)]),
        share=np.concatenate([variance / variance.sum(axis=0), one_way]),
    )
    return of_scale(table, summary, ["component", "n"])


def paired(
    summary: Summary, evidence: dict[Quantity, np.ndarray], yardsticks: list[str], pretrains: int
) -> pd.DataFrame:
    """Kinds of rankers against each other at the largest n, post by post.

    Columns yardstick, aggregator, better, worse, difference, standard_error, t and wilcoxon (the
    two-sided p-values over posts, of the paired t test and of Wilcoxon's signed ranks), t_holm
    (over all rows of the scale), and low and high: the 95% interval over posts and seeds.
    """
    from scipy import stats  # slow to import

    n = summary.results.ns[-1]
    aggregators = dict.fromkeys(r.aggregator for r in summary.results.rankers if r.aggregator)
    rows = []
    for yardstick, aggregator in itertools.product(yardsticks, aggregators):
        kinds = {"single": "single", "finetune": f"finetune {aggregator}"}
        kinds |= {"pretrain": f"pretrain {aggregator}"}
        for better, worse in (
            ("pretrain", "single"),
            ("finetune", "single"),
            ("pretrain", "finetune"),
        ):
            quantities = [(f"{yardstick} of {kinds[kind]}", n) for kind in (better, worse)]
            if not all(quantity in evidence for quantity in quantities):
                continue
            first, second = (
                summary.worth[yardstick][kind, "single" if kind == "single" else aggregator][-1]
                for kind in (better, worse)
            )
            sides = [evidence[quantity] for quantity in quantities]
            size = max(abs(side[0, 0]) for side in sides)
            interval = over_posts_and_seeds(*np.subtract(*sides), pretrains, size)
            differs = bool((first != second).any())
            rows.append(
                {"yardstick": yardstick, "aggregator": aggregator, "better": better, "worse": worse}
                | {
                    "difference": (first - second).mean(),
                    "standard_error": stats.sem(first - second),
                }
                | {"t": stats.ttest_rel(first, second).pvalue if differs else 1.0}
                | {
                    "wilcoxon": stats.wilcoxon(first, second, method="asymptotic").pvalue
                    if differs
                    else 1.0
                }
                | {"low": interval.low, "high": interval.high}
            )
    table = pd.DataFrame(rows)
    if len(table):
        table.insert(7, "t_holm", holm(table["t"].to_numpy()))
    return of_scale(table, summary, [])


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of p-values (tests,)."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def bias(
    summary: Summary, yardsticks: dict[str, np.ndarray], words: np.ndarray, planted: float
) -> pd.DataFrame:
    """What rewards pay for a word and how much of them is error (see `length_bias`).

    Columns ensemble, aggregator, ranker, price and planted (gold utility a word, the reward's and
    the labels'), and unexplained (share of the variance within posts).
    """
    results = summary.results
    judges = {("evaluator", "single", "evaluator"): yardsticks["reward"]}
    for ranker in results.rankers:
        members = [results.models.index(model) for model in ranker.members]
        key = (ranker.ensemble, ranker.aggregator or "single", ranker.name)
        judges[key] = aggregate(results.rewards[members], ranker.aggregator)
    rows = []
    for (ensemble, aggregator, name), rewards in judges.items():
        products = sums_of_products(rewards, yardsticks["gold"], words).sum(axis=0)
        price, unexplained = price_of_a_word(products)
        rows.append(
            {"ensemble": ensemble, "aggregator": aggregator, "ranker": name}
            | {"price": float(price), "planted": planted, "unexplained": float(unexplained)}
        )
    return of_scale(pd.DataFrame(rows), summary, [])
