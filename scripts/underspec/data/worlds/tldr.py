"""The paper's world: Reddit's TL;DR posts with their authors' summaries, and human comparisons of
summaries (Völske et al., 2017; Stiennon et al., 2020; modified MIT).

Posts with comparisons are used for reward models, all others for the policy.
"""

import logging
from functools import cached_property
from pathlib import Path

import pandas as pd

from underspec.data.published_files import link
from underspec.data.published_tables import usable_rows
from underspec.data.texts import alike, flow, visible
from underspec.data.worlds import BaseWorld, Options, with_best_of_n, without_overlaps
from underspec.schema import Seed, Several, Source, or_null

POST_FILES = {split: f"data/{split}-*.parquet" for split in ("train", "validation", "test")}
COMPARISON_FILES = {split: f"comparisons/{split}/*.parquet" for split in ("train", "validation")}
# The columns that are read, and their types.
POST_COLUMNS = dict.fromkeys(("id", "subreddit", "title", "post", "summary"), "string")
COMPARISON_COLUMNS = {
    **dict.fromkeys(("info.id", "info.subreddit", "info.title", "info.post"), "string"),
    **{"summaries": "texts", "choice": "float64", "batch": "string"},
}
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
            },
            self.name(),
        )
        table.attrs["dropped"] = dropped | table.attrs["dropped"]
        return with_best_of_n(table, self.options.best_of_n, self.options.seed, self.name())

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

    def _tldr(self, split: str) -> pd.DataFrame:
        """The posts of one of TL;DR's splits: post_id, post, reference."""
        files = self.raw / "posts", POST_FILES[split], POST_COLUMNS
        rows, dropped = usable_rows(f"TL;DR {split}", *files, _post)
        table = pd.DataFrame(rows, columns=["post_id", "post", "reference"])
        table.attrs["dropped"] = dropped
        return table

    @cached_property
    def _compared(self) -> tuple[pd.DataFrame, dict[str, dict[str, int]]]:
        """All usable comparisons (post_id, split, post, chosen, rejected), and the number of
        dropped ones by split and reason.
        """
        rows, dropped_of = [], {}
        for split, pattern in COMPARISON_FILES.items():
            name = {"train": "preferences"}.get(split, split)
            files = self.raw / "comparisons", pattern, COMPARISON_COLUMNS
            kept, dropped_of[name] = usable_rows(f"comparisons {split}", *files, _comparison)
            rows += [(name, *row) for row in kept]
        columns = ["split", "post_id", "post", "chosen", "rejected"]
        return pd.DataFrame(rows, columns=columns), dropped_of


def _post(row: dict) -> tuple | str:
    """Id, post and reference of a row of TL;DR, or why it cannot be used."""
    summary = flow(row["summary"])
    if not (visible(flow(row["id"])) and visible(flow(row["post"]))):
        return "without id or post"
    if not visible(summary):
        return "with an empty summary"
    return flow(row["id"]), post_text(row["subreddit"], row["title"], row["post"]), summary


def _comparison(row: dict) -> tuple | str:
    """Id, post, chosen and rejected text of a comparison, or why it cannot be used."""
    if reason := reason_to_drop(row):
        return reason
    texts = [flow(summary["text"]) for summary in row["summaries"]]
    choice = int(row["choice"])
    post = post_text(*(row[f"info.{key}"] for key in ("subreddit", "title", "post")))
    return flow(row["info.id"]), post, texts[choice], texts[1 - choice]


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
