"""Tidy tables: what each figure draws and Table 1 prints, one row a point.

Every column that is a mean over posts has its standard error beside it; low and high bound the
95% interval. Rows for what a grid does not have (a finetune ensemble, a reward model of the same
pretrain) are absent.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from underspec.analysis.published import KIND, WORTH
from underspec.analysis.results import Results
from underspec.analysis.statistics import (
    JUDGES,
    NORMAL_95,
    PAIRS,
    kl_bound,
    mean_and_error,
    percentile_interval,
)
from underspec.analysis.summary import Summary
from underspec.artifacts import atomic


def accuracy(results: Results) -> pd.DataFrame:
    """Held-out pairwise accuracy of every reward model and the evaluator (section 2.2)."""
    rows = [
        {"scale": scale.scale, "role": "reward model", "reward_model": model.name}
        | {"pretrain_seed": model.pretrain_seed, "finetune_seed": model.finetune_seed}
        | _training(metrics)
        for scale in results.scales
        for model, metrics in zip(scale.models, scale.metrics, strict=True)
    ]
    metrics = results.evaluator
    seeds = {key: metrics.get(key) for key in ("pretrain_seed", "finetune_seed")}
    evaluator = {"scale": metrics["scale"], "role": "evaluator", "reward_model": "evaluator"}
    table = pd.DataFrame([*rows, evaluator | seeds | _training(metrics)])
    return table.astype({"pretrain_seed": "Int64", "finetune_seed": "Int64"})


def figure1(summary: Summary) -> pd.DataFrame:
    """The reward of a ranker's choices under itself and others, against n (Figure 1).

    Ranker 'all' is the mean over the rankers that have every kind of judge, so that its curves
    compare the same choices (in the workshop grid: those of the pretrain finetuned many times).
    """
    complete = summary.has_judge.all(axis=1)
    every = summary.judged[complete if complete.any() else slice(None)].mean(axis=0)
    values = np.concatenate([every[None], summary.judged])
    axes = {"ranker": _rankers(summary), "judge": JUDGES, "n": summary.results.ns}
    table = tidy(axes, **_with_interval("reward", values)).dropna(subset="reward")
    return of_scale(table, summary, ["n", "ranker", "judge"])


def figure2(summary: Summary) -> pd.DataFrame:
    """How often two reward models pick the same text, against n > 1 (Figure 2)."""
    axes = {"pair": PAIRS, "n": summary.results.ns}
    table = tidy(axes, **_with_interval("agreement", summary.agreement))
    table["chance"] = 1 / table["n"]
    table = table[table["n"] > 1].dropna(subset="agreement")
    return of_scale(table, summary, ["n", "pair"])


def figure3(summary: Summary) -> pd.DataFrame:
    """The share of variance that per-model offsets explain, against n (Figure 3).

    The interval is a percentile bootstrap over posts.
    """
    resamples = summary.share_resamples
    resamples = np.concatenate([resamples.mean(axis=0, keepdims=True), resamples])
    share = np.concatenate([summary.share.mean(axis=0, keepdims=True), summary.share])
    low, high = percentile_interval(resamples)
    axes = {"ranker": _rankers(summary), "n": summary.results.ns}
    return of_scale(tidy(axes, share=share, low=low, high=high), summary, ["n", "ranker"])


def figure4(summary: Summary) -> pd.DataFrame:
    """Reward by the evaluator and win rate over the policy, against n (Figure 4).

    Several ensembles of a kind are averaged within a post first.
    """
    axes, reward = by_kind(summary, "reward")
    _, win_rate = by_kind(summary, "win_rate")
    table = tidy(axes, **with_error("reward", reward), **with_error("win_rate", win_rate))
    table["kl_bound"] = table["n"].map(kl_bound)
    return of_scale(table, summary, ["n", "ensemble", "aggregator"])


def gold(summary: Summary) -> pd.DataFrame:
    """The gold reward of every choice, of the policy and of the best possible choice."""
    axes, values = by_kind(summary, "gold")
    best = summary.best_possible["gold"].astype(np.float64)
    axes["kind"] = [*axes["kind"], ("best possible",) * 2, ("policy",) * 2]
    mean, error = mean_and_error(np.concatenate([values, best[None], best[None]]))
    table = tidy(axes, gold=mean, standard_error=error)
    table = table[(table["ensemble"] != "policy") | (table["n"] == 1)]
    return of_scale(table, summary, ["n", "ensemble", "aggregator"])


def table1(figure4: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Figure 4 at the largest n, beside the numbers of the paper's Table 1 at scales it has."""
    ours = figure4[figure4["n"] == figure4["n"].max()]
    theirs = published.rename(columns={name: f"published_{name}" for name in WORTH})
    return ours[["parameters", *KIND, *WORTH]].merge(theirs, how="left", on=KIND)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write six significant digits; the file appears under its name only when it is whole."""
    with atomic(path) as unfinished:
        table.to_csv(unfinished, index=False, float_format="%.6g")


def _training(metrics: dict) -> dict:
    return {key: metrics[key] for key in ("parameters", "accuracy", "pairs")}


def _rankers(summary: Summary) -> list[str]:
    return ["all", *(f"single-{model.name}" for model in summary.results.models)]


def by_kind(summary: Summary, yardstick: str) -> tuple[dict, np.ndarray]:
    worth = summary.worth[yardstick]
    return {"kind": list(worth), "n": summary.results.ns}, np.stack(list(worth.values()))


def tidy(axes: dict[str, Sequence], **columns: np.ndarray) -> pd.DataFrame:
    """One row for each combination of the axes, the last varying fastest.

    The axis `kind` of (ensemble, aggregator) pairs becomes these two columns.
    """
    index = pd.MultiIndex.from_product(
        [range(len(values)) for values in axes.values()], names=list(axes)
    )
    table = pd.DataFrame({name: np.ravel(values) for name, values in columns.items()})
    for name, values in axes.items():
        taken = [values[code] for code in index.get_level_values(name)]
        if name == "kind":
            table["ensemble"], table["aggregator"] = zip(*taken, strict=True)
        else:
            table[name] = taken
    return table


def with_error(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    mean, error = mean_and_error(values)
    return {name: mean, f"{name}_standard_error": error}


def _with_interval(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    mean, error = mean_and_error(values)
    reach = NORMAL_95 * error
    return {name: mean, "standard_error": error, "low": mean - reach, "high": mean + reach}


def of_scale(table: pd.DataFrame, summary: Summary, keys: list[str]) -> pd.DataFrame:
    """Put scale, parameters and `keys` first, then the other columns as they stand."""
    first = {"scale": summary.results.scale, "parameters": summary.results.parameters}
    rest = [column for column in table.columns if column not in keys]
    return table[[*keys, *rest]].assign(**first)[[*first, *keys, *rest]]
