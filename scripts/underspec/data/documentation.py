"""Extracts prose from documentation: paragraphs of English sentences, without markup."""

import gzip
import html
import re
from collections.abc import Iterator
from pathlib import Path

MIN_WORDS = 8  # a shorter line is a heading or a list item
BULLET = re.compile(r"^\s*(?:[*+•·o-]|\d+[.)])\s+", re.MULTILINE)
PLAIN_WORD = re.compile(r"[\"'(‘“]*[A-Za-z][A-Za-z'’-]*[\"'),.;:!?’”]*")

# By file suffix: the pattern that separates blocks, and the replacements that remove markup.
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


def flow(block: str) -> str:
    """A block of lines as one line with single spaces; list items are separated by semicolons."""
    items = [" ".join(item.split()) for item in BULLET.sub("\0", block).split("\0")]
    return re.sub(r"([.:;,!?]); ", r"\1 ", "; ".join(item for item in items if item))


def prose(text: str, suffix: str) -> list[str]:
    """The paragraphs of documentation that are English sentences, without their markup."""
    parting, markup = MARKUP[suffix]
    blocks = re.split(parting, text)
    for pattern, plain in markup:
        blocks = [re.sub(pattern, plain, block, flags=re.MULTILINE) for block in blocks]
    return [line for line in map(flow, map(html.unescape, blocks)) if is_prose(line)]


def glosses(text: str) -> list[str]:
    """Definitions and examples from a WordNet data file, each after its word."""
    return [f"{word.replace('_', ' ')}: {flow(gloss)}" for word, gloss in WORDNET.findall(text)]


def is_prose(line: str) -> bool:
    """Whether a line has enough words, 80 % of them plain: it is not code, a table or a heading."""
    words = line.split()
    plain = sum(PLAIN_WORD.fullmatch(word) is not None for word in words)
    return len(words) >= MIN_WORDS and plain >= 0.8 * len(words)


def read_documents(folder: Path) -> Iterator[str]:
    """The prose in a package's files. HTML is skipped if its RST source is there."""
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


def _read(file: Path) -> str:
    data = file.read_bytes()
    if file.suffix in (".gz", ".dz"):  # dictzip is gzip with an index
        data = gzip.decompress(data)
    return data.decode("utf-8", errors="replace")
