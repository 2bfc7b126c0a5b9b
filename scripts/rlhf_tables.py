from pathlib import Path
from typing import Annotated, Unpack

import pandas as pd

from underspec.analysis import rlhf_tables as tables_of
from underspec.analysis.aligned_policies import AlignedTables
from underspec.analysis.bootstrap import draw
from underspec.analysis.quantities import to_table
from underspec.analysis.results import ResultFiles, read_results
from underspec.analysis.rlhf import evidence as find
from underspec.analysis.rlhf import read
from underspec.artifacts import EVIDENCE, write_table
from underspec.command import command
from underspec.config import sections
from underspec.csv_files import write_csv
from underspec.errors import ConfigError


def rlhf_tables(
    *,
    diagnostics: Path,
    aligned_samples: Path,
    aligned_scores: Path,
    aligned_diagnostics: Path,
    aligned: Annotated[dict, sections.Alignments],
    design: Annotated[dict, sections.Experiment],
    cheaper: Annotated[dict, sections.CheaperEnsembles] | None = None,
    resamples: sections.Resamples,
    evidence: list[Path],
    tables: list[Path],
    **files: Unpack[ResultFiles],
) -> None:
    """Write what aligned policies show: tables, and what claims rest on.

    aligned_samples, ...: folders that have {name}.parquet of every aligned policy; aligned: keys of
    the config's rlhf; design: keys of the config without `scales`; cheaper: its cheaper_ensembles,
    if some of these rankers are such; evidence: of each scale that has aligned policies, in a
    folder of its name; tables: rlhf_frontier.csv and so on.
    """
    if "evaluator_scores" not in files:
        raise ConfigError("--evaluator_scores: missing; an evaluator judges aligned policies")
    policies = AlignedTables(aligned_samples, aligned_scores, aligned_diagnostics)
    settings = aligned["kl_coefficients"], aligned["seeds"]
    made = []
    for path in evidence:
        scale = path.parent.name
        every = read_results(design=design | {"scales": [scale]}, cheaper=cheaper, **files)
        (of_scale,) = every.scales
        drawn = draw(of_scale.models, len(every.layout.post_ids), resamples, scale)
        rankers = aligned["rankers"][scale]
        found = read(policies, diagnostics, every, of_scale, rankers, *settings, drawn)
        write_table(to_table(find(found)), path, EVIDENCE)
        made.append(tables_of.tables(found, every.metrics))
    for path in tables:
        parts = [each[path.stem.removeprefix("rlhf_")] for each in made]
        write_csv(pd.concat(parts, ignore_index=True), path)


if __name__ == "__main__":
    command(rlhf_tables)
