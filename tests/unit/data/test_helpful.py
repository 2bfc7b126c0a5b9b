"""Dialogues with an assistant: what becomes a post or a comparison, and what is left out."""

import gzip
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from published import LISTED, dialogue, local, replies, write_dialogues

from underspec.artifacts import POSTS, PREFERENCES, read_table, write_table
from underspec.data.worlds.helpful import HALVES, World, reason_to_drop, turns
from underspec.errors import ArtifactError, ConfigError, UserError

TRAIN = [replies(f"train {i}") for i in range(20)]
TEST = [replies(f"test {i}") for i in range(12)]


def world(folder, train=TRAIN, test=TEST, **changes):
    write_dialogues(folder / "source", train, test)
    raw = folder / "raw"
    raw.mkdir(exist_ok=True)
    World.fetch(raw, local(folder / "source"))
    options = {"seed": 0, "source": local(folder / "source"), "max_words": 100, "best_of_n": None}
    return World(options | changes, raw)


def openings(posts):
    return posts.groupby("split").post.unique().map(set)


def test_both_parts_are_halved(tmp_path):
    chosen = world(tmp_path)
    posts, compared = chosen.posts(), chosen.preferences()
    counts = {"validation": 6, "best_of_n": 6, "preferences": 10, "policy": 10}
    assert posts.split.value_counts().to_dict() == counts
    assert posts.post_id.is_unique
    assert posts.post.str.contains("test").equals(posts.split.isin(HALVES["test"]))
    assert set(compared.post_id) == set(
        posts.post_id[posts.split.isin(["validation", "preferences"])]
    )
    assert set(compared.source) == {"people"}
    write_table(posts, tmp_path / "posts.parquet", POSTS)
    write_table(compared, tmp_path / "preferences.parquet", PREFERENCES)
    assert read_table(tmp_path / "posts.parquet", POSTS).post.equals(posts.post)


def test_texts_keep_their_lines(tmp_path):
    before = ("  my bike\n\n\n\n* one\r\n* two  ", "a\u2028b", "so?")
    rows = [replies("x", *before, chosen="• a \n\t• b", rejected=LISTED), *TEST]
    posts = world(tmp_path, test=rows).posts().set_index("reference")
    assert posts.post["• a\n• b"] == (
        "Human: my bike\n\n* one\n* two\n\nAssistant: a\nb\n\nHuman: so?"
    )


def test_dialogues_with_one_opening_are_in_one_split(tmp_path):
    """Also where one goes on longer, and the test part has what both have."""
    longer = [replies("", f"my bike {i}", "what?", "so") for i in range(20)]
    shorter = [replies("", f"my  bike {i}\n", chosen=f"so {i}") for i in range(20)]
    again = [replies("", f"my bike {i}", "what now?", "so") for i in range(0, 20, 5)]
    chosen = world(tmp_path, [*longer, *shorter, *TRAIN], [*again, *TEST])
    posts = chosen.posts()
    opening = posts.post.str.extract(r"^Human: (.*)")[0]
    assert posts.groupby(opening).split.nunique().max() == 1
    assert posts.split[opening == "my bike 5"].isin(HALVES["test"]).all()
    reason = "of a dialogue that the test part has"
    assert posts.attrs["dropped"]["train part"] == {reason: 8}
    assert chosen.preferences().attrs["dropped"]["train part"] == {reason: 8}


def test_a_dialogue_with_several_comparisons_is_one_post(tmp_path):
    three = [replies("x", chosen=f"sold {i}") for i in range(3)]
    for seed in range(9):  # in either half
        chosen = world(tmp_path, [*TRAIN, *three], seed=seed)
        posts = chosen.posts()
        row = posts[posts.post.str.startswith("Human: my bike x")]
        (split,) = row.split
        assert row.reference.tolist() == ["sold 0"]
        compared = chosen.preferences()
        found = compared.chosen[compared.post_id.isin(row.post_id)].tolist()
        assert found == ([f"sold {i}" for i in range(3)] if split == "preferences" else [])


