"""Comparisons as token ids, for training and for held-out accuracy."""

import logging
from pathlib import Path

import numpy as np

from underspec.artifacts import PREFERENCES, of_split, read_posts, read_table
from underspec.data.readers import Reader, Texts
from underspec.errors import ArtifactError

log = logging.getLogger(__name__)


def encoded_comparisons(
    posts: Path,
    preferences: Path,
    split: str,
    reader: Reader,
) -> tuple[Texts, Texts, Texts]:
    """Post, chosen and rejected of each comparison of a split, less those with nothing to compare:
    their texts are equal after encoding and truncation. Logs how many these are.

    Raises ArtifactError, naming the file, if the split has no comparison, or none is left.
    """
    compared = read_table(preferences, PREFERENCES)
    post_of = read_posts(posts, compared.post_id, preferences).set_index("post_id").post
    table = of_split(compared, split, preferences)
    texts, pairs = reader(
        table.post_id.map(post_of).to_list(),
        list(zip(table.chosen, table.rejected, strict=True)),
    )
    # Equal texts always get equal rewards, so a reward model learns nothing from them.
    kept = [i for i, pair in enumerate(pairs) if not np.array_equal(*pair)]
    if equal := len(table) - len(kept):
        log.warning(
            "%s: %d of %d comparisons left out: their texts are equal after encoding and "
            "truncation",
            *(split, equal, len(table)),
        )
    if not kept:
        raise ArtifactError(
            f"{preferences}: the texts of all comparisons of the split {split} are equal once "
            "encoded; raise lengths.summary, or see the tokenizer"
        )
    chosen, rejected = ([pairs[i][side] for i in kept] for side in (0, 1))
    return [texts[i] for i in kept], chosen, rejected
