"""Samples as token ids, by post, for scoring."""

from pathlib import Path

import numpy as np
import pandas as pd

from underspec.artifacts import read_posts
from underspec.data.readers import Reader


def encoded_candidates(
    posts: Path,
    table: pd.DataFrame,
    samples: Path,
    reader: Reader,
) -> tuple[list[np.ndarray], list[list[np.ndarray]], np.ndarray]:
    """Each post of `table`, its candidates, and the rows of `table` in the order of these.

    table: of samples, read from the file `samples`. Raises ArtifactError if a post is missing.
    """
    post_of = read_posts(posts, table.post_id, samples).set_index("post_id").post
    groups = table.groupby("post_id", sort=False).indices
    texts = [table.text.iloc[rows].to_list() for rows in groups.values()]
    encoded_posts, candidates = reader(post_of[list(groups)].to_list(), texts)
    return encoded_posts, candidates, np.concatenate(list(groups.values()))
