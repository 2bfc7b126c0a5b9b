"""The paper's world: what becomes a post, what becomes a comparison, and what is left out."""

import re

import pytest
from published import POST, comparison, post, write_parquet
from published_tldr import (
    append,
    comparisons,
    ids,
    train_file,
    world,
    write_published,
)

from underspec.artifacts import POSTS, PREFERENCES, read_table, write_table
from underspec.data.texts import flow
from underspec.errors import ArtifactError, ConfigError
from underspec.report.data_card import left_out


@pytest.fixture
def published(tmp_path):
    return write_published(tmp_path)


def test_posts_and_their_splits(published, tmp_path):
    posts = world(published).posts()
    assert ids(posts, "policy") == ["t3_policy0", "t3_policy1", "t3_policy2"]
    assert ids(posts, "preferences") == ["t3_pref0", "t3_pref1"]
    assert ids(posts, "validation") == ["t3_unheard", "t3_val0"]
    assert ids(posts, "best_of_n") == [f"t3_test{i}" for i in range(4)]
    reference = posts.set_index("post_id").reference
    assert reference["t3_val0"] == "its own words"
    assert reference["t3_unheard"] == ""
    assert reference["t3_pref0"] == post("pref0")["summary"]
    write_table(posts, tmp_path / "posts.parquet", POSTS)
    assert len(read_table(tmp_path / "posts.parquet", POSTS)) == 11


@pytest.mark.parametrize("subreddit", ["advice", "r/advice"])
def test_a_post_is_written_as_in_the_field(published, subreddit):
    append(train_file(published), post("new", subreddit=subreddit))
    posts = world(published).posts().set_index("post_id").post
    assert posts["t3_new"] == (
        "SUBREDDIT: r/advice TITLE: My bike new POST: My brother sold my bike new."
    )
    assert posts["t3_pref0"].startswith("SUBREDDIT: r/advice TITLE: My bike pref0 POST: My")


def test_the_choice_says_which_summary_is_chosen(published, tmp_path):
    preferences = world(published).preferences()
    rows = preferences[preferences.post_id == "t3_pref0"]
    first, second = "sold my bike pref0 0", "sold my bike pref0 1"
    assert rows[["chosen", "rejected"]].values.tolist() == [[first, second], [second, first]]
    assert preferences.split.value_counts().to_dict() == {"preferences": 3, "validation": 2}
    assert set(preferences.source) == {"people"}
    write_table(preferences, tmp_path / "preferences.parquet", PREFERENCES)


def with_summaries(*texts):
    return comparison("bad", summaries=[{"text": text} for text in texts])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (comparison("bad", 2), "with a choice that is neither 0 nor 1"),
        (comparison("bad", None), "with a choice that is neither 0 nor 1"),
        (comparison("bad", -1), "with a choice that is neither 0 nor 1"),
        (with_summaries(" one"), "not of two summaries"),
        (with_summaries(" one", " two", " three"), "not of two summaries"),
        (comparison("bad", summaries=None), "not of two summaries"),
        (with_summaries(" one", "  "), "with an empty summary"),
        (with_summaries(" one", None), "with an empty summary"),
        (with_summaries(" one", "\u200b \ufeff"), "with an empty summary"),
        (with_summaries("\x00", " one"), "with an empty summary"),
        (with_summaries(" one", "one "), "of equal summaries"),
        (with_summaries("one", "o\u200bne"), "of equal summaries"),
        (comparison("bad", info={**comparison("bad")["info"], "post": None}), "without id or post"),
        (comparison("bad", info={**comparison("bad")["info"], "id": None}), "without id or post"),
        (comparison("bad", info=None), "without id or post"),
        (comparison("bad", batch="batch0_cnndm"), r"of news \(CNN/DM\)"),
        (comparison("bad", batch="cnndm0"), r"of news \(CNN/DM\)"),
        (comparison("bad", batch="cnndm2"), r"of news \(CNN/DM\)"),
    ],
)
def test_a_bad_comparison_is_left_out_and_counted(published, caplog, row, reason):
    before = world(published)
    expected = before.posts(), before.preferences()
    append(published / "comparisons/comparisons/validation/0000.parquet", row, row)
    with caplog.at_level("INFO", logger="underspec"):
        after = world(published)
        assert after.posts().equals(expected[0])
        assert after.preferences().equals(expected[1])
    dropped = after.preferences().attrs["dropped"]
    assert dropped == {"preferences": {}, "validation": {reason.replace("\\", ""): 2}}
    assert re.search(rf"comparisons validation: 2 rows kept, 2 dropped \(2 {reason}", caplog.text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"summary": "  "}, "with an empty summary"),
        ({"summary": None}, "with an empty summary"),
        ({"summary": "\u200b"}, "with an empty summary"),
        ({"post": "\u200b \x00"}, "without id or post"),
        ({"post": None}, "without id or post"),
        ({"post": " \n"}, "without id or post"),
        ({"id": None}, "without id or post"),
    ],
)
def test_a_bad_post_is_left_out_and_counted(published, caplog, change, reason):
    append(train_file(published), post("bad", **change))
    with caplog.at_level("INFO", logger="underspec"):
        posts = world(published).posts()
    assert len(posts) == 11
    assert not posts.post_id.str.contains("bad").any()
    assert f"TL;DR train: 5 rows kept, 1 dropped (1 {reason})" in caplog.text


