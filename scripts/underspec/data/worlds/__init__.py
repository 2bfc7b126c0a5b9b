"""Worlds: where posts, references, preferences and pretraining text come from.

A world is a module of this package with a class `World` that derives from `BaseWorld`; its
name in the config is the module's. Its options are the config section `worlds.<name>`. A world
says which parts it has; posts may come from one world and pretraining text from another.
"""

import hashlib
import importlib
import itertools
import pkgutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import pandas as pd

from underspec.errors import ConfigError
from underspec.schema import Count, Section, Several, checked, part_of


class Options(Section):
    """Base of every world's options."""

    # The option that says into how many shards the pretraining text can be cut; None: nobody knows.
    most_shards: ClassVar[str | None] = None


class Splits(Options):
    """Posts in each split."""

    policy: Count
    preferences: Count
    validation: Count
    best_of_n: Several


class BaseWorld:
    """What the workflow asks of a world. All methods are pure functions of options and raw.

    The docstring of a world's class is what the data card says of it: what it is, where it
    comes from, whose preferences, its licence.
    """

    Options: ClassVar[type[Options]]
    downloads: ClassVar[bool] = False  # fetch() brings raw files that the others read
    fetch_options: ClassVar[tuple[str, ...]] = ()  # the options that fetch() takes
    has_posts: ClassVar[bool] = True  # posts() exists
    has_preferences: ClassVar[bool] = False  # preferences() exists: people compared summaries
    has_pretraining_text: ClassVar[bool] = True  # pretraining_text() exists

    def __init__(self, options: dict, raw: Path | None = None):
        """Raises ConfigError if an option is missing, unknown or impossible."""
        self.options = checked(self.Options, options, "worlds", self.name())
        self._raw = raw
        self.left_out: Counter[str] = Counter()  # of the pretraining text read so far, by reason

    @classmethod
    def name(cls) -> str:
        return cls.__module__.rpartition(".")[2]

    @property
    def raw(self) -> Path:
        if self._raw is None:
            raise ConfigError(f"world: {self.name()} reads raw files; say where they are, by --raw")
        return self._raw

    @classmethod
    def fetch(cls, raw: Path, **options) -> None:
        """Bring the world's raw files into the folder `raw` (only if `downloads`)."""
        raise ConfigError(f"world: {cls.name()} is generated here; there is nothing to fetch")

    @classmethod
    def options_of_fetch(cls, options: dict) -> dict:
        """`options`, checked to be those that fetch() takes. Raises ConfigError if they are not."""
        section = part_of(cls.Options, cls.fetch_options)
        return checked(section, options, "worlds", cls.name()).model_dump()

    def posts(self) -> pd.DataFrame:
        """Posts with the columns of artifacts.POSTS, and gold attributes where there are any.

        Each post belongs to one of the splits policy, preferences, validation, best_of_n
        (only if `has_posts`).
        """
        raise NotImplementedError(f"{type(self).__module__} has no posts")

    def pretraining_text(self) -> Iterator[str]:
        """Documents, one line of text each, none of them from a validation or best-of-n post
        (only if `has_pretraining_text`).
        """
        raise NotImplementedError(f"{type(self).__module__} has no pretraining text")

    def pretraining_tokens(self) -> int | None:
        """About how many tokens the text has before it is fetched; None if nobody knows."""
        return None

    def pretraining_shard(self, shard: int, shards: int) -> Iterator[str]:
        """The documents of shard `shard` of `shards`; all shards together hold each of them once.

        A world whose text comes in files overrides this, so that a shard reads its own alone.
        """
        return itertools.islice(self.pretraining_text(), shard, None, shards)

    def sizes(self) -> dict[str, int]:
        """How many posts each split has, about, before anything is fetched."""
        return self.options.posts.model_dump()

    def preferences(self) -> pd.DataFrame:
        """Comparisons with the columns of artifacts.PREFERENCES, of the splits preferences and
        validation (only if `has_preferences`; else a simulated rater who goes by the world's gold
        reward compares samples of the policy). attrs["dropped"] says how many of each split were
        left out, by reason.
        """
        raise NotImplementedError(f"{type(self).__module__} has no comparisons of its own")


def hashed_order(post_ids: Iterable[str], seed: int) -> list[str]:
    """`post_ids` in a random order: which of two comes first depends on `seed` and them alone."""
    return sorted(post_ids, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def world_class(name: str, key: str = "world") -> type[BaseWorld]:
    """The class of the world `name`, which the config's `key` gives.

    Raises ConfigError, listing the worlds, if there is none.
    """
    if name not in names():
        raise ConfigError(f"{key}: {name!r} is unknown; allowed are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").World
