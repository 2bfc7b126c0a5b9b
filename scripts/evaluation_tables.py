from pathlib import Path
from typing import Annotated

import pandas as pd

from underspec.analysis import tables
from underspec.analysis.published import read_table1
from underspec.analysis.results import read_results
from underspec.command import command
from underspec.config import sections
from underspec.csv_files import write_csv


def evaluation_tables(
    *,
    results: Path,
    design: Annotated[dict, sections.Evaluated],
    published: Path,
    output: Path,
) -> None:
    """Write accuracies, what Figure 4 draws and Table 1 prints, and gold rewards.

    design: keys of the config, the path of the evaluator, and whether there is a gold rater.
    """
    read = read_results(results, design)
    paper = read_table1(published)
    made = {"accuracy": tables.accuracy(read)}
    for table in (tables.figure4, tables.gold) if design["gold"] else (tables.figure4,):
        scales = [table(scale, read.metrics) for scale in read.scales]
        made[table.__name__] = pd.concat(scales, ignore_index=True)
    made["table1"] = tables.table1(made["figure4"], paper)
    for name, table in made.items():
        write_csv(table, output / f"{name}.csv")


if __name__ == "__main__":
    command(evaluation_tables)
