"""The kinds of rewards: what reward models learn from, by which objective, and how well they do on
examples held out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from underspec.data.comparisons import encoded_comparisons
from underspec.data.statements import encoded_judgements, encoded_ratings
from underspec.errors import ArtifactError
from underspec.inference.scoring import Score, pairwise_accuracy
from underspec.training.loop import Objective
from underspec.training.objectives.pointwise import pointwise, squared_error
from underspec.training.objectives.preference import preference

BINS = 10  # of a reliability diagram


def of_comparisons(score: Score, *comparisons: list[np.ndarray]) -> dict:
    """Held-out accuracy and the number of pairs, of posts, chosen and rejected texts."""
    accuracy = pairwise_accuracy(score, *comparisons)
    return {"accuracy": accuracy, "pairs": len(comparisons[0])}


def of_judgements(
    score: Score, posts: list[np.ndarray], statements: list[np.ndarray], labels: np.ndarray
) -> dict:
    """Held-out accuracy, the number of judgements, and how far the probabilities can be relied on
    (see `reliability`). With several heads, of the rewards of all.

    A statement is taken for entailed if its reward, the log-odds, is above 0; 0 itself counts half.
    """
    rewards = np.concatenate(score(posts, [[statement] for statement in statements]))
    signs = np.sign(rewards) * (2 * labels[:, None] - 1)
    every_label = np.repeat(labels, rewards.shape[1])
    return {
        "accuracy": float(np.mean(signs / 2 + 0.5)),
        "judgements": len(labels),
        **reliability(expit(rewards.astype(np.float64)).ravel(), every_label),
    }


def of_ratings(
    score: Score,
    posts: list[np.ndarray],
    statements: list[np.ndarray],
    ratings: pd.DataFrame,
) -> dict:
    """How well rewards agree with people, in each of the domains that are sources of the held-out
    ratings: the correlation (Pearson) with mean ratings, that of people with people (`agreement`),
    how many texts, and whether the domain was learned from. With several heads, the mean of theirs.

    accuracy: the share of texts of learned domains whose reward and mean rating are on the same
    side of 0; a reward of 0 counts half, and texts with a mean rating of 0 are left out. ratings:
    their number. Raises ArtifactError if there are none.
    """
    rewards = np.concatenate(score(posts, [[statement] for statement in statements]))
    sided = (ratings.learned & (ratings.label != 0)).to_numpy()
    if not sided.any():
        raise ArtifactError(
            "judgements: no held-out text of a domain that is learned from has a mean rating other "
            "than 0; hold out more"
        )
    signs = np.sign(rewards[sided]) * np.sign(ratings.label[sided].to_numpy())[:, None]
    domains = {
        source: {
            "texts": len(own),
            "correlation": float(
                np.mean([correlation(head, own.label) for head in rewards[own.index].T])
            ),
            "people": agreement(own.half, own.other_half),
            "learned": bool(own.learned.iloc[0]),
        }
        for source, own in ratings.groupby("source", sort=False)
    }
    return {
        "accuracy": float(np.mean(signs / 2 + 0.5)),
        "ratings": int(sided.sum()),
        "domains": domains,
    }


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's; 0 if one of the two is constant, which agrees with nothing."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.clip(np.corrcoef(first, second)[0, 1], -1, 1))


def agreement(half: np.ndarray, other_half: np.ndarray) -> float:
    """The correlation that mean ratings would have with those of as many other people: that of the
    two halves of the raters, corrected for their number (Spearman and Brown, 1910), or 0 if it is
    negative.
    """
    between_halves = max(0.0, correlation(half, other_half))
    return 2 * between_halves / (1 + between_halves)


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> dict:
    """The expected calibration error (ece; Naeini et al., 2015) and the bins that it is found in.

    probabilities, labels: (predictions,), of the label 1. The bins have equally many predictions,
    from the lowest on: trained classifiers are sure of most, so of ten bins of equal width those in
    the middle would be nearly empty and their shares noise. Each bin has its count, its mean
    probability and the share of labels that are 1; ece is the mean of their absolute difference,
    weighted by the counts.
    """
    order = np.argsort(probabilities, kind="stable")
    bins = [
        {
            "count": len(rows),
            "probability": float(probabilities[rows].mean()),
            "share": float(labels[rows].mean()),
        }
        for rows in np.array_split(order, min(BINS, len(order)))
    ]
    gaps = sum(each["count"] * abs(each["probability"] - each["share"]) for each in bins)
    return {"ece": gaps / len(order), "bins": bins}


@dataclass(frozen=True)
class Kind:
    """One kind of reward.

    encoded: reads the labelled examples of a split as token ids; objective: that of these examples,
    a batch size, a seed, the weight of the centring term and the class of the model; held_out: what
    a model's metrics say of them, by a function that scores; examples: what they are called.
    """

    examples: str
    encoded: Callable[..., tuple]
    objective: Callable[..., Objective]
    held_out: Callable[..., dict]


KINDS = {
    "preference": Kind("pairs", encoded_comparisons, preference, of_comparisons),
    "pointwise": Kind("judgements", encoded_judgements, pointwise, of_judgements),
    "rating": Kind("ratings", encoded_ratings, squared_error, of_ratings),
}
