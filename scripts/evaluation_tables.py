from pathlib import Path
from typing import Annotated

import pandas as pd

from underspec.analysis import tables
from underspec.analysis.published import read_table1
from underspec.analysis.results import read_results
from underspec.analysis.reward_matrix import read_metrics
from underspec.command import command
from underspec.config import sections
from underspec.csv_files import write_csv


def evaluation_tables(
    *,
    samples: Path,
    scores: Path,
    choices: Path,
    reward_models: Path,
    evaluator: Path | None = None,
    evaluator_scores: Path | None = None,
    gold_scores: Path | None = None,
    published: Path,
    design: Annotated[dict, sections.Experiment],
    output: Path,
) -> None:
    """Write accuracies, what Figure 4 draws and Table 1 prints, gold rewards, and how reliable the
    probabilities of pointwise rewards are, or how well rewards agree with people's ratings.

    scores, choices, reward_models: folders that have {scale}/{name} of every reward model or
    ranker; evaluator: its folder, if there is one; gold_scores: if there is a gold rater; design:
    keys of the config.
    """
    results = read_results(
        samples, scores, choices, reward_models, design, evaluator_scores, gold_scores
    )
    paper = read_table1(published)
    of_evaluator = read_metrics(evaluator / "metrics.json") if evaluator else {}
    made = {"accuracy": tables.accuracy(results.scales, of_evaluator)}
    if "bins" in of_evaluator:  # rewards are pointwise
        made["reliability"] = tables.reliability(results.scales, of_evaluator)
    if "domains" in of_evaluator:  # rewards are ratings
        made["people"] = tables.people(results.scales, of_evaluator)
    for table, judge in ((tables.figure4, evaluator), (tables.gold, gold_scores)):
        if judge:
            scales = [table(scale, results.metrics) for scale in results.scales]
            made[table.__name__] = pd.concat(scales, ignore_index=True)
    if evaluator:
        made["table1"] = tables.table1(made["figure4"], paper)
    for name, table in made.items():
        write_csv(table, output / f"{name}.csv")


if __name__ == "__main__":
    command(evaluation_tables)
