"""Debian's package descriptions, each to be summarised in one line.

A post is the long description of a source package; its reference is the maintainer's synopsis.
The texts have the licences of their packages and are not shipped here: `fetch` downloads them from
the archive that the machine already uses.
"""

import hashlib
import json
import logging
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import pandas as pd

from underspec.artifacts import Schema, read_table, write_table
from underspec.data import apt
from underspec.data.documentation import flow, read_documents
from underspec.data.worlds import BaseWorld, Options, Splits, hashed_order
from underspec.errors import ConfigError, UserError
from underspec.files import read_lines
from underspec.schema import MOST, Seed, integer

DESCRIPTIONS = Schema(source="string", package="string", synopsis="string", description="string")
HELD_OUT = ("validation", "best_of_n")
MIN_WORDS = 15  # a shorter description says no more than its synopsis
RECURS = 5  # a paragraph that occurs in so many source packages is boilerplate
GRAM = 8  # words per n-gram; posts that share more than half of these are near-duplicates
NOT_A_SUMMARY = r"(?i)\b(?:transitional|dummy)\b"
log = logging.getLogger(__name__)


class DebianOptions(Options):
    seed: Seed  # assigns source packages to splits
    posts: Splits
    max_words: integer(ge=MIN_WORDS, le=MOST)  # longer posts are left out
    documentation: list[str]  # packages whose prose is added to the pretraining text


class World(BaseWorld):
    """Debian's package descriptions, written by the packages' maintainers. A post is the long
    description of a source package; its reference is the maintainer's one-line synopsis. The
    pretraining text also has English documentation. All texts are downloaded with apt from the
    archive that the machine uses.

    A simulated rater prefers texts with more overlap with the reference (chrF).

    Licence: each text has the licence of its package, which is free by Debian's guidelines; no text
    is shipped with this package.
    """

    Options = DebianOptions
    downloads = True
    fetch_options = ("documentation",)

    @classmethod
    def fetch(cls, raw: Path, documentation: list[str]) -> None:
        """Write descriptions.parquet (as in the archive), documentation.txt (one paragraph per
        line) and sources.json (SHA-256 of both, and the versions of the packages).

        Works without root and does not touch the machine's own package lists. Raises UserError if
        this is not a Debian system, or if the archive or a package cannot be downloaded.
        """
        raw.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            complaint = apt.update(folder)
            packages = list(apt.stanzas(folder, "_Packages"))
            table = descriptions(packages, apt.stanzas(folder, "_Translation-en"))
            if table.empty:
                raise UserError(
                    "apt-get update downloaded no package descriptions; check the network and that "
                    f"apt's sources name a Debian archive ({complaint})"
                )
            versions, documents = {}, {}
            for package in documentation_packages(documentation, packages):
                log.info("reading %s", package)
                with tempfile.TemporaryDirectory(dir=folder) as here:
                    versions[package] = apt.unpack(package, folder, Path(here))
                    prose = read_documents(Path(here))
                    documents |= dict.fromkeys(prose)  # a dict keeps order, and each line once
        write_table(table, raw / "descriptions.parquet", DESCRIPTIONS)
        (raw / "documentation.txt").write_text("".join(f"{d}\n" for d in documents), "utf-8")
        files = [raw / "descriptions.parquet", raw / "documentation.txt"]
        facts = {
            "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
            "versions": versions,
        }
        (raw / "sources.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")

    def posts(self) -> pd.DataFrame:
        candidates = one_per_source(self._descriptions, self.options.max_words)
        return assign_splits(candidates, self.options.posts.model_dump(), self.options.seed)

    def pretraining_text(self) -> Iterator[str]:
        """Documentation, then descriptions, without duplicate paragraphs and without paragraphs
        that share eight consecutive words with a package whose source is in a held-out split.
        """
        posts, table = self.posts(), self._descriptions
        sources = set(posts.post_id[posts.split.isin(HELD_OUT)])
        held_out = table.source.isin(sources)
        seen = grams_of(p for paragraphs in table.paragraphs[held_out] for p in paragraphs)
        lines = read_lines(self.raw / "documentation.txt")
        yield from (d for d in map(str.rstrip, lines) if grams(d).isdisjoint(seen))
        written = set()
        for paragraphs in table.paragraphs[~held_out]:
            new = [p for p in paragraphs if p not in written and grams(p).isdisjoint(seen)]
            written.update(new)
            if new:
                yield " ".join(new)

    @cached_property
    def _descriptions(self) -> pd.DataFrame:
        table = read_table(self.raw / "descriptions.parquet", DESCRIPTIONS)
        return table.assign(paragraphs=without_boilerplate(table))


def descriptions(packages: Iterable[dict], translations: Iterable[dict]) -> pd.DataFrame:
    """One row per binary package, sorted, with the columns of DESCRIPTIONS and raw descriptions.

    A package without a Source field is its own source. Packages without a long description in
    `translations`, such as those of third-party archives, are left out.
    """
    source = {
        (p["Package"], p.get("Description-md5")): p.get("Source", p["Package"]).split()[0]
        for p in packages
    }
    rows = {}
    for translation in translations:
        package, digest = translation["Package"], translation["Description-md5"]
        if (package, digest) in source:
            synopsis, _, description = translation["Description-en"].partition("\n")
            rows.setdefault(package, (source[package, digest], package, synopsis, description))
    return pd.DataFrame(sorted(rows.values()), columns=list(DESCRIPTIONS))


