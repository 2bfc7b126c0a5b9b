"""The long paper's dialogues: people ask an assistant for help, and say which of two replies they
prefer (Bai et al., 2022; MIT).

The dialogue is the post, its last reply the sample. Either part of the data is halved by dialogue:
of the train part, one half is for reward models and one for the policy; of the test part, one half
is to validate reward models and one for best-of-n. The paper halves too; how is ours.
"""

import hashlib
import re
from functools import cached_property
from pathlib import Path

import pandas as pd

from underspec.data.published_files import link
from underspec.data.published_tables import usable_rows
from underspec.data.texts import alike, flow, lines, visible
from underspec.data.worlds import (
    BaseWorld,
    Options,
    hashed_order,
    with_best_of_n,
    without_overlaps,
)
from underspec.schema import Count, Seed, Several, Source, or_null

FILES = {part: f"helpful-base/{part}.jsonl.gz" for part in ("test", "train")}
COLUMNS = dict.fromkeys(("chosen", "rejected"), "string")
HALVES = {"test": ("validation", "best_of_n"), "train": ("preferences", "policy")}
PERSON, ASSISTANT = "Human", "Assistant"
TURN = re.compile(rf"\n\n({PERSON}|{ASSISTANT}):")

Turns = list[tuple[str, str]]  # who speaks, and what; texts keep their line breaks


class HelpfulOptions(Options):
    seed: Seed  # halves the dialogues, and shuffles those of best_of_n
    source: Source
    max_words: Count  # longer dialogues are left out
    best_of_n: or_null(Several)  # number of posts from the test part; null: its whole half


class World(BaseWorld):
    """The helpful-base part of Anthropic's hh-rlhf (Bai et al., 2022): dialogues of crowdworkers
    with an assistant, each with two replies to its last turn, of which they preferred one. The
    reference is the preferred reply. Line breaks are kept, and lists with them.

    The long paper's policy of this task is a PaLM-2, which nobody outside can run; here it is a T5.

    Dialogues may be offensive, and what the assistant says may be wrong.

    Licence: MIT.
    """

    Options = HelpfulOptions
    downloads = True
    fetch_options = ("source",)
    has_preferences = True
    has_line_breaks = True
    has_pretraining_text = False

    @classmethod
    def fetch(cls, raw: Path, source: dict) -> None:
        """Link the folder with the files as raw/source. Raises UserError if one is missing."""
        link(Source(**source), list(FILES.values()), raw / "source")

    def sizes(self) -> dict[str, int]:
        """Halves of the 43,835 and 2,354 comparisons, before any is left out; those of the
        comparisons are not needed.
        """
        return {"policy": 21_900, "best_of_n": self.options.best_of_n or 1_170}

    def posts(self) -> pd.DataFrame:
        """Dialogues up to the last reply, in the halves that HALVES names."""
        rows, dropped = self._compared
        rows = rows.rename(columns={"chosen": "reference"}).drop(columns=["rejected", "opening"])
        splits = {
            split: rows[rows.split == split] for halves in HALVES.values() for split in halves
        }
        table = without_overlaps(splits, self.name())
        table.attrs["dropped"] = dropped | table.attrs["dropped"]
        return with_best_of_n(table, self.options.best_of_n, self.options.seed, self.name())

    def preferences(self) -> pd.DataFrame:
        """People's comparisons of the replies in preferences and validation."""
        rows, dropped = self._compared
        table = rows[rows.split.isin([halves[0] for halves in HALVES.values()])]
        table = table[["post_id", "split", "chosen", "rejected"]].assign(source="people")
        table = table.reset_index(drop=True)
        table.attrs["dropped"] = dropped
        return table

    @cached_property
    def _compared(self) -> tuple[pd.DataFrame, dict[str, dict[str, int]]]:
        """All usable comparisons (post_id, split, post, chosen, rejected, opening), and the number
        of dropped ones by part and reason. All comparisons with one opening are in one split.
        """
        tables, dropped_of, openings = [], {}, set()

        def use(row: dict) -> tuple | str:
            chosen, rejected = turns(row["chosen"]), turns(row["rejected"])
            if reason := reason_to_drop(chosen, rejected, self.options.max_words):
                return reason
            if (opening := flow(chosen[0][1])) in openings:
                return "of a dialogue that the test part has"
            post = post_text(chosen[:-1])
            post_id = hashlib.sha256(post.encode()).hexdigest()[:16]
            return post_id, post, chosen[-1][1], rejected[-1][1], opening

        for part, file in FILES.items():
            rows, dropped_of[f"{part} part"] = usable_rows(
                f"dialogues, {part} part", self.raw / "source", file, COLUMNS, use
            )
            columns = ["post_id", "post", "chosen", "rejected", "opening"]
            table = pd.DataFrame(rows, columns=columns)
            order = hashed_order(table.opening.unique(), self.options.seed)
            first = table.opening.isin(order[: len(order) // 2])
            table["split"] = first.map(dict(zip((True, False), HALVES[part], strict=True)))
            tables.append(table)
            openings.update(order)
        return pd.concat(tables, ignore_index=True), dropped_of


def turns(dialogue: str | None) -> Turns:
    """The turns of a dialogue; none if it does not begin with one."""
    before, *parts = TURN.split(dialogue or "")
    if visible(before):
        return []
    return [(who, lines(text)) for who, text in zip(parts[::2], parts[1::2], strict=True)]


def post_text(spoken: Turns) -> str:
    """A dialogue as the data set has it, up to white space."""
    return "\n\n".join(f"{who}: {text}" for who, text in spoken)


def reason_to_drop(chosen: Turns, rejected: Turns, max_words: int) -> str | None:
    """Why a comparison cannot be used; None if it can. One person may speak twice in a row."""
    if not all(spoken and spoken[0][0] == PERSON for spoken in (chosen, rejected)):
        return "that do not begin with a person's turn"
    if not all(spoken[-1][0] == ASSISTANT for spoken in (chosen, rejected)):
        return "that end before a reply"
    if chosen[:-1] != rejected[:-1]:
        return "of dialogues that differ before the last reply"
    if not all(visible(text) for _, text in [*chosen, rejected[-1]]):
        return "with an empty turn"
    if same_lines(chosen[-1][1], rejected[-1][1]):
        return "of equal replies"
    if len(post_text(chosen[:-1]).split()) > max_words:
        return f"of more than {max_words} words before the reply"
    return None


def same_lines(first: str, second: str) -> bool:
    """Whether two texts look the same, line by line. Line breaks alone are a difference."""
    pairs = first.split("\n"), second.split("\n")
    return len(pairs[0]) == len(pairs[1]) and all(map(alike, *pairs))
