from pathlib import Path
from typing import Annotated

import pandas as pd

from underspec.analysis import newer_rankers
from underspec.analysis.results import read_results
from underspec.analysis.reward_matrix import layout
from underspec.analysis.text_features import read_diagnostics
from underspec.artifacts import SAMPLES, read_posts, read_table
from underspec.command import command
from underspec.config import sections
from underspec.report.look import face
from underspec.report.pages import write_page
from underspec.report.sample_browser import browsable


def browser(
    *,
    results: Path,
    posts: Path,
    design: Annotated[dict, sections.Evaluated],
    newer: Annotated[dict, sections.NewerRankers],
    experiment: str,
    template: Path,
    output: Path,
) -> None:
    """Write the sample browser: posts, what rankers pick, and what reward models think of it.

    design: keys of the config, the path of the evaluator, and whether there is a gold rater;
    newer: the config's newer_rankers.
    """
    path = results / "samples" / "best_of_n.parquet"
    samples = read_table(path, SAMPLES)
    rows = layout(samples, path)
    by_id = read_posts(posts, samples["post_id"], path).set_index("post_id")
    similarity = read_diagnostics(results / "diagnostics.parquet", rows)["similarity"]
    data = browsable(
        read_results(results, design),
        rows.matrix(samples["text"]),
        by_id.loc[rows.post_ids].reset_index(),
        newer_rankers.read(newer, similarity),
    )
    sizes = pd.DataFrame(data["scales"]).rename(columns={"name": "scale"})
    write_page(template, output, data=data, face=face(sizes, experiment))


if __name__ == "__main__":
    command(browser)
