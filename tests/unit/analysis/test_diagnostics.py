"""What is measured of every sample."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics import diagnostics as write_diagnostics
from measure_aligned import measure_aligned
from underspec import artifacts
from underspec.analysis.reward_matrix import layout
from underspec.analysis.text_features import diagnose, lists, read_diagnostics, similarity
from underspec.artifacts import DIAGNOSTICS, write_table
from underspec.errors import ArtifactError

POSTS = pd.DataFrame({"post_id": ["p", "q"], "post": ["The cat sat on the mat.", "No words"]})
WORDS = st.lists(st.sampled_from("abc"), max_size=6).map(" ".join)


def samples(*texts, post_id="p"):
    return pd.DataFrame({"post_id": post_id, "sample_index": range(len(texts)), "text": texts})


def longest(first, second):
    """The longest common subsequence, by its recursive definition."""
    if not first or not second:
        return 0
    if first[0] == second[0]:
        return 1 + longest(first[1:], second[1:])
    return max(longest(first[1:], second), longest(first, second[1:]))


def test_words_copies_and_order():
    found = diagnose(POSTS, samples("the mat, the CAT !", "dog", ""))
    assert found.words.tolist() == [5, 1, 0]  # whitespace separates, as labels count them
    assert found.common_subsequence.tolist() == [2, 0, 0]
    assert found.copied.tolist() == [1, 0, 0]
    assert set(found.columns) == set(DIAGNOSTICS)


@given(WORDS, WORDS)
def test_common_subsequence_by_definition(post, text):
    table = pd.DataFrame({"post_id": ["p"], "post": [post]})
    found = diagnose(table, samples(text)).common_subsequence[0]
    assert found == longest(post.split(), text.split())


def rouge_1(first, second):
    """F1 of the words of two texts, by its definition."""
    if not first and not second:
        return 1.0
    shared = sum((Counter(first) & Counter(second)).values())
    return 2 * shared / (len(first) + len(second))


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6), min_size=2, max_size=6))
def test_similarity_is_the_mean_of_rouge_1_to_the_others(texts):
    found = similarity(texts)
    for i, text in enumerate(texts):
        others = [rouge_1(text, other) for j, other in enumerate(texts) if j != i]
        assert found[i] == pytest.approx(np.mean(others), abs=1e-6)  # single precision


def test_similarity_of_duplicates_and_of_a_text_alone():
    assert similarity([["a", "b"]] * 3).tolist() == [1, 1, 1]
    assert similarity([["a"]]).tolist() == [0]
    assert similarity([["a", "a"], ["a"], []]).tolist() == pytest.approx([1 / 3, 1 / 3, 0])


def test_similarity_compares_samples_of_a_post_wherever_they_stand():
    both = pd.concat([samples("cat", "dog"), samples("cat", "the CAT!", post_id="q")])
    mixed = both.iloc[[3, 0, 2, 1]].reset_index(drop=True)
    found = diagnose(POSTS, mixed).similarity
    assert found.tolist() == pytest.approx([2 / 3, 0, 2 / 3, 0])


def test_every_sample_is_compared_with_its_own_post():
    both = pd.concat([samples("no cat"), samples("no cat", post_id="q")], ignore_index=True)
    assert diagnose(POSTS, both).copied.tolist() == [0.5, 0.5]
    assert diagnose(POSTS, both).common_subsequence.tolist() == [1, 1]


def test_reads_what_was_written_and_columns_of_the_world(tmp_path):
    table = samples("the cat", "a dog")
    path = tmp_path / "diagnostics.parquet"
    write_table(diagnose(POSTS, table).assign(truth=[0.5, -1.0]), path, DIAGNOSTICS)
    found = read_diagnostics(path, layout(table, path))
    assert list(found) == [*DIAGNOSTICS][2:] + ["truth"]
    np.testing.assert_array_equal(found["truth"], [[0.5, -1.0]])
    with pytest.raises(ArtifactError, match="its samples are not those"):
        read_diagnostics(path, layout(samples("a", "b", "c"), path))


@pytest.mark.parametrize(
    ("text", "is_list"),
    [
        ("so:\n- a\n- b", True),
        ("so:\n* a\n  * b", True),
        ("\u2022 a\nand\n\u2022 b", True),
        ("1. a\n2) b", True),
        ("1. a\n\n- b\n", True),
        ("2 eggs\n3 cups", False),
        ("- a", False),
        ("so - a - b", False),
        ("so\nwhat\n- a", False),
        ("", False),
    ],
)
def test_what_is_a_list(text, is_list):
    assert lists(pd.Series([text, "so"])).tolist() == [is_list, 0]


@pytest.mark.parametrize("line_breaks", [True, False])
def test_lists_are_counted_where_there_are_line_breaks(tmp_path, line_breaks):
    posts = tmp_path / "posts.parquet"
    write_table(POSTS.assign(split="best_of_n", reference=""), posts, artifacts.POSTS)
    drawn = samples("- a\n- b", "so").assign(log_prob=0.0)
    write_table(drawn, tmp_path / "samples.parquet", artifacts.SAMPLES)
    settings = {"rater": "none", "line_breaks": line_breaks, "posts": posts}
    output = tmp_path / "diagnostics.parquet"
    write_diagnostics(samples=tmp_path / "samples.parquet", output=output, **settings)
    write_table(drawn.assign(kl=0.0), tmp_path / "aligned.parquet", artifacts.ALIGNED_SAMPLES)
    aligned = {"samples": [tmp_path / "aligned.parquet"], "diagnostics": [tmp_path / "of.parquet"]}
    measure_aligned(gold=False, **settings, **aligned)
    for path in (output, tmp_path / "of.parquet"):
        table = pd.read_parquet(path)
        assert ("lists" in table) == line_breaks
        assert not line_breaks or table.lists.tolist() == [1, 0]


def test_list_items_numerals_and_copied_words():
    texts = ("- 2 cats in 1990\n- the cat's mat", "1. a\n2) b 10", "the the 3rd", "")
    found = diagnose(POSTS, samples(*texts))
    assert found.list_items.tolist() == [2, 2, 0, 0]
    assert found.numerals.tolist() == [2, 3, 1, 0]
    assert found.copied_words.tolist() == [2, 0, 2, 0]
