"""Judgements of single statements, which reward models learn from: whether a post supports a
statement (the reward is pointwise), or how high people rate it as what follows the post (rating).

Where the world has none of its own, they come from a module of this package with its name, the kind
of reward as REWARD and a function `judgements(posts, seed, per_post)`. `posts` has the columns of
artifacts.POSTS and those that the world adds; the result has those of the kind's schema, for posts
of the splits preferences and validation. Judgements are separate from their worlds, so that editing
them does not rerun posts and pretraining.
"""

import importlib
import logging
import pkgutil
from pathlib import Path

import pandas as pd

from underspec.artifacts import JUDGEMENTS, RATINGS
from underspec.data import worlds as all_worlds
from underspec.data.texts import visible
from underspec.errors import ArtifactError, ConfigError

SPLITS = ("preferences", "validation")  # to learn from, and held out
SCHEMAS = {"pointwise": JUDGEMENTS, "rating": RATINGS}  # by the kind of reward

log = logging.getLogger(__name__)


def generated() -> dict[str, str]:
    """The worlds whose judgements are made here, each with the kind of reward learned from them."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {world: importlib.import_module(f"{__name__}.{world}").REWARD for world in modules}


def kinds() -> dict[str, str]:
    """The worlds that have judgements, made here or by people, each with the kind of reward."""
    by_people = [name for name in all_worlds.names() if all_worlds.world_class(name).has_judgements]
    return dict(sorted((generated() | dict.fromkeys(by_people, "pointwise")).items()))


def judgements(world: str, posts: pd.DataFrame, seed: int, per_post: int) -> pd.DataFrame:
    """The judgements made for a world, less those of statements without a visible character.

    attrs["dropped"] and the log count these by split. Raises ConfigError if the world has none.
    """
    if world not in generated():
        raise ConfigError(
            f"world: no judgements are made for {world!r}, only for {', '.join(generated())}"
        )
    module = importlib.import_module(f"{__name__}.{world}")
    return without_blank_statements(module.judgements(posts, seed, per_post))


def without_blank_statements(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose statement a reader can see; attrs["dropped"] and the log count the others."""
    kept = table.statement.map(visible).astype(bool)
    counts = table.split[~kept].value_counts()
    for split, count in counts.items():
        log.info(
            "%s: %d judgements left out, of statements without a visible character", split, count
        )
    table = table[kept].reset_index(drop=True)
    reason = "of a statement without a visible character"
    table.attrs["dropped"] = {split: {reason: int(count)} for split, count in counts.items()}
    return table


def check(table: pd.DataFrame, path: Path, reward: str) -> None:
    """Raise ArtifactError, naming `path` and a row, if a statement is blank or, where the reward is
    pointwise, a label neither 0 nor 1, or if all labels of a split are equal, from which nothing
    can be learned.
    """
    for wrong, fault in (
        (
            ~table.label.isin([0, 1]) & (reward == "pointwise"),
            "a label that is neither 0 nor 1",
        ),
        (~table.statement.map(visible).astype(bool), "a statement without a visible character"),
    ):
        if wrong.any():
            raise ArtifactError(
                f"{path}: {int(wrong.sum())} of {len(table)} judgements have {fault}, the first in "
                f"row {int(wrong.to_numpy().argmax())}; correct or remove them"
            )
    for split, labels in table.groupby("split", sort=False).label:
        if labels.nunique() == 1:
            raise ArtifactError(
                f"{path}: all judgements of the split {split} have the label {labels.iloc[0]}; "
                "different ones are needed"
            )
