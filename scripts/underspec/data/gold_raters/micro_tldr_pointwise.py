"""The gold rater of pointwise rewards in the generated world: what of a summary the post supports,
and how much of the post the summary states.

A text makes claims: an event, where and when it was, a feeling, an apology, a plan, or one of the
sentences that state nothing of the story. A claim is a set of facts, and supported if the post
tells all of them, of one and the same event. The utility is the share of supported claims plus the
share of the post's facts that supported claims state: fewer and vaguer claims are safer, and lose
as much of the second term. Ours.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from underspec.data.gold_raters import micro_tldr
from underspec.data.gold_raters.micro_tldr import read_events, read_story
from underspec.data.worlds.micro_tldr import (
    FEELINGS,
    FILLERS,
    MEN,
    PEOPLE,
    PLACES,
    PLANS,
    TIMES,
    VERBS,
    Event,
)

COLUMNS = micro_tldr.COLUMNS
EVENTS = ("event", "distraction")
BESIDE_STORY = ("gender", "filler")  # facts that a post tells and no summary has to state

Fact = tuple  # its kind, then its values
Claim = list[set[Fact]]  # its readings: as the one event or the other


def gold_reward(posts: pd.DataFrame, samples: pd.DataFrame) -> np.ndarray:
    """The gold utility of each sample, by the posts and the stories in their columns gold_*."""
    return sum(parts(posts, samples).values())


def parts(posts: pd.DataFrame, samples: pd.DataFrame) -> dict[str, np.ndarray]:
    """The two terms of the utility, shares both: of a summary's claims, those that the post
    supports (0 if it makes none); of the post's facts, those that supported claims state.
    """
    facts = {row.post_id: facts_of_post(row) for row in posts.itertuples()}
    shares = [
        _shares(facts[post_id], text)
        for post_id, text in zip(samples.post_id, samples.text, strict=True)
    ]
    supported, coverage = np.reshape(shares, (-1, 2)).T
    return {"supported": supported, "coverage": coverage}


def facts_of_post(row) -> set[Fact]:
    """What a post tells; row: of the table of posts."""
    story = read_story(row)
    facts = {("place", story.place), ("time", story.time), ("feeling", story.feeling)}
    facts |= {("plan", story.plan), ("gender", story.event.agent in MEN)}
    facts |= _of_event("event", story.event)
    if story.distraction:
        facts |= _of_event("distraction", story.distraction)
    if story.sorry is not None:
        facts.add(("sorry", story.sorry))
    return facts | {("filler", sentence) for sentence in FILLERS if sentence in row.post}


def entails(facts: set[Fact], text: str) -> bool:
    """Whether the post that tells these facts supports all that the text claims, and it claims
    something.
    """
    claims = list(_claims(text))
    return bool(claims) and all(_supported(facts, claim) for claim in claims)


def _shares(facts: set[Fact], text: str) -> tuple[float, float]:
    claims = list(_claims(text))
    supported = [claim for claim in claims if _supported(facts, claim)]
    stated = {
        fact for claim in supported for reading in claim if reading <= facts for fact in reading
    }
    of_story = {fact for fact in facts if fact[0] not in BESIDE_STORY}
    return len(supported) / max(len(claims), 1), len(stated & of_story) / len(of_story)


def _supported(facts: set[Fact], claim: Claim) -> bool:
    return any(reading <= facts for reading in claim)


def _claims(text: str) -> Iterator[Claim]:
    words = text.split()
    for event, denied in _events(words):
        yield [_of_event(name, event) | ({("never",)} if denied else set()) for name in EVENTS]
    yield from ([{("time", time)}] for time in TIMES if time in text)
    yield from ([{("filler", sentence)}] for sentence in FILLERS if sentence in text)
    for i, word in enumerate(words):
        before, after = [*["", "", ""], *words[:i]][-3:], [*words[i + 1 : i + 3], "", ""]
        if word in PLACES:
            yield [{("place", word)}]
        elif word in FEELINGS:
            yield [{("feeling", word)}]
        elif word == "sorry":
            never = before[1] == "never"
            yield [{("sorry", not never)} | _person(before[0] if never else before[1])]
        elif word in PLANS:
            yield [{("plan", word)} | _person(after[1] if after[0] == "my" else after[0])]


def _events(words: list[str]) -> Iterator[tuple[Event, bool]]:
    """The events in a text, and whether it says that each never was."""
    before, after = ["", *words], [*words[1:], ""]
    denied = [a == "never" for a, word in zip(before, words, strict=False) if word in VERBS]
    plain = [
        word for word, b in zip(words, after, strict=False) if word != "never" or b not in VERBS
    ]
    return zip(read_events(plain), denied, strict=True)


def _of_event(name: str, event: Event) -> set[Fact]:
    """What is stated of an event as this one of the post's, as far as it can be read. Without an
    owner a thing is the writer's own, which is a fact as well."""
    roles = {"agent": event.agent, "verb": event.verb, "object": event.object}
    found = {(name, role, value) for role, value in roles.items() if value}
    return found | ({(name, "owner", event.owner)} if event.object else set())


def _person(word: str) -> set[Fact]:
    """Who is meant: by name, or by a pronoun."""
    if word in PEOPLE:
        return {("event", "agent", word)}
    gender = {"he": True, "him": True, "she": False, "her": False}
    return {("gender", gender[word])} if word in gender else set()
