"""The length coefficient of a reward: a bias that all labels share, as reward models learned it.

Within posts, reward = a gold + b words + error. The coefficient, b / a, is in gold utility per
word: 0 for the gold rater, the planted bias for the labels. The share of variance that both
leave unexplained is the reward's error of its own. Averaging reward models shrinks that and not b.
"""

import numpy as np

from underspec.analysis.within_posts import coefficients


def length_coefficient(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """b / a, in gold utility, and the unexplained share, of summed products (..., 3, 3) of reward,
    gold and words (see `within_posts`).

    NaN where gold and words do not vary apart, or the reward does not follow gold at all.
    """
    outcome, terms = products[..., 0, 1:], products[..., 1:, 1:]
    by_term = coefficients(outcome, terms)
    by_gold, by_words = by_term[..., 0], by_term[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = (by_term * outcome).sum(axis=-1)
        return by_words / by_gold, 1 - explained / products[..., 0, 0]
