from functools import partial
from pathlib import Path
from typing import Annotated, Unpack

import pandas as pd

from underspec.analysis import newer_rankers
from underspec.analysis.aligned_policies import AlignedTables
from underspec.analysis.results import ResultFiles, read_results
from underspec.analysis.text_features import read_diagnostics
from underspec.artifacts import SAMPLES, read_posts, read_table
from underspec.command import command
from underspec.config import sections
from underspec.report.look import face
from underspec.report.pages import write_page
from underspec.report.policy_texts import read_policy_texts
from underspec.report.sample_browser import as_many_as_fit, browsable


def browser(
    *,
    posts: Path,
    diagnostics: Path,
    aligned_samples: Path,
    aligned_scores: Path,
    aligned_diagnostics: Path,
    aligned: Annotated[dict, sections.Alignments],
    design: Annotated[dict, sections.Experiment],
    newer: Annotated[dict, sections.NewerRankers],
    cheaper: Annotated[dict, sections.CheaperEnsembles],
    experiment: str,
    words: dict | None = None,
    template: Path,
    output: Path,
    **files: Unpack[ResultFiles],
) -> None:
    """Write the sample browser: posts, what rankers pick and aligned policies write, and what
    reward models think of it.

    aligned_samples, ...: folders that have {name}.parquet of the aligned policies; aligned: which
    of them to show, of the first of these seeds; design: keys of the config; newer, cheaper,
    words: its newer_rankers, cheaper_ensembles and words.
    """
    results = read_results(design=design, cheaper=cheaper, **files)
    rows, drawn = results.layout, read_table(files["samples"], SAMPLES)
    by_id = read_posts(posts, drawn["post_id"], files["samples"]).set_index("post_id")
    similarity = read_diagnostics(diagnostics, rows)["similarity"]
    policies = AlignedTables(aligned_samples, aligned_scores, aligned_diagnostics)
    path = aligned["kl_coefficients"], aligned["seeds"][0]
    make = partial(
        browsable,
        results,
        rows.matrix(drawn["text"]),
        by_id.loc[rows.post_ids].reset_index(),
        newer_rankers.read(newer, similarity),
        [
            read_policy_texts(
                policies, diagnostics, results, each, aligned["rankers"].get(each.scale, []), *path
            )
            for each in results.scales
        ],
    )
    data = as_many_as_fit(make)
    sizes = pd.DataFrame(data["scales"]).rename(columns={"name": "scale"})
    write_page(template, output, words, data=data, face=face(sizes, experiment))


if __name__ == "__main__":
    command(browser)
