"""Comparisons of policy samples by a simulated Bradley-Terry rater with optional bias and noise."""

import logging
from collections import Counter

import numpy as np
import pandas as pd
from scipy.special import expit

from underspec.data.texts import alike, visible
from underspec.random_streams import ORDER

log = logging.getLogger(__name__)


def label_pairs(
    samples: pd.DataFrame,
    split_of: pd.Series,
    gold: np.ndarray,
    seed: int,
    temperature: float,
    noise: float,
    length_bias: float,
) -> pd.DataFrame:
    """Compare samples 0 and 1, 2 and 3, ... of each post; returns artifacts.PREFERENCES.

    `samples` has the columns of artifacts.SAMPLES, `split_of` maps post_id to split, `gold`
    (rows,) is the true utility. The rater perceives u = gold + length_bias * words, and prefers
    the first sample with probability sigmoid((u1 - u2) / temperature). Each label is then flipped
    with probability `noise`. All labels share the length bias; gold does not have it.

    Pairs of equal texts are left out, and so are texts without a visible character, except for
    empty texts. attrs["dropped"] and the log count them by split and reason.
    """
    words = samples.text.str.split().str.len().to_numpy()
    table = samples.assign(utility=gold + length_bias * words, pair=samples.sample_index // 2)
    first = table[table.sample_index % 2 == 0].set_index(["post_id", "pair"])
    second = table[table.sample_index % 2 == 1].set_index(["post_id", "pair"])
    pairs = first.merge(second, on=["post_id", "pair"], suffixes=("", "_2")).reset_index()
    wrong = [_reason_to_drop(*texts) for texts in zip(pairs.text, pairs.text_2, strict=True)]
    wrong = pd.Series(wrong, index=pairs.index, dtype=object)
    dropped = _counted(pairs.post_id[wrong.notna()].map(split_of), wrong.dropna())
    pairs = pairs[wrong.isna()]
    rng = np.random.default_rng([seed, ORDER])
    first_chosen = rng.random(len(pairs)) < expit((pairs.utility - pairs.utility_2) / temperature)
    first_chosen ^= rng.random(len(pairs)) < noise
    compared = pd.DataFrame(
        {
            "post_id": pairs.post_id,
            "split": pairs.post_id.map(split_of),
            "chosen": np.where(first_chosen, pairs.text, pairs.text_2),
            "rejected": np.where(first_chosen, pairs.text_2, pairs.text),
            "source": "simulated rater",
        }
    )
    compared.attrs["dropped"] = dropped
    return compared


def _reason_to_drop(first: str, second: str) -> str | None:
    if alike(first, second):
        return "of equal texts"
    if any(text and not visible(text) for text in (first, second)):
        return "with a text that has no visible character"
    return None


def _counted(splits: pd.Series, reasons: pd.Series) -> dict[str, dict[str, int]]:
    """Count and log the comparisons left out, by split and reason."""
    dropped: dict[str, Counter] = {}
    for split, reason in zip(splits, reasons, strict=True):
        dropped.setdefault(split, Counter())[reason] += 1
    for split, by_reason in dropped.items():
        listed = "; ".join(f"{count} {reason}" for reason, count in sorted(by_reason.items()))
        log.info("%s: %d comparisons left out (%s)", split, by_reason.total(), listed)
    return {split: dict(by_reason) for split, by_reason in dropped.items()}
