"""Artifacts on disk: written atomically, validated when read.

Tables are Parquet files with a fixed schema; token arrays are .npy files, which need not fit into
memory.
"""

import io
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from underspec import parquet_files
from underspec.errors import ArtifactError, first_line

MAKE = "let Snakemake make it first"
REMAKE = "delete it and run Snakemake again"


class Schema(dict[str, str]):
    """Column names and types; the columns `key` identify a row."""

    def __init__(self, *key: str, **columns: str):
        super().__init__(columns)
        self.key = list(key)


_TEXTS = dict.fromkeys(("split", "post", "reference"), "string")
POSTS = Schema("post_id", post_id="string", **_TEXTS)
_TEXTS = dict.fromkeys(("post_id", "split", "chosen", "rejected", "source"), "string")
PREFERENCES = Schema(**_TEXTS)
_SAMPLE = {"post_id": "string", "sample_index": "int32"}
SAMPLES = Schema(*_SAMPLE, **_SAMPLE, text="string", log_prob="float32")
SCORES = Schema(*_SAMPLE, **_SAMPLE, reward="float32")
_MEASURES = dict.fromkeys(("words", "common_subsequence", "copied", "similarity"), "float32")
DIAGNOSTICS = Schema(*_SAMPLE, **_SAMPLE, **_MEASURES)
EVIDENCE = Schema(quantity="string", n="int32", seeds="bool", resample="int32", value="float64")
RERANK = Schema("n", "post_id", post_id="string", n="int32", sample_index="int32", reward="float32")

STALE_SECONDS = 3600.0  # an unfinished file of this age was left by a killed process


def unfinished_name(path: Path) -> Path:
    """A unique temporary name for `path` while it is being written."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}.unfinished")


def stale(folder: Path, name: str = "*") -> Iterator[Path]:
    """The unfinished files and folders of `name` in `folder` that killed processes have left."""
    for path in folder.glob(f"{name}.*.unfinished"):
        with suppress(FileNotFoundError):  # another process has just finished it
            if path.stat().st_mtime < time.time() - STALE_SECONDS:
                yield path


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary name for a file or folder, which is renamed to `path` at the end.

    If writing fails, nothing is left. A second copy of the same job uses another name; if it was
    the first to rename a folder, its folder stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_over in stale(path.parent, path.name):
        _delete(left_over)
    unfinished = unfinished_name(path)
    try:
        yield unfinished
        try:
            os.replace(unfinished, path)
        except OSError:
            if not (unfinished.is_dir() and path.is_dir()):
                raise
    finally:
        _delete(unfinished)


def _delete(path: Path) -> None:
    """Delete a file or folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_table(table: pd.DataFrame, path: Path, schema: Schema) -> None:
    """Write `table` atomically, with the columns of `schema` first; extra columns follow.

    Raises ArtifactError if `table` violates the schema, so that every written table can be read.
    """
    check_table(table, path, schema)
    extra = [column for column in table.columns if column not in schema]
    table = table[[*schema, *extra]].astype(schema)
    with atomic(path) as unfinished:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), unfinished)


def write_flat_array(pieces: Iterable[np.ndarray], path: Path, kind: np.dtype) -> None:
    """Write the concatenated `pieces` as one .npy array (total,) of type `kind`, atomically."""
    total = 0
    with atomic(path) as unfinished, unfinished.open("wb") as file:
        _npy_header(file, kind, total)
        for piece in pieces:
            piece.astype(kind, copy=False).tofile(file)
            total += len(piece)
        file.seek(0)
        _npy_header(file, kind, total)  # NumPy pads headers, so the length is the same


def _npy_header(file, kind: np.dtype, total: int) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, {**header, "shape": (total,)})


def read_table(path: Path, schema: Schema) -> pd.DataFrame:
    """Read a table written by `write_table`, with the column types of `schema`.

    Raises ArtifactError, naming the file, if it is missing, damaged, of another schema, or refused
    by `check_table`.
    """
    return table_in(path, path, schema, REMAKE)


