from pathlib import Path
from typing import Annotated

import pandas as pd

from underspec.analysis import tables
from underspec.analysis.results import read_results
from underspec.command import command
from underspec.config import sections
from underspec.csv_files import write_csv


def disagreement_tables(
    *,
    samples: Path,
    scores: Path,
    choices: Path,
    reward_models: Path,
    design: Annotated[dict, sections.Experiment],
    output: Path,
) -> None:
    """Write what Figures 1 to 3 draw: how far reward models part. Needs no evaluator.

    scores, choices, reward_models: folders that have {scale}/{name} of every reward model or
    ranker; design: keys of the config.
    """
    results = read_results(samples, scores, choices, reward_models, design)
    for table in (tables.figure1, tables.figure2, tables.figure3):
        made = pd.concat([table(scale) for scale in results.scales], ignore_index=True)
        write_csv(made, output / f"{table.__name__}.csv")


if __name__ == "__main__":
    command(disagreement_tables)
