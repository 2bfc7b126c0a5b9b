"""Which characters of a text are visible to a reader."""

import re
import unicodedata

INVISIBLE = {"Cc", "Cf", "Zs", "Zl", "Zp"}  # Unicode categories: controls, zero width, spaces
# Letters, marks and symbols that fonts show as blank.
BLANK = {"\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u2800", "\u3164", "\uffa0"}
for first, end in ((0xFE00, 0xFE10), (0xE0100, 0xE01F0), (0x180B, 0x1810)):  # variation selectors
    BLANK |= set(map(chr, range(first, end)))
SURROGATE = re.compile("[\ud800-\udfff]")


def whole(text: str) -> str:
    """`text` with U+FFFD for each lone surrogate. JSON can contain these, UTF-8 cannot."""
    return SURROGATE.sub("\ufffd", text)


def flow(text: str | None) -> str:
    """`text` on one line, with single spaces between words; "" for None."""
    return " ".join((text or "").split())


def lines(text: str | None) -> str:
    """`text` with its line breaks, as tokenizers keep them: every line as `flow` has it, and at
    most one empty line in a row; "" for None."""
    flowing = "\n".join(flow(line) for line in (text or "").splitlines())
    return re.sub("\n{3,}", "\n\n", flowing).strip()


def visible(text: str) -> bool:
    """Whether `text` has a visible character."""
    return any(map(_visible, text))


def alike(first: str, second: str) -> bool:
    """Whether two texts look the same: they differ at most in invisible characters."""
    return first == second or _visible_part(first) == _visible_part(second)


def _visible_part(text: str) -> str:
    kept = (character for character in text if character.isspace() or _visible(character))
    return unicodedata.normalize("NFC", " ".join("".join(kept).split()))


def _visible(character: str) -> bool:
    return unicodedata.category(character) not in INVISIBLE and character not in BLANK
