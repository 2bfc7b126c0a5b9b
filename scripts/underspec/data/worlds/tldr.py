"""The paper's world: Reddit's TL;DR posts with their authors' summaries, and human comparisons of
summaries (Völske et al., 2017; Stiennon et al., 2020; modified MIT).

Posts with comparisons are used for reward models, all others for the policy.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa

from underspec import parquet_files
from underspec.data.published_files import MOVED, link, missing_shards
from underspec.data.texts import alike, visible
from underspec.data.worlds import BaseWorld, Options, hashed_order
from underspec.errors import ArtifactError, ConfigError, first_line
from underspec.schema import Seed, Several, Source, or_null

POST_FILES = {split: f"data/{split}-*.parquet" for split in ("train", "validation", "test")}
COMPARISON_FILES = {split: f"comparisons/{split}/*.parquet" for split in ("train", "validation")}
# The columns that are read, and their types; a.b is the field b of the column a.
POST_COLUMNS = dict.fromkeys(("id", "subreddit", "title", "post", "summary"), "string")
COMPARISON_COLUMNS = {
    **dict.fromkeys(("info.id", "info.subreddit", "info.title", "info.post"), "string"),
    **{"summaries": "texts", "choice": "float64", "batch": "string"},
}
BATCH = 1000  # rows in memory
FETCH = "delete it and fetch it again, or name the published data set"
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
                text = post_text(row["subreddit"], row["title"], row["post"])
                rows.append((flow(row["id"]), text, summary))
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
                choice = int(row["choice"])
                chosen, rejected = texts[choice], texts[1 - choice]
                post = post_text(*(row[f"info.{key}"] for key in ("subreddit", "title", "post")))
                rows.append((flow(row["info.id"]), name, post, chosen, rejected))
            _log_dropped(f"comparisons {split}", len(rows) - before, dropped)
            dropped_of[name] = dict(dropped)
        columns = ["post_id", "split", "post", "chosen", "rejected"]
        return pd.DataFrame(rows, columns=columns), dropped_of


def flow(text: str | None) -> str:
    """`text` on one line, with single spaces between words; "" for None."""
    return " ".join((text or "").split())


def post_text(subreddit: str | None, title: str | None, post: str | None) -> str:
    """A post in the format of Stiennon et al. (2020), on one line."""
    name = flow(subreddit).removeprefix("r/")
    return f"SUBREDDIT: r/{name} TITLE: {flow(title)} POST: {flow(post)}"


def reason_to_drop(row: dict) -> str | None:
    """Why a comparison cannot be used; None if it can."""
    if row["batch"] in NEWS:
        return "of news (CNN/DM)"
    if not all(visible(flow(row[name])) for name in ("info.id", "info.post")):
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
        raise ArtifactError(f"{folder / pattern}: no such file; {MOVED}")
    if missing := missing_shards(paths):
        raise ArtifactError(f"{folder / pattern}: {', '.join(missing)} missing; {MOVED}")
    for path in paths:
        with TemporaryDirectory() as cache:
            table = _read(path, Path(cache))
            table = parquet_files.columns(table.flatten(), columns, path, FETCH)
            for batch in table.select(list(columns)).to_batches(max_chunksize=BATCH):
                yield from batch.to_pylist()


def _read(path: Path, cache: Path) -> pa.Table:
    """The table in a Parquet file, in the file's own types, mapped from a copy in folder `cache`.

    `datasets` would cast several files to the types of the first, or all to types of ours: numbers
    to text and back, a missing column to nulls. So it reads one file at a time, and what it reads
    is checked. In its default cache, a file may pass for an older one of the same name and time.
    """
    import datasets  # takes a second, which only the jobs that read TL;DR spend

    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # what it logs, it also raises
    datasets.disable_progress_bars()
    try:
        link = cache / "file.parquet"  # `datasets` would take the path for a pattern or an address
        link.symlink_to(path.absolute())
        read = datasets.Dataset.from_parquet  # unlike load_dataset, it asks no server
        rows = read(str(link), cache_dir=str(cache), batch_size=BATCH)
    except (datasets.exceptions.DatasetsError, pa.ArrowException, OSError, ValueError) as error:
        cause = error.__cause__ or error
        if getattr(cause, "errno", None):  # the disk is full, or the file may not be read
            raise cause from None
        raise ArtifactError(
            f"{path}: not a whole Parquet file with rows ({first_line(cause)}); {FETCH}"
        ) from error
    return rows.with_format("arrow")[:]


def _log_dropped(what: str, kept: int, dropped: Counter) -> None:
    reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
    log.info("%s: %d rows kept, %d dropped (%s)", what, kept, dropped.total(), reasons or "none")
