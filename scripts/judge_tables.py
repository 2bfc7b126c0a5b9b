from pathlib import Path
from typing import Annotated

import pandas as pd

from underspec import grid
from underspec.analysis.bootstrap import draw
from underspec.analysis.quantities import to_table
from underspec.artifacts import ANSWERS, COMPARISONS, EVIDENCE, read_table, write_table
from underspec.command import command
from underspec.config import sections
from underspec.csv_files import write_csv
from underspec.judging import tables


def judge_tables(
    *,
    comparisons: Path,
    answers: Path,
    design: Annotated[dict, sections.Experiment],
    resamples: sections.Resamples,
    evidence: list[Path],
    table: Path,
) -> None:
    """Write the win rates by a judge, and what claims about it rest on.

    design: keys of the config; evidence: of each scale, in a folder of its name.
    """
    compared = read_table(comparisons, COMPARISONS)
    given = read_table(answers, ANSWERS)
    models = grid.reward_models(design["grid"], design["pretrain_seeds"], design["finetune_seeds"])
    rankers = grid.rankers(models, design["aggregators"], design["ensemble_size"])
    made = []
    for path in evidence:
        scale = path.parent.name
        rows = compared[compared.scale == scale]
        weights = draw(models, rows.post_id.nunique(), resamples, scale)
        contests = tables.read_contests(rows, given, rankers, answers)
        found = tables.evidence(contests, models, weights)
        write_table(to_table(found), path, EVIDENCE)
        made.append(tables.table(contests, given, models, weights))
    write_csv(pd.concat(made, ignore_index=True), table)


if __name__ == "__main__":
    command(judge_tables)
