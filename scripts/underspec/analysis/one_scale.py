"""All that is known about one scale: the quantities that its claims compare, and the tables beside
the paper's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from underspec.analysis import (
    ensemble_size,
    feature_coefficients,
    hedging,
    newer_rankers,
    overoptimisation,
    quantities,
    shared_error,
    styles,
    supplementary_tables,
)
from underspec.analysis.bootstrap import Resamples, draw
from underspec.analysis.newer_rankers import Newer
from underspec.analysis.quantities import Quantity
from underspec.analysis.results import ScaleResults
from underspec.analysis.styles import Styled
from underspec.analysis.tables import of_scale
from underspec.artifacts import OF_BEST_OF_N


@dataclass(frozen=True)
class OneScale:
    """What was read about one scale, and what follows from it, each computed once.

    metrics: (posts, samples) by name, as in `results.Results`; diagnostics: what the samples look
    like, (posts, samples) by name; newer: rankers beside the paper's; styled: texts in several
    styles, if there are any; evaluator_accuracy: None if unknown; length_bias: that of the
    simulated rater's labels, in gold utility per word; pretraining_seeds, resamples: how many.
    """

    results: ScaleResults
    metrics: Mapping[str, np.ndarray]
    diagnostics: Mapping[str, np.ndarray]
    newer: Newer
    styled: Styled | None
    evaluator_accuracy: float | None
    length_bias: float
    pretraining_seeds: int
    resamples: int

    @cached_property
    def weights(self) -> Resamples:
        posts = self.results.texts.shape[0]
        return draw(self.results.models, posts, self.resamples, self.results.scale)

    @cached_property
    def judged(self) -> dict[str, np.ndarray]:
        """The metrics, and those that a planted bias adds."""
        if not ("gold" in self.metrics and self.length_bias):
            return dict(self.metrics)
        words = self.diagnostics["words"]
        utility = self.metrics["gold"] + self.length_bias * words
        return {**self.metrics, "biased_words": words, "label_utility": utility}

    @cached_property
    def errors(self) -> dict[str, dict[str, np.ndarray]]:
        return shared_error.split(self.results, self.metrics["gold"], self.weights)

    @cached_property
    def style_accuracy(self) -> dict[str, np.ndarray]:
        posts = len(self.styled.gold)
        weights = draw(self.results.models, posts, self.resamples, self.results.scale)
        return styles.accuracy(self.results, self.styled, weights, self.results.cheaper)

    @cached_property
    def curves(self) -> pd.DataFrame:
        return overoptimisation.curves(self.results, self.metrics)

    @cached_property
    def quantities(self) -> dict[Quantity, np.ndarray]:
        """What claims compare, (DRAWS, resamples) each; what the experiment lacks is absent."""
        found = quantities.evidence(
            self.results, self.judged, self.evaluator_accuracy, self.weights, self.newer
        )
        if "label_utility" in self.judged and "reward" in self.judged:
            words = self.diagnostics["words"]
            found |= quantities.evaluator_length_coefficient(self.judged, words, self.weights)
        if self.results.cheaper:
            found |= quantities.of_cheaper_ensembles(
                self.results.cheaper, self.results, self.judged, self.weights
            )
        if "gold" in self.metrics:
            found |= shared_error.quantities(self.errors, self.results.ns)
        if self.styled:
            found |= styles.quantities(self.style_accuracy)
        return found


def _shift(one: OneScale) -> pd.DataFrame:
    looks = {name: each for name, each in one.diagnostics.items() if name not in OF_BEST_OF_N}
    return supplementary_tables.shift(one.results, looks, one.metrics)


def _rankers(one: OneScale) -> pd.DataFrame:
    every = [one.results, one.results.cheaper]
    tables = [newer_rankers.table(each, one.metrics, one.newer) for each in every if each]
    return pd.concat(tables, ignore_index=True)


def _feature_coefficients(one: OneScale) -> pd.DataFrame:
    words, copied = one.diagnostics["words"], one.diagnostics["copied_words"]
    features = {"copied_words": copied, "other_words": words - copied}
    features |= {name: one.diagnostics[name] for name in ("list_items", "numerals")}
    return feature_coefficients.table(
        one.results, features, one.metrics, one.weights, one.pretraining_seeds
    )


# The tables beside the paper's, by their names. `parts.OF_EVIDENCE` says what each needs.
TABLES: dict[str, Callable[[OneScale], pd.DataFrame]] = {
    "exact": lambda one: supplementary_tables.exact(one.results, one.metrics),
    "shift": _shift,
    "components": lambda one: supplementary_tables.components(one.results),
    "paired": lambda one: supplementary_tables.paired(
        one.results, one.quantities, one.judged, one.pretraining_seeds
    ),
    "overoptimisation": lambda one: of_scale(one.curves, one.results, []),
    "overoptimisation_fit": lambda one: of_scale(overoptimisation.fit(one.curves), one.results, []),
    "hedging": lambda one: of_scale(hedging.stops(one.results, one.metrics), one.results, []),
    "rankers": _rankers,
    "ensemble_size": lambda one: ensemble_size.table(one.results, one.metrics),
    "feature_coefficients": _feature_coefficients,
    "bias": lambda one: supplementary_tables.bias(
        one.results, one.metrics, one.diagnostics["words"], one.length_bias
    ),
    "shared_error": lambda one: shared_error.table(one.results, one.errors, one.pretraining_seeds),
    "style_accuracy": lambda one: styles.table(
        one.results, one.styled, one.style_accuracy, one.pretraining_seeds
    ),
}
