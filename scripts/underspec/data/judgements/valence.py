"""Judgements of people: the mean rating of each snippet, of which the statement is the rest.

`half` and `other_half` are the mean ratings by a random half of its raters and by the others (with
an odd number, half of them are one fewer): how well one half predicts the other says how well
people agree.
"""

import json

import numpy as np
import pandas as pd

from underspec.data.judgements import SPLITS
from underspec.errors import ConfigError

REWARD = "rating"


def judgements(posts: pd.DataFrame, seed: int, per_post: int) -> pd.DataFrame:
    """One judgement of each post, whose source is its domain. `seed` parts the raters."""
    if per_post != 1:
        raise ConfigError(
            f"judgements.per_post: {per_post} is not 1; people rated each snippet as a whole"
        )
    rng = np.random.default_rng(seed)
    judged = posts[posts.split.isin(SPLITS)].reset_index(drop=True)
    shuffled = [rng.permutation(json.loads(ratings)) for ratings in judged.ratings]
    return judged[["post_id", "split"]].assign(
        statement=judged.reference,
        label=judged.rating,
        source=judged.domain,
        half=[ratings[: len(ratings) // 2].mean() for ratings in shuffled],
        other_half=[ratings[len(ratings) // 2 :].mean() for ratings in shuffled],
    )
