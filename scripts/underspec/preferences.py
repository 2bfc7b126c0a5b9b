"""Comparisons of policy samples by a simulated rater: Bradley-Terry, biased and noisy as asked."""

import numpy as np
import pandas as pd
from scipy.special import expit

from underspec.order import ORDER


def label_pairs(
    samples: pd.DataFrame,
    split_of: pd.Series,
    gold: np.ndarray,
    seed: int,
    temperature: float,
    noise: float,
    length_bias: float,
) -> pd.DataFrame:
    """Compare samples 0 and 1, 2 and 3, ... of each post; equal texts are no comparison.

    `samples` has the columns of artifacts.SAMPLES, `split_of` maps post_id to split, `gold`
    (rows,) is the true utility. The rater perceives u = gold + length_bias * words, and prefers
    the first with probability sigmoid((u1 - u2) / temperature); then each label is flipped with
    probability `noise`. The bias is in every label and not in gold. Returns artifacts.PREFERENCES.
    """
    words = samples.text.str.split().str.len().to_numpy()
    table = samples.assign(utility=gold + length_bias * words, pair=samples.sample_index // 2)
    first = table[table.sample_index % 2 == 0].set_index(["post_id", "pair"])
    second = table[table.sample_index % 2 == 1].set_index(["post_id", "pair"])
    pairs = first.merge(second, on=["post_id", "pair"], suffixes=("", "_2")).reset_index()
    pairs = pairs[pairs.text != pairs.text_2]
    rng = np.random.default_rng([seed, ORDER])
    first_chosen = rng.random(len(pairs)) < expit((pairs.utility - pairs.utility_2) / temperature)
    first_chosen ^= rng.random(len(pairs)) < noise
    return pd.DataFrame(
        {
            "post_id": pairs.post_id,
            "split": pairs.post_id.map(split_of),
            "chosen": np.where(first_chosen, pairs.text, pairs.text_2),
            "rejected": np.where(first_chosen, pairs.text_2, pairs.text),
            "source": "simulated rater",
        }
    )
