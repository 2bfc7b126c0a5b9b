"""Judged statements as token ids, for training and for held-out accuracy."""

from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from underspec.artifacts import JUDGEMENTS, of_split, read_posts, read_table
from underspec.data.judgements import check
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
    judged = read_table(judgements, JUDGEMENTS)
    check(judged, judgements)
    post_of = read_posts(posts, judged.post_id, judgements).set_index("post_id").post
    table = of_split(judged, split, judgements)
    return (
        encode(tokenizer, table.post_id.map(post_of), lengths["post"]),
        encode(tokenizer, table.statement, lengths["summary"]),
        table.label.to_numpy(),
    )
