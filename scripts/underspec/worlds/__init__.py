"""Worlds: where posts, references, preferences and pretraining text come from.

A world is a module of this package with a class `World` that derives from `BaseWorld`; its
name in the config is the module's. Its options are the config section `worlds.<name>`.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from underspec.errors import ConfigError


class Options(BaseModel):
    """Base of every world's options: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Splits(Options):
    """Posts in each split."""

    policy: Annotated[int, Field(gt=0)]
    preferences: Annotated[int, Field(gt=0)]
    validation: Annotated[int, Field(gt=0)]
    best_of_n: Annotated[int, Field(gt=0)]


class BaseWorld(ABC):
    """What the workflow asks of a world. All methods are pure functions of options and raw."""

    Options: ClassVar[type[Options]]
    downloads: ClassVar[bool] = False  # fetch() brings raw files that the others read
    fetch_options: ClassVar[tuple[str, ...]] = ()  # the options that fetch() takes
    has_preferences: ClassVar[bool] = False  # preferences() exists: people compared summaries

    def __init__(self, options: dict, raw: Path | None = None):
        self.options = self.Options(**options)
        self.raw = raw

    @classmethod
    def fetch(cls, raw: Path, **options) -> None:
        """Bring the world's raw files into the folder `raw` (only if `downloads`)."""
        raise NotImplementedError(f"{cls.__module__} downloads nothing")

    @abstractmethod
    def posts(self) -> pd.DataFrame:
        """Posts with the columns of artifacts.POSTS, and gold attributes where there are any.

        Each post belongs to one of the splits policy, preferences, validation, best_of_n.
        """

    @abstractmethod
    def pretraining_text(self) -> Iterator[str]:
        """Documents, one line of text each, none of them from a validation or best-of-n post."""

    def sizes(self) -> dict[str, int]:
        """How many posts each split has, about, before anything is fetched."""
        return self.options.posts.model_dump()

    def preferences(self) -> pd.DataFrame:
        """Comparisons with the columns of artifacts.PREFERENCES, of the splits preferences and
        validation (only if `has_preferences`; else a simulated rater who goes by the world's gold
        reward compares samples of the policy).
        """
        raise NotImplementedError(f"{type(self).__module__} has no comparisons of its own")


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def world_class(name: str) -> type[BaseWorld]:
    """The class of the world `name`. Raises ConfigError, listing the worlds, if there is none."""
    if name not in names():
        raise ConfigError(f"world: {name!r} is unknown; allowed are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").World
