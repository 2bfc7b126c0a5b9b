"""The tables of a reward matrix from elsewhere: Parquet, CSV or JSON lines, read and checked.

A fault is a UserError that names the file, the row and the cure. Rows count from 1, without a CSV
file's header.
"""

import csv
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from underspec import parquet_files, strict_json
from underspec.errors import UserError, first_line
from underspec.files import atomic

SUFFIXES = (".parquet", ".csv", ".jsonl")
LINES_AT_ONCE = 50_000


@dataclass(frozen=True)
class Table:
    """A table as it stands in its file."""

    path: Path
    columns: pa.Table

    @property
    def names(self) -> list[str]:
        return self.columns.column_names

    def fault(self, row: int, what: str) -> UserError:
        """`row` counts from 0, as in arrays."""
        return UserError(f"{self.path}: row {row + 1}: {what}")

    def require(self, *names: str) -> None:
        for name in names:
            if name not in self.names:
                has = ", ".join(self.names)
                raise UserError(f"{self.path}: has no column {name}; add it (it has {has})")

    def texts(self, name: str, blank: bool = False) -> pd.Series:
        """A column of texts; whole numbers are texts too. Empty ones are a fault unless `blank`."""
        column = self._column(name)
        if pa.types.is_integer(column.type) or pa.types.is_null(column.type):
            column = column.cast(pa.string())
        elif not parquet_files.is_text(column.type):
            raise UserError(f"{self.path}: column {name} is {column.type}; write texts")
        texts = column.cast(pa.string()).fill_null("").to_pandas()
        if not blank and (empty := texts == "").any():
            raise self.fault(first(empty), f"{name} is empty; fill it in")
        return texts

    def whole(self, name: str) -> np.ndarray:
        """A column of whole numbers, int64."""
        return self._cast(name, pa.int64(), "a whole number").astype(np.int64)

    def numbers(self, name: str, kind: pa.DataType, cure: str) -> np.ndarray:
        """A column of finite numbers; what is missing or no number is a fault with this cure."""
        found = self._cast(name, kind, f"a number; {cure}")
        if (odd := ~np.isfinite(found)).any():
            raise self.fault(first(odd), f"{name} is not a finite number; {cure}")
        return found

    def _cast(self, name: str, kind: pa.DataType, meant: str) -> np.ndarray:
        column = self._column(name)
        missing = pc.is_null(column, nan_is_null=True)
        if parquet_files.is_text(column.type):
            missing = pc.or_kleene(missing, pc.equal(column.cast(pa.string()), "")).fill_null(True)
        if (empty := np.asarray(missing)).any():
            raise self.fault(first(empty), f"{name} is missing; write {meant}")
        try:
            return column.cast(kind).to_numpy()
        except (pa.ArrowException, NotImplementedError):
            row = next(row for row, value in enumerate(column) if not _can_cast(value, kind))
            raise self.fault(row, f"{name} is {column[row].as_py()!r}; write {meant}") from None

    def _column(self, name: str) -> pa.ChunkedArray:
        self.require(name)
        column = self.columns[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        return column


def find(folder: Path, name: str) -> Path | None:
    """The file of a table in a folder, if there is one; two of a name are a fault."""
    found = [path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        raise UserError(f"{found[1]}: {found[0].name} is there too; keep one of them")
    return found[0] if found else None


def read(path: Path) -> Table:
    """Raises UserError, naming the file, if it is not a whole table with at least one row."""
    read_as: dict[str, Callable] = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}
    table = Table(path, read_as[path.suffix](path))
    if twice := [name for name in table.names if table.names.count(name) > 1]:
        raise UserError(f"{path}: has two columns {twice[0]}; remove or rename one")
    if not table.columns.num_rows:
        raise UserError(f"{path}: has no rows; write at least one")
    return table


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table so that `read` gives back every text, and every number to the last bit."""
    with atomic(path) as unfinished:
        arrow_csv.write_csv(pa.Table.from_pandas(table, preserve_index=False), unfinished)


def _parquet(path: Path) -> pa.Table:
    with parquet_files.opened(path, path, "write it again") as file:
        table = file.read()
    parquet_files.check_utf8(table, path, "write it again")
    return table


def _csv(path: Path) -> pa.Table:
    """All columns as text, so that 007 stays 007."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(csv.reader(file), [])
        return arrow_csv.read_csv(
            path,
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: not a whole CSV file in UTF-8 ({first_line(error)}); write it with commas "
            "and a header"
        ) from None


def _jsonl(path: Path) -> pa.Table:
    parts, numbers, number = [], itertools.count(1), 0
    try:
        with path.open(encoding="utf-8") as file:
            while lines := list(itertools.islice(file, LINES_AT_ONCE)):
                rows = []
                for line, number in zip(lines, numbers, strict=False):  # noqa: B007
                    row = strict_json.parse(line)
                    if not isinstance(row, dict):
                        raise ValueError("no JSON object")
                    rows.append(row)
                names = dict.fromkeys(name for row in rows for name in row)
                parts.append(pa.table({n: pa.array([row.get(n) for row in rows]) for n in names}))
        return pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({})
    except (pa.ArrowException, ValueError) as error:
        raise UserError(
            f"{path}: line {number}: not JSON lines ({first_line(error)}); write one object a "
            "line, each key with values of one type"
        ) from None


def _can_cast(value: pa.Scalar, kind: pa.DataType) -> bool:
    try:
        value.cast(kind)
    except (pa.ArrowException, NotImplementedError):
        return False
    return True


def first(rows) -> int:
    """The index of the first row for which a column of truth values is true."""
    return int(np.flatnonzero(rows)[0])
