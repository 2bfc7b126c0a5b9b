"""Rewards of many candidates per post by models that read a post and a candidate as one text.

Equal candidates of a post are scored once. Rewards depend on the other texts of a batch by rounding
(single precision).
"""

import logging
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch

from underspec.errors import ArtifactError
from underspec.inference.scoring import distinct
from underspec.models.sequence_classifier import SequenceClassifier
from underspec.progress import Progress

log = logging.getLogger(__name__)

Texts = list[np.ndarray]
Results = Iterator[tuple[list[int], torch.Tensor]]  # numbers of texts, and their rewards

TOKENS_AT_ONCE = {"cpu": 2048, "cuda": 65536}  # of texts, in a batch


def score(model: SequenceClassifier, posts: Texts, candidates: list[Texts]) -> Texts:
    """The rewards of each post's candidates (token ids), in order: one float32 array (candidates,
    heads) per post. Each text is read by itself.

    Equal candidates of a post get exactly the same reward. Raises ArtifactError if a text is empty
    or has ids outside of the vocabulary, or if a reward is not finite.
    """
    return scored(_each_by_itself, model, posts, candidates)


@torch.inference_mode()
def scored(
    read: Callable[[SequenceClassifier, list[Texts]], Results],
    model: SequenceClassifier,
    posts: Texts,
    candidates: list[Texts],
) -> Texts:
    """As `score`; read: yields rewards of the distinct texts of each post, in any order, numbered
    in that of the posts.
    """
    own, inverses = zip(*map(distinct, candidates), strict=True)
    texts = [
        [np.concatenate([post, ids]) for ids in some] for post, some in zip(posts, own, strict=True)
    ]
    ends = np.cumsum([0, *map(len, texts)])
    _check(texts, model.config.vocab_size)
    rewards = np.empty((ends[-1], model.heads), np.float32)
    progress, done = Progress(log, len(rewards)), 0
    for rows, values in read(model.eval(), texts):
        rewards[rows] = values.cpu().numpy()
        done += len(rows)
        progress.show(done, f"{done} of {len(rewards)} texts scored")
    if not np.isfinite(rewards).all():
        raise ArtifactError("the reward model's rewards are not finite: its weights are damaged")
    return [
        rewards[start:end][inverse]
        for (start, end), inverse in zip(pairwise(ends), inverses, strict=True)
    ]


def _each_by_itself(model: SequenceClassifier, texts: list[Texts]) -> Results:
    flat = [ids for own in texts for ids in own]
    for rows in batches(flat, TOKENS_AT_ONCE[model.device.type]):
        inputs = model.inputs([np.empty(0, np.int64)] * len(rows), [flat[row] for row in rows])
        yield rows, model(**{name: each.to(model.device) for name, each in inputs.items()})


def batches(texts: Texts, tokens_at_once: int) -> list[list[int]]:
    """Texts of similar length, of at most `tokens_at_once` tokens, or a single longer one."""
    found: list[list[int]] = []
    for i in sorted(range(len(texts)), key=lambda i: len(texts[i])):
        if not found or (len(found[-1]) + 1) * len(texts[i]) > tokens_at_once:
            found.append([])
        found[-1].append(i)
    return found


def _check(texts: list[Texts], vocabulary: int) -> None:
    flat = [ids for own in texts for ids in own]
    if not all(map(len, flat)):
        raise ArtifactError("a text has no tokens; use a template with text of its own")
    if (largest := max(int(ids.max()) for ids in flat)) >= vocabulary:
        raise ArtifactError(
            f"token id {largest}, but the model's vocabulary has {vocabulary} tokens; tokenizer "
            "and weights do not belong together"
        )
