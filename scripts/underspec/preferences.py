"""Comparisons of policy samples, labelled by a simulated rater under the Bradley-Terry model."""

import numpy as np
import pandas as pd


def label_pairs(
    samples: pd.DataFrame,
    split_of: pd.Series,
    utility: np.ndarray,
    temperature: float,
    label_noise: float,
    rng: np.random.Generator,
    source: str,
) -> pd.DataFrame:
    """Compare samples 0 and 1, 2 and 3, ... of each post; equal texts are no comparison.

    `samples` has the columns of artifacts.SAMPLES, `split_of` maps post_id to split, `utility`
    (rows,) is what the rater perceives. P(first chosen) = sigmoid((u1 - u2) / temperature);
    then each label is flipped with probability `label_noise`. Returns artifacts.PREFERENCES.
    """
    table = samples.assign(utility=utility, pair=samples.sample_index // 2)
    first = table[table.sample_index % 2 == 0].set_index(["post_id", "pair"])
    second = table[table.sample_index % 2 == 1].set_index(["post_id", "pair"])
    pairs = first.join(second, rsuffix="_2", how="inner").reset_index()
    pairs = pairs[pairs.text != pairs.text_2]
    difference = (pairs.utility - pairs.utility_2).to_numpy()
    first_chosen = rng.random(len(pairs)) < 1 / (1 + np.exp(-difference / temperature))
    first_chosen ^= rng.random(len(pairs)) < label_noise
    return pd.DataFrame(
        {
            "post_id": pairs.post_id,
            "split": pairs.post_id.map(split_of),
            "chosen": np.where(first_chosen, pairs.text, pairs.text_2),
            "rejected": np.where(first_chosen, pairs.text_2, pairs.text),
            "source": source,
        }
    )
