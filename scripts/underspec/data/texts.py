"""What of a text a reader sees."""

import re
import unicodedata

UNSEEN = {"Cc", "Cf", "Zs", "Zl", "Zp"}  # controls, zero width, spaces: Unicode's categories
# Letters, marks and symbols that every font shows as nothing.
BLANK = {"\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u2800", "\u3164", "\uffa0"}
for first, end in ((0xFE00, 0xFE10), (0xE0100, 0xE01F0), (0x180B, 0x1810)):  # variation selectors
    BLANK |= set(map(chr, range(first, end)))
SURROGATE = re.compile("[\ud800-\udfff]")


def whole(text: str) -> str:
    """`text` with U+FFFD for each half of a surrogate pair, which is no character and has no UTF-8;
    JSON can hold one."""
    return SURROGATE.sub("\ufffd", text)


def visible(text: str) -> bool:
    """Whether `text` has a character to see."""
    return any(map(_visible, text))


def alike(first: str, second: str) -> bool:
    """Whether a reader sees no difference: none but in characters that nobody sees."""
    return first == second or _seen(first) == _seen(second)


def _seen(text: str) -> str:
    seen = (character for character in text if character.isspace() or _visible(character))
    return unicodedata.normalize("NFC", " ".join("".join(seen).split()))


def _visible(character: str) -> bool:
    return unicodedata.category(character) not in UNSEEN and character not in BLANK
