"""What the schema of the config is made of: sections, and kinds of values with their bounds.

A number may be written as text: YAML 1.1 reads 1e-3 as text, and so arrive the numbers in a list
that --config gives. Nothing else changes its type: true is no number, and 7 is no name.
"""

import operator
import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

# What reaches paths, commands, patterns of Snakemake, LaTeX and HTML as it is.
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BOUNDS = {  # in words, as a test, and in JSON schema
    "gt": ("greater than", operator.gt, "exclusiveMinimum"),
    "ge": ("greater than or equal to", operator.ge, "minimum"),
    "lt": ("less than", operator.lt, "exclusiveMaximum"),
    "le": ("less than or equal to", operator.le, "maximum"),
    "multiple_of": ("a multiple of", lambda value, divisor: value % divisor == 0, "multipleOf"),
}
_FLAGS = {"true": True, "True": True, "false": False, "False": False}
_NULLS = ("", "null", "~")


class Section(BaseModel):
    """Base of every section: unknown keys are refused, and so are infinities."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def integer(**bounds: int) -> Any:
    """The kind of integers within `bounds`, by their names in _BOUNDS."""
    return Annotated[int, _read_as(int, _INTEGER), _within(bounds), _described("integer", bounds)]


def number(**bounds: float) -> Any:
    """The kind of finite numbers within `bounds`."""
    return Annotated[float, _read_as(float, _NUMBER), _within(bounds), _described("number", bounds)]


def or_null(kind: Any) -> Any:
    """`kind`, or null, which --config gives as text."""
    return Annotated[kind | None, BeforeValidator(_null)]


def _read_as(kind: type, pattern: re.Pattern) -> BeforeValidator:
    def read(value):
        written = isinstance(value, str) and pattern.fullmatch(value)
        return kind(value) if written else value

    return BeforeValidator(read)


def _within(bounds: dict) -> AfterValidator:
    allowed = " and ".join(f"{_BOUNDS[name][0]} {bound}" for name, bound in bounds.items())

    def check(value):
        if not all(_BOUNDS[name][1](value, bound) for name, bound in bounds.items()):
            raise PydanticCustomError("bounds", f"input should be {allowed}")
        return value

    return AfterValidator(check)


def _described(kind: str, bounds: dict) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": kind, **{_BOUNDS[name][2]: bound for name, bound in bounds.items()}}
    )


def _null(value: Any) -> Any:
    return None if isinstance(value, str) and value in _NULLS else value


def _flag(value: Any) -> Any:
    return _FLAGS.get(value, value) if isinstance(value, str) else value


def _name(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(NAME, value):
        raise PydanticCustomError(
            "name",
            "a name has at most 100 letters, digits, '_', '-' and '.', and begins with a letter or "
            "digit",
        )
    return value


MOST = 2**31 - 1  # that tables and Slurm hold
Count = integer(gt=0, le=MOST)
NotNegative = integer(ge=0, le=MOST)
Several = integer(ge=2, le=MOST)  # as a standard error needs
Size = integer(gt=0, le=2**17)  # of an array along one axis
Seed = integer(ge=0, lt=2**32)  # that every generator of random numbers takes
Flag = Annotated[bool, BeforeValidator(_flag)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[
    str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME}$"})
]
