from pathlib import Path
from typing import Annotated

import pandas as pd

from underspec.analysis import rlhf_tables as tables_of
from underspec.analysis.bootstrap import draw
from underspec.analysis.quantities import to_table
from underspec.analysis.results import read_results
from underspec.analysis.rlhf import evidence as find
from underspec.analysis.rlhf import read
from underspec.artifacts import EVIDENCE, write_table
from underspec.command import command
from underspec.config import sections
from underspec.csv_files import write_csv


def rlhf_tables(
    *,
    results: Path,
    design: Annotated[dict, sections.Evaluated],
    aligned: Annotated[dict, sections.Alignments],
    resamples: sections.Resamples,
    evidence: list[Path],
    tables: list[Path],
) -> None:
    """Write what aligned policies show: tables, and what claims rest on.

    design: keys of the config without `scales`, the path of the evaluator, and whether there is a
    gold rater; aligned: keys of the config's rlhf; evidence: of each scale that has aligned
    policies, in a folder of its name; tables: rlhf_frontier.csv and so on.
    """
    made = []
    for path in evidence:
        scale = path.parent.name
        every = read_results(results, design | {"scales": [scale]})
        (of_scale,) = every.scales
        drawn = draw(of_scale.models, len(every.layout.post_ids), resamples, scale)
        names = aligned["rankers"][scale]
        found = read(
            results, every, of_scale, names, aligned["kl_coefficients"], aligned["seeds"], drawn
        )
        write_table(to_table(find(found)), path, EVIDENCE)
        made.append(tables_of.tables(found, every.metrics))
    for path in tables:
        parts = [each[path.stem.removeprefix("rlhf_")] for each in made]
        write_csv(pd.concat(parts, ignore_index=True), path)


if __name__ == "__main__":
    command(rlhf_tables)
