"""Samples as token ids, by post, for scoring."""

from pathlib import Path

import numpy as np
import pandas as pd
import tokenizers

from underspec.artifacts import read_posts
from underspec.data.tokenization import encode


def encoded_candidates(
    posts: Path,
    table: pd.DataFrame,
    samples: Path,
    tokenizer: tokenizers.Tokenizer,
    lengths: dict[str, int],
) -> tuple[list[np.ndarray], list[list[np.ndarray]], np.ndarray]:
    """Each post of `table`, its candidates, and the rows of `table` in the order of these.

    table: of samples, read from the file `samples`. Raises ArtifactError if a post is missing.
    """
    post_of = read_posts(posts, table.post_id, samples).set_index("post_id").post
    groups = table.groupby("post_id", sort=False).indices
    encoded_posts = encode(tokenizer, post_of[list(groups)], lengths["post"])
    texts = encode(tokenizer, table.text, lengths["summary"])
    candidates = [[texts[row] for row in rows] for rows in groups.values()]
    return encoded_posts, candidates, np.concatenate(list(groups.values()))
