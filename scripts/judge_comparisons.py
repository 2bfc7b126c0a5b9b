from pathlib import Path
from typing import Annotated, Unpack

import pandas as pd

from underspec.analysis.aligned_policies import AlignedTables, read_aligned, read_sft_policy
from underspec.analysis.results import ResultFiles, read_results
from underspec.artifacts import COMPARISONS, write_table
from underspec.command import command
from underspec.config import sections
from underspec.grid import alignments
from underspec.judging.comparisons import comparisons, judged_policies


def judge_comparisons(
    *,
    diagnostics: Path,
    aligned_samples: Path,
    aligned_scores: Path,
    aligned_diagnostics: Path,
    aligned: Annotated[dict, sections.Alignments],
    design: Annotated[dict, sections.Experiment],
    rankers: sections.Count,
    posts: sections.Count,
    output: Path,
    **files: Unpack[ResultFiles],
) -> None:
    """Write which texts a judge is to compare.

    aligned_samples, ...: folders that have {name}.parquet of every aligned policy; aligned: keys of
    the config's rlhf; design: keys of the config; rankers: at most so many of each kind; posts: so
    many of the first.
    """
    every = read_results(design=design, **files)
    tables = AlignedTables(aligned_samples, aligned_scores, aligned_diagnostics)
    parts = []
    for results in every.scales:
        sft_policy = read_sft_policy(diagnostics, results, every.layout, every.metrics)
        names = {results.scale: aligned["rankers"].get(results.scale, [])}
        policies = alignments(names, aligned["kl_coefficients"], aligned["seeds"])
        judged = {
            each: read_aligned(tables, results, each, sft_policy, every.layout)
            for each in judged_policies(policies, results.rankers)
        }
        ids = every.layout.post_ids
        parts.append(comparisons(results, sft_policy, judged, ids, rankers, posts))
    write_table(pd.concat(parts, ignore_index=True), output, COMPARISONS)


if __name__ == "__main__":
    command(judge_comparisons)