def documentation_packages(wanted: list[str], packages: Iterable[dict]) -> list[str]:
    """`wanted`, each followed by the documentation packages that it depends on. (linux-doc and
    python3-doc are empty and depend on the current version.) Raises UserError for an unknown name.
    """
    depends = defaultdict(set)
    for stanza in packages:
        depends[stanza["Package"]].update(re.findall(r"[^\s,|(]+", stanza.get("Depends", "")))
    for name in set(wanted) - set(depends):
        raise UserError(
            f"worlds.debian.documentation: this Debian release has no package {name!r}; "
            "leave it out, or name another"
        )
    found = []
    for name in wanted:
        found += [name, *sorted(d for d in depends[name] if "-doc" in d and d in depends)]
    return list(dict.fromkeys(found))


def paragraphs(description: str) -> list[str]:
    """The paragraphs of a long description, which are separated by lines with a single dot."""
    blocks = re.split(r"^\s*\.\s*$", description, flags=re.MULTILINE)
    return [paragraph for paragraph in map(flow, blocks) if paragraph]


def without_boilerplate(table: pd.DataFrame) -> list[list[str]]:
    """The paragraphs of each row, without those that occur in RECURS source packages, verbatim or
    up to the package's name ("This package contains the documentation for NAME.").
    """
    rows = [paragraphs(text) for text in table.description]
    names = (table.source + " " + table.package).str.lower()
    forms = [[{p, _nameless(p, name)} for p in row] for row, name in zip(rows, names, strict=True)]
    sources = defaultdict(set)
    for row_forms, source in zip(forms, table.source, strict=True):
        for form in set().union(*row_forms):
            sources[form].add(source)
    boilerplate = {form for form, found_in in sources.items() if len(found_in) >= RECURS}
    return [
        [p for p, own in zip(row, row_forms, strict=True) if own.isdisjoint(boilerplate)]
        for row, row_forms in zip(rows, forms, strict=True)
    ]


def one_per_source(table: pd.DataFrame, max_words: int) -> pd.DataFrame:
    """One post per source package, from a binary package of suitable length (up to `max_words`).

    The binary package with the source's name comes first, then the one with the shortest name.
    """
    posts = pd.DataFrame(
        {
            "post_id": table.source,
            "post": table.paragraphs.map(" ".join),
            "reference": table.synopsis.map(flow),
            "other": table.package != table.source,
            "length": table.package.str.len(),
            "package": table.package,
        }
    )
    fits = posts.post.str.split().str.len().between(MIN_WORDS, max_words)
    summarised = posts.reference.ne("") & ~posts.reference.str.contains(NOT_A_SUMMARY)
    best = posts[fits & summarised].sort_values(["post_id", "other", "length", "package"])
    return best.drop_duplicates("post_id")[["post_id", "post", "reference"]]


def assign_splits(candidates: pd.DataFrame, sizes: dict[str, int], seed: int) -> pd.DataFrame:
    """Fill the splits one after the other, in an order drawn by hashing `seed` and post_id.

    A post that shares over half of its word 8-grams with the posts of earlier splits is left
    out. Raises ConfigError if there are fewer posts than `sizes` asks.
    """
    posts = candidates.set_index("post_id").post
    order = hashed_order(posts.index, seed)
    remaining, split_of, seen, dropped = iter(order), {}, set(), 0
    for split, size in sizes.items():
        chosen = []
        while len(chosen) < size and (name := next(remaining, None)):
            if nearly_repeats(posts[name], seen):
                dropped += 1
            else:
                chosen.append(name)
        if len(chosen) < size:
            raise ConfigError(
                f"worlds.debian.posts.{split}: {size} posts are needed but only {len(chosen)} of "
                f"{len(order)} are left ({dropped} near-duplicates); lower it, or raise max_words"
            )
        split_of |= dict.fromkeys(chosen, split)
        seen |= grams_of(posts[name] for name in chosen)
    log.info("left out %d near-duplicates of posts in earlier splits", dropped)
    table = candidates.set_index("post_id").loc[list(split_of)].reset_index()
    return table.assign(split=table.post_id.map(split_of))


def nearly_repeats(post: str, seen: set[str]) -> bool:
    own = grams(post)
    return len(own & seen) > len(own) / 2


def grams(text: str) -> set[str]:
    """The word 8-grams of `text` in lower case; the whole text if it is shorter."""
    words = text.lower().split()
    return {" ".join(words[i : i + GRAM]) for i in range(max(1, len(words) - GRAM + 1))}


def grams_of(texts: Iterable[str]) -> set[str]:
    return set().union(*map(grams, texts))


def _nameless(paragraph: str, names: str) -> str:
    """`paragraph` without the words that are part of its package's names."""
    return " ".join(w for w in paragraph.split() if w.lower().strip("\"'`.,:;()") not in names)
