"""Text written by people: package descriptions of Debian, each to be told in one line.

A post is the long description of a source package, its reference the maintainer's own synopsis;
the gold rater is the overlap with that reference (chrF). The texts carry the licences of their
packages, so nobody ships them: `fetch` reads them from the archive the machine already uses.
"""

import gzip
import hashlib
import html
import json
import logging
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

import numpy as np
import pandas as pd
from pydantic import Field

from underspec.artifacts import read_table, write_table
from underspec.errors import ConfigError, UserError
from underspec.worlds import BaseWorld, Options

DESCRIPTIONS = dict.fromkeys(("source", "package", "synopsis", "description"), "string")
HELD_OUT = ("validation", "best_of_n")
DOCUMENTATION = [
    "dict-gcide",
    "linux-doc",
    "wordnet-base",
    "perl-doc",
    "python3-doc",
    "dict-foldoc",
]

LEAST_WORDS = 15  # a shorter description says no more than its synopsis
RECURS = 5  # a paragraph in the descriptions of so many source packages is boilerplate
GRAM = 8  # words; posts that share over half of these are near-duplicates
NOT_A_SUMMARY = r"(?i)\b(?:transitional|dummy)\b"
BULLET = re.compile(r"^\s*(?:[*+•·o-]|\d+[.)])\s+", re.MULTILINE)
PLAIN_WORD = re.compile(r"[\"'(‘“]*[A-Za-z][A-Za-z'’-]*[\"'),.;:!?’”]*")

# How documentation is marked up, by the end of a file's name: what parts its blocks, and what
# to replace in each.
BLANK_LINE = r"\n\s*\n"
RST = [
    (r"^.*\n([=~^\"'*#+-])\1{3,}\s*$", ""),  # a heading
    (r"^\s*\.\. .*$", ""),  # a directive or comment
    (r":[\w:+-]+:`", "`"),
    (r"`[~!]?([^`<]+?)\s*(?:<[^`]*>)?`_{0,2}", r"\1"),
    (r"\*(?=\S)|(?<=\S)\*|[`|]", ""),
    (r"::$", ":"),
]
FORMATTED = (r"\b[BCEFILS]<([^<>|]*)(?:\|[^<>]*)?>", r"\1")
POD = [
    (r"^=\w+", ""),
    (r"\bX<[^>]*>", ""),
    (r"\b[BCFI]<<+ (.*?) >>+", r"\1"),
    FORMATTED,
    FORMATTED,  # twice, for B<I<so>>
]
BRACKETED = (r"\[[^][]*\]", "")
DICT = [BRACKETED, BRACKETED, (r"\s*\\[^\\]*\\|<[^<>]*>|[{}]", "")]
MARKUP = {
    ".rst": (BLANK_LINE, RST),
    ".txt": (BLANK_LINE, RST),
    ".pod": (BLANK_LINE, POD),
    ".dict": (r"\n(?=\S)", DICT),  # an entry begins where a line is not indented
    ".html": (r"(?i)</?p(?: [^>]*)?>", [(r"(?s)<[^>]*>", "")]),
}
WORDNET = re.compile(r"^\d{8} \d\d [a-z] \w\w (\S+) .*? \| (.*)$", re.MULTILINE)

APT_CONFIG = """
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::Languages;
Acquire::Languages "en";
Acquire::GzipIndexes "false";
APT::Sandbox::User "root";
Dir::State::Lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
"""

log = logging.getLogger(__name__)


class Splits(Options):
    """Posts in each split; Debian 12 has about 28,000 of 15 to 120 words."""

    policy: Annotated[int, Field(gt=0)]
    preferences: Annotated[int, Field(gt=0)]
    validation: Annotated[int, Field(gt=0)]
    best_of_n: Annotated[int, Field(gt=0)]


class DebianOptions(Options):
    seed: Annotated[int, Field(ge=0)]  # which source packages go to which split
    posts: Splits
    max_words: Annotated[int, Field(ge=LEAST_WORDS)] = 120  # longer posts are left out
    documentation: list[str] = DOCUMENTATION  # packages whose prose joins the pretraining text
    gold_unit: Annotated[float, Field(gt=0)] = 10.0  # points of chrF (0..100) a unit of utility


