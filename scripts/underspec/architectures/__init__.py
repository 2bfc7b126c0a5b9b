"""Architectures of reward models. Each is a module here, with a class Architecture.

The config names one for each scale. To add another is to add a module. The class says what its
models can do, without torch; its methods import what they need.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from underspec.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn
    from transformers import PreTrainedTokenizerFast

    from underspec.data.readers import Reader


class BaseArchitecture(ABC):
    """The reward models of a scale.

    shape: of its models, or None if the config.json of each folder says it; template: how post and
    sample become one text, or None; tokenizer: the folder of the experiment's tokenizer.
    """

    has_shape: ClassVar[bool] = False  # and so can be pretrained here
    has_template: ClassVar[bool] = False
    aligns: ClassVar[bool] = False  # its reward models can be rankers in RLHF
    has_mc_dropout: ClassVar[bool] = False

    def __init__(self, shape: dict | None, template: str | None, tokenizer: Path):
        self.shape, self.template, self.tokenizer = shape, template, tokenizer

    @abstractmethod
    def reader(self, folder: Path, lengths: dict[str, int]) -> "Reader":
        """How the model in `folder` reads texts."""

    @abstractmethod
    def import_pretrained(self, checkpoint: dict, output: Path) -> None:
        """Write the pretrained checkpoint at `checkpoint` (source, path, revision, trust_pickle) to
        the folder `output`, once it is found to be whole.
        """

    @abstractmethod
    def new(self, pretrained: Path, seed: int, heads: int) -> "nn.Module":
        """A reward model: a pretrained checkpoint with heads drawn by `seed`.

        Its method `inputs` makes a batch of token ids, from which its forward pass makes rewards.
        """

    @abstractmethod
    def load(self, folder: Path) -> "nn.Module":
        """The reward model in `folder`."""

    @abstractmethod
    def score(
        self, model: "nn.Module", posts: list["np.ndarray"], candidates: list[list["np.ndarray"]]
    ) -> list["np.ndarray"]:
        """The rewards of each post's candidates, as the reader returns them: one float32 array
        (candidates, heads) per post.
        """

    def tokenizer_of(self, folder: Path) -> "PreTrainedTokenizerFast | None":
        """The tokenizer of the model in `folder`, if it has one of its own."""
        return None

    def members(self, model: "nn.Module", folder: Path, provenance: Mapping, count: int):
        """The members of MC dropout. Raises ConfigError if the architecture has none."""
        raise ConfigError("cheaper_ensembles.mc_dropout: not of this architecture; leave it out")


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@cache
def architecture_class(name: str) -> type[BaseArchitecture]:
    """Raises ConfigError, listing the architectures, if there is none of this name."""
    if name not in names():
        raise ConfigError(f"architecture: {name!r} is unknown; allowed are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").Architecture


def architecture_of(tokenizer: Path, settings: Mapping) -> BaseArchitecture:
    """The architecture of a scale: `settings` are its name, shape and template, of which the last
    two may be left out.
    """
    shape, template = settings.get("shape"), settings.get("template")
    return architecture_class(settings["name"])(shape, template, tokenizer)
