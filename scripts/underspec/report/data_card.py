"""What the data of an experiment are: origin and licence, counts, lengths, duplicates, examples."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import RootModel

from underspec.analysis.reward_matrix import read_json
from underspec.data.worlds import world_class

QUANTILES = (0.05, 0.5, 0.95, 1.0)
EXAMPLES = 3


class LeftOut(RootModel):
    root: dict[str, int]


def card(world: str) -> list[str]:
    """What a world says of itself, by paragraph: the docstring of its class, which no digest of
    code sees, so that a better word reruns nothing."""
    paragraphs = re.split(r"\n\s*\n", world_class(world).__doc__ or "")
    return [" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip()]


def lengths(texts: pd.Series) -> dict:
    """Number of texts and quantiles of their lengths in words, as spaces part them."""
    words = texts.str.split().str.len()
    return {"count": len(texts), "words": [int(words.quantile(q)) for q in QUANTILES]}


def described(posts: pd.DataFrame, samples: Mapping[str, pd.DataFrame]) -> list[dict]:
    """Kind, split, count and words of posts, references and samples, in that order."""
    by_split = posts.groupby("split", sort=False)
    rows = [
        {"kind": f"{column}s", "split": split, **lengths(part[column])}
        for column in ("post", "reference")
        for split, part in by_split
    ]
    return rows + [
        {"kind": "samples", "split": split, **lengths(table["text"])}
        | {"duplicates": duplicates(table)}
        for split, table in samples.items()
    ]


def duplicates(samples: pd.DataFrame) -> float:
    """The share of samples whose text an earlier sample of the same post has."""
    return float(samples.duplicated(["post_id", "text"]).mean())


def compared(preferences: pd.DataFrame) -> list[dict]:
    """For each split and source of the preferences: how many, and in what share the chosen text
    has more words than the rejected one, or as many."""
    chosen, rejected = (
        preferences[column].str.split().str.len() for column in ("chosen", "rejected")
    )
    table = preferences.assign(longer=chosen > rejected, equal=chosen == rejected)
    groups = table.groupby(["split", "source"], sort=False)
    return [
        {
            "split": split,
            "source": source,
            "count": len(part),
            "longer": float(part["longer"].mean()),
            "equal": float(part["equal"].mean()),
        }
        for (split, source), part in groups
    ]


def left_out(table: pd.DataFrame) -> list[dict]:
    """How many rows of each split were left out for each reason, where that is known."""
    return [
        {"split": split, "reason": reason, "count": count}
        for split, by_reason in table.attrs.get("dropped", {}).items()
        for reason, count in sorted(by_reason.items())
    ]


def read_left_out(paths: Iterable[Path]) -> dict[str, int]:
    """What was left out of the pretraining text, or mended in it, by reason: of all shards.

    Raises ArtifactError, naming the file, if one cannot be read.
    """
    found: Counter[str] = Counter()
    for path in paths:
        found.update(read_json(path, LeftOut))
    return dict(found)


def examples(posts: pd.DataFrame, preferences: pd.DataFrame) -> list[dict]:
    """A few comparisons with post and reference, evenly spaced in the table."""
    rows = np.linspace(0, len(preferences) - 1, EXAMPLES + 2)[1:-1].astype(int)
    of_posts = posts.set_index("post_id")[["post", "reference"]]
    return preferences.iloc[rows].join(of_posts, on="post_id").to_dict("records")
