"""Gold raters: the true utility of a summary, in those worlds where it is known.

The gold rater of a world is a module of this package with the world's name and a function
`gold_reward(posts, samples)`: `posts` has the columns of artifacts.POSTS and whatever columns the
world added, `samples` at least post_id and text; the result is float64, one utility a sample.
It may have a function `parts(posts, samples)` as well: what the utility is the sum of, by name; and
COLUMNS, which `posts` must have.
Raters are apart from their worlds, so that editing one leaves posts and pretrains as they are.
"""

import importlib
import pkgutil
from types import ModuleType

import numpy as np
import pandas as pd

from underspec.errors import ArtifactError, ConfigError


def exists(world: str) -> bool:
    """Whether the world's true utility is known."""
    return world in {module.name for module in pkgutil.iter_modules(__path__)}


def gold_reward(world: str, posts: pd.DataFrame, samples: pd.DataFrame) -> np.ndarray:
    """True utility of each row of `samples`, (rows,) float64, by the gold rater of `world`.

    Raises ArtifactError if `posts` are of another world.
    """
    return _rater(world, posts).gold_reward(posts, samples)


def parts(world: str, posts: pd.DataFrame, samples: pd.DataFrame) -> dict[str, np.ndarray]:
    """What the gold utility of each sample is the sum of, (rows,) each; empty without parts."""
    if not exists(world):
        return {}
    rater = _rater(world, posts)
    return rater.parts(posts, samples) if hasattr(rater, "parts") else {}


def _rater(world: str, posts: pd.DataFrame) -> ModuleType:
    if not exists(world):
        raise ConfigError(f"world: {world!r} has no gold rater")
    rater = importlib.import_module(f"{__name__}.{world}")
    missing = [name for name in getattr(rater, "COLUMNS", ()) if name not in posts]
    if missing:
        raise ArtifactError(
            f"posts: column {missing[0]} is missing, which those of the world {world} have; make "
            "data/posts.parquet of this world"
        )
    return rater
