"""What is measured of the texts of samples: how what best-of-n chooses differs from what the policy
writes (shift), how similar a sample is to the others of its post, and what rewards may count."""

import re
import string
from pathlib import Path

import numpy as np
import pandas as pd
from rapidfuzz.distance import LCSseq

from underspec.analysis.reward_matrix import Layout
from underspec.artifacts import DIAGNOSTICS, read_table

KEYS = ("post_id", "sample_index")
COUNTED = ("words", "common_subsequence", "copied", "copied_words", "list_items", "numerals")
LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)


def diagnose(posts: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """A table of artifacts.DIAGNOSTICS, one row a sample, in the order of `samples`.

    posts: columns post_id and post; samples: post_id, sample_index and text. words: what
    whitespace separates; common_subsequence: words of the longest common subsequence with the post,
    in order but not side by side; copied: the share of the sample's words that occur in the post;
    similarity: see `similarity`; copied_words: the number of copied words; list_items: lines that
    begin with a bullet or a number; numerals: words with a digit. Words are compared in lower case
    without punctuation.
    """
    post_words = {row.post_id: _plain(row.post) for row in posts.itertuples()}
    pairs = pd.MultiIndex.from_frame(samples[["post_id", "text"]].astype("str"))
    code, distinct = pd.factorize(pairs)
    plain = [_plain(text) for _, text in distinct]
    found = np.array(
        [
            _of_sample(post_words[post_id], text, words)
            for (post_id, text), words in zip(distinct, plain, strict=True)
        ]
    )
    alike = np.empty(len(samples))
    for rows in samples.groupby("post_id", sort=False).indices.values():
        alike[rows] = similarity([plain[each] for each in code[rows]])
    of_samples = dict(zip(COUNTED, found[code].T, strict=True))
    return samples[list(KEYS)].assign(**of_samples, similarity=alike)


def lists(texts: pd.Series) -> np.ndarray:
    """Which texts are lists, 1.0 or 0.0: those with two items or more, because a single sentence
    may begin with a number (ours)."""
    return np.array([float(len(LIST_ITEM.findall(text)) >= 2) for text in texts])


def similarity(texts: list[list[str]]) -> np.ndarray:
    """How similar each text is to the others, on average: (texts,), between 0 and 1; 0 if there is
    no other.

    texts: their words. The similarity of two is ROUGE-1's F1: twice the number of words they share
    over the number of words of both, a repeated word counted as often as both have it; texts
    without a word are alike.
    """
    occurrences: dict[tuple[str, int], int] = {}  # the second "the" of a text is a word of its own
    rows, columns = [], []
    for row, words in enumerate(texts):
        seen: dict[str, int] = {}
        for word in words:
            seen[word] = seen.get(word, 0) + 1
            rows.append(row)
            columns.append(occurrences.setdefault((word, seen[word]), len(occurrences)))
    has = np.zeros((len(texts), len(occurrences)), np.float32)
    has[rows, columns] = 1
    lengths = has.sum(axis=1)
    both = lengths[:, None] + lengths
    f1 = np.divide(2 * (has @ has.T), both, out=np.ones_like(both), where=both > 0)
    return (f1.sum(axis=1, dtype=np.float64) - 1) / max(len(texts) - 1, 1)


def read_diagnostics(path: Path, samples: Layout) -> dict[str, np.ndarray]:
    """Every column but the keys, by its name, as (posts, samples).

    Raises ArtifactError, naming the file, if it is damaged or about other samples.
    """
    table = read_table(path, DIAGNOSTICS)
    samples.check(table, path)
    return {name: samples.matrix(table[name]) for name in table.columns if name not in KEYS}


def _of_sample(post: list[str], text: str, sample: list[str]) -> tuple[float, ...]:
    """COUNTED, of one sample."""
    known, words = set(post), text.split()
    copied = sum(word in known for word in sample)
    numerals = sum(any(map(str.isdigit, word)) for word in words)
    share = copied / max(len(sample), 1)
    common = LCSseq.similarity(post, sample)
    return len(words), common, share, copied, len(LIST_ITEM.findall(text)), numerals


def _plain(text: str) -> list[str]:
    stripped = (word.strip(string.punctuation) for word in text.lower().split())
    return [word for word in stripped if word]
