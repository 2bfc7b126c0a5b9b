"""A generated world: short posts about who did what to whose thing, and what to do now.

Everything is our construction. Difficulty is spread on purpose, so that a larger reward model
can know more (`gold_raters.micro_tldr` says what of): length and form are easy to see; whether a
named word occurs in the post is harder; whether it is bound to the right role (who did it, whose
thing, the event asked about rather than the distracting one, said sorry or never did) needs
order and reference.
Words are separated by spaces, punctuation included.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from underspec.data.worlds import BaseWorld, Options, Splits
from underspec.schema import Count, Seed

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


@dataclass(frozen=True)
class Event:
    """Somebody did something to a thing of somebody (owner None: the writer's own)."""

    agent: str | None
    verb: str | None
    owner: str | None
    object: str | None


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
    seed: Seed
    posts: Splits
    pretraining_documents: Count
    most_shards: ClassVar[str] = "pretraining_documents"


class World(BaseWorld):
    """Posts, references and pretraining text made by a grammar: short posts about who did what to
    whose thing and what to do now, with references by writers of different habits. No sentence
    was written by a person; every word is lower case, and spaces part words and punctuation.

    Preferences are those of a simulated rater, who goes by a gold reward that is known exactly:
    facts covered, facts wrong, length and repeats.

    Licence: the texts are output of this package and free of any right of others.
    """

    Options = MicroOptions

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