class World(BaseWorld):
    Options = DebianOptions
    downloads = True
    has_gold = True

    def fetch(self, raw: Path) -> None:
        """Write descriptions.parquet (as the archive has them), documentation.txt (a paragraph
        a line) and sources.json (their SHA-256, and the versions of the packages read).

        Needs no root, and leaves the machine's own package lists alone. Raises UserError if this
        is no Debian system, or the archive or a package of it cannot be had.
        """
        raw.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            complaint = _update(folder)
            packages = list(_stanzas(folder, "_Packages"))
            table = descriptions(packages, _stanzas(folder, "_Translation-en"))
            if table.empty:
                raise UserError(
                    "apt-get update brought no package descriptions; see that the network is up "
                    f"and that apt's sources name a Debian archive ({complaint})"
                )
            versions, documents = {}, {}
            for package in documentation_packages(self.options.documentation, packages):
                versions[package], prose = _download(package, folder)
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
        """Documentation, then descriptions; no paragraph comes twice, and none that shares
        eight words in a row with a package whose source is in a held-out split.
        """
        posts, table = self.posts(), self._descriptions
        sources = set(posts.post_id[posts.split.isin(HELD_OUT)])
        held_out = table.source.isin(sources)
        seen = grams_of(p for paragraphs in table.paragraphs[held_out] for p in paragraphs)
        with (self.raw / "documentation.txt").open(encoding="utf-8") as lines:
            yield from (d for d in map(str.rstrip, lines) if grams(d).isdisjoint(seen))
        told = set()
        for paragraphs in table.paragraphs[~held_out]:
            new = [p for p in paragraphs if p not in told and grams(p).isdisjoint(seen)]
            told.update(new)
            if new:
                yield " ".join(new)

    def gold_reward(self, posts: pd.DataFrame, samples: pd.DataFrame) -> np.ndarray:
        """sacreBLEU's sentence-level chrF (no word n-grams) against the reference, in units of
        `gold_unit` points.
        """
        from sacrebleu.metrics import CHRF  # here, for Snakemake's own environment has it not

        chrf = CHRF()
        references = dict(zip(posts.post_id, posts.reference, strict=True))
        pairs = list(zip(samples.text, samples.post_id.map(references), strict=True))
        score = {
            (text, reference): chrf.sentence_score(text, [reference]).score
            for text, reference in set(pairs)
        }
        return np.array([score[pair] for pair in pairs]) / self.options.gold_unit

    @cached_property
    def _descriptions(self) -> pd.DataFrame:
        table = read_table(self.raw / "descriptions.parquet", DESCRIPTIONS)
        return table.assign(paragraphs=without_boilerplate(table))