def table_in(
    source: Path | io.BytesIO, path: Path, schema: Schema | None, cure: str
) -> pd.DataFrame:
    """The table in `source`, called `path` in messages; without a schema, columns are rewards."""
    with parquet_files.opened(source, path, cure) as file:
        table = file.read()
    schema = schema or Schema(**dict.fromkeys(table.schema.names, "float32"))
    frame = parquet_files.to_frame(parquet_files.columns(table, schema, path, cure))
    check_table(frame, path, schema, cure)
    return frame


def check_table(table: pd.DataFrame, path: Path, schema: Schema, cure: str = REMAKE) -> None:
    """Raise ArtifactError, naming `path`, if `table` has no rows, misses a column of `schema`, has
    null or non-finite values in one, or has duplicate keys.
    """
    missing = [column for column in schema if column not in table.columns]
    if missing:
        raise ArtifactError(
            f"{path}: column {', '.join(missing)} is missing; it has {', '.join(table.columns)}"
        )
    if table.empty:
        raise ArtifactError(f"{path}: has no rows; see the log of the job that makes it")
    for column, kind in schema.items():
        values = table[column]
        bad = values.isna()
        if kind.startswith("float"):
            bad |= ~np.isfinite(pd.to_numeric(values, errors="coerce"))
        if bad.any():
            raise ArtifactError(
                f"{path}: column {column} has {int(bad.sum())} missing or non-finite values, "
                f"the first in row {_first(bad)}; {cure}"
            )
    if schema.key and (twice := table.duplicated(schema.key)).any():
        row = _first(twice)
        key = ", ".join(f"{name} {table[name].iloc[row]}" for name in schema.key)
        raise ArtifactError(f"{path}: row {row} is the second with {key}; {cure}")


def _first(rows: pd.Series) -> int:
    return int(np.flatnonzero(rows)[0])


def read_posts(path: Path, post_ids: pd.Series, table: Path) -> pd.DataFrame:
    """The table of posts, which must contain `post_ids`, a column of `table`.

    Raises ArtifactError as `read_table` does, and if one of these posts is missing.
    """
    posts = read_table(path, POSTS)
    missing = list(post_ids[~post_ids.isin(posts.post_id)].unique())
    if missing:
        listed = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ArtifactError(
            f"{path}: lacks posts that {table} has ({listed}); delete the older of the two files "
            "and run Snakemake again"
        )
    return posts


def of_split(table: pd.DataFrame, split: str, path: Path) -> pd.DataFrame:
    """The rows of a split. Raises ArtifactError, naming `path`, if there are none."""
    rows = table[table.split == split]
    if rows.empty:
        raise ArtifactError(
            f"{path}: has no rows of the split {split}, only of {', '.join(table.split.unique())}"
        )
    return rows


def read_tokens(path: Path) -> np.ndarray:
    """An array of token ids written by `write_flat_array`, memory-mapped.

    Raises ArtifactError, naming the file, if it is missing, damaged, or something else.
    """
    try:
        tokens = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; {MAKE}") from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:  # a header is Python's syntax
        cause = first_line(error)
        raise ArtifactError(f"{path}: not a whole .npy file ({cause}); {REMAKE}") from error
    kind = getattr(tokens, "dtype", None)
    if kind not in (np.uint16, np.uint32) or tokens.ndim != 1 or not len(tokens):
        raise ArtifactError(f"{path}: not a flat array of token ids; {REMAKE}")
    return tokens


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file, without line ends.

    Raises ArtifactError, naming the file, if it is missing or not UTF-8.
    """
    number = 0
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):  # noqa: B007
                yield line.rstrip("\n")
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; {MAKE}") from None
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{path}: after line {number} is text that is not UTF-8 ({error.reason}); {REMAKE}"
        ) from None
