"""The sections of the config about a reward matrix from elsewhere, and what seeds are called."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from underspec.analysis.parts import GIVEN
from underspec.schema import Section, refuse_duplicates

# Stands unquoted in pages and figures.
Noun = Annotated[str, Field(pattern=r"^\w[\w -]{0,39}$")]


class Words(Section):
    """What pretraining and finetuning seeds are called."""

    group: Noun
    member: Noun


class Matrix(Section):
    """What a matrix from elsewhere has beside rewards."""

    has: Annotated[list[Literal[GIVEN]], AfterValidator(refuse_duplicates)]
