"""The gold rater of the generated world: what a careful reader wants from a summary.

The utility is our own construction, a sum of truth and form. For truth, it is not enough that words
occur in the post: they must have the right role in the right event. The terms of form interact, so
that form is not learned at once.
"""

import numpy as np
import pandas as pd

from underspec.data.worlds.micro_tldr import (
    FEELINGS,
    FILLERS,
    MEN,
    OBJECTS,
    PEOPLE,
    PLACES,
    PLANS,
    TIMES,
    VERBS,
    Event,
    Story,
)

COLUMNS = tuple(
    f"gold_{name}" for name in ("event", "distraction", "place", "time", "feeling", "sorry", "plan")
)

# Truth: a correct role of the event adds its weight, a wrong one subtracts it; other wrong facts
# are penalised.
EVENT_WEIGHTS = {"agent": 0.25, "verb": 0.15, "owner": 0.2, "object": 0.2}
WRONG_FACT_PENALTY, DISTRACTION_PENALTY, PRONOUN_PENALTY = 0.4, 0.5, 0.6
# Form.
PLAN_BONUS = 0.4
APOLOGY_WITH_PLAN, APOLOGY_ALONE = 0.7, -0.5
FEELING_PLAIN, FEELING_WITH_DETAILS = 0.6, -0.5
FILLER_FIRST, FILLER_LATER = -0.9, -0.1
PASSIVE_WITH_PLAN, PASSIVE_ALONE = -0.5, 0.3
FREE_WORDS, WORD_PENALTY, REPEAT_PENALTY, UNFINISHED_PENALTY = 24, 0.05, 0.3, 0.4


def gold_reward(posts: pd.DataFrame, samples: pd.DataFrame) -> np.ndarray:
    """The gold utility of each sample, by the stories in the columns gold_* of `posts`."""
    return sum(parts(posts, samples).values())


def parts(posts: pd.DataFrame, samples: pd.DataFrame) -> dict[str, np.ndarray]:
    """The two terms of the utility: whether a summary is true, and whether it is well written."""
    stories = {row.post_id: read_story(row) for row in posts.itertuples()}
    summaries = list(zip(samples.post_id, map(str.split, samples.text), strict=True))
    return {
        "truth": np.array([_truth(stories[post_id], words) for post_id, words in summaries]),
        "form": np.array([_form(words) for _, words in summaries]),
    }


def utility(story: Story, text: str) -> float:
    """Gold utility of a summary: the sum of its parts."""
    words = text.split()
    return _truth(story, words) + _form(words)


def _truth(story: Story, words: list[str]) -> float:
    total = 0.0
    events = read_events(words)
    best = max(events, key=lambda event: _matches(story.event, event), default=None)
    for event in events:
        if event is best and not _is_distraction(story, event):
            total += _event_utility(story.event, event)
        else:
            total -= DISTRACTION_PENALTY
    for claimed, truth in (
        (_said_sorry(words), story.sorry),
        (_first(words, PLANS), story.plan),
        (_first(words, FEELINGS), story.feeling),
        (_first(words, PLACES), story.place),
    ):
        total -= WRONG_FACT_PENALTY * (claimed not in (None, truth))
    for pronouns in (("him", "her"), ("he", "she")):
        pronoun = _first(words, pronouns)
        agrees = (pronoun == pronouns[0]) == (story.event.agent in MEN)
        total -= PRONOUN_PENALTY * (pronoun is not None and not agrees)
    return total


def _form(words: list[str]) -> float:
    plan = _first(words, PLANS) is not None
    details = _first(words, PLACES) is not None or any(time in " ".join(words) for time in TIMES)
    total = PLAN_BONUS * plan
    if "sorry" in words:
        total += APOLOGY_WITH_PLAN if plan else APOLOGY_ALONE
    if _first(words, FEELINGS):
        total += FEELING_WITH_DETAILS if details else FEELING_PLAIN
    if any(is_passive(words, i) for i, word in enumerate(words) if word in VERBS):
        total += PASSIVE_WITH_PLAN if plan else PASSIVE_ALONE
    for filler in FILLERS:
        if filler in " ".join(words):
            total += FILLER_FIRST if " ".join(words).startswith(filler) else FILLER_LATER
    total -= WORD_PENALTY * max(0, len(words) - FREE_WORDS)
    total -= REPEAT_PENALTY * _repeats(words)
    return total - UNFINISHED_PENALTY * (not words or words[-1] not in ".?")


def read_events(words: list[str]) -> list[Event]:
    """The events in a summary, in active or passive voice; unreadable roles are None."""
    return [_read_event(words, i) for i, word in enumerate(words) if word in VERBS]


def _read_event(words: list[str], verb: int) -> Event:
    def at(position: int, vocabulary: tuple[str, ...]) -> str | None:
        known = 0 <= position < len(words) and words[position] in vocabulary
        return words[position] if known else None

    if is_passive(words, verb):
        thing, agent = verb - 2, verb + 3
    else:
        thing, agent = verb + (4 if at(verb + 3, ("'s",)) else 2), verb - 1
    owner = at(thing - 2, PEOPLE) if at(thing - 1, ("'s",)) else None
    return Event(at(agent, PEOPLE), words[verb], owner, at(thing, OBJECTS))


def is_passive(words: list[str], verb: int) -> bool:
    return verb > 0 and words[verb - 1] == "was"


def _is_distraction(story: Story, event: Event) -> bool:
    other = story.distraction
    return other is not None and _matches(event, other) > _matches(event, story.event)


def _matches(event: Event, other: Event) -> int:
    return sum(getattr(event, role) == getattr(other, role) for role in EVENT_WEIGHTS)


def _event_utility(truth: Event, claimed: Event) -> float:
    return sum(
        weight * (1 if getattr(claimed, role) == getattr(truth, role) else -1)
        for role, weight in EVENT_WEIGHTS.items()
    )


def _said_sorry(words: list[str]) -> bool | None:
    if "sorry" not in words:
        return None
    return "never" not in words


def _repeats(words: list[str]) -> int:
    pairs = list(zip(words, words[1:], strict=False))
    return len(pairs) - len(set(pairs))


def _first(words: list[str], vocabulary: tuple[str, ...]) -> str | None:
    return next((word for word in words if word in vocabulary), None)


def _split(text: str) -> Event:
    agent, verb, owner, thing = text.split()
    return Event(agent, verb, None if owner == "-" else owner, thing)


def read_story(row) -> Story:
    """The story of a row of the table of posts."""
    return Story(
        event=_split(row.gold_event),
        distraction=_split(row.gold_distraction) if row.gold_distraction else None,
        place=row.gold_place,
        time=row.gold_time,
        feeling=row.gold_feeling,
        sorry={"": None, "yes": True, "no": False}[row.gold_sorry],
        plan=row.gold_plan,
    )
