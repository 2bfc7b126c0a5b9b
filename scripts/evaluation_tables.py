from pathlib import Path
from typing import Annotated, Unpack

import pandas as pd

from underspec.analysis import tables
from underspec.analysis.published import read_table1
from underspec.analysis.results import ResultFiles, read_results
from underspec.analysis.reward_matrix import read_metrics
from underspec.command import command
from underspec.config import sections
from underspec.csv_files import write_csv


def evaluation_tables(
    *,
    evaluator: Path | None = None,
    published: Path,
    design: Annotated[dict, sections.Experiment],
    output: Path,
    **files: Unpack[ResultFiles],
) -> None:
    """Write accuracies, what Figure 4 draws and Table 1 prints, gold rewards, and how reliable the
    probabilities of pointwise rewards are, or how well rewards agree with people's ratings.

    evaluator: its folder, if there is one; design: keys of the config.
    """
    results = read_results(design=design, **files)
    paper = read_table1(published)
    of_evaluator = read_metrics(evaluator / "metrics.json") if evaluator else {}
    made = {"accuracy": tables.accuracy(results.scales, of_evaluator)}
    if "bins" in of_evaluator:  # rewards are pointwise
        made["reliability"] = tables.reliability(results.scales, of_evaluator)
    if "domains" in of_evaluator:  # rewards are ratings
        made["people"] = tables.people(results.scales, of_evaluator)
    for table, metric in ((tables.figure4, "reward"), (tables.gold, "gold")):
        if metric in results.metrics:
            scales = [table(scale, results.metrics) for scale in results.scales]
            made[table.__name__] = pd.concat(scales, ignore_index=True)
    if "figure4" in made:
        made["table1"] = tables.table1(made["figure4"], paper)
    for name, table in made.items():
        write_csv(table, output / f"{name}.csv")


if __name__ == "__main__":
    command(evaluation_tables)
