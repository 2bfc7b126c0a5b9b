"""Worlds: sources of posts, references, preferences and pretraining text.

A world is a module of this package with a class `World`, a subclass of `BaseWorld`. The module's
name is the world's name in the config, and `worlds.<name>` are its options. A world declares which
parts it has; posts and pretraining text may come from different worlds.
"""

import hashlib
import importlib
import itertools
import logging
import pkgutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import pandas as pd

from underspec.errors import ArtifactError, ConfigError
from underspec.schema import Count, Section, Several, checked, part_of

log = logging.getLogger(__name__)


class Options(Section):
    """Base class of every world's options."""

    # The option that limits the number of shards of the pretraining text; None: no known limit.
    most_shards: ClassVar[str | None] = None


class Splits(Options):
    """The number of posts in each split."""

    policy: Count
    preferences: Count
    validation: Count
    best_of_n: Several


class BaseWorld:
    """The interface of a world. All methods are pure functions of the options and the raw files.

    The data card prints the docstring of a world's class, which says what it is, where it comes
    from, whose preferences it has, and its licence.
    """

    Options: ClassVar[type[Options]]
    downloads: ClassVar[bool] = False  # fetch() downloads raw files that the other methods read
    fetch_options: ClassVar[tuple[str, ...]] = ()  # the options that fetch() takes
    has_posts: ClassVar[bool] = True  # posts() exists
    has_preferences: ClassVar[bool] = False  # preferences() exists: humans compared summaries
    has_judgements: ClassVar[bool] = False  # judgements() exists: humans judged statements
    has_line_breaks: ClassVar[bool] = False  # texts have line breaks, which tokens then keep
    has_pretraining_text: ClassVar[bool] = True  # pretraining_text() exists

    def __init__(self, options: dict, raw: Path | None = None):
        """Raises ConfigError if an option is missing, unknown or impossible."""
        self.options = checked(self.Options, options, "worlds", self.name())
        self._raw = raw
        self.left_out: Counter[str] = Counter()  # documents left out so far, by reason

    @classmethod
    def name(cls) -> str:
        return cls.__module__.rpartition(".")[2]

    @property
    def raw(self) -> Path:
        if self._raw is None:
            raise ConfigError(f"world: {self.name()} reads raw files; give their folder by --raw")
        return self._raw

    @classmethod
    def fetch(cls, raw: Path, **options) -> None:
        """Download the world's raw files into the folder `raw` (only if `downloads`)."""
        raise ConfigError(f"world: {cls.name()} is generated here; there is nothing to fetch")

    @classmethod
    def options_of_fetch(cls, options: dict) -> dict:
        """The validated options of fetch(). Raises ConfigError if one is wrong."""
        section = part_of(cls.Options, cls.fetch_options)
        return checked(section, options, "worlds", cls.name()).model_dump()

    def posts(self) -> pd.DataFrame:
        """Posts with the columns of artifacts.POSTS, and gold attributes if there are any (only if
        `has_posts`). The splits are policy, preferences, validation and best_of_n.
        """
        raise NotImplementedError(f"{type(self).__module__} has no posts")

    def pretraining_text(self) -> Iterator[str]:
        """Documents, one line of text each, without text of validation and best-of-n posts (only if
        `has_pretraining_text`).
        """
        raise NotImplementedError(f"{type(self).__module__} has no pretraining text")

    def pretraining_tokens(self) -> int | None:
        """A rough number of tokens of the text, known before it is downloaded; None if unknown."""
        return None

    def pretraining_shard(self, shard: int, shards: int) -> Iterator[str]:
        """The documents of one of `shards` shards; each document is in exactly one shard.

        A world whose text comes in files overrides this, so that a shard reads only its own files.
        """
        return itertools.islice(self.pretraining_text(), shard, None, shards)

    def sizes(self) -> dict[str, int]:
        """The rough number of posts in each split, known before anything is downloaded."""
        return self.options.posts.model_dump()

    def preferences(self) -> pd.DataFrame:
        """Comparisons with the columns of artifacts.PREFERENCES, of the splits preferences and
        validation (only if `has_preferences`; otherwise a simulated rater compares samples of the
        policy by the world's gold reward). attrs["dropped"] counts those left out, by split and
        reason.
        """
        raise NotImplementedError(f"{type(self).__module__} has no comparisons of its own")

    def judgements(self) -> pd.DataFrame:
        """Judgements with the columns of artifacts.JUDGEMENTS, of the splits preferences and
        validation (only if `has_judgements`; otherwise see the package `judgements`).
        attrs["dropped"] counts those left out, by split and reason.
        """
        raise NotImplementedError(f"{type(self).__module__} has no judgements of its own")


def hashed_order(post_ids: Iterable[str], seed: int) -> list[str]:
    """`post_ids` in a random order; the order of any two depends only on them and `seed`."""
    return sorted(post_ids, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())


def without_overlaps(splits: dict[str, pd.DataFrame], world: str) -> pd.DataFrame:
    """The tables of `splits` as one table, in which each post stays only in the first split that
    has its id or its text. attrs["dropped"] counts those left out.

    Raises ArtifactError if a split has no posts left.
    """
    ids, texts, kept, dropped = set(), set(), [], {}
    for split, table in splits.items():
        overlaps = table.post_id.isin(ids) | table.post.isin(texts)
        own = table[~overlaps].drop_duplicates("post_id").assign(split=split)
        log.info(
            "%s: %d posts; left out %d that an earlier split has, or that come twice",
            split,
            len(own),
            len(table) - len(own),
        )
        if fewer := len(table) - len(own):
            dropped[split] = {"that an earlier split has, or that come twice": fewer}
        if own.empty:
            raise ArtifactError(f"world {world}: no usable post for the split {split}; see the log")
        ids.update(own.post_id)
        texts.update(own.post)
        kept.append(own)
    table = pd.concat(kept, ignore_index=True)
    table.attrs["dropped"] = dropped
    return table


def with_best_of_n(table: pd.DataFrame, asked: int | None, seed: int, world: str) -> pd.DataFrame:
    """The posts in `table`, and of the split best_of_n only the first `asked` in a random order
    (None: all). Raises ConfigError if there are not so many.
    """
    of_split = table.split == "best_of_n"
    order = hashed_order(table.post_id[of_split], seed)
    if asked and asked > len(order):
        raise ConfigError(
            f"worlds.{world}.best_of_n: {asked} posts are needed but there are only {len(order)}; "
            "lower it, or set it to null for all"
        )
    kept = table[table.post_id.isin(order[:asked]) | ~of_split].reset_index(drop=True)
    kept.attrs = table.attrs
    return kept


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def world_class(name: str, key: str = "world") -> type[BaseWorld]:
    """The class of the world `name`, which is set under `key` in the config.

    Raises ConfigError, listing all worlds, if it is unknown.
    """
    if name not in names():
        raise ConfigError(f"{key}: {name!r} is unknown; allowed are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").World