def test_what_is_missing_in_a_title_is_no_fault(published):
    append(train_file(published), post("new", title=None))
    assert (
        " TITLE:  POST: My brother" in world(published).posts().set_index("post_id").post["t3_new"]
    )


def test_splits_are_disjoint_and_validation_keeps_what_it_has(published, caplog):
    comparisons = published / "comparisons/comparisons"
    append(comparisons / "train/0000.parquet", comparison("val0"), comparison("test1"))
    append(train_file(published), post("test0"), post("policy0"))
    with caplog.at_level("INFO", logger="underspec"):
        posts = world(published).posts()
    assert posts.post_id.is_unique
    assert ids(posts, "validation") == ["t3_unheard", "t3_val0"]
    assert ids(posts, "preferences") == ["t3_pref0", "t3_pref1", "t3_test1"]
    assert ids(posts, "best_of_n") == ["t3_test0", "t3_test2", "t3_test3"]
    assert ids(posts, "policy") == ["t3_policy0", "t3_policy1", "t3_policy2"]
    for line in (
        "preferences: 3 posts; left out 1",
        "best_of_n: 3 posts; left out 1",
        "policy: 3 posts; left out 4",
    ):
        assert line in caplog.text
    preferences = world(published).preferences()
    splits = dict(zip(posts.post_id, posts.split, strict=True))
    assert (preferences.split == preferences.post_id.map(splits)).all()
    assert len(preferences) == 3 + 1 + 2


def test_a_post_that_was_written_twice_is_in_one_split(published):
    append(train_file(published), {**post("test2"), "id": "t3_repost"})
    posts = world(published).posts()
    assert posts.post.is_unique
    assert "t3_repost" not in set(posts.post_id)


def test_the_first_posts_of_best_of_n_do_not_depend_on_how_many_are_asked(published):
    chosen = [set(ids(world(published, best_of_n=n).posts(), "best_of_n")) for n in (2, 3, 4)]
    assert [len(posts) for posts in chosen] == [2, 3, 4]
    assert all(fewer < more for fewer, more in zip(chosen, chosen[1:], strict=False))
    draws = {
        tuple(ids(world(published, best_of_n=2, seed=s).posts(), "best_of_n")) for s in range(9)
    }
    assert len(draws) > 1
    assert len(world(published, best_of_n=2).posts()) == 9  # other splits are left alone


def test_more_best_of_n_posts_than_there_are(published):
    with pytest.raises(ConfigError, match=r"worlds\.tldr\.best_of_n: 5 .* only 4; lower it"):
        world(published, best_of_n=5).posts()


def test_a_split_without_posts(published):
    write_parquet(train_file(published), [post("pref0")], POST)
    with pytest.raises(ArtifactError, match="no usable post for the split policy; see the log"):
        world(published).posts()


def test_flow():
    assert flow(" a\n\tb  c ") == "a b c"
    assert flow(None) == ""


def test_ids_are_known_without_the_spaces_around_them(published):
    append(train_file(published), post("new", id=" t3_new "), post("blank", id="  "))
    posts = world(published).posts()
    assert "t3_new" in set(posts.post_id)
    assert posts.attrs["dropped"]["TL;DR train"] == {"without id or post": 1}


def test_posts_that_are_left_out_are_counted_for_the_data_card(published, tmp_path):
    append(train_file(published), post("bad", summary=" "), post("policy0"))
    posts = world(published).posts()
    dropped = posts.attrs["dropped"]
    assert dropped["TL;DR train"] == {"with an empty summary": 1}
    assert dropped["policy"] == {"that an earlier split has, or that come twice": 3}
    write_table(posts, tmp_path / "posts.parquet", POSTS)
    read = read_table(tmp_path / "posts.parquet", POSTS)
    assert {"split": "TL;DR train", "reason": "with an empty summary", "count": 1} in left_out(read)


def test_a_comparison_about_another_text_or_another_split_s_post_is_left_out(published, caplog):
    info = comparison("pref0")["info"] | {"post": "an edited post"}
    append(comparisons(published), comparison("pref0", info=info), comparison("val0"))
    with caplog.at_level("INFO", logger="underspec"):
        preferences = world(published).preferences()
    assert (preferences.split == "preferences").sum() == 3
    assert preferences.attrs["dropped"]["preferences"] == {
        "of a post that an earlier split has": 1,
        "of a post whose text differs from the one kept under its id": 1,
    }
    assert "comparisons preferences: 1 more dropped, of a post whose text differs" in caplog.text
