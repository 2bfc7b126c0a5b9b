"""A local judge for generated worlds: it answers as a server would, by the gold rater.

It takes the place of the network alone, so all else runs as with any server. Its answers are those
of a Bradley-Terry rater: `first` with probability sigmoid((u1 - u2) / temperature), a tie if the
two utilities are equal.
"""

import hashlib
import json
from dataclasses import replace

import httpx2
import numpy as np
import pandas as pd
from scipy.special import expit

from underspec.data.gold_raters import gold_reward
from underspec.judging.questions import Question


class GoldJudge(httpx2.BaseTransport):
    """margins: the first text's utility less the second's, by prompt."""

    def __init__(self, margins: dict[str, float]):
        self.margins = margins

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.read())
        margin = self.margins[body["messages"][0]["content"]]
        if margin == 0:
            said = "tie"
        elif body["temperature"] == 0:
            said = "A" if margin > 0 else "B"
        else:
            chance = expit(margin / body["temperature"])
            said = "A" if np.random.default_rng(body["seed"]).random() < chance else "B"
        message = {"role": "assistant", "content": f"Verdict: {said}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return httpx2.Response(200, json={"model": body["model"], "choices": [choice]})


def gold_judge(
    rater: str, posts: pd.DataFrame, questions: list[Question]
) -> tuple[GoldJudge, list[Question]]:
    """The judge by this gold rater, and the questions as it is asked them: the name of its model
    holds a digest of what it knows, so that answers of another rater are not taken for its own.

    Raises ArtifactError if `posts` are from another world.
    """
    first, second = (
        gold_reward(
            rater,
            posts,
            pd.DataFrame(
                {
                    "post_id": [question.post_id for question in questions],
                    "text": [getattr(question, which) for question in questions],
                }
            ),
        )
        for which in ("first", "second")
    )
    margins = first - second
    digest = hashlib.sha256(margins.tobytes()).hexdigest()[:12]
    prompts = (question.prompt for question in questions)
    judge = GoldJudge(dict(zip(prompts, margins.tolist(), strict=True)))
    named = [
        replace(question, request=replace(question.request, model=f"{rater}-{digest}"))
        for question in questions
    ]
    return judge, named
