"""The paper's world: TL;DR posts of Reddit and their authors' summaries, and people's comparisons
of summaries (Völske et al., 2017; Stiennon et al., 2020; modified MIT).

Posts that people compared summaries of are for reward models, the others for the policy.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from underspec.downloads import Source, link, missing_shards
from underspec.errors import ArtifactError, ConfigError
from underspec.schema import Seed, Several, or_null
from underspec.texts import visible
from underspec.worlds import BaseWorld, Options, hashed_order

POST_FILES = {split: f"data/{split}-*.parquet" for split in ("train", "validation", "test")}
COMPARISON_FILES = {split: f"comparisons/{split}/*.parquet" for split in ("train", "validation")}
POST_COLUMNS = ("id", "subreddit", "title", "post", "summary")
COMPARISON_COLUMNS = (
    *(f"info.{name}" for name in ("id", "subreddit", "title", "post")),
    "summaries.text",
    "choice",
    "batch",
)
NEWS = {"batch0_cnndm", "cnndm0", "cnndm2"}  # of the validation split: CNN/DM, not TL;DR
log = logging.getLogger(__name__)


class TldrOptions(Options):
    seed: Seed  # which posts are the first of best_of_n
    posts: Source
    comparisons: Source
    best_of_n: or_null(Several)  # so many posts of the test split; null: all


class World(BaseWorld):
    """TL;DR (Völske et al., 2017), as filtered by Stiennon et al. (2020): posts of Reddit, with
    their authors' own summaries as references, and people's comparisons of summaries.

    Posts and comparisons may offend, and hold what people told of themselves.

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
        """TL;DR's, before overlaps are left out; the comparisons' are not needed."""
        return {"policy": 116_700, "best_of_n": self.options.best_of_n or 6_600}

    def posts(self) -> pd.DataFrame:
        """Posts with comparisons in the splits preferences (their train split) and validation;
        the other posts of TL;DR's train split in policy, of its test split in best_of_n.

        The reference of a post with comparisons is empty if TL;DR does not have the post.
        """
        tldr = {split: self._tldr(split) for split in POST_FILES}
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
        table = table[table.post_id.isin(self._chosen(table)) | (table.split != "best_of_n")]
        return table.reset_index(drop=True)

    def preferences(self) -> pd.DataFrame:
        """The comparisons of all posts in preferences and validation; source: people."""
        kept = self.posts()[["post_id", "split"]]
        compared, dropped = self._compared
        table = compared.merge(kept, on=["post_id", "split"])
        table = table[["post_id", "split", "chosen", "rejected"]].assign(source="people")
        table.attrs["dropped"] = dropped
        return table

    def _chosen(self, table: pd.DataFrame) -> list[str]:
        """The best-of-n posts that the options ask for."""
        asked = self.options.best_of_n
        order = hashed_order(table.post_id[table.split == "best_of_n"], self.options.seed)
        if asked and asked > len(order):
            raise ConfigError(
                f"worlds.tldr.best_of_n: {asked} posts are asked and there are {len(order)}; "
                "ask fewer, or null for all"
            )
        return order[:asked]

    def _tldr(self, split: str) -> pd.DataFrame:
        """The posts of a split of TL;DR: post_id, post, reference."""
        rows, dropped = [], Counter()
        for row in read_rows(self.raw / "posts", POST_FILES[split], POST_COLUMNS):
            summary = flow(row["summary"])
            if not (row["id"] and visible(flow(row["post"]))):
                dropped["without id or post"] += 1
            elif not visible(summary):
                dropped["with an empty summary"] += 1
            else:
                rows.append((row["id"], post_text(row), summary))
        _tell(f"TL;DR {split}", len(rows), dropped)
        return pd.DataFrame(rows, columns=["post_id", "post", "reference"])

    @cached_property
    def _compared(self) -> tuple[pd.DataFrame, dict[str, dict[str, int]]]:
        """All comparisons: post_id, split, post, chosen, rejected; and how many of each split are
        left out, by reason."""
        rows, dropped_of = [], {}
        for split, pattern in COMPARISON_FILES.items():
            name = {"train": "preferences"}.get(split, split)
            dropped, before = Counter(), len(rows)
            for row in read_rows(self.raw / "comparisons", pattern, COMPARISON_COLUMNS):
                if wrong := what_is_wrong(row):
                    dropped[wrong] += 1
                    continue
                texts = [flow(summary["text"]) for summary in row["summaries"]]
                chosen, rejected = texts[row["choice"]], texts[1 - row["choice"]]
                rows.append((row["info"]["id"], name, post_text(row["info"]), chosen, rejected))
            _tell(f"comparisons {split}", len(rows) - before, dropped)
            dropped_of[name] = dict(dropped)
        columns = ["post_id", "split", "post", "chosen", "rejected"]
        return pd.DataFrame(rows, columns=columns), dropped_of


