"""Gold raters: the true utility of a summary, in those worlds where it is known.

The gold rater of a world is a module of this package with the world's name and a function
`gold_reward(posts, samples)`: `posts` has the columns of artifacts.POSTS and whatever columns the
world added, `samples` at least post_id and text; the result is float64, one utility a sample.
It may have a function `parts(posts, samples)` as well: what the utility is the sum of, by name.
Raters are apart from their worlds, so that editing one leaves posts and pretrains as they are.
"""

import importlib
import pkgutil

import numpy as np
import pandas as pd


def exists(world: str) -> bool:
    """Whether the world's true utility is known."""
    return world in {module.name for module in pkgutil.iter_modules(__path__)}


def gold_reward(world: str, posts: pd.DataFrame, samples: pd.DataFrame) -> np.ndarray:
    """True utility of each row of `samples`, (rows,) float64, by the gold rater of `world`."""
    return importlib.import_module(f"{__name__}.{world}").gold_reward(posts, samples)


def parts(world: str, posts: pd.DataFrame, samples: pd.DataFrame) -> dict[str, np.ndarray]:
    """What the gold utility of each sample is the sum of, (rows,) each; empty without parts."""
    if not exists(world):
        return {}
    rater = importlib.import_module(f"{__name__}.{world}")
    return rater.parts(posts, samples) if hasattr(rater, "parts") else {}
