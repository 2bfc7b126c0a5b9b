"""Judged statements as token ids, for training and for what is held out."""

from pathlib import Path

import numpy as np
import pandas as pd

from underspec.artifacts import of_split, read_posts, read_table
from underspec.data.judgements import SCHEMAS, check
from underspec.data.readers import Reader, Texts


def encoded_judgements(
    posts: Path,
    judgements: Path,
    split: str,
    reader: Reader,
) -> tuple[Texts, Texts, np.ndarray]:
    """Post, statement and label (1 if entailed, else 0) of each judgement of a split.

    Raises ArtifactError, naming the file, if the split has no judgement or one cannot be used.
    """
    *texts, judged = _encoded(posts, judgements, split, reader, "pointwise")
    return *texts, judged.label.to_numpy()


def encoded_ratings(
    posts: Path,
    judgements: Path,
    split: str,
    reader: Reader,
) -> tuple[Texts, Texts, pd.DataFrame]:
    """Post, statement and ratings of each judgement of a split: the columns label, half, other_half
    and source, and `learned`, whether the split preferences has judgements of its source.

    Raises ArtifactError, naming the file, if the split has no judgement or one cannot be used.
    """
    return _encoded(posts, judgements, split, reader, "rating")


def _encoded(
    posts: Path,
    judgements: Path,
    split: str,
    reader: Reader,
    reward: str,
) -> tuple[Texts, Texts, pd.DataFrame]:
    judged = read_table(judgements, SCHEMAS[reward])
    check(judged, judgements, reward)
    judged["learned"] = judged.source.isin(judged.source[judged.split == "preferences"])
    post_of = read_posts(posts, judged.post_id, judgements).set_index("post_id").post
    table = of_split(judged, split, judgements)
    texts, statements = reader(
        table.post_id.map(post_of).to_list(), [[each] for each in table.statement]
    )
    return texts, [own[0] for own in statements], table.reset_index(drop=True)
