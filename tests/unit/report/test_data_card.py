"""The data card: what it says, from tables as small as can be."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from escaping import MARKUP, check_escaped

from data_card import data_card
from underspec.artifacts import JUDGEMENTS, POSTS, PREFERENCES, SAMPLES, write_table
from underspec.data import worlds
from underspec.errors import ArtifactError
from underspec.report.data_card import (
    card,
    compared,
    duplicates,
    examples,
    judged,
    lengths,
    rated,
    read_left_out,
)
from underspec.report.pages import write_page

PAGES = Path(__file__).parents[3] / "reports" / "pages"
TEXTS = pd.Series(["a", "a b", "a b c", ""])


@pytest.mark.parametrize("world", worlds.names())
def test_every_world_says_what_it_is_and_its_licence(world):
    paragraphs = card(world)
    assert len(paragraphs) > 1
    assert paragraphs[-1].startswith("Licence: ")
    assert not [paragraph for paragraph in paragraphs if "\n" in paragraph or "  " in paragraph]


def test_lengths_are_in_words():
    assert lengths(TEXTS) == {"count": 4, "words": [0, 1, 2, 3]}


def test_duplicates_are_within_a_post():
    samples = pd.DataFrame({"post_id": list("ppqq"), "text": ["x", "x", "x", "y"]})
    assert duplicates(samples) == 0.25


def preferences(**columns):
    rows = {"post_id": ["p", "q"], "split": "preferences", "source": "people"}
    return pd.DataFrame(rows | columns)


def test_how_often_the_longer_text_is_chosen():
    table = preferences(chosen=["a b", "a"], rejected=["a", "b"])
    (row,) = compared(table).to_dict("records")
    assert row["comparisons"] == 2 and row["chosen is longer"] == row["as long"] == 0.5


def judgements(**columns):
    rows = {"post_id": ["p", "q", "q"], "split": "validation", "source": ["one", "one", "other"]}
    return pd.DataFrame(rows | {"statement": "<s> t", "label": [0, 1, 1]} | columns)


def test_what_share_of_statements_is_entailed():
    assert judged(judgements()).to_dict("list") == {
        "split": ["validation"] * 2,
        "source": ["one", "other"],
        "judgements": [2, 1],
        "entailed": [0.5, 1.0],
    }


def test_what_share_of_ratings_is_positive():
    table = judgements(label=[-1.5, 0.0, 2.0], half=0.0, other_half=0.0)
    assert rated(table).to_dict("list") == {
        "split": ["validation"] * 2,
        "source": ["one", "other"],
        "ratings": [2, 1],
        "positive": [0.0, 1.0],
        "negative": [0.5, 0.0],
    }


def test_examples_hold_post_and_reference():
    posts = pd.DataFrame({"post_id": ["q", "p"], "post": ["Q", "P"], "reference": ["q", "p"]})
    found = examples(posts, preferences(chosen="c", rejected="r"), ["chosen"])
    assert all(list(row) == ["post", "reference", "chosen"] for row in found)
    assert {row["post"] for row in found} <= {"P", "Q"}
    assert all(row["post"].lower() == row["reference"] for row in found)


def test_the_data_card_of_judgements(tmp_path):
    posts = pd.DataFrame({"post_id": ["p", "q"], "split": "validation", "post": "x"})
    write_table(posts.assign(reference="z"), tmp_path / "posts.parquet", POSTS)
    table = judgements()
    table.attrs["dropped"] = {"validation": {"of a statement without a visible character": 7}}
    write_table(table, tmp_path / "judgements.parquet", JUDGEMENTS)
    samples = pd.DataFrame({"post_id": ["p", "p"], "sample_index": [0, 1], "text": "same"})
    write_table(samples.assign(log_prob=0.0), tmp_path / "best_of_n.parquet", SAMPLES)
    data_card(
        worlds=["micro_tldr"],
        posts=tmp_path / "posts.parquet",
        labelled=tmp_path / "judgements.parquet",
        reward="pointwise",
        samples={"best_of_n": tmp_path / "best_of_n.parquet"},
        experiment="tiny",
        template=PAGES / "data_card.html",
        output=tmp_path / "card.html",
    )
    html = (tmp_path / "card.html").read_text()
    assert "<h2>Judgements</h2>" in html and "<h3>statement</h3><p>&lt;s&gt; t</p>" in html
    assert "entailed" in html and "50.0 %" in html and "100.0 %" in html
    assert "Left out: 7 of a statement without a visible character (validation)." in html
    assert "comparisons" not in html and "<h3>chosen" not in html


def test_the_data_card(tmp_path):
    posts = pd.DataFrame({"post_id": ["p", "q"], "split": "preferences", "post": "<x> y"})
    posts.attrs["dropped"] = {"TL;DR train": {"without id or post": 5678}, "policy": {}}
    write_table(posts.assign(reference="z"), tmp_path / "posts.parquet", POSTS)
    (tmp_path / "0.json").write_text('{"documents that were empty": 4321}')
    table = preferences(chosen=["a b", "a"], rejected=["a", "b"])
    table.attrs["dropped"] = {"preferences": {"of equal texts": 1234}, "validation": {}}
    write_table(table, tmp_path / "preferences.parquet", PREFERENCES)
    samples = pd.DataFrame({"post_id": ["p", "p"], "sample_index": [0, 1], "text": "same"})
    write_table(samples.assign(log_prob=0.0), tmp_path / "best_of_n.parquet", SAMPLES)
    np.save(tmp_path / "0.npy", np.zeros(1234, dtype=np.uint16))
    data_card(
        worlds=["tldr", "c4"],
        posts=tmp_path / "posts.parquet",
        labelled=tmp_path / "preferences.parquet",
        reward="preference",
        samples={"best_of_n": tmp_path / "best_of_n.parquet"},
        tokens=[tmp_path / "0.npy"],
        experiment="tiny",
        left_out_text=[tmp_path / "0.json"],
        template=PAGES / "data_card.html",
        output=tmp_path / "card.html",
    )
    html = (tmp_path / "card.html").read_text()
    assert "&lt;x&gt; y" in html and "<x>" not in html
    assert "1,234 tokens" in html and "50.0 %" in html
    assert "Left out: 1,234 of equal texts (preferences)." in html
    assert "Posts left out: 5,678 without id or post (TL;DR train)." in html
    assert "Of the pretraining text: 4,321 documents that were empty." in html
    assert "modified MIT" in html and "ODC-BY" in html
    for file in ("posts.parquet", "preferences.parquet", "best_of_n.parquet", "0.npy"):
        assert hashlib.sha256((tmp_path / file).read_bytes()).hexdigest() in html


def test_the_data_card_shows_markup_as_text(tmp_path):
    write_page(
        PAGES / "data_card.html",
        tmp_path / "card.html",
        cards={MARKUP: [MARKUP]},
        quantiles=[0.5],
        lengths=[{"kind": MARKUP, "split": MARKUP, "count": 1, "words": [1]}],
        tokens=1,
        labelled={
            "name": MARKUP,
            "counts": pd.DataFrame({"split": [MARKUP], "source": [MARKUP], MARKUP: [1]}),
        },
        left_out={
            "posts": [{"count": 1, "reason": MARKUP, "split": MARKUP}],
            "labelled": [{"count": 1, "reason": MARKUP, "split": MARKUP}],
            "text": {MARKUP: 1},
        },
        examples=[dict.fromkeys(("post", "reference", "chosen", "rejected"), MARKUP)],
        files=[{"path": MARKUP, "bytes": 1, "sha256": MARKUP}],
        face=MARKUP,
    )
    check_escaped((tmp_path / "card.html").read_text(), times=20)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": "many"}', '{"a": 1, "a": 2}'])
def test_counts_of_what_was_left_out_that_cannot_be_read(tmp_path, text):
    (tmp_path / "0.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"0\.json: .*; delete the folder") as caught:
        read_left_out([tmp_path / "0.json"])
    assert "\n" not in str(caught.value)
