"""Judged statements as token ids, for training and for what is held out."""

from pathlib import Path

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerFast

from underspec.artifacts import of_split, read_posts, read_table
from underspec.data.judgements import SCHEMAS, check
from underspec.data.tokenization import encode

Texts = list[np.ndarray]


def encoded_judgements(
    posts: Path,
    judgements: Path,
    split: str,
    tokenizer: PreTrainedTokenizerFast,
    lengths: dict[str, int],
) -> tuple[Texts, Texts, np.ndarray]:
    """Post, statement and label (1 if entailed, else 0) of each judgement of a split.

    Raises ArtifactError, naming the file, if the split has no judgement or one cannot be used.
    """
    *texts, judged = _encoded(posts, judgements, split, tokenizer, lengths, "pointwise")
    return *texts, judged.label.to_numpy()


def encoded_ratings(
    posts: Path,
    judgements: Path,
    split: str,
    tokenizer: PreTrainedTokenizerFast,
    lengths: dict[str, int],
) -> tuple[Texts, Texts, pd.DataFrame]:
    """Post, statement and ratings of each judgement of a split: the columns label, half, other_half
    and source, and `learned`, whether the split preferences has judgements of its source.

    Raises ArtifactError, naming the file, if the split has no judgement or one cannot be used.
    """
    return _encoded(posts, judgements, split, tokenizer, lengths, "rating")


def _encoded(
    posts: Path,
    judgements: Path,
    split: str,
    tokenizer: PreTrainedTokenizerFast,
    lengths: dict[str, int],
    reward: str,
) -> tuple[Texts, Texts, pd.DataFrame]:
    judged = read_table(judgements, SCHEMAS[reward])
    check(judged, judgements, reward)
    judged["learned"] = judged.source.isin(judged.source[judged.split == "preferences"])
    post_of = read_posts(posts, judged.post_id, judgements).set_index("post_id").post
    table = of_split(judged, split, judgements)
    return (
        encode(tokenizer, table.post_id.map(post_of), lengths["post"]),
        encode(tokenizer, table.statement, lengths["summary"]),
        table.reset_index(drop=True),
    )
