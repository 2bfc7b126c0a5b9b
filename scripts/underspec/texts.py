"""What of a text a reader sees."""

import unicodedata

UNSEEN = {"Cc", "Cf", "Zs", "Zl", "Zp"}  # controls, zero width, spaces: Unicode's categories
# Letters, marks and symbols that every font shows as nothing.
BLANK = {"\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u2800", "\u3164", "\uffa0"}
BLANK |= set(map(chr, range(0xFE00, 0xFE10)))


def visible(text: str) -> bool:
    """Whether `text` has a character to see."""
    return any(
        unicodedata.category(character) not in UNSEEN and character not in BLANK
        for character in text
    )
