from functools import cache
from pathlib import Path
from typing import Annotated

import pandas as pd

from underspec.analysis import (
    ensemble_size,
    feature_coefficients,
    hedging,
    newer_rankers,
    overoptimisation,
    shared_error,
    styles,
    supplementary_tables,
)
from underspec.analysis.bootstrap import draw
from underspec.analysis.quantities import (
    evaluator_length_coefficient,
    of_cheaper_ensembles,
    to_table,
)
from underspec.analysis.quantities import evidence as find
from underspec.analysis.results import read_cheaper, read_results
from underspec.analysis.reward_matrix import read_metrics
from underspec.analysis.tables import of_scale
from underspec.analysis.text_features import read_diagnostics
from underspec.artifacts import EVIDENCE, OF_BEST_OF_N, write_table
from underspec.cheaper_ensembles import cheaper_ensembles
from underspec.command import command
from underspec.config import sections
from underspec.csv_files import write_csv
from underspec.errors import ConfigError


def evidence(
    *,
    samples: Path,
    scores: Path,
    choices: Path,
    reward_models: Path,
    diagnostics: Path,
    evaluator: Path | None = None,
    evaluator_scores: Path | None = None,
    gold_scores: Path | None = None,
    styled: Path | None = None,
    style_scores: Path | None = None,
    evaluator_style_scores: Path | None = None,
    scale: str,
    design: Annotated[dict, sections.Experiment],
    newer: Annotated[dict, sections.NewerRankers],
    cheaper: Annotated[dict, sections.CheaperEnsembles],
    length_bias: sections.LengthBias,
    resamples: sections.Resamples,
    tables: list[str],
    output: Path,
) -> None:
    """Write what the claims about one scale rest on: every quantity in every resample of posts and
    seeds, and those of the tables beside the paper's that are named.

    scores, choices, reward_models: folders that have {scale}/{name} of every reward model or
    ranker; evaluator: its folder, if there is one; gold_scores: if there is a gold rater; styled,
    style_scores, evaluator_style_scores: tables, if the world has texts in several styles; design:
    keys of the config; newer, cheaper: its newer_rankers and cheaper_ensembles; length_bias: that
    of the simulated rater's labels, 0 where people compare.
    """
    of_scale_alone = design | {"scales": [scale]}
    read = read_results(
        samples, scores, choices, reward_models, of_scale_alone, evaluator_scores, gold_scores
    )
    (of_this,) = read.scales
    measured = read_diagnostics(diagnostics, read.layout)
    of_best_of_n = {name: measured.pop(name) for name in OF_BEST_OF_N}
    beside_paper = newer_rankers.read(newer, of_best_of_n.pop("similarity"))
    metrics = dict(read.metrics)
    if biased := gold_scores and length_bias:
        metrics["biased_words"] = measured["words"]
        metrics["label_utility"] = metrics["gold"] + length_bias * measured["words"]
    drawn = draw(of_this.models, len(read.layout.post_ids), resamples, scale)
    accuracy = read_metrics(evaluator / "metrics.json")["accuracy"] if evaluator else None
    found = find(of_this, metrics, accuracy, drawn, beside_paper)
    if biased and evaluator:
        found |= evaluator_length_coefficient(metrics, measured["words"], drawn)

    every = [of_this]
    if ensembles := cheaper_ensembles(cheaper, design["finetune_seeds"], design["ensemble_size"]):
        aggregators = design["aggregators"]
        every.append(read_cheaper(scores, of_this, read.layout, ensembles, aggregators))
        found |= of_cheaper_ensembles(every[-1], of_this, metrics, drawn)

    seeds = len(design["pretrain_seeds"])
    if gold_scores:
        errors = shared_error.split(of_this, read.metrics["gold"], drawn)
        found |= shared_error.quantities(errors, of_this.ns)
    if styled:
        names = [model.name for model in of_this.models]
        texts = styles.read_styled(styled, style_scores, evaluator_style_scores, names)
        accuracies = styles.accuracy(
            of_this, texts, draw(of_this.models, len(texts.gold), resamples, scale)
        )
        found |= styles.quantities(accuracies)
    write_table(to_table(found), output / "resamples.parquet", EVIDENCE)

    other_words = measured["words"] - of_best_of_n["copied_words"]
    features = {"copied_words": of_best_of_n.pop("copied_words"), "other_words": other_words}
    features |= of_best_of_n
    curves = cache(lambda: overoptimisation.curves(of_this, read.metrics))
    makers = {
        "exact": lambda: supplementary_tables.exact(of_this, read.metrics),
        "shift": lambda: supplementary_tables.shift(of_this, measured, read.metrics),
        "components": lambda: supplementary_tables.components(of_this),
        "paired": lambda: supplementary_tables.paired(of_this, found, metrics, seeds),
        "overoptimisation": lambda: of_scale(curves(), of_this, []),
        "overoptimisation_fit": lambda: of_scale(overoptimisation.fit(curves()), of_this, []),
        "hedging": lambda: of_scale(hedging.stops(of_this, read.metrics), of_this, []),
        "rankers": lambda: pd.concat(
            [newer_rankers.table(each, read.metrics, beside_paper) for each in every],
            ignore_index=True,
        ),
        "ensemble_size": lambda: ensemble_size.table(of_this, read.metrics),
        "feature_coefficients": lambda: feature_coefficients.table(
            of_this, features, read.metrics, drawn, seeds
        ),
        "bias": lambda: supplementary_tables.bias(
            of_this, read.metrics, measured["words"], length_bias
        ),
        "shared_error": lambda: shared_error.table(of_this, errors, seeds),
        "style_accuracy": lambda: styles.table(of_this, texts, accuracies, seeds),
    }
    for name in tables:
        if name not in makers:
            raise ConfigError(f"--tables: {name} is unknown; allowed are {', '.join(makers)}")
        write_csv(makers[name](), output / f"{name}.csv")


if __name__ == "__main__":
    command(evidence)
