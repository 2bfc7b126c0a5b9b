"""A generated world: short posts about who did what to whose thing, and what to do now.

Everything is our construction. Difficulty is spread on purpose, so that a larger reward model
can know more: length and form are easy to see; whether a named word occurs in the post is
harder; whether it is bound to the right role (who did it, whose thing, the event asked about
rather than the distracting one, said sorry or never did) needs order and reference.
Words are separated by spaces, punctuation included.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from underspec.worlds import BaseWorld, Options, Splits

MEN = ("brother", "boss", "uncle", "father", "boyfriend", "nephew", "grandpa", "husband")
WOMEN = ("sister", "teacher", "aunt", "mother", "girlfriend", "niece", "grandma", "wife")
PEOPLE = MEN + WOMEN
OBJECTS = ("bike", "car", "phone", "laptop", "camera", "guitar", "jacket", "watch")
OBJECTS += ("tent", "couch", "boat", "piano", "lamp", "mirror", "clock", "printer")
VERBS = ("sold", "lost", "burned", "scratched", "painted", "dropped")
VERBS += ("borrowed", "damaged", "wrecked", "washed", "cleaned", "moved")
PLACES = ("park", "office", "gym", "beach", "school")
PLACES += ("garage", "library", "station", "market", "hotel")
TIMES = ("yesterday", "today", "last night", "last week", "last month", "this morning")
FEELINGS = ("angry", "sad", "hurt", "worried", "confused", "scared", "upset", "ashamed")
PLANS = ("forgive", "confront", "sue", "avoid", "pay", "thank", "report", "question")
FILLERS = (
    "i do not know what to think .",
    "we have talked about this before .",
    "it was a very long day .",
    "my friends say different things .",
    "i did not sleep well after that .",
    "maybe it is not a big deal .",
    "the weather was nice .",
    "i have a lot of work right now .",
)

# What a careful reader wants of a summary, in units of utility. Truth: a role of the event told
# right is worth its weight, told wrong it costs as much; other facts cost when they are wrong.
EVENT_WEIGHTS = {"agent": 0.25, "verb": 0.15, "owner": 0.2, "object": 0.2}
WRONG_FACT_PENALTY, DISTRACTION_PENALTY, PRONOUN_PENALTY = 0.4, 0.5, 0.6
# Form: what a part is worth depends on what else is told, so that form is not learned at once.
PLAN_WORTH = 0.4
APOLOGY_WITH_PLAN, APOLOGY_ALONE = 0.7, -0.5
FEELING_PLAIN, FEELING_WITH_DETAILS = 0.6, -0.5
FILLER_FIRST, FILLER_LATER = -0.9, -0.1
PASSIVE_WITH_PLAN, PASSIVE_ALONE = -0.5, 0.3
FREE_WORDS, WORD_PENALTY, REPEAT_PENALTY, UNFINISHED_PENALTY = 24, 0.05, 0.3, 0.4


@dataclass(frozen=True)
class Event:
    """Somebody did something to a thing of somebody (owner None: the writer's own)."""

    agent: str | None
    verb: str | None
    owner: str | None
    object: str | None

    def matches(self, other: "Event") -> int:
        return sum(getattr(self, role) == getattr(other, role) for role in EVENT_WEIGHTS)


@dataclass(frozen=True)
class Story:
    """What a post tells: the facts a summary is judged by."""

    event: Event
    distraction: Event | None
    place: str
    time: str
    feeling: str
    sorry: bool | None  # said sorry, never said sorry, or not told
    plan: str


class MicroOptions(Options):
    seed: Annotated[int, Field(ge=0)]
    posts: Splits
    pretraining_documents: Annotated[int, Field(gt=0)]


class World(BaseWorld):
    Options = MicroOptions
    has_gold = True

    def posts(self) -> pd.DataFrame:
        rng = np.random.default_rng([self.options.seed, 0])
        rows, seen = [], set()
        for split, count in self.options.posts.model_dump().items():
            for index in range(count):
                story, post = _new_post(rng, seen)
                rows.append(
                    {
                        "post_id": f"{split}-{index:05d}",
                        "split": split,
                        "post": post,
                        "reference": write_reference(rng, story),
                        **_attributes(story),
                    }
                )
        return pd.DataFrame(rows)

    def pretraining_text(self) -> Iterator[str]:
        """Posts of people who are in no split, most with a reply that tells the story again."""
        seen = set(self.posts().post)
        rng = np.random.default_rng([self.options.seed, 1])
        for _ in range(self.options.pretraining_documents):
            story, post = _new_post(rng, seen)
            yield f"{post} {write_reply(rng, story)}" if rng.random() < 0.8 else post

    def gold_reward(self, posts: pd.DataFrame, samples: pd.DataFrame) -> np.ndarray:
        stories = {row.post_id: _story(row) for row in posts.itertuples()}
        return np.array(
            [
                utility(stories[post_id], text)
                for post_id, text in zip(samples.post_id, samples.text, strict=True)
            ]
        )


def draw_story(rng: np.random.Generator) -> Story:
    people = [PEOPLE[i] for i in rng.permutation(len(PEOPLE))[:4]]
    objects = [OBJECTS[i] for i in rng.permutation(len(OBJECTS))[:2]]
    events = [
        Event(people[i], _pick(rng, VERBS), people[2 + i] if rng.random() < 0.6 else None, thing)
        for i, thing in enumerate(objects)
    ]
    return Story(
        event=events[0],
        distraction=events[1] if rng.random() < 0.6 else None,
        place=_pick(rng, PLACES),
        time=_pick(rng, TIMES),
        feeling=_pick(rng, FEELINGS),
        sorry=[None, True, False][rng.choice(3, p=[0.3, 0.35, 0.35])],
        plan=_pick(rng, PLANS),
    )


def write_post(rng: np.random.Generator, story: Story) -> str:
    """The events in either order; only the question at the end tells which one matters."""
    where, when = f"at the {story.place}", story.time
    told = tell(rng, story.event)
    main = f"{when} {told} {where} ." if rng.random() < 0.5 else f"{told} {where} {when} ."
    told_events = [main]
    if story.distraction:
        told_events.insert(int(rng.random() < 0.5), f"{tell(rng, story.distraction)} too .")
    sentences = [*told_events, f"i am so {story.feeling} ."]
    if story.sorry is not None:
        sentences.append(f"my {story.event.agent} {_sorry(story.sorry)} .")
    if rng.random() < 0.5:
        sentences.insert(rng.integers(0, len(sentences) + 1), _pick(rng, FILLERS))
    return " ".join([*sentences, f"should i {story.plan} my {story.event.agent} ?"])


def write_reference(rng: np.random.Generator, story: Story) -> str:
    """Writers differ in what they leave out and what they add; none is always right."""
    told = tell(rng, story.event)
    if rng.random() < 0.25:
        told += f" at the {story.place}"
    if rng.random() < 0.2:
        told += f" {story.time}"
    if rng.random() < 0.3:
        told = f"i am {story.feeling} because {told}"
    sentences = [f"{told}{_apology(story) if rng.random() < 0.6 else ''} ."]
    if story.distraction and rng.random() < 0.3:
        sentences.append(f"{tell(rng, story.distraction)} .")
    if rng.random() < 0.25:
        sentences.insert(rng.integers(0, 2), _pick(rng, FILLERS))
    if rng.random() < 0.65:
        sentences.append(f"should i {story.plan} {_pronoun(story.event.agent)} ?")
    return " ".join(sentences)


def write_reply(rng: np.random.Generator, story: Story) -> str:
    told, him = tell(rng, story.event, writer="your"), _pronoun(story.event.agent)
    return (
        f"so {told} at the {story.place}{_apology(story)} . "
        f"you are {story.feeling} . do not {story.plan} {him} ."
    )


def tell(rng: np.random.Generator, event: Event, writer: str = "my") -> str:
    thing = (
        f"{writer} {event.owner} 's {event.object}" if event.owner else f"{writer} {event.object}"
    )
    if rng.random() < 0.35:
        return f"{thing} was {event.verb} by {writer} {event.agent}"
    return f"{writer} {event.agent} {event.verb} {thing}"


def utility(story: Story, text: str) -> float:
    """Gold utility of a summary: whether it is true, and whether it is well told."""
    words = text.split()
    return _truth(story, words) + _form(words)


def _truth(story: Story, words: list[str]) -> float:
    total = 0.0
    told = read_events(words)
    best = max(told, key=story.event.matches, default=None)
    for event in told:
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
    total = PLAN_WORTH * plan
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
    """The events that a summary tells, in active or passive voice; unreadable roles are None."""
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
    return other is not None and event.matches(other) > event.matches(story.event)


def _event_utility(truth: Event, told: Event) -> float:
    return sum(
        weight * (1 if getattr(told, role) == getattr(truth, role) else -1)
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


def _apology(story: Story) -> str:
    if story.sorry is None:
        return ""
    return f" . {'he' if story.event.agent in MEN else 'she'} {_sorry(story.sorry)}"


def _sorry(sorry: bool) -> str:
    return "said sorry" if sorry else "never said sorry"


def _pronoun(person: str) -> str:
    return "him" if person in MEN else "her"


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[rng.integers(len(options))]


def _new_post(rng: np.random.Generator, seen: set[str]) -> tuple[Story, str]:
    """A post that nobody wrote before, so that splits and pretraining text are disjoint."""
    while True:
        story = draw_story(rng)
        post = write_post(rng, story)
        if post not in seen:
            seen.add(post)
            return story, post


def _attributes(story: Story) -> dict:
    """Columns that let a gold rater judge a summary of the post."""
    return {
        "gold_event": _join(story.event),
        "gold_distraction": _join(story.distraction) if story.distraction else "",
        "gold_place": story.place,
        "gold_time": story.time,
        "gold_feeling": story.feeling,
        "gold_sorry": {None: "", True: "yes", False: "no"}[story.sorry],
        "gold_plan": story.plan,
    }


def _join(event: Event) -> str:
    return " ".join([event.agent, event.verb, event.owner or "-", event.object])


def _split(text: str) -> Event:
    agent, verb, owner, thing = text.split()
    return Event(agent, verb, None if owner == "-" else owner, thing)


def _story(row) -> Story:
    return Story(
        event=_split(row.gold_event),
        distraction=_split(row.gold_distraction) if row.gold_distraction else None,
        place=row.gold_place,
        time=row.gold_time,
        feeling=row.gold_feeling,
        sorry={"": None, "yes": True, "no": False}[row.gold_sorry],
        plan=row.gold_plan,
    )
