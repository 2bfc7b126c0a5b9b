"""Gold raters: the true utility of a summary, in worlds where it is known.

A gold rater is a module of this package, named as `rater_of` says, with a function
`gold_reward(posts, samples)`. `posts` has the columns of artifacts.POSTS and those that the world
adds, `samples` has at least post_id and text; the result is float64, one utility per sample. The
module may also have a function `parts(posts, samples)`, whose named terms sum to the utility, and
COLUMNS, which `posts` must have. Raters are separate from their worlds, so that editing a rater
does not rerun posts and pretraining.
"""

import importlib
import pkgutil
from types import ModuleType

import numpy as np
import pandas as pd

from underspec.errors import ArtifactError, ConfigError


def rater_of(world: str, reward: str) -> str:
    """The name of a world's gold rater, if there is one: that of the world, with the kind of reward
    (of the config) unless it is preference. What is wanted of a sample depends on it."""
    return world if reward == "preference" else f"{world}_{reward}"


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def exists(rater: str) -> bool:
    return rater in names()


def gold_reward(rater: str, posts: pd.DataFrame, samples: pd.DataFrame) -> np.ndarray:
    """The true utility of each row of `samples`, (rows,) float64.

    Raises ArtifactError if `posts` are from another world.
    """
    return _module(rater, posts).gold_reward(posts, samples)


def parts(rater: str, posts: pd.DataFrame, samples: pd.DataFrame) -> dict[str, np.ndarray]:
    """The terms of the gold utility by name, (rows,) each; empty if there is no such rater, or it
    has none."""
    if not exists(rater):
        return {}
    module = _module(rater, posts)
    return module.parts(posts, samples) if hasattr(module, "parts") else {}


def _module(rater: str, posts: pd.DataFrame) -> ModuleType:
    if not exists(rater):
        raise ConfigError(f"rater: there is no gold rater {rater!r}, only {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{rater}")
    missing = [name for name in getattr(module, "COLUMNS", ()) if name not in posts]
    if missing:
        raise ArtifactError(
            f"posts: column {missing[0]} is missing, which the gold rater {rater} reads; make "
            "data/posts.parquet from its world"
        )
    return module
