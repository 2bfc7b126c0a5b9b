"""The length coefficient of a reward: a bias that all labels share, as reward models learned it.

Within posts, reward = a gold + b words + error. The coefficient, b / a, is in gold utility per
word: 0 for the gold rater, the planted bias for the labels. The share of variance that both
leave unexplained is the reward's error of its own. Averaging reward models shrinks that and not b.
"""

import numpy as np


def sums_of_products(reward: np.ndarray, gold: np.ndarray, words: np.ndarray) -> np.ndarray:
    """(posts, 3, 3) the products of (reward, gold, words), centred within posts and summed.

    Each argument is (posts, samples).
    """
    stacked = np.stack([reward, gold, words], axis=1).astype(np.float64)
    stacked -= stacked.mean(axis=2, keepdims=True)
    return stacked @ stacked.transpose(0, 2, 1)


def length_coefficient(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """b / a, in gold utility, and the unexplained share, of summed products (..., 3, 3).

    NaN where gold and words do not vary apart, or the reward does not follow gold at all.
    """
    outcome, terms = products[..., 0, 1:], products[..., 1:, 1:]
    determinant = terms[..., 0, 0] * terms[..., 1, 1] - terms[..., 0, 1] ** 2
    by_gold = outcome[..., 0] * terms[..., 1, 1] - outcome[..., 1] * terms[..., 0, 1]
    by_words = outcome[..., 1] * terms[..., 0, 0] - outcome[..., 0] * terms[..., 0, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = by_gold * outcome[..., 0] + by_words * outcome[..., 1]
        unexplained = 1 - explained / determinant / products[..., 0, 0]
        return by_words / by_gold, unexplained
