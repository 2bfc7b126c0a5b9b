"""The generated world: splits without leaks, and a gold rater who reads carefully."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from underspec.artifacts import POSTS, read_table, write_table
from underspec.data import gold_raters
from underspec.data.gold_raters.micro_tldr import (
    EVENT_WEIGHTS,
    PASSIVE_ALONE,
    gold_reward,
    parts,
    read_events,
    utility,
)
from underspec.data.worlds import micro_tldr
from underspec.data.worlds.micro_tldr import (
    FILLERS,
    MEN,
    OBJECTS,
    VERBS,
    WOMEN,
    Event,
    Story,
    World,
    draw_story,
    tell,
    write_post,
    write_reference,
)
from underspec.errors import ArtifactError, ConfigError

OPTIONS = {
    "seed": 0,
    "posts": {"policy": 150, "preferences": 200, "validation": 50, "best_of_n": 40},
    "pretraining_documents": 300,
}

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def posts():
    return World(OPTIONS).posts()


def test_splits_have_their_sizes_and_share_nothing(posts):
    assert posts.split.value_counts().to_dict() == OPTIONS["posts"]
    assert set(posts.split) == {"policy", "preferences", "validation", "best_of_n"}
    assert posts.post_id.is_unique
    assert posts.post.is_unique
    assert (posts.post.str.len() > 0).all()
    assert (posts.reference.str.len() > 0).all()


def test_no_post_stands_in_the_pretraining_text(posts):
    documents = list(World(OPTIONS).pretraining_text())
    assert len(documents) == OPTIONS["pretraining_documents"]
    assert not any("\n" in document for document in documents)
    written = [document.split(" ? ")[0].removesuffix(" ?") for document in documents]
    assert not set(written) & set(posts.post.str.removesuffix(" ?"))
    assert len(set(written)) == len(written)


def test_one_seed_repeats_and_two_differ(posts):
    assert World(OPTIONS).posts().equals(posts)
    other = World({**OPTIONS, "seed": 1})
    assert not set(other.posts().post) & set(posts.post)
    documents = list(World(OPTIONS).pretraining_text())
    assert documents == list(World(OPTIONS).pretraining_text())
    assert documents != list(other.pretraining_text())


def test_gold_survives_parquet(tmp_path, monkeypatch):
    stories = []

    def recorded(rng):
        stories.append(draw_story(rng))
        return stories[-1]

    monkeypatch.setattr(micro_tldr, "draw_story", recorded)
    world = World(OPTIONS)
    written = world.posts()
    assert len(stories) == len(written)  # no post was drawn twice, so that they are aligned
    write_table(written, tmp_path / "posts.parquet", POSTS)
    read = read_table(tmp_path / "posts.parquet", POSTS)
    samples = pd.DataFrame(
        {
            "post_id": np.repeat(read.post_id.to_numpy(), 2),
            "text": np.stack([read.reference, read.reference.iloc[::-1]], axis=1).ravel(),
        }
    )
    expected = [
        utility(story, text)
        for story, text in zip(np.repeat(np.array(stories), 2), samples.text, strict=True)
    ]
    shuffled = read.sample(frac=1, random_state=0)
    np.testing.assert_array_equal(gold_reward(shuffled, samples), expected)
    both = parts(shuffled, samples)
    assert list(both) == ["truth", "form"]
    np.testing.assert_array_equal(both["truth"] + both["form"], expected)
    assert {story.sorry for story in stories} == {None, True, False}
    assert {story.distraction is None for story in stories} == {True, False}
    assert {story.event.owner is None for story in stories} == {True, False}


def test_truth_is_lost_by_another_agent_and_form_is_not(posts):
    post = posts[posts.split == "best_of_n"].iloc[:1]
    agent, verb, owner, thing = post.gold_event.iloc[0].split()
    whose = "my" if owner == "-" else f"my {owner} 's"
    people = MEN if agent in MEN else WOMEN
    other = next(person for person in people if person not in (agent, owner))
    texts = [f"my {person} {verb} {whose} {thing} ." for person in (agent, other)]
    samples = pd.DataFrame({"post_id": post.post_id.iloc[0], "text": texts})
    both = parts(post, samples)
    assert both["truth"][0] > both["truth"][1]
    assert both["form"][0] == both["form"][1]


STORY = Story(
    event=Event("sister", "sold", "uncle", "bike"),
    distraction=Event("boss", "lost", None, "phone"),
    place="park",
    time="yesterday",
    feeling="angry",
    sorry=True,
    plan="forgive",
)
SOLD = "my sister sold my uncle 's bike"
PASSIVE = "my uncle 's bike was sold by my sister"
PLAN = "should i forgive her ?"
FAITHFUL = f"{SOLD} . she said sorry . {PLAN}"
FILLER = FILLERS[1]

WORSE = {
    # of which fact is wrong
    "agent and owner swapped": FAITHFUL.replace(SOLD, "my uncle sold my sister 's bike"),
    "another agent": FAITHFUL.replace("sister", "mother"),
    "another verb": FAITHFUL.replace("sold", "washed"),
    "another owner": FAITHFUL.replace("uncle", "aunt"),
    "the owner left out": FAITHFUL.replace("my uncle 's bike", "my bike"),
    "another object": FAITHFUL.replace("bike", "car"),
    "the distraction instead": FAITHFUL.replace(SOLD, "my boss lost my phone"),
    "the distraction before": f"my boss lost my phone . {FAITHFUL}",
    "the distraction after": f"{FAITHFUL} my boss lost my phone .",
    "an event that never was": f"{FAITHFUL} my niece moved my lamp .",
    "an apology that was one": FAITHFUL.replace("said", "never said"),
    "another plan": FAITHFUL.replace("forgive", "sue"),
    "him for her": FAITHFUL.replace("her ?", "him ?"),
    "he for she": FAITHFUL.replace("she said", "he said"),
    # of how it is written
    "no plan": f"{SOLD} . she said sorry .",
    "no apology beside a plan": f"{SOLD} . {PLAN}",
    "filler first": f"{FILLER} {FAITHFUL}",
    "filler last": f"{FAITHFUL} {FILLER}",
    "passive beside a plan": FAITHFUL.replace(SOLD, PASSIVE),
    "a loop": FAITHFUL.replace(PLAN, f"{PLAN} {PLAN}"),
    "unfinished": FAITHFUL.removesuffix(" ?"),
    "nothing": "",
}


@pytest.mark.parametrize("worse", WORSE.values(), ids=WORSE)
def test_what_is_untrue_or_badly_told_costs(worse):
    assert worse != FAITHFUL
    assert utility(STORY, worse) < utility(STORY, FAITHFUL) - 0.05


@pytest.mark.parametrize(
    "better, worse",
    [
        (f"{SOLD} at the park .", f"{SOLD} at the beach ."),
        (f"i am angry because {SOLD} .", f"i am sad because {SOLD} ."),
        (f"i am angry because {SOLD} .", f"{SOLD} ."),
        (f"{SOLD} at the park .", f"i am angry because {SOLD} at the park ."),
        (f"{SOLD} last week .", f"i am angry because {SOLD} last week ."),
        (f"{SOLD} .", f"{SOLD} . she said sorry ."),
        (f"{PASSIVE} .", f"{SOLD} ."),
        (f"{FAITHFUL} {FILLER}", f"{FILLER} {FAITHFUL}"),
        (f"{SOLD} . {'so ' * 2}.", f"{SOLD} . {'so ' * 20}."),
        (f"{SOLD} .", SOLD),
    ],
)
def test_what_a_part_is_worth_depends_on_the_rest(better, worse):
    assert utility(STORY, better) > utility(STORY, worse) + 0.05


def test_an_apology_nobody_told_of_is_wrong_both_ways():
    silent = replace(STORY, sorry=None)
    never = FAITHFUL.replace("said", "never said")
    for text in (FAITHFUL, never):
        assert utility(silent, text) < max(utility(STORY, FAITHFUL), utility(STORY, never))
    assert utility(replace(STORY, sorry=False), never) == utility(STORY, FAITHFUL)


def test_distance_from_the_truth_counts_role_by_role():
    texts = [
        f"{event} . {PLAN}"
        for event in (
            SOLD,
            "my sister sold my uncle 's car",
            "my sister sold my aunt 's car",
            "my mother sold my aunt 's car",
            "my mother washed my aunt 's car",
        )
    ]
    values = [utility(STORY, text) for text in texts]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)


@given(seeds)
def test_one_wrong_role_is_worse_than_none_in_every_story(seed):
    rng = np.random.default_rng(seed)
    story, other = draw_story(rng), draw_story(rng)

    def truth(event):
        text = tell(rng, event)
        return utility(story, f"{text} .") - PASSIVE_ALONE * (" was " in text)

    for role, weight in EVENT_WEIGHTS.items():
        wrong = replace(story.event, **{role: getattr(other.event, role)})
        if wrong != story.event:
            assert truth(wrong) <= truth(story.event) - 2 * weight + 1e-9


@given(seeds)
def test_what_is_told_can_be_read(seed):
    rng = np.random.default_rng(seed)
    story = draw_story(rng)
    assert read_events(tell(rng, story.event).split()) == [story.event]
    assert read_events(tell(rng, story.event, writer="your").split()) == [story.event]
    events_written = [story.event, *([story.distraction] if story.distraction else [])]
    for text in (write_post(rng, story), write_reference(rng, story)):
        events = read_events(text.split())
        assert story.event in events
        assert all(event in events_written for event in events)
    assert len(read_events(write_post(rng, story).split())) == len(events_written)


@pytest.mark.parametrize(
    "text, events",
    [
        ("my boss lost my phone .", [Event("boss", "lost", None, "phone")]),
        ("my phone was lost by my boss .", [Event("boss", "lost", None, "phone")]),
        (SOLD, [STORY.event]),
        (PASSIVE, [STORY.event]),
        ("", []),
        ("should i forgive her ?", []),
        ("sold", [Event(None, "sold", None, None)]),
        ("sold sold", [Event(None, "sold", None, None)] * 2),
        ("was sold by", [Event(None, "sold", None, None)]),
        ("my bike was sold by", [Event(None, "sold", None, "bike")]),
        ("my sister sold", [Event("sister", "sold", None, None)]),
        ("my sister sold my uncle 's", [Event("sister", "sold", "uncle", None)]),
        ("my sister sold my uncle .", [Event("sister", "sold", None, None)]),
        ("'s bike was sold by my sister", [Event("sister", "sold", None, "bike")]),
    ],
)
def test_reading_events(text, events):
    assert read_events(text.split()) == events


@given(st.lists(st.sampled_from([*FAITHFUL.split(), *PASSIVE.split(), FILLER, "park"])))
def test_every_text_has_a_utility(words):
    assert np.isfinite(utility(STORY, " ".join(words)))


def test_people_things_and_deeds_are_distinguished():
    words = [*MEN, *WOMEN, *OBJECTS, *VERBS]
    assert len(set(words)) == len(words)


def test_posts_of_another_world_have_no_gold():
    posts = pd.DataFrame({"post_id": ["a"], "split": "policy", "post": "x", "reference": "y"})
    samples = pd.DataFrame({"post_id": ["a"], "text": ["x"]})
    for rate in (gold_raters.gold_reward, gold_raters.parts):
        with pytest.raises(ArtifactError, match="posts: column gold_event is missing"):
            rate("micro_tldr", posts, samples)
    with pytest.raises(ConfigError, match="there is no gold rater 'tldr'"):
        gold_raters.gold_reward("tldr", posts, samples)
