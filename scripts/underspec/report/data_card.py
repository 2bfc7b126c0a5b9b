"""What the data of an experiment are: origin and licence, counts, lengths, duplicates, examples."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import RootModel

from underspec.analysis.reward_matrix import read_json
from underspec.artifacts import JUDGEMENTS, PREFERENCES, RATINGS, Schema
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


def described(
    posts: pd.DataFrame, labelled: pd.DataFrame, samples: Mapping[str, pd.DataFrame]
) -> list[dict]:
    """Kind, split, count and words of posts, references, judged statements and samples, in that
    order."""
    rows = [
        {"kind": f"{column}s", "split": split, **lengths(part[column])}
        for column, table in (("post", posts), ("reference", posts), ("statement", labelled))
        if column in table
        for split, part in table.groupby("split", sort=False)
    ]
    return rows + [
        {"kind": "samples", "split": split, **lengths(table["text"])}
        | {"duplicates": duplicates(table)}
        for split, table in samples.items()
    ]


def duplicates(samples: pd.DataFrame) -> float:
    """The share of samples whose text an earlier sample of the same post has."""
    return float(samples.duplicated(["post_id", "text"]).mean())


def compared(preferences: pd.DataFrame) -> pd.DataFrame:
    """For each split and source of the preferences: how many, and in what share the chosen text
    has more words than the rejected one, or as many."""
    chosen, rejected = (
        preferences[column].str.split().str.len() for column in ("chosen", "rejected")
    )
    shares = {"chosen is longer": chosen > rejected, "as long": chosen == rejected}
    return _by_source(preferences, "comparisons", shares)


def judged(judgements: pd.DataFrame) -> pd.DataFrame:
    """For each split and source of the judgements: how many, and what share is entailed."""
    return _by_source(judgements, "judgements", {"entailed": judgements["label"] == 1})


def rated(ratings: pd.DataFrame) -> pd.DataFrame:
    """For each split and source of the ratings: how many, and in what share the mean rating is
    above 0, or below."""
    shares = {"positive": ratings["label"] > 0, "negative": ratings["label"] < 0}
    return _by_source(ratings, "ratings", shares)


def _by_source(table: pd.DataFrame, rows: str, shares: dict[str, pd.Series]) -> pd.DataFrame:
    """In the order of the splits, then of the sources' names."""
    order = table["split"].unique()
    groups = table[["split", "source"]].assign(**shares).groupby(["split", "source"])
    found = groups[list(shares)].mean()
    found.insert(0, rows, groups.size())
    return found.reindex(order, level="split").reset_index()


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


def examples(posts: pd.DataFrame, labelled: pd.DataFrame, texts: list[str]) -> list[dict]:
    """A few rows of a table of labelled texts, evenly spaced: post, reference and the columns
    `texts`."""
    rows = np.linspace(0, len(labelled) - 1, EXAMPLES + 2)[1:-1].astype(int)
    of_posts = posts.set_index("post_id")[["post", "reference"]]
    found = labelled.iloc[rows].join(of_posts, on="post_id")
    return found[["post", "reference", *texts]].to_dict("records")


@dataclass(frozen=True)
class Labelled:
    """A table that reward models learn from: its name in the card, its schema, what is counted in
    it, and which columns an example shows."""

    name: str
    schema: Schema
    counts: Callable[[pd.DataFrame], pd.DataFrame]
    texts: list[str]


LABELLED = {
    "preference": Labelled("Preferences", PREFERENCES, compared, ["chosen", "rejected"]),
    "pointwise": Labelled("Judgements", JUDGEMENTS, judged, ["statement", "label"]),
    "rating": Labelled("Ratings", RATINGS, rated, ["label"]),
}
