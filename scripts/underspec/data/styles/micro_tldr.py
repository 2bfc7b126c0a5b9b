"""Styles in the generated world: the same event in more and more words.

A concise text states what happened, the apology if there was one, and the plan; a plain one also
where and when it happened; a wordy one also remarks something that says nothing of the story. In a
wrong text someone else did it, whom the post does not name, of the other sex, so that pronouns
are wrong as well. Nothing else differs. Ours.
"""

from dataclasses import replace

import numpy as np

from underspec.data.gold_raters.micro_tldr import read_story
from underspec.data.worlds.micro_tldr import FILLERS, MEN, WOMEN, Story, tell


def texts(post) -> dict[str, tuple[str, str]]:
    """The right and the wrong text by style; voice and remark are the same in all six."""
    rng = np.random.default_rng(list(post.post.encode()))
    story = read_story(post)
    wrong, draw = _by_someone_else(rng, story), int(rng.integers(2**32))
    of_right, of_wrong = (_write(np.random.default_rng(draw), each) for each in (story, wrong))
    return {style: (text, of_wrong[style]) for style, text in of_right.items()}


def _by_someone_else(rng: np.random.Generator, story: Story) -> Story:
    events = [event for event in (story.event, story.distraction) if event]
    named = {person for event in events for person in (event.agent, event.owner)}
    other_sex = WOMEN if story.event.agent in MEN else MEN
    others = [person for person in other_sex if person not in named]
    agent = others[rng.integers(len(others))]
    return replace(story, event=replace(story.event, agent=agent))


def _write(rng: np.random.Generator, story: Story) -> dict[str, str]:
    he, him = ("he", "him") if story.event.agent in MEN else ("she", "her")
    happened, remark = tell(rng, story.event), FILLERS[rng.integers(len(FILLERS))]
    apology = {None: "", True: f"{he} said sorry . ", False: f"{he} never said sorry . "}
    apology = apology[story.sorry]
    in_detail = f"{happened} at the {story.place} {story.time} . {apology}"
    question = f"should i {story.plan} {him} ?"
    return {
        "concise": f"{happened} . {apology}{question}",
        "plain": f"{in_detail}{question}",
        "wordy": f"{in_detail}{remark} {question}",
    }
