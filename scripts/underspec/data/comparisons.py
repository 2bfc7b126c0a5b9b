"""Comparisons as token ids, for training and for held-out accuracy."""

import logging
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from underspec.artifacts import PREFERENCES, of_split, read_posts, read_table
from underspec.data.tokenization import encode
from underspec.errors import ArtifactError

log = logging.getLogger(__name__)

Texts = list[np.ndarray]


def encoded_comparisons(
    posts: Path,
    preferences: Path,
    split: str,
    tokenizer: PreTrainedTokenizerFast,
    lengths: dict[str, int],
) -> tuple[Texts, Texts, Texts]:
    """Post, chosen and rejected of each comparison of a split, less those with nothing to compare:
    their texts are equal after encoding and truncation. Logs how many these are.

    Raises ArtifactError, naming the file, if the split has no comparison, or none is left.
    """
    compared = read_table(preferences, PREFERENCES)
    post_of = read_posts(posts, compared.post_id, preferences).set_index("post_id").post
    table = of_split(compared, split, preferences)
    encoded = (
        encode(tokenizer, table.post_id.map(post_of), lengths["post"]),
        encode(tokenizer, table.chosen, lengths["summary"]),
        encode(tokenizer, table.rejected, lengths["summary"]),
    )
    # Equal texts always get equal rewards, so a reward model learns nothing from them.
    pairs = enumerate(zip(*encoded[1:], strict=True))
    kept = [i for i, pair in pairs if not np.array_equal(*pair)]
    if equal := len(table) - len(kept):
        log.warning(
            "%s: %d of %d comparisons left out: their texts are equal after encoding and "
            "truncation to %d tokens",
            *(split, equal, len(table), lengths["summary"]),
        )
    if not kept:
        raise ArtifactError(
            f"{preferences}: the texts of all comparisons of the split {split} are equal once "
            "encoded; raise lengths.summary, or see the tokenizer"
        )
    posts_of, chosen, rejected = ([texts[i] for i in kept] for texts in encoded)
    return posts_of, chosen, rejected
