"""Gold raters: the true utility of a summary, in worlds where it is known.

The gold rater of a world is a module of this package with the world's name and a function
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


def exists(world: str) -> bool:
    """Whether the world has a gold rater."""
    return world in {module.name for module in pkgutil.iter_modules(__path__)}


def gold_reward(world: str, posts: pd.DataFrame, samples: pd.DataFrame) -> np.ndarray:
    """The true utility of each row of `samples`, (rows,) float64.

    Raises ArtifactError if `posts` are from another world.
    """
    return _rater(world, posts).gold_reward(posts, samples)


def parts(world: str, posts: pd.DataFrame, samples: pd.DataFrame) -> dict[str, np.ndarray]:
    """The terms of the gold utility by name, (rows,) each; empty if the rater has none."""
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
            f"posts: column {missing[0]} is missing, which posts of the world {world} have; make "
            "data/posts.parquet from this world"
        )
    return rater
