"""News with summaries, and judgements of other texts: what becomes what, and what is left out."""

import pyarrow.parquet as pq
import pytest
from published import article, judgement, local, write_articles, write_judgements, write_parquet

from underspec.artifacts import JUDGEMENTS, POSTS, read_table, write_table
from underspec.data.judgements import check
from underspec.data.worlds.xsum import World
from underspec.errors import ArtifactError, ConfigError, UserError

TRAIN = [judgement(f"train {i // 3}", i % 3) for i in range(18)]
DEV = [judgement(f"dev {i // 3}", i % 3) for i in range(9)]
ARTICLES = [article(f"policy {i}") for i in range(4)]


def world(folder, train=TRAIN, dev=DEV, articles=ARTICLES, **changes):
    write_articles(folder / "xsum", articles, [article(f"test {i}") for i in range(3)])
    write_judgements(folder / "anli", train, dev)
    sources = {"posts": local(folder / "xsum"), "judgements": local(folder / "anli")}
    (folder / "raw").mkdir(exist_ok=True)
    World.fetch(folder / "raw", **sources)
    return World({"seed": 0, "best_of_n": None, **sources, **changes}, folder / "raw")


def test_articles_are_for_the_policy_and_premises_for_reward_models(tmp_path):
    chosen = world(tmp_path)
    posts = chosen.posts()
    counts = {"validation": 3, "preferences": 6, "best_of_n": 3, "policy": 4}
    assert posts.split.value_counts().to_dict() == counts
    by_id = posts.set_index("post_id")
    assert by_id.post["policy 0"] == "My brother sold my bike policy 0."
    assert by_id.reference["policy 0"] == "my bike policy 0"
    assert (by_id.reference == "").equals(by_id.index.to_series().str.startswith("anli-"))
    assert not posts.post.str.contains("unread").any()
    write_table(posts, tmp_path / "posts.parquet", POSTS)
    read_table(tmp_path / "posts.parquet", POSTS)


def test_entailment_is_against_the_other_two(tmp_path):
    chosen = world(tmp_path)
    judged = chosen.judgements()
    check(judged, tmp_path, "pointwise")
    write_table(judged, tmp_path / "judgements.parquet", JUDGEMENTS)
    label = judged.statement.str[-1].astype(int)
    assert (judged.label == 1).equals(label == 0)
    assert judged.split.value_counts().to_dict() == {"preferences": 18, "validation": 9}
    assert judged.source.value_counts().to_dict() == {f"ANLI round {i}": 9 for i in (1, 2, 3)}
    posts = chosen.posts().set_index("post_id").loc[judged.post_id]
    assert list(posts.split) == list(judged.split)
    expected = [f"my bike {post[len('My brother sold my bike ') : -1]}" for post in posts.post]
    assert [statement[:-2] for statement in judged.statement] == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"label": None}, "with none of the three labels"),
        ({"label": -1}, "with none of the three labels"),
        ({"label": 3}, "with none of the three labels"),
        ({"premise": " \n"}, "with an empty premise or statement"),
        ({"premise": None}, "with an empty premise or statement"),
        ({"hypothesis": "\u200b"}, "with an empty premise or statement"),
        ({"hypothesis": None}, "with an empty premise or statement"),
        ({"reason": None}, None),
        ({"reason": "because my bike"}, None),
        ({"uid": None}, None),
    ],
)
def test_which_judgements_are_left_out(tmp_path, changes, reason):
    row = judgement("new", 0) | changes
    judged = world(tmp_path, [*TRAIN, row]).judgements()
    assert len(judged) == 27 + (reason is None)
    dropped = judged.attrs["dropped"]
    assert dropped["ANLI train_r1"] == ({reason: 1} if reason else {})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"document": ""}, "without id or text"),
        ({"document": None}, "without id or text"),
        ({"document": "\n\u200b\n"}, "without id or text"),
        ({"id": None}, "without id or text"),
        ({"summary": " "}, "with an empty summary"),
        ({"summary": None}, "with an empty summary"),
    ],
)
def test_which_articles_are_left_out(tmp_path, caplog, changes, reason):
    with caplog.at_level("INFO", logger="underspec"):
        posts = world(tmp_path, articles=[*ARTICLES, article("bad") | changes]).posts()
    assert (posts.split == "policy").sum() == 4
    assert posts.attrs["dropped"]["XSum policy"] == {reason: 1}
    assert f"XSum policy: 4 rows kept, 1 dropped (1 {reason})" in caplog.text


def test_a_premise_of_validation_is_nowhere_else(tmp_path):
    again = judgement("dev 0", 0)
    chosen = world(
        tmp_path, [*TRAIN, again], articles=[*ARTICLES, article("x", document=again["premise"])]
    )
    posts, judged = chosen.posts(), chosen.judgements()
    premise = posts[posts.post == "My brother sold my bike dev 0."]
    assert premise.split.tolist() == ["validation"]
    assert set(judged.split[judged.post_id == premise.post_id.iloc[0]]) == {"validation"}
    assert judged.attrs["dropped"]["preferences"] == {"of a premise that validation has": 1}


def test_how_many_posts_are_ranked(tmp_path):
    assert (world(tmp_path, best_of_n=2).posts().split == "best_of_n").sum() == 2
    with pytest.raises(ConfigError, match=r"worlds\.xsum\.best_of_n: 4 .* only 3"):
        world(tmp_path, best_of_n=4).posts()


@pytest.mark.parametrize("column", ["premise", "hypothesis", "label"])
def test_a_missing_column_is_named(tmp_path, column):
    chosen = world(tmp_path)
    path = tmp_path / "anli/plain_text/dev_r2-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(ArtifactError, match=rf"dev_r2-.*: column {column} is missing"):
        chosen.judgements()


def test_labels_in_words_are_refused(tmp_path):
    chosen = world(tmp_path)
    path = tmp_path / "anli/plain_text/dev_r1-00000-of-00001.parquet"
    table = pq.read_table(path)
    words = [{**row, "label": "entailment"} for row in table.to_pylist()]
    schema = table.schema.set(3, table.schema.field(0).with_name("label"))
    write_parquet(path, words, schema)
    with pytest.raises(ArtifactError, match=r"dev_r1-.*: column label is string, not numbers"):
        chosen.posts()


def test_all_rounds_are_needed(tmp_path):
    chosen = world(tmp_path)
    (tmp_path / "anli/plain_text/train_r3-00000-of-00001.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"train_r3-\*\.parquet: no such file"):
        chosen.posts()
    with pytest.raises(UserError, match=r"no file plain_text/train_r3-\*\.parquet there"):
        world_of = {"posts": local(tmp_path / "xsum"), "judgements": local(tmp_path / "anli")}
        World.fetch(tmp_path / "raw", **world_of)
