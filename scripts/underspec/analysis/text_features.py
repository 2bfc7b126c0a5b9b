"""How the texts that best-of-n chooses differ from what the policy writes: shift, in words."""

import string
from pathlib import Path

import numpy as np
import pandas as pd
from rapidfuzz.distance import LCSseq

from underspec.analysis.reward_matrix import Layout
from underspec.artifacts import DIAGNOSTICS, read_table

KEYS = ("post_id", "sample_index")


def diagnose(posts: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """A table of artifacts.DIAGNOSTICS, one row a sample, in the order of `samples`.

    posts: columns post_id and post; samples: post_id, sample_index and text. words: what
    whitespace separates; common_subsequence: words of the longest common subsequence with the post,
    in order but not side by side; copied: the share of the sample's words that occur in the post.
    Both compare words in lower case without punctuation.
    """
    post_words = {row.post_id: _plain(row.post) for row in posts.itertuples()}
    pairs = pd.MultiIndex.from_frame(samples[["post_id", "text"]].astype("str"))
    code, distinct = pd.factorize(pairs)
    found = np.array([_of_sample(post_words[post_id], text) for post_id, text in distinct])
    return samples[list(KEYS)].assign(
        words=found[code, 0], common_subsequence=found[code, 1], copied=found[code, 2]
    )


def read_diagnostics(path: Path, samples: Layout) -> dict[str, np.ndarray]:
    """Every column but the keys, by its name, as (posts, samples).

    Raises ArtifactError, naming the file, if it is damaged or about other samples.
    """
    table = read_table(path, DIAGNOSTICS)
    samples.check(table, path)
    return {name: samples.matrix(table[name]) for name in table.columns if name not in KEYS}


def _of_sample(post: list[str], text: str) -> tuple[float, float, float]:
    known, sample = set(post), _plain(text)
    copied = sum(word in known for word in sample) / max(len(sample), 1)
    return len(text.split()), LCSseq.similarity(post, sample), copied


def _plain(text: str) -> list[str]:
    stripped = (word.strip(string.punctuation) for word in text.lower().split())
    return [word for word in stripped if word]
