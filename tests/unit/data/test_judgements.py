"""Judgements in the generated world, and the gold rater that knows what a post supports."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_micro_tldr import STORY

from judgements import judgements as write_judgements
from underspec.artifacts import JUDGEMENTS, POSTS, read_table, write_table
from underspec.data import gold_raters, judgements
from underspec.data.gold_raters.micro_tldr import read_story
from underspec.data.gold_raters.micro_tldr_pointwise import entails, facts_of_post, parts
from underspec.data.judgements.micro_tldr import WRONG, statements
from underspec.data.worlds import names
from underspec.data.worlds.micro_tldr import FILLERS, World, draw_story
from underspec.errors import ArtifactError, ConfigError

POSTS_OF_SPLITS = {"policy": 20, "preferences": 150, "validation": 50, "best_of_n": 30}
OPTIONS = {"seed": 0, "posts": POSTS_OF_SPLITS, "pretraining_documents": 10}

# The post of test_micro_tldr's story, which says nothing of the place of the distracting event.
POST = (
    "yesterday my sister sold my uncle 's bike at the park . my boss lost my phone too . "
    f"i am so angry . my sister said sorry . {FILLERS[1]} should i forgive my sister ?"
)
ROW = pd.DataFrame(
    {
        "post_id": ["a"],
        "post": POST,
        "gold_event": "sister sold uncle bike",
        "gold_distraction": "boss lost - phone",
        "gold_place": "park",
        "gold_time": "yesterday",
        "gold_feeling": "angry",
        "gold_sorry": "yes",
        "gold_plan": "forgive",
    }
)
FACTS = 13  # four of each event, and five more


@pytest.fixture(scope="module")
def posts():
    return World(OPTIONS).posts()


@pytest.fixture(scope="module")
def judged(posts):
    return judgements.judgements("micro_tldr", posts, 0, 3)


def test_every_post_of_two_splits_has_its_statements_and_half_are_entailed(posts, judged):
    counts = judged.groupby("split").post_id.agg(["count", "nunique"])
    assert counts.to_dict("index") == {
        split: {"count": 3 * POSTS_OF_SPLITS[split], "nunique": POSTS_OF_SPLITS[split]}
        for split in ("preferences", "validation")
    }
    assert judged.label.mean() == 0.5
    judgements.check(judged, "judged", "pointwise")


def test_one_seed_repeats_and_two_differ(posts, judged):
    assert judgements.judgements("micro_tldr", posts, 0, 3).equals(judged)
    assert not judgements.judgements("micro_tldr", posts, 1, 3).statement.equals(judged.statement)


def test_there_are_all_forms_and_each_has_one_label(judged):
    labels = judged.groupby("source").label.unique().map(list).to_dict()
    right = dict.fromkeys(("grammar: one fact", "grammar: two facts"), [1])
    assert labels == right | {f"grammar: {form}": [0] for form in WRONG}


def test_length_does_not_tell_the_label(judged):
    """Half of either are two facts, a sentence each. Within four standard errors."""
    two = judged.statement.str.count(r"[.?]") == 2
    shares = two.groupby(judged.label).mean()
    assert abs(shares[1] - shares[0]) < 4 * (2 * 0.25 / (len(judged) / 2)) ** 0.5


@given(st.integers(0, 2**32 - 1))
def test_all_that_a_story_says_is_entailed_by_its_post(seed):
    rng = np.random.default_rng(seed)
    row = next(World(OPTIONS | {"seed": seed % 10, "posts": FEW}).posts().itertuples())
    for statement in statements(rng, read_story(row)).values():
        assert entails(facts_of_post(row), statement)
    assert entails(facts_of_post(row), row.post)


FEW = dict.fromkeys(POSTS_OF_SPLITS, 2)


@pytest.mark.parametrize("form", WRONG)
def test_wrong_forms_are_mostly_wrong_by_themselves(form):
    """What is drawn at random may be right, such as one in twelve verbs."""
    rng = np.random.default_rng(0)
    facts = facts_of_post(next(ROW.itertuples()))
    texts = [WRONG[form](rng, STORY, draw_story(rng)) for _ in range(200)]
    assert np.mean([entails(facts, text) for text in texts]) < 0.25


SUPPORTED = {
    "my sister sold my uncle 's bike .": 4,
    "my uncle 's bike was sold by my sister .": 4,
    "my uncle 's bike was sold .": 3,
    "my sister sold my uncle 's bike at the park yesterday .": 6,
    "my boss lost my phone .": 4,
    "i am angry .": 1,
    "she said sorry .": 1,
    "my sister said sorry .": 2,
    "should i forgive her ?": 1,
    "should i forgive my sister ?": 2,
    FILLERS[1]: 0,
    POST: FACTS,
}
UNSUPPORTED = [
    "my uncle sold my sister 's bike .",  # roles
    "my sister sold my bike .",  # owner
    "my sister sold my aunt 's bike .",
    "my bike was sold .",
    "my boss lost my uncle 's phone .",
    "my sister lost my phone .",  # the two events mixed
    "my boss sold my uncle 's bike .",
    "my sister never sold my uncle 's bike .",
    "my uncle 's bike was never sold by my sister .",
    "my niece never sold my uncle 's bike .",  # may be so: neutral is not entailed
    "she never said sorry .",
    "he said sorry .",
    "my boss said sorry .",
    "i am sad .",
    "should i sue her ?",
    "should i forgive him ?",
    "should i forgive my boss ?",
    FILLERS[0],
]


def shares(*texts):
    samples = pd.DataFrame({"post_id": "a", "text": texts})
    found = parts(ROW, samples)
    np.testing.assert_array_equal(
        gold_raters.gold_reward("micro_tldr_pointwise", ROW, samples),
        found["supported"] + found["coverage"],
    )
    return list(zip(found["supported"], found["coverage"], strict=True))


@pytest.mark.parametrize(("text", "facts"), SUPPORTED.items())
def test_what_the_post_supports_and_how_much_it_says(text, facts):
    assert shares(text) == [(1.0, pytest.approx(facts / FACTS))]
    assert entails(facts_of_post(next(ROW.itertuples())), text)


@pytest.mark.parametrize("text", UNSUPPORTED)
def test_what_the_post_does_not_support(text):
    assert shares(text) == [(0.0, 0.0)]
    assert not entails(facts_of_post(next(ROW.itertuples())), text)


def test_shorter_is_safer_and_says_less():
    right, wrong = "my sister sold my uncle 's bike .", "should i sue her ?"
    both, alone, vague = shares(f"{right} {wrong}", right, "my uncle 's bike was sold .")
    assert both == (0.5, alone[1]) and alone[0] == vague[0] == 1 and vague[1] < alone[1]
    assert shares("", "so .") == [(0, 0), (0, 0)]
    assert shares(f"{right} {right}") == [alone]  # said twice is not more


@given(st.lists(st.sampled_from([*POST.split(), "never", "was", "by", "him", "sue", "niece"])))
def test_every_text_has_shares(words):
    ((supported, coverage),) = shares(" ".join(words))
    assert 0 <= supported <= 1 and 0 <= coverage <= 1


def test_raters_are_named_after_world_and_kind_of_reward():
    assert gold_raters.rater_of("micro_tldr", "preference") == "micro_tldr"
    for world, reward in judgements.generated().items():
        assert world in names() and reward in judgements.SCHEMAS
        rater = gold_raters.rater_of(world, reward)
        assert gold_raters.exists(rater) == (reward == "pointwise")  # nobody rated samples


def table(**columns):
    rows = {"post_id": ["a", "b"], "split": "preferences", "source": "people", "label": [0, 1]}
    return pd.DataFrame(rows | {"statement": ["x", "y"]} | columns)


def test_blank_statements_are_left_out_and_counted(caplog):
    given = pd.concat([table(), table(statement=["", " \u200b"], split="validation")])
    with caplog.at_level("INFO"):
        kept = judgements.without_blank_statements(given)
    assert kept.statement.tolist() == ["x", "y"]
    reason = "of a statement without a visible character"
    assert kept.attrs["dropped"] == {"validation": {reason: 2}}
    assert "validation: 2 judgements left out" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"label": [0, 0.5]}, "column label does not hold whole numbers"),
        ({"label": [True, False]}, "column label is bool, not whole numbers"),
        ({"label": ["0", "1"]}, "column label is .*string, not whole numbers"),
        ({"label": [0, None]}, "column label has 1 missing"),
        ({"statement": ["x", None]}, "column statement has 1 missing"),
    ],
)
def test_a_table_of_another_kind_is_refused(tmp_path, wrong, said):
    path = tmp_path / "judgements.parquet"
    table(**wrong).to_parquet(path)
    with pytest.raises(ArtifactError, match=rf"judgements\.parquet: {said}"):
        read_table(path, JUDGEMENTS)


def test_worlds_that_have_judgements():
    assert judgements.kinds() == {
        "micro_tldr": "pointwise",
        "valence": "rating",
        "xsum": "pointwise",
    }


def test_a_world_without_judgements_is_refused(posts):
    with pytest.raises(ConfigError, match="^world: no judgements are made for 'debian', only"):
        judgements.judgements("debian", posts, 0, 2)


def test_the_stage_writes_what_can_be_read(posts, tmp_path):
    write_table(posts, tmp_path / "posts.parquet", POSTS)
    output = tmp_path / "judgements.parquet"
    files = {"posts": tmp_path / "posts.parquet", "output": output}
    write_judgements(world="micro_tldr", options=OPTIONS, seed=0, per_post=1, **files)
    read = read_table(output, JUDGEMENTS)
    assert len(read) == POSTS_OF_SPLITS["preferences"] + POSTS_OF_SPLITS["validation"]
    assert read.attrs["dropped"] == {}
