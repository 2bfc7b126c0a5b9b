"""Least squares within posts: how a reward depends on what varies between samples of one post."""

import numpy as np


def sums_of_products(*values: np.ndarray) -> np.ndarray:
    """(posts, k, k) the products of k values (posts, samples), centred within posts and summed."""
    stacked = np.stack(values, axis=1).astype(np.float64)
    stacked -= stacked.mean(axis=2, keepdims=True)
    return stacked @ stacked.transpose(0, 2, 1)


def coefficients(outcome: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Of a regression on k terms: (..., k), in units of the outcome per unit of the term.

    outcome: (..., k) its summed products with the terms; terms: (..., k, k) theirs with one
    another. NaN where the terms do not vary apart.
    """
    size = np.sqrt(np.diagonal(terms, axis1=-2, axis2=-1))
    size = np.where(size > 0, size, 1)
    scaled = terms / (size[..., None] * size[..., None, :])
    apart = np.linalg.matrix_rank(scaled, hermitian=True) == terms.shape[-1]
    safe = np.where(apart[..., None, None], scaled, np.eye(terms.shape[-1]))
    found = np.linalg.solve(safe, (outcome / size)[..., None])[..., 0] / size
    return np.where(apart[..., None], found, np.nan)
