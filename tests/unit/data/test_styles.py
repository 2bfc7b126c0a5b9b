"""Texts in several styles: the same facts, right or wrong, whatever the style."""

import numpy as np
import pandas as pd
import pytest

from underspec.data.gold_raters import parts
from underspec.data.styles import STYLES, styled_texts
from underspec.data.worlds.micro_tldr import World
from underspec.errors import ConfigError

SIZES = {"policy": 1, "preferences": 1, "validation": 1, "best_of_n": 150}
POSTS = World({"seed": 3, "posts": SIZES, "pretraining_documents": 1}).posts()
TEXTS = styled_texts("micro_tldr", POSTS, 150)
LONGEST = 39  # tokens of a summary in config.yaml, less the end of the text


def by_style(values):
    """(style, right or wrong) columns, a row a post."""
    keys = [TEXTS.post_id, TEXTS["style"], TEXTS.right]
    return pd.Series(values, index=pd.MultiIndex.from_arrays(keys)).unstack([1, 2])


def test_every_post_has_six_texts_in_one_order():
    assert TEXTS.groupby("post_id").size().eq(6).all() and TEXTS.post_id.nunique() == 150
    first = TEXTS[:6]
    assert first["style"].tolist() == [style for style in STYLES for _ in range(2)]
    assert first.right.tolist() == [1, 0] * 3 and first.sample_index.tolist() == [*range(6)]


@pytest.mark.parametrize(
    ("rater", "fact"), [("micro_tldr", "truth"), ("micro_tldr_pointwise", "supported")]
)
def test_only_facts_tell_right_from_wrong(rater, fact):
    found = {name: by_style(values) for name, values in parts(rater, POSTS, TEXTS).items()}
    words = by_style(TEXTS.text.str.split().str.len().to_numpy())
    for style in STYLES:
        assert (found[fact][style, 1] > found[fact][style, 0]).all()
        assert (words[style, 1] == words[style, 0]).all()
        if "form" in found:
            np.testing.assert_allclose(found["form"][style, 1], found["form"][style, 0])
    if fact == "truth":  # as much of it in every style
        assert found[fact]["concise"].equals(found[fact]["wordy"])


def test_styles_differ_in_words_and_fit():
    words = by_style(TEXTS.text.str.split().str.len().to_numpy())
    assert (words["concise", 1] < words["plain", 1]).all()
    assert (words["plain", 1] < words["wordy", 1]).all()
    assert words.to_numpy().max() <= LONGEST


def test_a_text_depends_on_its_post_alone():
    few = POSTS[POSTS.post_id.isin(TEXTS.post_id.unique()[[7, 3]])]
    again = styled_texts("micro_tldr", few, 2)
    expected = TEXTS[TEXTS.post_id.isin(few.post_id)].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, expected)


def test_fewer_posts_than_asked_for_and_other_worlds():
    assert len(styled_texts("micro_tldr", POSTS, 10**6)) == len(TEXTS)
    with pytest.raises(ConfigError, match="world: 'debian' has no styles; micro_tldr has"):
        styled_texts("debian", POSTS, 1)
