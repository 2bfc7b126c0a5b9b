"""What a judge's answers say about each comparison: the paper's majority over both orders."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from underspec.errors import ArtifactError
from underspec.files import REMAKE
from underspec.judging.questions import ORDERS, same_texts

POINTS = {"first": 2, "tie": 1, "second": 0}  # halves of a win of the text that stood first
PAIR = ["post_id", "first", "second"]


@dataclass(frozen=True)
class Verdicts:
    """By comparison, (comparisons,) each; NaN where there is none.

    majority: 1 if the judge prefers `text`, 0 if `other`, 1/2 for a tie, also of texts that look
    alike; preference: the share of answers that prefer `text`, ties one half, a mean of both
    orders; of_first: the same of the text that stood first: without position bias it is 1/2 on
    average; consistent: whether both orders have the same majority; same: texts that look alike,
    which were not asked about.
    """

    majority: np.ndarray
    preference: np.ndarray
    of_first: np.ndarray
    consistent: np.ndarray
    same: np.ndarray


def verdicts(comparisons: pd.DataFrame, answers: pd.DataFrame, path: Path) -> Verdicts:
    """The verdicts on `comparisons` (artifacts.COMPARISONS) by `answers` (artifacts.ANSWERS).

    Each order counts as much as the other, however many of its answers have a verdict. Without any
    answer in one of the orders there is no verdict on a comparison. Raises ArtifactError, naming
    `path`, that of the answers, if these are about other comparisons.
    """
    same = same_texts(comparisons).to_numpy()
    asked = comparisons[~same]
    (won, number), (lost, other_number) = (_of_order(asked, answers, *o, path) for o in ORDERS)
    other_won = 2 * other_number - lost  # by `text`, where it stood second
    judged = (number > 0) & (other_number > 0)
    # In integers, so that a tie is one.
    both, even = won * other_number + other_won * number, 2 * number * other_number
    share, other_share = won / _2(number), other_won / _2(other_number)
    agree = np.sign(won - number) == np.sign(other_won - other_number)

    def of_all(values: np.ndarray, where_same: float = np.nan) -> np.ndarray:
        found = np.full(len(same), where_same)
        found[~same] = np.where(judged, values, np.nan)
        return found

    return Verdicts(
        majority=of_all((1 + np.sign(both - even)) / 2, 0.5),
        preference=of_all((share + other_share) / 2, 0.5),
        of_first=of_all((share + 1 - other_share) / 2),
        consistent=of_all(agree),
        same=same,
    )


def _2(number: np.ndarray) -> np.ndarray:
    """Halves that can be won with so many answers; 1 where there are none."""
    return np.maximum(2 * number, 1)


def _of_order(
    comparisons: pd.DataFrame, answers: pd.DataFrame, first: str, second: str, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """How many halves the text that stood first won, and how many answers have a verdict, by
    comparison."""
    points = answers.verdict.map(POINTS)
    given = answers.assign(points=points.fillna(0), given=points.notna())
    by_pair = given.groupby(PAIR)[["points", "given"]].sum()
    keys = pd.MultiIndex.from_frame(comparisons[["post_id", first, second]], names=PAIR)
    if missing := int((~keys.isin(by_pair.index)).sum()):
        raise ArtifactError(f"{path}: has no answers about {missing} comparisons; {REMAKE}")
    found = by_pair.loc[keys].astype(int)
    return found["points"].to_numpy(), found["given"].to_numpy()