def flow(text: str | None) -> str:
    """`text` with single spaces between words, none before the first; "" for None."""
    return " ".join((text or "").split())


def post_text(row: dict) -> str:
    """A post as the field writes it (Stiennon et al., 2020), on one line."""
    subreddit = flow(row["subreddit"]).removeprefix("r/")
    return f"SUBREDDIT: r/{subreddit} TITLE: {flow(row['title'])} POST: {flow(row['post'])}"


def what_is_wrong(row: dict) -> str | None:
    """Why a comparison cannot be used, if it cannot."""
    if row["batch"] in NEWS:
        return "of news (CNN/DM)"
    if not row["info"] or not row["info"]["id"] or not visible(flow(row["info"]["post"])):
        return "without id or post"
    texts = [flow((summary or {}).get("text")) for summary in row["summaries"] or []]
    if len(texts) != 2:
        return "not of two summaries"
    if not all(map(visible, texts)):
        return "with an empty summary"
    if texts[0] == texts[1]:
        return "of equal summaries"
    return None if row["choice"] in (0, 1) else "with a choice that is neither 0 nor 1"


def without_overlaps(splits: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables of `splits` as one; a post, known by its id or its text, stays in the first
    split that has it. Raises ArtifactError if a split is left without posts.
    """
    ids, texts, kept = set(), set(), []
    for split, table in splits.items():
        again = table.post_id.isin(ids) | table.post.isin(texts)
        rest = table[~again].drop_duplicates("post_id").assign(split=split)
        log.info(
            "%s: %d posts, %d more are left out: an earlier split has them, or they come twice",
            split,
            len(rest),
            len(table) - len(rest),
        )
        if rest.empty:
            raise ArtifactError(f"world tldr: no usable post for the split {split}; see the log")
        ids.update(rest.post_id)
        texts.update(rest.post)
        kept.append(rest)
    return pd.concat(kept, ignore_index=True)


def read_rows(folder: Path, pattern: str, columns: tuple[str, ...]) -> Iterator[dict]:
    """The rows of the Parquet files that match `pattern`; `a.b` is the field b of (a list of) a.

    Raises ArtifactError, naming the file, if it or a shard is missing, damaged, or lacks a column.
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
        try:
            with pq.ParquetFile(path) as file:
                missing = [column for column in columns if not _has(file.schema_arrow, column)]
                if missing:
                    raise ArtifactError(
                        f"{path}: column {', '.join(missing)} is missing; "
                        f"it has {', '.join(file.schema_arrow.names)}"
                    )
                wanted = list(dict.fromkeys(column.partition(".")[0] for column in columns))
                for batch in file.iter_batches(columns=wanted):
                    yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise ArtifactError(
                f"{path}: not a whole Parquet file ({str(error).splitlines()[0]}); "
                "delete it and fetch it again"
            ) from None


def _has(schema: pa.Schema, column: str) -> bool:
    name, _, field = column.partition(".")
    if name not in schema.names:
        return False
    kind = schema.field(name).type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return not field or (pa.types.is_struct(kind) and kind.get_field_index(field) >= 0)


def _tell(what: str, kept: int, dropped: Counter) -> None:
    reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
    log.info("%s: %d rows kept, %d dropped (%s)", what, kept, dropped.total(), reasons or "none")
