"""Snippets that people rated for valence, each to be continued so that people would rate it high.

A post is the first half of a snippet; its reference is the rest. Reward models learn from three
domains, and the policy writes in the fourth.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pandas as pd

from underspec.data.rated_snippets import DOMAINS, read_snippets, unpack
from underspec.data.source_distributions import download, verify
from underspec.data.worlds import BaseWorld, Options, Splits, hashed_order
from underspec.errors import ConfigError, UserError
from underspec.schema import Seed, Text, or_null

PACKAGE = (
    "vaderSentiment",
    "3.3.2",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
FILE = "{}-{}.tar.gz".format(*PACKAGE)
MIN_WORDS = 8  # of a snippet, so that its two halves have four at least


class ValenceOptions(Options):
    seed: Seed  # assigns snippets to splits
    policy_domain: Literal[tuple(DOMAINS)]
    posts: Splits
    source: or_null(Text)


class World(BaseWorld):
    """Snippets of English in four domains (film reviews, product reviews, editorials, tweets), each
    rated by 15 or more people from -4, extremely negative, to 4, extremely positive (Hutto and
    Gilbert, 2014). A post is the first half of a snippet, its reference the rest, and a judgement
    is the mean rating of both: the task is to continue a text so that people would rate it high.

    Reward models learn from the ratings of three domains; the policy writes in the fourth, whose
    ratings only show how well reward models agree with people there.

    The files are in the source distribution of vaderSentiment 3.3.2, which pip downloads. Snippets
    may be offensive.

    Licence: MIT, as the package; the texts are their authors'.
    """

    Options = ValenceOptions
    downloads = True
    fetch_options = ("source",)

    @classmethod
    def fetch(cls, raw: Path, source: str | None) -> None:
        """Write the files of all domains into `raw`, from the source distribution, downloaded by
        pip unless `source` names it. Raises UserError if it is missing or another file.
        """
        raw.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            if source:
                found = Path(source).expanduser()
            else:
                try:
                    found = download(*PACKAGE, Path(scratch))
                except UserError as error:
                    raise UserError(
                        f"{error}; run this job where there is internet, or name the file {FILE} "
                        "under worlds.valence.source"
                    ) from None
            verify(found, PACKAGE[-1])
            unpack(found, raw)

    def posts(self) -> pd.DataFrame:
        """And by post: domain, rating (the mean) and ratings (the single ones, as JSON)."""
        snippets = read_snippets(self.raw, MIN_WORDS)
        options = self.options
        table = assign_splits(
            snippets, options.posts.model_dump(), options.policy_domain, options.seed
        )
        table["post"], table["reference"] = zip(*map(halved, table.text), strict=True)
        table = table[["post_id", "split", "post", "reference", "domain", "rating", "ratings"]]
        table.attrs["dropped"] = snippets.attrs["dropped"]
        return table

    def pretraining_text(self) -> Iterator[str]:
        """The snippets of the splits policy and preferences."""
        posts = self.posts()
        for row in posts[posts.split.isin(["policy", "preferences"])].itertuples():
            yield f"{row.post} {row.reference}"


def halved(text: str) -> tuple[str, str]:
    """The first half of the words of `text`, rounded down, and the rest."""
    words = text.split()
    half = len(words) // 2
    return " ".join(words[:half]), " ".join(words[half:])


def assign_splits(
    snippets: pd.DataFrame, sizes: dict[str, int], policy_domain: str, seed: int
) -> pd.DataFrame:
    """Fill the splits one after the other, in an order of groups drawn by hashing `seed`.

    Validation has equally many snippets of each domain (those of the policy's first), best_of_n and
    policy are of the policy's domain, and preferences of the others. No two splits share a group:
    what a split takes only in part is in no other. Raises ConfigError if there are too few
    snippets.
    """
    others = [domain for domain in DOMAINS if domain != policy_domain]
    every = [policy_domain, *others]
    shares = [(sizes["validation"] + i) // len(every) for i in reversed(range(len(every)))]
    plan = [
        *(("validation", [domain], size) for domain, size in zip(every, shares, strict=True)),
        ("best_of_n", [policy_domain], sizes["best_of_n"]),
        ("policy", [policy_domain], sizes["policy"]),
        ("preferences", others, sizes["preferences"]),
    ]
    place = {group: i for i, group in enumerate(hashed_order(snippets.group.unique(), seed))}
    remaining = snippets.sort_values("group", key=lambda group: group.map(place), kind="stable")
    parts = []
    for split, domains, size in plan:
        own = remaining[remaining.domain.isin(domains)]
        if len(own) < size:
            raise ConfigError(
                f"worlds.valence.posts.{split}: {size} posts of {', '.join(domains)} are needed "
                f"but only {len(own)} are left; lower it"
            )
        chosen = own.head(size)
        parts.append(chosen.assign(split=split))
        remaining = remaining[~remaining.group.isin(chosen.group)]
    return pd.concat(parts, ignore_index=True)
