"""What a judge is asked: two texts of a post, in both orders, several times each."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from string import Template

import pandas as pd

from underspec.data.texts import alike

ORDERS = [("text", "other"), ("other", "text")]  # columns of a comparison: which text comes first


@dataclass(frozen=True)
class Request:
    """What is sent with every question; seed: None if none is sent."""

    model: str
    temperature: float
    max_tokens: int
    seed: int | None


@dataclass(frozen=True)
class Question:
    """One question, to be asked once; answer: which of several answers to the same texts."""

    post_id: str
    first: str
    second: str
    answer: int
    prompt: str
    request: Request

    @property
    def key(self) -> str:
        """A digest of all that the answer depends on but the server's address, which may move."""
        return _digest([*vars(self.request).values(), self.prompt, self.answer])

    def body(self, attempt: int) -> dict:
        """The request for a chat completion. Every attempt has another seed: with the same, a
        server would give the same answer again.
        """
        body = {
            "model": self.request.model,
            "messages": [{"role": "user", "content": self.prompt}],
            "temperature": self.request.temperature,
            "max_tokens": self.request.max_tokens,
        }
        if self.request.seed is not None:
            body["seed"] = int(_digest([self.key, attempt])[:7], 16)
        return body


def questions(
    comparisons: pd.DataFrame,
    posts: pd.DataFrame,
    prompt: Template,
    request: Request,
    answers: int,
) -> list[Question]:
    """Every question that `comparisons` (artifacts.COMPARISONS) need, each once, also if several
    comparisons need it. Texts that look alike need none.

    Posts vary fastest and answers slowest, so that a run that ends early has asked about all.
    """
    of_post = posts.set_index("post_id")["post"]
    pairs = list(dict.fromkeys(_pairs(comparisons)))
    return [
        Question(
            post_id,
            first,
            second,
            answer,
            prompt.substitute(post=of_post[post_id], first=first, second=second),
            request,
        )
        for answer in range(answers)
        for post_id, first, second in pairs
    ]


def _pairs(comparisons: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    asked = comparisons[~same_texts(comparisons)]
    for first, second in ORDERS:
        yield from zip(asked.post_id, asked[first], asked[second], strict=True)


def same_texts(comparisons: pd.DataFrame) -> pd.Series:
    """Which comparisons are of texts that look alike: ties, without asking."""
    pairs = itertools.starmap(alike, zip(comparisons.text, comparisons.other, strict=True))
    return pd.Series(list(pairs), index=comparisons.index, dtype=bool)


def _digest(parts: list) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
