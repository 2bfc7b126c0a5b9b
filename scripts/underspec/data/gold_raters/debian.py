"""The gold rater of the world debian: similarity of a sample to the maintainer's synopsis."""

import numpy as np
import pandas as pd
from sacrebleu.metrics import CHRF

CHRF_POINTS = 10  # chrF points (of 100) per unit of utility


def gold_reward(posts: pd.DataFrame, samples: pd.DataFrame) -> np.ndarray:
    """sacreBLEU's sentence-level chrF (no word n-grams) against the reference, in units of
    CHRF_POINTS points.
    """
    chrf = CHRF()
    references = dict(zip(posts.post_id, posts.reference, strict=True))
    pairs = list(zip(samples.text, samples.post_id.map(references), strict=True))
    score = {
        (text, reference): chrf.sentence_score(text, [reference]).score
        for text, reference in set(pairs)
    }
    return np.array([score[pair] for pair in pairs]) / CHRF_POINTS
