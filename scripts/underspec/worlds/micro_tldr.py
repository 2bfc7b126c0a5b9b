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

from underspec.worlds import BaseWorld, Options

MEN = ("brother", "boss", "uncle", "father", "boyfriend", "nephew", "grandpa", "husband")
WOMEN = ("sister", "teacher", "aunt", "mother", "girlfriend", "niece", "grandma", "wife")
PEOPLE = MEN + WOMEN
OBJECTS = tuple(
    "bike car phone laptop camera guitar jacket watch tent couch boat piano lamp mirror clock "
    "printer".split()
)
VERBS = tuple(
    "sold lost burned scratched painted dropped borrowed damaged wrecked washed cleaned "
    "moved".split()
)
PLACES = tuple("park office gym beach school garage library station market hotel".split())
TIMES = ("yesterday", "today", "last night", "last week", "last month", "this morning")
FEELINGS = tuple("angry sad hurt worried confused scared upset ashamed".split())
PLANS = tuple("forgive confront sue avoid pay thank report question".split())
OPENINGS = ("hi all .", "hello everyone .", "long time reader here .", "sorry for the long post .")
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

# What a careful reader wants of a summary, in units of utility.
EVENT_WEIGHTS = {"agent": 0.6, "verb": 0.4, "owner": 0.5, "object": 0.5}
APOLOGY_WEIGHT, PLAN_WEIGHT, FEELING_WEIGHT = 0.5, 0.6, 0.25
DETAIL_PENALTY, DISTRACTION_PENALTY, PRONOUN_PENALTY = 0.3, 0.6, 0.3
FREE_WORDS, WORD_PENALTY, REPEAT_PENALTY, UNFINISHED_PENALTY = 16, 0.06, 0.4, 0.3


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


class Splits(Options):
    """Posts in each split."""

    policy: Annotated[int, Field(gt=0)]
    preferences: Annotated[int, Field(gt=0)]
    validation: Annotated[int, Field(gt=0)]
    best_of_n: Annotated[int, Field(gt=0)]


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
    sentences = [*told_events, f"i am so {story.feeling} about it ."]
    if story.sorry is not None:
        sentences.append(f"my {story.event.agent} {_sorry(story.sorry)} .")
    for _ in range(rng.integers(0, 3)):
        sentences.insert(rng.integers(0, len(sentences) + 1), _pick(rng, FILLERS))
    if rng.random() < 0.4:
        sentences.insert(0, _pick(rng, OPENINGS))
    return " ".join([*sentences, f"should i {story.plan} my {story.event.agent} ?"])


def write_reference(rng: np.random.Generator, story: Story) -> str:
    """One of seven writers' habits; each leaves out or adds something of its own."""
    told, him = tell(rng, story.event), _pronoun(story.event.agent)
    ask = f"should i {story.plan} {him} ?"
    sorry = _apology(story)
    match rng.integers(7):
        case 0:
            return f"{told}{sorry} . {ask}"
        case 1:
            return f"{told} . {ask}"
        case 2:
            return f"{told} at the {story.place} {story.time} . i am {story.feeling} ."
        case 3:
            return f"i am {story.feeling} because {told}{sorry} . {ask}"
        case 4:
            other = f" and {tell(rng, story.distraction)}" if story.distraction else ""
            return f"{told}{other} . {ask}"
        case 5:
            return f"{told} . {_pick(rng, FILLERS)} {ask}"
        case _:
            return f"{told}{sorry} ."


def write_reply(rng: np.random.Generator, story: Story) -> str:
    told, him = tell(rng, story.event, writer="your"), _pronoun(story.event.agent)
    return (
        f"so {told} at the {story.place}{_apology(story)} . "
        f"you are {story.feeling} . do not {story.plan} {him} ."
    )


def tell(rng: np.random.Generator, event: Event, writer: str = "my") -> str:
    thing = f"{writer} {event.owner} 's {event.object}" if event.owner else f"{writer} {event.object}"
    if rng.random() < 0.35:
        return f"{thing} was {event.verb} by {writer} {event.agent}"
    return f"{writer} {event.agent} {event.verb} {thing}"


def utility(story: Story, text: str) -> float:
    """Gold utility of a summary: covered facts, minus wrong ones, distraction, length, repeats."""
    words = text.split()
    total = 0.0
    told = read_events(words)
    best = max(told, key=story.event.matches, default=None)
    for event in told:
        if event is best and not _is_distraction(story, event):
            total += _event_utility(story.event, event)
        else:
            total -= DISTRACTION_PENALTY
    total += _claim(_read_sorry(words), story.sorry, APOLOGY_WEIGHT)
    total += _claim(_first(words, PLANS), story.plan, PLAN_WEIGHT)
    total += _claim(_first(words, FEELINGS), story.feeling, FEELING_WEIGHT)
    total -= DETAIL_PENALTY * (_first(words, PLACES) not in (None, story.place))
    total -= DETAIL_PENALTY * (_first(words, ("him", "her")) not in (None, _pronoun(story.event.agent)))
    total -= WORD_PENALTY * max(0, len(words) - FREE_WORDS)
    total -= REPEAT_PENALTY * _repeats(words)
    total -= UNFINISHED_PENALTY * (not words or words[-1] not in ".?")
    return total


def read_events(words: list[str]) -> list[Event]:
    """The events that a summary tells, in active or passive voice; unreadable roles are None."""
    return [_read_event(words, i) for i, word in enumerate(words) if word in VERBS]


def _read_event(words: list[str], verb: int) -> Event:
    def at(position: int, vocabulary: tuple[str, ...]) -> str | None:
        known = 0 <= position < len(words) and words[position] in vocabulary
        return words[position] if known else None

    if at(verb - 1, ("was",)):
        thing, agent = verb - 2, verb + 3
    else:
        thing, agent = verb + (4 if at(verb + 3, ("'s",)) else 2), verb - 1
    owner = at(thing - 2, PEOPLE) if at(thing - 1, ("'s",)) else None
    return Event(at(agent, PEOPLE), words[verb], owner, at(thing, OBJECTS))


def _is_distraction(story: Story, event: Event) -> bool:
    other = story.distraction
    return other is not None and event.matches(other) > event.matches(story.event)


def _event_utility(truth: Event, told: Event) -> float:
    return sum(
        weight * (1 if getattr(told, role) == getattr(truth, role) else -1)
        for role, weight in EVENT_WEIGHTS.items()
    )


def _claim(claimed: object, truth: object, weight: float) -> float:
    """Nothing for silence, `weight` for the truth, minus `weight` for anything else."""
    if claimed is None:
        return 0.0
    return weight if claimed == truth else -weight


def _read_sorry(words: list[str]) -> bool | None:
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
