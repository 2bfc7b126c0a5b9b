"""Tidy tables: what each figure draws and Table 1 prints, one row a point.

Every column that is a mean over posts has its standard error beside it; low and high bound the
95% interval. Rows for what a grid does not have (a finetune ensemble, a reward model of the same
pretraining seed) are absent.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from underspec.analysis.bootstrap import resampled_posts
from underspec.analysis.disagreement import agreement, rewards_by_judge, shares_of_variance
from underspec.analysis.intervals import NORMAL_95, mean_and_error, percentile_interval
from underspec.analysis.published import KIND, METRICS
from underspec.analysis.results import ScaleResults
from underspec.analysis.statistics import (
    JUDGES,
    PAIRS,
    kl_bound,
    over_rankers,
    pick,
    value_of_choices,
)

# Of what trainings report.
TRAINING = ("parameters", "accuracy", "pairs", "judgements", "ratings")
RESAMPLES = 1000  # of the posts, for Figure 3


def accuracy(scales: list[ScaleResults], of_evaluator: Mapping) -> pd.DataFrame:
    """Held-out accuracy of every reward model and the evaluator (section 2.2), and the number of
    pairs, of judgements or of ratings.

    of_evaluator: what its training reported; empty if there is none.
    """
    rows = [
        identity | {key: reported[key] for key in TRAINING if key in reported}
        for identity, reported in _trainings(scales, of_evaluator)
    ]
    return pd.DataFrame(rows).astype({"pretrain_seed": "Int64", "finetune_seed": "Int64"})


def reliability(scales: list[ScaleResults], of_evaluator: Mapping) -> pd.DataFrame:
    """The bins of every pointwise reward model and the evaluator, from the lowest probability on,
    and each model's expected calibration error.
    """
    rows = [
        identity | {key: reported[key] for key in ("parameters", "ece")} | {"bin": i} | each
        for identity, reported in _trainings(scales, of_evaluator)
        for i, each in enumerate(reported["bins"])
    ]
    return pd.DataFrame(rows).astype({"pretrain_seed": "Int64", "finetune_seed": "Int64"})


def people(scales: list[ScaleResults], of_evaluator: Mapping) -> pd.DataFrame:
    """How well every reward model of ratings and the evaluator agree with people in each domain:
    the correlation with its 95 % interval over texts (Fisher's; NaN with fewer than four texts or a
    correlation of 1), and that of people with people.
    """
    rows = [
        identity | {"parameters": reported["parameters"], "domain": domain} | each
        for identity, reported in _trainings(scales, of_evaluator)
        for domain, each in reported["domains"].items()
    ]
    table = pd.DataFrame(rows)
    angle = np.arctanh(table["correlation"].where(table["correlation"].abs() < 1))
    margin = NORMAL_95 / np.sqrt((table["texts"] - 3).where(table["texts"] > 3))
    table = table.assign(low=np.tanh(angle - margin), high=np.tanh(angle + margin))
    return table.astype({"pretrain_seed": "Int64", "finetune_seed": "Int64"})


def figure1(results: ScaleResults) -> pd.DataFrame:
    """The reward of a ranker's choices under itself and others, against n (Figure 1).

    Ranker 'all' is the mean over rankers (see `statistics.over_rankers`).
    """
    weights = results.each_post
    values = rewards_by_judge(results, results.rewards, weights)
    values = np.concatenate([over_rankers(values, weights.models)[None], values])
    axes = {"ranker": _rankers(results), "judge": JUDGES, "n": results.ns}
    table = tidy(axes, **_with_interval("reward", values[:, :, 0])).dropna(subset="reward")
    return of_scale(table, results, ["n", "ranker", "judge"])


def figure2(results: ScaleResults) -> pd.DataFrame:
    """How often two reward models pick the same text, against n > 1 (Figure 2)."""
    values = agreement(results, results.each_post)[:, 0]
    axes = {"pair": PAIRS, "n": results.ns}
    table = tidy(axes, **_with_interval("agreement", values))
    table["chance"] = 1 / table["n"]
    table = table[table["n"] > 1].dropna(subset="agreement")
    return of_scale(table, results, ["n", "pair"])


def figure3(results: ScaleResults) -> pd.DataFrame:
    """The share of variance that per-model offsets explain, against n (Figure 3).

    The interval is a percentile bootstrap over posts.
    """
    weights = resampled_posts(*results.rewards.shape[:2], RESAMPLES)
    shares = shares_of_variance(results, weights)[:, 0]
    shares = np.concatenate([shares.mean(axis=0, keepdims=True), shares])
    low, high = percentile_interval(shares[..., 1:])
    axes = {"ranker": _rankers(results), "n": results.ns}
    table = tidy(axes, share=shares[..., 0], low=low, high=high)
    return of_scale(table, results, ["n", "ranker"])


def figure4(results: ScaleResults, metrics: dict[str, np.ndarray]) -> pd.DataFrame:
    """Reward by the evaluator and win rate over the policy, against n (Figure 4).

    Several ensembles of a kind are averaged within a post first.
    """
    axes, reward = by_kind(results, metrics["reward"])
    _, win_rate = by_kind(results, metrics["win_rate"])
    table = tidy(axes, **with_error("reward", reward), **with_error("win_rate", win_rate))
    table["kl_bound"] = table["n"].map(kl_bound)
    return of_scale(table, results, ["n", "ensemble", "aggregator"])


def gold(results: ScaleResults, metrics: dict[str, np.ndarray]) -> pd.DataFrame:
    """The gold reward of every choice, of the policy and of the best possible choice."""
    axes, values = by_kind(results, metrics["gold"])
    best = np.maximum.accumulate(metrics["gold"], axis=1, dtype=np.float64)
    best = best[:, np.asarray(results.ns) - 1].T
    axes["kind"] = [*axes["kind"], ("best possible",) * 2, ("policy",) * 2]
    mean, error = mean_and_error(np.concatenate([values, best[None], best[None]]))
    table = tidy(axes, gold=mean, standard_error=error)
    table = table[(table["ensemble"] != "policy") | (table["n"] == 1)]
    return of_scale(table, results, ["n", "ensemble", "aggregator"])


def table1(figure4: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Figure 4 at the largest n, beside the numbers of the paper's Table 1 at scales it has."""
    ours = figure4[figure4["n"] == figure4["n"].max()]
    theirs = published.rename(columns={name: f"published_{name}" for name in METRICS})
    return ours[["parameters", *KIND, *METRICS]].merge(theirs, how="left", on=KIND)


