from pathlib import Path

import pandas as pd

from underspec import plots
from underspec.artifacts import POSTS, SAMPLES, read_table
from underspec.browser import browsable
from underspec.command import command
from underspec.errors import ArtifactError
from underspec.pages import write_page
from underspec.results import read_results
from underspec.reward_matrix import layout


def browser(
    *, results: Path, posts: Path, design: dict, experiment: str, template: Path, output: Path
) -> None:
    """Write the sample browser: posts, what rankers pick, and what reward models think of it.

    design: scales, grid, pretrain_seeds, finetune_seeds, aggregators, best_of_n and gold.
    """
    path = results / "samples" / "best_of_n.parquet"
    samples = read_table(path, SAMPLES)
    rows = layout(samples, path)
    data = browsable(
        read_results(results, design, evaluated=True),
        rows.matrix(samples["text"]),
        of_posts(read_table(posts, POSTS), rows.post_ids, posts),
    )
    sizes = pd.DataFrame(data["scales"]).rename(columns={"name": "scale"})
    write_page(template, output, data=data, face=plots.face(sizes, experiment))


def of_posts(posts: pd.DataFrame, post_ids, path: Path) -> pd.DataFrame:
    """The rows of `posts` that have these ids, in their order."""
    try:
        return posts.set_index("post_id").loc[post_ids].reset_index()
    except KeyError as error:
        raise ArtifactError(
            f"{path}: lacks posts that there are samples of ({error}); delete "
            "samples/best_of_n.parquet and run Snakemake again"
        ) from None


if __name__ == "__main__":
    command(browser)
