"""Tables on disk: Parquet with a fixed schema, written atomically, checked when read.

And arrays too long for memory: .npy files, written piece by piece.
"""

import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from underspec.errors import ArtifactError

POSTS = {"post_id": "string", "split": "string", "post": "string", "reference": "string"}
PREFERENCES = {
    "post_id": "string",
    "split": "string",
    "chosen": "string",
    "rejected": "string",
    "source": "string",
}
SAMPLES = {"post_id": "string", "sample_index": "int32", "text": "string", "log_prob": "float32"}
SCORES = {"post_id": "string", "sample_index": "int32", "reward": "float32"}
DIAGNOSTICS = {"post_id": "string", "sample_index": "int32", "words": "float32"}
DIAGNOSTICS |= {"common_subsequence": "float32", "copied": "float32"}
EVIDENCE = {"quantity": "string", "n": "int32", "seeds": "bool", "resample": "int32"}
EVIDENCE |= {"value": "float64"}
RERANK = {"post_id": "string", "n": "int32", "sample_index": "int32", "reward": "float32"}

STALE_SECONDS = 3600.0  # what was begun so long ago will not be finished


def unfinished_name(path: Path) -> Path:
    """A name for `path` while it is not whole, which no other process uses."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}.unfinished")


def stale(folder: Path, name: str = "*") -> Iterator[Path]:
    """What processes that were killed have left unfinished of `name` in `folder`."""
    for path in folder.glob(f"{name}.*.unfinished"):
        with suppress(FileNotFoundError):  # another process has just finished it
            if path.stat().st_mtime < time.time() - STALE_SECONDS:
                yield path


@contextmanager
def appearing_whole(path: Path) -> Iterator[Path]:
    """A file to write, which gets the name `path` at the end; if writing fails, it is deleted.

    A second copy of the same job writes a file of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_over in stale(path.parent, path.name):
        left_over.unlink(missing_ok=True)
    unfinished = unfinished_name(path)
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_table(table: pd.DataFrame, path: Path, schema: dict[str, str]) -> None:
    """Write `table` with the columns of `schema` first, in their types; extra columns follow.

    The file appears under its name only when it is whole. Raises ArtifactError if `table`
    breaks the schema: what cannot be read back is never written.
    """
    check_table(table, path, schema)
    extra = [column for column in table.columns if column not in schema]
    table = table[[*schema, *extra]].astype(schema)
    with appearing_whole(path) as unfinished:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), unfinished)


def write_flat_array(pieces: Iterable[np.ndarray], path: Path, kind: np.dtype) -> None:
    """Write `pieces` (any, ...) of type `kind` one after the other as one .npy array (total,).

    The file appears under its name only when it is whole.
    """
    total = 0
    with appearing_whole(path) as unfinished, unfinished.open("wb") as file:
        _npy_header(file, kind, total)
        for piece in pieces:
            piece.astype(kind, copy=False).tofile(file)
            total += len(piece)
        file.seek(0)
        _npy_header(file, kind, total)  # of the same length: NumPy leaves room for a longer axis


def _npy_header(file, kind: np.dtype, total: int) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, {**header, "shape": (total,)})


def read_table(path: Path, schema: dict[str, str]) -> pd.DataFrame:
    """Read a table written by `write_table`.

    Raises ArtifactError, naming the file, if it is missing, not whole, lacks a column of
    `schema`, or holds a null or a number that is not finite in one.
    """
    try:
        table = pq.read_table(path).to_pandas()
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; let Snakemake make it first") from None
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(
            f"{path}: not a whole Parquet file ({str(error).splitlines()[0]}); "
            "delete it and run Snakemake again"
        ) from None
    check_table(table, path, schema)
    return table


def check_table(table: pd.DataFrame, path: Path, schema: dict[str, str]) -> None:
    """Raise ArtifactError, naming `path`, if `table` lacks a column of `schema`, or holds a null
    or a number that is not finite in one.
    """
    missing = [column for column in schema if column not in table.columns]
    if missing:
        raise ArtifactError(
            f"{path}: column {', '.join(missing)} is missing; it has {', '.join(table.columns)}"
        )
    for column, kind in schema.items():
        values = table[column]
        bad = values.isna()
        if kind.startswith("float"):
            bad |= ~np.isfinite(pd.to_numeric(values, errors="coerce"))
        if bad.any():
            raise ArtifactError(
                f"{path}: column {column} has {int(bad.sum())} missing or non-finite values, "
                f"the first in row {int(np.flatnonzero(bad)[0])}; "
                "delete the file and run Snakemake again"
            )
