"""Judgements in the generated world: statements about a post that its grammar makes.

They are true, or wrong in one of several ways; what the post does not tell counts as not entailed.
No policy wrote them, and they are shorter than summaries: as with a reward model that learned from
an NLI data set, what it learns from is not what it judges. Half of the statements are entailed, and
half state two facts, whichever they are. Ours.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from underspec.data.gold_raters.micro_tldr import read_story
from underspec.data.gold_raters.micro_tldr_pointwise import Fact, entails, facts_of_post
from underspec.data.judgements import SPLITS
from underspec.data.worlds.micro_tldr import FILLERS, MEN, Story, draw_story, tell

REWARD = "pointwise"


def judgements(posts: pd.DataFrame, seed: int, per_post: int) -> pd.DataFrame:
    """`per_post` statements about each post; of all, half are entailed."""
    rng = np.random.default_rng(seed)
    judged = posts[posts.split.isin(SPLITS)]
    labels = iter(rng.permutation(np.arange(per_post * len(judged)) % 2))
    rows = []
    for post in judged.itertuples():
        story, facts = read_story(post), facts_of_post(post)
        for label in itertools.islice(labels, per_post):
            source, statement = _draw(rng, story, facts, bool(label))
            rows.append((post.post_id, post.split, statement, label, f"grammar: {source}"))
    return pd.DataFrame(rows, columns=["post_id", "split", "statement", "label", "source"])


def _draw(rng: np.random.Generator, story: Story, facts: set[Fact], label: bool) -> tuple[str, str]:
    """The form and the text of a statement, drawn again until the label is true of it: what is
    changed at random may be right all the same."""
    two = rng.random() < 0.5
    right = "two facts" if two else "one fact"
    form = right if label else str(rng.choice(list(WRONG)))
    while True:
        stated = list(rng.permutation(list(statements(rng, story).values()))[: 1 + two])
        if not label:
            stated[rng.integers(len(stated))] = WRONG[form](rng, story, draw_story(rng))
        text = " ".join(stated)
        if entails(facts, text) == label:
            return form, text


def statements(rng: np.random.Generator, story: Story) -> dict[str, str]:
    """What can be stated of a story, by what it is about."""
    event, agent = story.event, story.event.agent
    he, him = ("he", "him") if agent in MEN else ("she", "her")
    thing = f"my {event.owner} 's {event.object}" if event.owner else f"my {event.object}"
    found = {
        "event": f"{tell(rng, event)} .",
        "thing": f"{thing} was {event.verb} .",
        "place": f"{tell(rng, event)} at the {story.place} .",
        "time": f"{tell(rng, event)} {story.time} .",
        "feeling": f"i am {story.feeling} .",
        "plan": f"should i {story.plan} {_either(rng, him, f'my {agent}')} ?",
    }
    if story.distraction:
        found["distraction"] = f"{tell(rng, story.distraction)} ."
    if story.sorry is not None:
        said = "said" if story.sorry else "never said"
        found["apology"] = f"{_either(rng, he, f'my {agent}')} {said} sorry ."
    return found


def _wrong_role(rng: np.random.Generator, story: Story, other: Story) -> str:
    """Agent and owner change places; without an owner, someone else did it."""
    event = story.event
    agent, owner = (event.owner, event.agent) if event.owner else (other.event.agent, None)
    return f"{tell(rng, replace(event, agent=agent, owner=owner))} ."


def _wrong_owner(rng: np.random.Generator, story: Story, other: Story) -> str:
    owner = _either(rng, None, other.event.agent) if story.event.owner else other.event.agent
    return f"{tell(rng, replace(story.event, owner=owner))} ."


def _distracting_event(rng: np.random.Generator, story: Story, other: Story) -> str:
    """The agent of one event with what the other one was about."""
    who, what = rng.permutation(np.array([story.event, story.distraction or other.event]))
    return f"{tell(rng, replace(what, agent=who.agent))} ."


def _fact_not_in_post(rng: np.random.Generator, story: Story, other: Story) -> str:
    """An apology, an event or a remark that may well be, and of which the post says nothing."""
    apology = statements(rng, replace(story, sorry=bool(rng.integers(2))))["apology"]
    possible = [f"{tell(rng, other.event)} .", _either(rng, *FILLERS)]
    return _either(rng, *possible, *[apology] * (story.sorry is None))


def _negated(rng: np.random.Generator, story: Story, other: Story) -> str:
    """What was is denied, or what is said of the apology is turned round."""
    verb = story.event.verb
    denied = f"{tell(rng, story.event)} .".replace(f" {verb} ", f" never {verb} ")
    if story.sorry is None:
        return denied
    turned = statements(rng, replace(story, sorry=not story.sorry))
    return _either(rng, denied, turned["apology"])


WRONG: dict[str, Callable[[np.random.Generator, Story, Story], str]] = {
    "wrong role": _wrong_role,
    "wrong owner": _wrong_owner,
    "distracting event": _distracting_event,
    "fact not in the post": _fact_not_in_post,
    "negated": _negated,
}


def _either(rng: np.random.Generator, *options):
    return options[rng.integers(len(options))]
