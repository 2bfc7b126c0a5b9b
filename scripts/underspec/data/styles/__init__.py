"""Styles: texts that are right or wrong about a post, each in a concise, a plain and a wordy style.

The texts of a world come from a module of this package with the world's name and a function
`texts(post)`, where `post` is a row of the table of posts: for each of STYLES, a text that is right
about the post, and one that is wrong in the same way in every style. They depend on the post alone.
The idea is RM-Bench's (2410.16184), whose texts language models wrote; ours come from a grammar.
"""

import importlib
import pkgutil

import pandas as pd

from underspec.errors import ConfigError

STYLES = ("concise", "plain", "wordy")  # from the fewest words to the most
SPLIT = "best_of_n"


def worlds() -> list[str]:
    """The worlds that have such texts."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def styled_texts(world: str, posts: pd.DataFrame, number: int) -> pd.DataFrame:
    """Six texts of each of the first `number` posts of best-of-n (all, if there are fewer).

    Columns post_id, sample_index, style, right (1 or 0) and text; of each post, the styles in the
    order of STYLES, in each the right text first. Raises ConfigError if the world has none.
    """
    if world not in worlds():
        raise ConfigError(f"world: {world!r} has no styles; {', '.join(worlds())} has")
    module = importlib.import_module(f"{__name__}.{world}")
    rows = []
    for post in posts[posts.split == SPLIT].head(number).itertuples():
        of_styles = module.texts(post)
        for i, style in enumerate(STYLES):
            right, wrong = of_styles[style]
            rows.append((post.post_id, 2 * i, style, 1, right))
            rows.append((post.post_id, 2 * i + 1, style, 0, wrong))
    return pd.DataFrame(rows, columns=["post_id", "sample_index", "style", "right", "text"])