def parse_stanzas(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a Debian control file as field -> value; continuation lines stay lines."""
    for stanza in text.split("\n\n"):
        fields = re.findall(r"^([A-Za-z][\w-]*):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        if fields:
            yield dict(fields)


def descriptions(packages: Iterable[dict], translations: Iterable[dict]) -> pd.DataFrame:
    """One row a binary package, with the columns of DESCRIPTIONS, sorted; the description raw.

    A package without a Source field is its own source. Only packages with a long description
    in `translations` count: archives of third parties have none.
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
    """`wanted`, each followed by the documentation packages it depends on (linux-doc and
    python3-doc are empty and depend on the current one). Raises UserError for an unknown name.
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


def flow(block: str) -> str:
    """A block of lines as one line: single spaces; items of a list parted by semicolons."""
    items = [" ".join(item.split()) for item in BULLET.sub("\0", block).split("\0")]
    return re.sub(r"([.:;,!?]); ", r"\1 ", "; ".join(item for item in items if item))


def paragraphs(description: str) -> list[str]:
    """The paragraphs of a long description, which are parted by lines of a single dot."""
    blocks = re.split(r"^\s*\.\s*$", description, flags=re.MULTILINE)
    return [paragraph for paragraph in map(flow, blocks) if paragraph]


def without_boilerplate(table: pd.DataFrame) -> list[list[str]]:
    """The paragraphs of each row, less those that recur in RECURS source packages, as they
    stand or but for the package's name ("This package contains the documentation for NAME.").
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
    """One post a source package: of the binary package of its name if that is neither too short
    nor longer than `max_words`, else of the one with the shortest name that is not.
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
    fits = posts.post.str.split().str.len().between(LEAST_WORDS, max_words)
    summarised = posts.reference.ne("") & ~posts.reference.str.contains(NOT_A_SUMMARY)
    best = posts[fits & summarised].sort_values(["post_id", "other", "length", "package"])
    return best.drop_duplicates("post_id")[["post_id", "post", "reference"]]


def assign_splits(candidates: pd.DataFrame, sizes: dict[str, int], seed: int) -> pd.DataFrame:
    """Fill the splits one after the other, in an order drawn by hashing `seed` and post_id.

    A post that shares over half of its word 8-grams with the posts of earlier splits is left
    out. Raises ConfigError if there are fewer posts than `sizes` asks.
    """
    posts = candidates.set_index("post_id").post
    order = sorted(posts.index, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    rest, split_of, seen, dropped = iter(order), {}, set(), 0
    for split, size in sizes.items():
        chosen = []
        while len(chosen) < size and (name := next(rest, None)):
            if nearly_repeats(posts[name], seen):
                dropped += 1
            else:
                chosen.append(name)
        if len(chosen) < size:
            raise ConfigError(
                f"worlds.debian.posts.{split}: {size} posts are asked and {len(chosen)} are left "
                f"of {len(order)} ({dropped} near-duplicates); ask fewer, or raise max_words"
            )
        split_of |= dict.fromkeys(chosen, split)
        seen |= grams_of(posts[name] for name in chosen)
    log.info("left out %d posts that nearly repeat one of an earlier split", dropped)
    table = candidates.set_index("post_id").loc[list(split_of)].reset_index()
    return table.assign(split=table.post_id.map(split_of))


def nearly_repeats(post: str, seen: set[str]) -> bool:
    own = grams(post)
    return len(own & seen) > len(own) / 2


def grams(text: str) -> set[str]:
    """The word 8-grams of `text`, lower-cased; all of it if it is shorter."""
    words = text.lower().split()
    return {" ".join(words[i : i + GRAM]) for i in range(max(1, len(words) - GRAM + 1))}


def grams_of(texts: Iterable[str]) -> set[str]:
    return set().union(*map(grams, texts))


def prose(text: str, suffix: str) -> list[str]:
    """The paragraphs of documentation that are English sentences, without their markup."""
    parting, markup = MARKUP[suffix]
    blocks = re.split(parting, text)
    for pattern, plain in markup:
        blocks = [re.sub(pattern, plain, block, flags=re.MULTILINE) for block in blocks]
    return [line for line in map(flow, map(html.unescape, blocks)) if is_prose(line)]


def glosses(text: str) -> list[str]:
    """The definitions and examples in a data file of WordNet, each after its word."""
    return [f"{word.replace('_', ' ')}: {flow(gloss)}" for word, gloss in WORDNET.findall(text)]


def is_prose(line: str) -> bool:
    """At least GRAM words, four in five of them of letters only: no code, table or heading."""
    words = line.split()
    plain = sum(PLAIN_WORD.fullmatch(word) is not None for word in words)
    return len(words) >= GRAM and plain >= 0.8 * len(words)


def read_documents(folder: Path) -> Iterator[str]:
    """The prose in a package's files; not the HTML where there is the RST it was made of."""
    files = {
        file: Path(re.sub(r"\.(gz|dz)$", "", file.name))
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink()
    }
    unread = ".html" if any(".rst" in name.suffixes for name in files.values()) else None
    for file, name in files.items():
        if name.suffix in MARKUP and name.suffix != unread:
            yield from prose(_read(file), name.suffix)
        elif name.stem == "data":
            yield from glosses(_read(file))


def _nameless(paragraph: str, names: str) -> str:
    """`paragraph` without the words that are part of its package's names."""
    return " ".join(w for w in paragraph.split() if w.lower().strip("\"'`.,:;()") not in names)


def _read(file: Path) -> str:
    data = file.read_bytes()
    if file.suffix in (".gz", ".dz"):  # dictzip is gzip with an index
        data = gzip.decompress(data)
    return data.decode("utf-8", errors="replace")


def _stanzas(folder: Path, ending: str) -> Iterator[dict[str, str]]:
    for file in sorted((folder / "lists").glob(f"*{ending}")):
        yield from parse_stanzas(file.read_text("utf-8", errors="replace"))


def _update(folder: Path) -> str:
    """Bring the archive's package lists into `folder`; returns apt-get's last complaint."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()  # as if nothing were installed: any version may be downloaded
    (folder / "apt.conf").write_text(APT_CONFIG.format(folder=folder))
    complaint = _run(["apt-get", "-c", folder / "apt.conf", "update"], folder)
    if complaint:  # apt-get calls it a success when some archive could not be reached
        log.warning("apt-get update: %s", complaint)
    return complaint


def _download(package: str, folder: Path) -> tuple[str, list[str]]:
    """The version of `package`, and its prose."""
    log.info("reading %s", package)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        here = Path(scratch)
        _run(["apt-get", "-c", folder / "apt.conf", "download", package], here)
        archive = next(here.glob("*.deb"))
        _run(["dpkg-deb", "-x", archive, here / "files"], here)
        return unquote(archive.name.split("_")[1]), list(read_documents(here / "files"))


def _run(command: list[str | Path], folder: Path) -> str:
    """The last line `command` wrote on stderr. Raises UserError if it is missing, or fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    except FileNotFoundError:
        raise UserError(
            f"{command[0]}: no such program; the world debian is fetched by Debian's own tools: "
            "run this job on Debian or a system that derives from it, or choose another world"
        ) from None
    complaint = done.stderr.strip().rpartition("\n")[2]
    if done.returncode:
        raise UserError(
            f"{' '.join(map(str, command))} failed ({complaint}); see that the network is up, "
            "that apt's sources are right, and that the disk is not full"
        )
    return complaint
