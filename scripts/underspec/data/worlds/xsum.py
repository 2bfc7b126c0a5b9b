"""The long paper's pointwise task: summaries of news, rewarded by whether the article entails them
(Narayan et al., 2018), as models learn it from judgements of other texts (Nie et al., 2020).

The articles are for the policy and best-of-n. The posts that reward models learn from are the
premises of the judgements, which are posts of their own.
"""

import hashlib
from functools import cached_property
from pathlib import Path

import pandas as pd

from underspec.data.published_files import link
from underspec.data.published_tables import usable_rows
from underspec.data.texts import flow, visible
from underspec.data.worlds import BaseWorld, Options, with_best_of_n, without_overlaps
from underspec.schema import Seed, Several, Source, or_null

POST_FILES = {"policy": "data/train-*.parquet", "best_of_n": "data/test-*.parquet"}
POST_COLUMNS = dict.fromkeys(("id", "document", "summary"), "string")
ROUNDS = (1, 2, 3)
PARTS = {"validation": "dev", "preferences": "train"}
JUDGEMENT_FILES = {
    (split, number): f"plain_text/{part}_r{number}-*.parquet"
    for split, part in PARTS.items()
    for number in ROUNDS
}
JUDGEMENT_COLUMNS = {"premise": "string", "hypothesis": "string", "label": "float64"}
ENTAILMENT, LABELS = 0, (0, 1, 2)  # entailment, neutral, contradiction


class XsumOptions(Options):
    seed: Seed  # shuffles the articles of the test split
    posts: Source
    judgements: Source
    best_of_n: or_null(Several)  # number of posts from the test split; null: all


class World(BaseWorld):
    """XSum (Narayan et al., 2018): articles of the BBC with their one-sentence summaries as
    references. Reward models learn from ANLI (Nie et al., 2020), rounds 1 to 3: premises, mostly
    from Wikipedia and the news, with statements that people wrote to mislead models; whether a
    premise entails its statement, against neutral and contradiction. Premises have no reference.

    No one judged summaries of XSum here: what reward models learn from is not what they judge.

    Licence: the articles are the BBC's, for research; ANLI is under CC BY-NC 4.0.
    """

    Options = XsumOptions
    downloads = True
    fetch_options = ("posts", "judgements")
    has_judgements = True
    has_pretraining_text = False

    @classmethod
    def fetch(cls, raw: Path, posts: dict, judgements: dict) -> None:
        """Link the folders with the files as raw/posts and raw/judgements.

        Raises UserError if one is missing.
        """
        link(Source(**posts), list(POST_FILES.values()), raw / "posts")
        link(Source(**judgements), list(JUDGEMENT_FILES.values()), raw / "judgements")

    def sizes(self) -> dict[str, int]:
        """The sizes of XSum, before any article is left out; those of the judgements are not
        needed.
        """
        return {"policy": 204_000, "best_of_n": self.options.best_of_n or 11_300}

    def posts(self) -> pd.DataFrame:
        """XSum's train split is policy, its test split best_of_n. Premises of ANLI's train files
        are in preferences, those of its dev files in validation.
        """
        articles = {split: self._articles(split) for split in POST_FILES}
        dropped = {f"XSum {split}": table.attrs["dropped"] for split, table in articles.items()}
        judged, of_judgements = self._judged
        premises = judged.drop_duplicates(["post_id", "split"])[["post_id", "split", "post"]]
        premises["reference"] = ""
        splits = {split: premises[premises.split == split] for split in PARTS}
        splits |= {split: articles[split] for split in ("best_of_n", "policy")}
        table = without_overlaps(splits, self.name())
        table.attrs["dropped"] = dropped | of_judgements | table.attrs["dropped"]
        return with_best_of_n(table, self.options.best_of_n, self.options.seed, self.name())

    def judgements(self) -> pd.DataFrame:
        """ANLI's judgements: 1 if the premise entails the statement, else 0."""
        judged, dropped = self._judged
        held_out = judged[judged.split == "validation"].post_id
        again = (judged.split == "preferences") & judged.post_id.isin(held_out)
        table = judged[~again].drop(columns="post").reset_index(drop=True)
        if again.any():
            dropped = dropped | {
                "preferences": {"of a premise that validation has": int(again.sum())}
            }
        table.attrs["dropped"] = dropped
        return table

    def _articles(self, split: str) -> pd.DataFrame:
        """The articles of one of XSum's splits: post_id, post, reference."""
        files = self.raw / "posts", POST_FILES[split], POST_COLUMNS
        rows, dropped = usable_rows(f"XSum {split}", *files, _article)
        table = pd.DataFrame(rows, columns=["post_id", "post", "reference"])
        table.attrs["dropped"] = dropped
        return table

    @cached_property
    def _judged(self) -> tuple[pd.DataFrame, dict[str, dict[str, int]]]:
        """All usable judgements (post_id, split, post, statement, label, source), and the number of
        dropped ones by file and reason.
        """
        rows, dropped_of = [], {}
        for (split, number), pattern in JUDGEMENT_FILES.items():
            name = f"ANLI {PARTS[split]}_r{number}"
            files = self.raw / "judgements", pattern, JUDGEMENT_COLUMNS
            kept, dropped_of[name] = usable_rows(name, *files, _judgement)
            rows += [(split, f"ANLI round {number}", *row) for row in kept]
        columns = ["split", "source", "post_id", "post", "statement", "label"]
        return pd.DataFrame(rows, columns=columns), dropped_of


def _article(row: dict) -> tuple | str:
    """Id, article and summary of a row of XSum, or why it cannot be used."""
    name, post, summary = (flow(row[key]) for key in POST_COLUMNS)
    if not (visible(name) and visible(post)):
        return "without id or text"
    return (name, post, summary) if visible(summary) else "with an empty summary"


def _judgement(row: dict) -> tuple | str:
    """Id of the premise, premise, statement and label of a row of ANLI, or why it cannot be
    used."""
    premise, statement = flow(row["premise"]), flow(row["hypothesis"])
    if not (visible(premise) and visible(statement)):
        return "with an empty premise or statement"
    if row["label"] not in LABELS:
        return "with none of the three labels"
    post_id = "anli-" + hashlib.sha256(premise.encode()).hexdigest()[:16]
    return post_id, premise, statement, int(row["label"] == ENTAILMENT)
