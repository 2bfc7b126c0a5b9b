"""Tables on disk: Parquet files with a fixed schema, validated when written and when read."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from underspec import parquet_files
from underspec.errors import ArtifactError
from underspec.files import REMAKE, atomic


class Schema(dict[str, str]):
    """Column names and types; the columns `key` identify a row."""

    def __init__(self, *key: str, **columns: str):
        super().__init__(columns)
        self.key = list(key)


_TEXTS = dict.fromkeys(("split", "post", "reference"), "string")
POSTS = Schema("post_id", post_id="string", **_TEXTS)
_TEXTS = dict.fromkeys(("post_id", "split", "chosen", "rejected", "source"), "string")
PREFERENCES = Schema(**_TEXTS)
_TEXTS = dict.fromkeys(("post_id", "split", "statement", "source"), "string")
JUDGEMENTS = Schema(**_TEXTS, label="int32")
RATINGS = Schema(**_TEXTS, **dict.fromkeys(("label", "half", "other_half"), "float32"))
_SAMPLE = {"post_id": "string", "sample_index": "int32"}
SAMPLES = Schema(*_SAMPLE, **_SAMPLE, text="string", log_prob="float32")
SCORES = Schema(*_SAMPLE, **_SAMPLE, reward="float32")
STYLES = Schema(*_SAMPLE, **_SAMPLE, style="string", right="int32", text="string", gold="float32")
ALIGNED_SAMPLES = Schema(*_SAMPLE, **SAMPLES, kl="float32")
_MEASURES = dict.fromkeys(("words", "common_subsequence", "copied"), "float32")
ALIGNED_DIAGNOSTICS = Schema(*_SAMPLE, **_SAMPLE, **_MEASURES)
OF_BEST_OF_N = ("similarity", "copied_words", "list_items", "numerals")  # aligned ones lack these
DIAGNOSTICS = Schema(*_SAMPLE, **ALIGNED_DIAGNOSTICS, **dict.fromkeys(OF_BEST_OF_N, "float32"))
EVIDENCE = Schema(quantity="string", n="int32", drawn="string", resample="int32", value="float64")
COMPARISONS = Schema(
    **dict.fromkeys(("scale", "better", "worse"), "string"),
    parameters="float64",
    pair="int32",
    **dict.fromkeys(("better_ranker", "worse_ranker", "post_id", "text", "other"), "string"),
)
_TEXTS = dict.fromkeys(("post_id", "first", "second"), "string")
ANSWERS = Schema(
    *(*_TEXTS, "answer_index"),
    **_TEXTS,
    answer_index="int32",
    **dict.fromkeys(("verdict", "answer", "model", "key"), "string"),
    **dict.fromkeys(("attempts", "prompt_tokens", "completion_tokens"), "int32"),
)
RERANK = Schema("n", "post_id", post_id="string", n="int32", sample_index="int32", reward="float32")


def scores_by(reward_models: list[str]) -> Schema:
    """The schema of a table of rewards with a column per reward model."""
    return Schema(*_SAMPLE, **_SAMPLE, **dict.fromkeys(reward_models, "float32"))


def aligned_scores(reward_models: list[str]) -> Schema:
    """The schema of the rewards of an aligned policy's samples."""
    return scores_by([*reward_models, "evaluator"])


def write_table(table: pd.DataFrame, path: Path, schema: Schema) -> None:
    """Write `table` atomically, with the columns of `schema` first; extra columns follow.

    Raises ArtifactError if `table` violates the schema, so that every written table can be read.
    """
    check_table(table, path, schema)
    extra = [column for column in table.columns if column not in schema]
    table = table[[*schema, *extra]].astype(schema)
    with atomic(path) as unfinished:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), unfinished)


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
