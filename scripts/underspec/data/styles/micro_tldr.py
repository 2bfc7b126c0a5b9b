"""Styles in the generated world: the same event in more and more words.

A concise text states what happened, the apology if there was one, and the plan; a plain one also
where and when it happened; a wordy one also remarks something that says nothing of the story. A
wrong text confuses the roles, which is the hardest of this world: agent and owner change places, or
if there is no owner, someone else did it. Nothing else differs. Ours.
"""

from dataclasses import replace

import numpy as np

from underspec.data.gold_raters.micro_tldr import read_story
from underspec.data.worlds.micro_tldr import FILLERS, MEN, PEOPLE, Story, tell


def texts(post) -> dict[str, tuple[str, str]]:
    """The right and the wrong text by style; voice and remark are the same in all six."""
    rng = np.random.default_rng(list(post.post.encode()))
    story = read_story(post)
    wrong, draw = _with_roles_confused(rng, story), int(rng.integers(2**32))
    of_right, of_wrong = (_write(np.random.default_rng(draw), each) for each in (story, wrong))
    return {style: (text, of_wrong[style]) for style, text in of_right.items()}


def _with_roles_confused(rng: np.random.Generator, story: Story) -> Story:
    """Another person of the post takes the agent's place, if it has one who could."""
    event, other = story.event, story.distraction
    if event.owner:
        agent = event.owner
    elif other:
        agent = other.agent
    else:
        others = [person for person in PEOPLE if person != event.agent]
        agent = others[rng.integers(len(others))]
    owner = event.agent if event.owner else None
    return replace(story, event=replace(event, agent=agent, owner=owner))


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
