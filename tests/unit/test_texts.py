"""What a reader sees of a text."""

import pytest

from underspec.texts import visible


@pytest.mark.parametrize(
    "text", ["a", ".", "\u200ba", "\U0001f600", "\u4e2d", " \u00e9 ", "\u0301"]
)
def test_there_is_something_to_see(text):
    assert visible(text)


UNSEEN = [
    "",
    " \t\n",
    "\u00a0\u3000\u2028",
    "\u200b",
    "\ufeff\u2060\u200d",
    "\x00\x1b\x7f",
    "\u00ad",
]
UNSEEN += ["\u3164", "\u2800 \u2800", "\ufe0f", "\u202e"]


@pytest.mark.parametrize("text", UNSEEN, ids=ascii)
def test_there_is_nothing_to_see(text):
    assert not visible(text)
