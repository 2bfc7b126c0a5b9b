"""Building blocks of the config's schema: sections, and types of values with their bounds.

A number may be text, because YAML 1.1 reads 1e-3 as text and Snakemake's --config passes numbers in
lists as text. No other value is converted: true is not a number, and 7 is not a name.
"""

import operator
import re
from collections.abc import Iterable
from dataclasses import fields
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError

from underspec.errors import ConfigError

# Names are used unescaped in paths, commands, Snakemake's patterns, LaTeX and HTML.
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"

_INTEGER = re.compile(r"[+-]?[0-9](_?[0-9]){0,19}")
_NUMBER = re.compile(r"[+-]?([0-9](_?[0-9])*\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BOUNDS = {  # in words, as a function, and in JSON schema
    "gt": ("greater than", operator.gt, "exclusiveMinimum"),
    "ge": ("greater than or equal to", operator.ge, "minimum"),
    "lt": ("less than", operator.lt, "exclusiveMaximum"),
    "le": ("less than or equal to", operator.le, "maximum"),
    "multiple_of": ("a multiple of", lambda value, divisor: value % divisor == 0, "multipleOf"),
}
_FLAGS = {"true": True, "True": True, "false": False, "False": False}
_NULLS = ("", "null", "~")


class Section(BaseModel):
    """The strict base class of every section: it refuses unknown keys and non-finite numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def some_of(section: type[Section]) -> type[Section]:
    """A copy of `section` in which every key is optional."""
    keys = {name: (kind | None, None) for name, kind in _kinds(section).items()}
    return create_model(f"Some{section.__name__}", __base__=Section, **keys)


def part_of(section: type[Section], names: Iterable[str]) -> type[Section]:
    """A copy of `section` with only the keys `names`."""
    kinds = _kinds(section)
    return create_model(section.__name__, __base__=Section, **{name: kinds[name] for name in names})


def section_of(declared: type) -> type[Section]:
    """The section with the fields of a dataclass, all of them required.

    A number's bounds are in its annotation: Annotated[int, {"gt": 0}]. An integer without an upper
    bound is at most MOST.
    """
    kinds = {each.name: _kind_of(each.type) for each in fields(declared)}
    return create_model(declared.__name__, __base__=Section, **kinds)


def _kinds(section: type[Section]) -> dict[str, Any]:
    return {name: each.rebuild_annotation() for name, each in section.model_fields.items()}


def _kind_of(declared: Any) -> Any:
    """The type in a section of a dataclass's field: a number with bounds, a flag or a Literal."""
    if get_origin(declared) is not Annotated:
        return Flag if declared is bool else declared
    kind, bounds = get_args(declared)
    if get_origin(kind) is UnionType:
        return or_null(_kind_of(Annotated[get_args(kind)[0], bounds]))
    if kind is float:
        return number(**bounds)
    return integer(**{**bounds, "le": bounds.get("le", MOST)})


def checked(section: type[BaseModel], values: Any, *keys: str) -> BaseModel:
    """`values`, validated as `section`.

    Raises ConfigError in one line that names the key, which is under `keys`, and says what is
    allowed.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ConfigError(one_line(error, *keys)) from None


def one_line(error: ValidationError, *keys: str) -> str:
    """The first mistake in the values under `keys`, and how many more there are."""
    first = error.errors()[0]
    parts = (str(part) for part in (*keys, *first["loc"]) if part != "[key]")
    key = ".".join(parts).replace("\n", r"\n")
    message, value = first["msg"], first["input"]
    if first["type"] == "extra_forbidden":
        message = "no such key; see config.yaml for every key there is"
        if "." in (dotted := str(first["loc"][-1])):
            outer, _, inner = dotted.partition(".")
            message = f"no such key; a key within another is written {outer}: {{{inner}: ...}}"
    elif first["type"] == "missing":
        message = "missing; see config.yaml for every key there is"
    elif not isinstance(value, dict):
        message = f"{value!r} is not allowed: {message[0].lower()}{message[1:]}"
    if first["type"] == "string_type" and not isinstance(value, dict | list | None):
        message += "; in a file, write it in quotes"
    more = error.error_count() - 1
    return f"{key}: {message}" + (f" (and {more} more)" if more else "")


def integer(**bounds: int) -> Any:
    """The type of integers within `bounds`, whose names are in _BOUNDS."""
    return Annotated[int, _read_as(int, _INTEGER), _within(bounds), _described("integer", bounds)]


def number(**bounds: float) -> Any:
    """The type of finite numbers within `bounds`."""
    return Annotated[float, _read_as(float, _NUMBER), _within(bounds), _described("number", bounds)]


def or_null(kind: Any) -> Any:
    """`kind` or null, which --config passes as text."""
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


def refuse_duplicates(values: list) -> list:
    """The list itself, if nothing in it is there twice."""
    if len(set(values)) < len(values):
        raise PydanticCustomError("distinct", "has duplicates; remove them")
    return values


def _text(value: str) -> str:
    if not value.strip() or _CONTROL.search(value):
        raise PydanticCustomError("text", "must be one line of text, and not blank")
    return value


MOST = 2**31 - 1  # the largest integer in tables and Slurm
Count = integer(gt=0, le=MOST)
NotNegative = integer(ge=0, le=MOST)
Several = integer(ge=2, le=MOST)  # enough for a standard error
Size = integer(gt=0, le=2**17)  # the length of an array's axis
Seed = integer(ge=0, lt=2**32)  # valid for every random number generator
Flag = Annotated[bool, BeforeValidator(_flag)]
RewardKind = Literal["preference", "pointwise", "rating"]  # what a reward is learned from
Text = Annotated[str, AfterValidator(_text)]
Name = Annotated[
    str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME}$"})
]


class Source(Section):
    """A repository on the Hub at a revision; or a local folder, if `name` begins with /, ~ or a dot
    (the revision is then not used).
    """

    name: Text
    revision: Text

    @property
    def is_folder(self) -> bool:
        return self.name.startswith(("/", "~", "."))
