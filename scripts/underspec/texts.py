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
    return any(
        unicodedata.category(character) not in UNSEEN and character not in BLANK
        for character in text
    )
