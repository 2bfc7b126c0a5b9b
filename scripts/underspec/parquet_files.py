"""Strict reading of Parquet files: checks that they are whole, the column types, and UTF-8."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from underspec.errors import ArtifactError, first_line


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type contains text, in any of Arrow's encodings."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def is_number(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def is_texts(kind: pa.DataType) -> bool:
    """Whether a column of this type contains lists of structs with a text under `text`."""
    item = getattr(kind, "value_type", pa.null())
    index = item.get_field_index("text") if pa.types.is_struct(item) else -1
    return index >= 0 and is_text(item.field(index).type)


KINDS = {
    "string": ("text", pa.string(), is_text),
    "int32": ("whole numbers", pa.int32(), is_number),
    "float32": ("numbers", pa.float32(), is_number),
    "float64": ("numbers", pa.float64(), is_number),
    "bool": ("true or false", pa.bool_(), pa.types.is_boolean),
    "texts": ("lists of texts", pa.list_(pa.struct([("text", pa.string())])), is_texts),
}


@contextmanager
def opened(source: Path | io.BytesIO, path: Path, cure: str) -> Iterator[pq.ParquetFile]:
    """The Parquet file in `source`, called `path` in messages.

    Raises ArtifactError in one line if it does not exist or is damaged.
    """
    try:
        with pq.ParquetFile(source) as file:
            yield file
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; {cure}") from None
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(
            f"{path}: not a whole Parquet file ({first_line(error)}); {cure}"
        ) from error


def columns(table: pa.Table, kinds: Mapping[str, str], path: Path, cure: str) -> pa.Table:
    """`table` with its columns cast to `kinds` (column -> key of KINDS).

    Raises ArtifactError, naming `path`, if a column is missing, duplicated or of an incompatible
    type, has a number that does not fit, or has text that is not UTF-8.
    """
    names = table.schema.names
    if missing := [name for name in kinds if name not in names]:
        raise ArtifactError(
            f"{path}: column {', '.join(missing)} is missing; it has {', '.join(names)}; {cure}"
        )
    if twice := [name for name in kinds if names.count(name) > 1]:
        raise ArtifactError(f"{path}: has two columns {twice[0]}; {cure}")
    check_utf8(table, path, cure)
    for name, kind in kinds.items():
        meant, wanted, fits = KINDS[kind]
        column = table[name]
        if not (fits(column.type) or pa.types.is_null(column.type)):
            raise ArtifactError(f"{path}: column {name} is {column.type}, not {meant}; {cure}")
        try:
            cast = column.cast(wanted)
        except pa.ArrowException as error:
            raise ArtifactError(
                f"{path}: column {name} does not hold {meant} ({first_line(error)}); {cure}"
            ) from None
        table = table.set_column(names.index(name), name, cast)
    return table


def check_utf8(table: pa.Table | pa.RecordBatch, path: Path, cure: str) -> None:
    """Raise ArtifactError, naming `path` and the column, if a text is not UTF-8."""
    for name, column in zip(table.schema.names, table.columns, strict=True):
        try:
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            column.validate(full=True)
        except pa.ArrowException as error:
            raise ArtifactError(
                f"{path}: column {name} is damaged ({first_line(error)}); {cure}"
            ) from None


def to_frame(table: pa.Table) -> pd.DataFrame:
    """`table` as a DataFrame with the attrs that pandas wrote; an index stays a column."""
    frame = table.replace_schema_metadata(None).to_pandas()
    with suppress(ValueError, LookupError, TypeError):  # other programs write other metadata
        frame.attrs = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))["attributes"]
    return frame