def _trainings(scales: list[ScaleResults], of_evaluator: Mapping) -> Iterator[tuple[dict, Mapping]]:
    """Of every reward model, then of the evaluator: what it is, and what its training reported."""
    for scale in scales:
        for model, reported in zip(scale.models, scale.training, strict=True):
            identity = {"scale": scale.scale, "role": "reward model", "reward_model": model.name}
            seeds = {"pretrain_seed": model.pretrain_seed, "finetune_seed": model.finetune_seed}
            yield identity | seeds, reported
    if not of_evaluator:
        return
    identity = {"scale": of_evaluator["scale"], "role": "evaluator", "reward_model": "evaluator"}
    seeds = {key: of_evaluator.get(key) for key in ("pretrain_seed", "finetune_seed")}
    yield identity | seeds, of_evaluator


def _rankers(results: ScaleResults) -> list[str]:
    return ["all", *(f"single-{model.name}" for model in results.models)]


def by_kind(results: ScaleResults, metric: np.ndarray) -> tuple[dict, np.ndarray]:
    """The axes `kind` and `n`, and the value of the choices at each post (kinds, ns, posts).

    metric: (posts, samples).
    """
    weights = results.each_post
    values = []
    for rankers in results.kinds.values():
        choices = (results.choices[ranker.name] for ranker in rankers)
        chosen = ((pick(metric[None], each), weights.models[0]) for each in choices)
        values.append(value_of_choices(chosen, weights)[0, 0])
    return {"kind": list(results.kinds), "n": results.ns}, np.stack(values)


def tidy(axes: dict[str, Sequence], **columns: np.ndarray) -> pd.DataFrame:
    """One row for each combination of the axes, the last varying fastest.

    The axis `kind` of (ensemble, aggregator) pairs becomes these two columns.
    """
    table = pd.DataFrame(itertools.product(*axes.values()), columns=list(axes))
    table = table.assign(**{name: np.ravel(values) for name, values in columns.items()})
    if "kind" in table:
        table["ensemble"], table["aggregator"] = zip(*table.pop("kind"), strict=True)
    return table


def with_error(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    mean, error = mean_and_error(values)
    return {name: mean, f"{name}_standard_error": error}


def _with_interval(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    mean, error = mean_and_error(values)
    reach = NORMAL_95 * error
    return {name: mean, "standard_error": error, "low": mean - reach, "high": mean + reach}


def of_scale(table: pd.DataFrame, results: ScaleResults, keys: list[str]) -> pd.DataFrame:
    """Put scale, parameters and `keys` first, then the other columns as they stand."""
    first = {"scale": results.scale, "parameters": results.parameters}
    others = [column for column in table.columns if column not in keys]
    return table[[*keys, *others]].assign(**first)[[*first, *keys, *others]]
