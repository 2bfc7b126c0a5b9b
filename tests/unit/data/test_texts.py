"""What a reader sees of a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underspec.data.texts import alike, visible, whole


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


@pytest.mark.parametrize("text", ["\U000e0100", "\u180b\u180e", "\U000e0041"], ids=ascii)
def test_what_only_changes_another_character_is_nothing_to_see(text):
    assert not visible(text)


ALIKE = [
    ("a b", "a\u200b b"),
    ("a b", "\ufeffa b"),
    ("a b", "a\u00a0 b\n"),
    ("caf\u00e9", "cafe\u0301"),
    ("", "\u200b"),
]


@pytest.mark.parametrize(("first", "second"), ALIKE, ids=ascii)
def test_texts_that_look_alike_are_alike(first, second):
    assert alike(first, second) and alike(second, first)


@pytest.mark.parametrize(
    ("first", "second"), [("a b", "ab"), ("a", "A"), ("e", "\u00e9"), ("", ".")]
)
def test_texts_that_differ_to_the_eye_are_not_alike(first, second):
    assert not alike(first, second)


@given(st.text(st.characters(), max_size=20))
def test_a_whole_text_has_utf_8_and_is_otherwise_the_same(text):
    """Hypothesis draws halves of surrogate pairs too."""
    mended = whole(text)
    assert mended.encode().decode() == mended and len(mended) == len(text)
    assert all(
        new == old or "\ud800" <= old <= "\udfff" for new, old in zip(mended, text, strict=True)
    )