TWICE = "\n\nHuman: so\n\nHuman: my bike\n\nAssistant:"  # an odd number of turns


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (dialogue("so", "a"), dialogue("so", "b"), None),
        (dialogue("so", "a\nb"), dialogue("so", "a b"), None),  # a line break is a difference
        (f"{TWICE} a", f"{TWICE} b", None),
        (dialogue("so", "a"), dialogue("so"), "that end before a reply"),
        (dialogue("so", "a", "b"), dialogue("so", "a", "c"), "that end before a reply"),
        (dialogue("so"), dialogue("so"), "that end before a reply"),
        (dialogue("so", "a", "b", ""), dialogue("so", "a", "b", "c"), "with an empty turn"),
        (dialogue("so", "a"), dialogue("so", " \u200b"), "with an empty turn"),
        (dialogue("", "a"), dialogue("", "b"), "with an empty turn"),
        (dialogue("so", "", "b", "c"), dialogue("so", "", "b", "d"), "with an empty turn"),
        (dialogue("so", "a  b"), dialogue("so", "a b "), "of equal replies"),
        (dialogue("so", "a\n\n\nb"), dialogue("so", "a \n\nb\n"), "of equal replies"),
        (dialogue("so", "a\u200b"), dialogue("so", "a"), "of equal replies"),
        (
            dialogue("so", "x", "b", "a"),
            dialogue("so", "y", "b", "c"),
            "of dialogues that differ .*",
        ),
        (dialogue("so", "a"), dialogue("so", "a", "b", "c"), "of dialogues that differ .*"),
        ("", "", "that do not begin with a person's turn"),
        (None, None, "that do not begin with a person's turn"),
        ("so" + dialogue("so", "a"), dialogue("so", "b"), "that do not begin .*"),
        ("\n\nAssistant: a", "\n\nAssistant: b", "that do not begin .*"),
        (dialogue("so " * 9, "a"), dialogue("so " * 9, "b"), "of more than 9 words .*"),
    ],
)
def test_which_comparisons_are_left_out(chosen, rejected, reason):
    found = reason_to_drop(turns(chosen), turns(rejected), 9)
    assert found == reason or (reason and re.fullmatch(reason, found))


def test_what_is_left_out_is_counted(tmp_path, caplog):
    bad = [replies("x", chosen="a", rejected=" a"), {"chosen": None, "rejected": None}]
    bad += [{"chosen": dialogue("so"), "rejected": dialogue("so")}] * 2
    with caplog.at_level("INFO", logger="underspec"):
        chosen = world(tmp_path, [*TRAIN, *bad])
        posts = chosen.posts()
    assert posts.post.tolist() == world(tmp_path).posts().post.tolist()
    expected = {"of equal replies": 1, "that end before a reply": 2}
    expected["that do not begin with a person's turn"] = 1
    assert posts.attrs["dropped"] == {"train part": expected, "test part": {}}
    assert "dialogues, train part: 20 rows kept, 4 dropped" in caplog.text


def test_another_seed_halves_otherwise(tmp_path):
    halves = [openings(world(tmp_path, seed=seed).posts()) for seed in (0, 0, 1)]
    assert halves[0].equals(halves[1]) and not halves[0].equals(halves[2])


def test_fewer_posts_of_best_of_n_are_the_first_of_more(tmp_path):
    found = [openings(world(tmp_path, best_of_n=n).posts())["best_of_n"] for n in (2, 4, None)]
    assert [len(posts) for posts in found] == [2, 4, 6]
    assert found[0] < found[1] < found[2]
    with pytest.raises(ConfigError, match=r"worlds\.helpful\.best_of_n: 7 .* only 6"):
        world(tmp_path, best_of_n=7).posts()


def test_a_half_without_posts_is_refused(tmp_path):
    with pytest.raises(
        ArtifactError, match="world helpful: no usable post for the split validation"
    ):
        world(tmp_path, test=TEST[:1]).posts()


def damaged(rows):
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (damaged([*TRAIN])[:-30], "not a whole compressed JSON file"),
        (b"not gzip", "not a whole compressed JSON file"),
        (gzip.compress(b""), "not a whole compressed JSON file"),
        (gzip.compress(b'{"chosen": "a", "rej'), "not a whole compressed JSON file"),
        (damaged([{"chosen": "a"}]), "column rejected is missing"),
        (damaged([{"chosen": "a", "rejected": 5}]), "column rejected is int64, not text"),
        (damaged([{"chosen": ["a"], "rejected": "b"}]), "column chosen is list.*, not text"),
    ],
    ids=["cut", "another kind", "empty", "cut in a row", "no column", "a number", "a list"],
)
def test_a_damaged_file_is_named(tmp_path, content, said):
    chosen = world(tmp_path)
    (tmp_path / "source/helpful-base/train.jsonl.gz").write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"train\.jsonl\.gz: {said}"):
        chosen.posts()


def test_a_folder_without_the_files(tmp_path):
    chosen = world(tmp_path)
    (tmp_path / "source/helpful-base/test.jsonl.gz").unlink()
    with pytest.raises(ArtifactError, match=r"test\.jsonl\.gz: no such file"):
        chosen.posts()
    with pytest.raises(UserError, match=r"no file helpful-base/test\.jsonl\.gz there"):
        World.fetch(tmp_path / "raw", local(tmp_path / "source"))


@given(st.lists(st.text(), min_size=1))
def test_turns_are_found_whatever_they_say(texts):
    """But for texts that contain a turn of their own, as the format cannot tell."""
    texts = [text.replace(":", "") for text in texts]
    found = turns(dialogue(*texts))
    assert [who for who, _ in found] == [("Human", "Assistant")[i % 2] for i in range(len(texts))]
    assert [text.split() for _, text in found] == [text.split() for text in texts]
