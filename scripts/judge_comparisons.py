from pathlib import Path
from typing import Annotated

import pandas as pd

from underspec.analysis.aligned_policies import AlignedTables, read_aligned, read_sft_policy
from underspec.analysis.results import read_results
from underspec.artifacts import COMPARISONS, write_table
from underspec.command import command
from underspec.config import sections
from underspec.grid import alignments
from underspec.judging.comparisons import comparisons, judged_policies


def judge_comparisons(
    *,
    samples: Path,
    scores: Path,
    choices: Path,
    reward_models: Path,
    diagnostics: Path,
    evaluator_scores: Path | None = None,
    gold_scores: Path | None = None,
    aligned_samples: Path,
    aligned_scores: Path,
    aligned_diagnostics: Path,
    aligned: Annotated[dict, sections.Alignments],
    design: Annotated[dict, sections.Experiment],
    rankers: sections.Count,
    posts: sections.Count,
    output: Path,
) -> None:
    """Write which texts a judge is to compare.

    scores, choices, reward_models: folders that have {scale}/{name} of every reward model or
    ranker; aligned_samples, ...: folders that have {name}.parquet of every aligned policy;
    gold_scores: if there is a gold rater; aligned: keys of the config's rlhf; design: keys of the
    config; rankers: at most so many of each kind; posts: so many of the first.
    """
    of_grid = samples, scores, choices, reward_models, design
    every = read_results(*of_grid, evaluator_scores, gold_scores)
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
