"""The section of the config about a reward matrix from elsewhere."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from underspec.analysis.parts import GIVEN
from underspec.schema import Section, refuse_duplicates

# Stands unquoted in pages and figures.
Noun = Annotated[str, Field(pattern=r"^\w[\w -]{0,39}$")]


class Words(Section):
    """What the seeds of a matrix from elsewhere are called."""

    group: Noun
    member: Noun


class Matrix(Section):
    """What a matrix from elsewhere has beside rewards, and what its seeds are called."""

    has: Annotated[list[Literal[GIVEN]], AfterValidator(refuse_duplicates)]
    words: Words | None = None
