"""The paper's world: Reddit's TL;DR posts with their authors' summaries, and human comparisons of
summaries (Völske et al., 2017; Stiennon et al., 2020; modified MIT).

Posts with comparisons are used for reward models, all others for the policy.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa

from underspec import parquet_files
from underspec.data.published_files import link, missing_shards
from underspec.data.texts import alike, visible
from underspec.data.worlds import BaseWorld, Options, hashed_order
from underspec.errors import ArtifactError, ConfigError
from underspec.schema import Seed, Several, Source, or_null

POST_FILES = {split: f"data/{split}-*.parquet" for split in ("train", "validation", "test")}
COMPARISON_FILES = {split: f"comparisons/{split}/*.parquet" for split in ("train", "validation")}
# The columns that are read, and their types; a[].b is the field b of each item of a list.
POST_COLUMNS = dict.fromkeys(("id", "subreddit", "title", "post", "summary"), "text")
COMPARISON_COLUMNS = dict.fromkeys(
    (*(f"info.{name}" for name in ("id", "subreddit", "title", "post")), "summaries[].text"), "text"
)
COMPARISON_COLUMNS |= {"choice": "numbers", "batch": "text"}
FETCH = "delete it and fetch it again"
NEWS = {"batch0_cnndm", "cnndm0", "cnndm2"}  # of the validation split: CNN/DM, not TL;DR
log = logging.getLogger(__name__)


class TldrOptions(Options):
    seed: Seed  # shuffles the posts of the test split
    posts: Source
    comparisons: Source
    best_of_n: or_null(Several)  # number of posts from the test split; null: all


class World(BaseWorld):
    """TL;DR (Völske et al., 2017), as filtered by Stiennon et al. (2020): Reddit posts with their
    authors' summaries as references, and human comparisons of summaries.

    Posts and comparisons may be offensive, and contain personal information.

    Licence: the comparisons are under a modified MIT licence; the posts are their authors'.
    """

    Options = TldrOptions
    downloads = True
    fetch_options = ("posts", "comparisons")
    has_preferences = True
    has_pretraining_text = False

    @classmethod
    def fetch(cls, raw: Path, posts: dict, comparisons: dict) -> None:
        """Link the folders with the files as raw/posts and raw/comparisons.

        Raises UserError if one is missing.
        """
        link(Source(**posts), list(POST_FILES.values()), raw / "posts")
        link(Source(**comparisons), list(COMPARISON_FILES.values()), raw / "comparisons")

    def sizes(self) -> dict[str, int]:
        """The sizes of TL;DR, before overlaps are left out; those of the comparisons are not
        needed.
        """
        return {"policy": 116_700, "best_of_n": self.options.best_of_n or 6_600}

    def posts(self) -> pd.DataFrame:
        """Posts with comparisons are in the splits preferences (the comparisons' train split) and
        validation. Of the other posts, TL;DR's train split is policy, its test split is best_of_n.

        The reference of a post with comparisons is empty if TL;DR does not have the post.
        """
        tldr = {split: self._tldr(split) for split in POST_FILES}
        dropped = {f"TL;DR {split}": table.attrs["dropped"] for split, table in tldr.items()}
        references = pd.concat(tldr.values()).drop_duplicates("post_id").set_index("post_id")
        compared = self._compared[0].drop_duplicates(["post_id", "split"])
        compared = compared[["post_id", "split", "post"]]
        compared["reference"] = compared.post_id.map(references.reference).fillna("")
        table = without_overlaps(
            {
                "validation": compared[compared.split == "validation"],
                "preferences": compared[compared.split == "preferences"],
                "best_of_n": tldr["test"],
                "policy": tldr["train"],
            }
        )
        overlapping = table.attrs["dropped"]
        table = table[table.post_id.isin(self._chosen(table)) | (table.split != "best_of_n")]
        table = table.reset_index(drop=True)
        table.attrs["dropped"] = dropped | overlapping
        return table

    def preferences(self) -> pd.DataFrame:
        """Human comparisons of the posts in preferences and validation."""
        kept = self.posts()[["post_id", "split", "post"]]
        compared, dropped = self._compared
        table = compared.merge(kept, "left", ["post_id", "split"], suffixes=("", "_kept"))
        gone, other = table.post_kept.isna(), table.post != table.post_kept
        for reason, rows in (
            ("of a post that an earlier split has", gone),
            ("of a post whose text differs from the one kept under its id", other & ~gone),
        ):
            for split, count in table.split[rows].value_counts().items():
                log.info("comparisons %s: %d more dropped, %s", split, count, reason)
                dropped = dropped | {split: dropped[split] | {reason: count}}
        table = table[~other]
        table = table[["post_id", "split", "chosen", "rejected"]].assign(source="people")
        table.attrs["dropped"] = dropped
        return table

    def _chosen(self, table: pd.DataFrame) -> list[str]:
        """The best-of-n posts that the options ask for."""
        asked = self.options.best_of_n
        order = hashed_order(table.post_id[table.split == "best_of_n"], self.options.seed)
        if asked and asked > len(order):
            raise ConfigError(
                f"worlds.tldr.best_of_n: {asked} posts are needed but there are only {len(order)}; "
                "lower it, or set it to null for all"
            )
        return order[:asked]

    def _tldr(self, split: str) -> pd.DataFrame:
        """The posts of one of TL;DR's splits: post_id, post, reference."""
        rows, dropped = [], Counter()
        for row in read_rows(self.raw / "posts", POST_FILES[split], POST_COLUMNS):
            summary = flow(row["summary"])
            if not (visible(flow(row["id"])) and visible(flow(row["post"]))):
                dropped["without id or post"] += 1
            elif not visible(summary):
                dropped["with an empty summary"] += 1
            else:
                rows.append((flow(row["id"]), post_text(row), summary))
        _log_dropped(f"TL;DR {split}", len(rows), dropped)
        table = pd.DataFrame(rows, columns=["post_id", "post", "reference"])
        table.attrs["dropped"] = dict(dropped)
        return table

    @cached_property
    def _compared(self) -> tuple[pd.DataFrame, dict[str, dict[str, int]]]:
        """All usable comparisons (post_id, split, post, chosen, rejected), and the number of
        dropped ones by split and reason.
        """
        rows, dropped_of = [], {}
        for split, pattern in COMPARISON_FILES.items():
            name = {"train": "preferences"}.get(split, split)
            dropped, before = Counter(), len(rows)
            for row in read_rows(self.raw / "comparisons", pattern, COMPARISON_COLUMNS):
                if reason := reason_to_drop(row):
                    dropped[reason] += 1
                    continue
                texts = [flow(summary["text"]) for summary in row["summaries"]]
                choice = int(row["choice"])  # a column with nulls is read as 0.0 and 1.0
                chosen, rejected = texts[choice], texts[1 - choice]
                info = row["info"]
                rows.append((flow(info["id"]), name, post_text(info), chosen, rejected))
            _log_dropped(f"comparisons {split}", len(rows) - before, dropped)
            dropped_of[name] = dict(dropped)
        columns = ["post_id", "split", "post", "chosen", "rejected"]
        return pd.DataFrame(rows, columns=columns), dropped_of


def flow(text: str | None) -> str:
    """`text` on one line, with single spaces between words; "" for None."""
    return " ".join((text or "").split())


def post_text(row: dict) -> str:
    """A post in the format of Stiennon et al. (2020), on one line."""
    subreddit = flow(row["subreddit"]).removeprefix("r/")
    return f"SUBREDDIT: r/{subreddit} TITLE: {flow(row['title'])} POST: {flow(row['post'])}"


def reason_to_drop(row: dict) -> str | None:
    """Why a comparison cannot be used; None if it can."""
    if row["batch"] in NEWS:
        return "of news (CNN/DM)"
    info = row["info"] or {}
    if not all(visible(flow(info.get(name))) for name in ("id", "post")):
        return "without id or post"
    texts = [flow((summary or {}).get("text")) for summary in row["summaries"] or []]
    if len(texts) != 2:
        return "not of two summaries"
    if not all(map(visible, texts)):
        return "with an empty summary"
    if alike(*texts):
        return "of equal summaries"
    return None if row["choice"] in (0, 1) else "with a choice that is neither 0 nor 1"


def without_overlaps(splits: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables of `splits` as one table, in which each post stays only in the first split that
    has its id or its text. attrs["dropped"] counts those left out.

    Raises ArtifactError if a split has no posts left.
    """
    ids, texts, kept, dropped = set(), set(), [], {}
    for split, table in splits.items():
        overlaps = table.post_id.isin(ids) | table.post.isin(texts)
        own = table[~overlaps].drop_duplicates("post_id").assign(split=split)
        log.info(
            "%s: %d posts; left out %d that an earlier split has, or that come twice",
            split,
            len(own),
            len(table) - len(own),
        )
        if fewer := len(table) - len(own):
            dropped[split] = {"that an earlier split has, or that come twice": fewer}
        if own.empty:
            raise ArtifactError(f"world tldr: no usable post for the split {split}; see the log")
        ids.update(own.post_id)
        texts.update(own.post)
        kept.append(own)
    table = pd.concat(kept, ignore_index=True)
    table.attrs["dropped"] = dropped
    return table


def read_rows(folder: Path, pattern: str, columns: dict[str, str]) -> Iterator[dict]:
    """The rows of the Parquet files that match `pattern`; `columns` maps names to types.

    Raises ArtifactError, naming the file, if a file or shard is missing or damaged, lacks a column,
    or has a column of another type.
    """
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise ArtifactError(
            f"{folder / pattern}: no such file; was it moved since it was fetched? Delete the "
            "folder of the raw files and run Snakemake again"
        )
    if missing := missing_shards(paths):
        raise ArtifactError(
            f"{folder / pattern}: {', '.join(missing)} missing; was it moved since it was fetched? "
            "Delete the folder of the raw files and run Snakemake again"
        )
    for path in paths:
        with parquet_files.opened(path, path, FETCH) as file:
            _check_columns(file.schema_arrow, columns, path)
            wanted = list(dict.fromkeys(re.split(r"\W", column)[0] for column in columns))
            for batch in file.iter_batches(columns=wanted):
                parquet_files.check_utf8(batch, path, FETCH)
                yield from batch.to_pylist()


def _check_columns(schema: pa.Schema, columns: dict[str, str], path: Path) -> None:
    found = {column.replace("[]", ""): _type(schema, column) for column in columns}
    names = schema.names
    if twice := [name for name in names if names.count(name) > 1]:
        raise ArtifactError(f"{path}: has two columns {twice[0]}; {FETCH}")
    if missing := [column for column, kind in found.items() if kind is None]:
        raise ArtifactError(
            f"{path}: column {', '.join(missing)} is missing; it has {', '.join(names)}; is it the "
            "published data set?"
        )
    holds = {"text": parquet_files.is_text, "numbers": parquet_files.is_number}
    for (column, kind), wanted in zip(found.items(), columns.values(), strict=True):
        if not (holds[wanted](kind) or pa.types.is_null(kind)):
            raise ArtifactError(
                f"{path}: column {column} is {kind}, not {wanted}; is it the published data set?"
            )


def _type(schema: pa.Schema, column: str) -> pa.DataType | None:
    """The type of a column or of its field; None if it does not exist."""
    name, _, field = column.partition(".")
    index = schema.get_field_index(name.removesuffix("[]"))
    kind = schema.field(index).type if index >= 0 else None
    if kind is not None and name.endswith("[]"):
        kind = kind.value_type if parquet_files.is_list(kind) else None
    if not field or kind is None:
        return kind
    index = kind.get_field_index(field) if pa.types.is_struct(kind) else -1
    return kind.field(index).type if index >= 0 else None


def _log_dropped(what: str, kept: int, dropped: Counter) -> None:
    reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
    log.info("%s: %d rows kept, %d dropped (%s)", what, kept, dropped.total(), reasons or "none")
