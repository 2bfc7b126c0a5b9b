"""What a copied word, another word, a list item or a numeral adds to a reward, others held fixed.

Within posts, reward = sum of coefficient * feature + error, by least squares. The reward is in its
standard deviations within a post, so that kinds of rankers, the evaluator and gold compare: where a
ranker's coefficient is above gold's, it overvalues the feature, or what goes with it.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from underspec.analysis.bootstrap import Resamples
from underspec.analysis.ensembles import mean_products, standardise, unit_of_mean
from underspec.analysis.intervals import with_intervals
from underspec.analysis.mean_rankers import aggregator, by_kind, in_draws, of_one_judge
from underspec.analysis.results import ScaleResults
from underspec.analysis.statistics import in_policy_units
from underspec.analysis.tables import of_scale
from underspec.analysis.within_posts import coefficients, sums_of_products

JUDGES = {"reward": "evaluator", "gold": "gold rater"}  # metrics, as kinds are called


def table(
    results: ScaleResults,
    features: Mapping[str, np.ndarray],
    metrics: Mapping[str, np.ndarray],
    weights: Resamples,
    pretraining_seeds: int,
) -> pd.DataFrame:
    """Columns feature, ensemble, aggregator, and the coefficient as `value` with its intervals (see
    `intervals.with_intervals`), by kind of ranker, for the evaluator and for gold.

    features, metrics: (posts, samples) by name. Features that do not vary within posts are left
    out; where features only vary together, no coefficient is identified and all are NaN.
    """
    varying = {name: each for name, each in features.items() if np.ptp(each, axis=1).any()}
    every = weights.with_seeds_alone()
    centred = standardise(results.rewards)
    products = mean_products(centred)
    terms = sums_of_products(*varying.values()) if varying else np.empty((len(centred[0]), 0, 0))
    of_models = np.stack([_with(each, varying) for each in centred])

    def of_members(members: np.ndarray) -> np.ndarray:
        return of_models[members].mean(axis=0) / unit_of_mean(products[np.ix_(members, members)])

    outcomes = by_kind(results, of_members, every)
    for name, judge in JUDGES.items():
        if name in metrics:
            outcomes[judge] = of_one_judge(_with(in_policy_units(metrics[name]), varying), every)
    of_terms = np.moveaxis(every.mean(np.moveaxis(terms, 0, -1)), -1, 0)
    rows = []
    for kind, outcome in outcomes.items():
        found = np.moveaxis(coefficients(np.moveaxis(outcome, 0, -1), of_terms), -1, 0)
        rows += [
            {"feature": name, "ensemble": kind, "aggregator": aggregator(kind)}
            | with_intervals(values, pretraining_seeds)
            for name, values in zip(varying, in_draws(found, weights), strict=True)
        ]
    rows.sort(key=lambda row: [*varying].index(row["feature"]))
    return of_scale(pd.DataFrame(rows), results, [])


def _with(reward: np.ndarray, features: Mapping[str, np.ndarray]) -> np.ndarray:
    """(features, posts) sums of products, centred within posts, with a reward (posts, samples)."""
    return np.stack([sums_of_products(reward, each)[:, 0, 1] for each in features.values()])
