"""Rewards of many candidates per post by models that read a post and a candidate as one text."""

import logging
from itertools import pairwise

import numpy as np
import torch

from underspec.errors import ArtifactError
from underspec.inference.scoring import distinct
from underspec.models.sequence_classifier import SequenceClassifier
from underspec.progress import Progress

log = logging.getLogger(__name__)

TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 65536}  # of texts, in a batch


@torch.inference_mode()
def score(
    model: SequenceClassifier, posts: list[np.ndarray], candidates: list[list[np.ndarray]]
) -> list[np.ndarray]:
    """The rewards of each post's candidates (token ids), in order: one float32 array (candidates,
    heads) per post.

    Equal candidates of a post get exactly the same reward; otherwise rewards depend on the batch by
    rounding (single precision). Raises ArtifactError if a text is empty or has ids outside of the
    vocabulary, or if a reward is not finite.
    """
    own, inverses = zip(*map(distinct, candidates), strict=True)
    texts = [
        np.concatenate([post, ids]) for post, some in zip(posts, own, strict=True) for ids in some
    ]
    check(texts, model.config.vocab_size)
    model = model.eval()
    rewards = np.empty((len(texts), model.heads), np.float32)
    progress, done = Progress(log, len(texts)), 0
    for rows in _batches(texts, TOKENS_AT_ONCE[model.device.type]):
        inputs = model.inputs([np.empty(0, np.int64)] * len(rows), [texts[row] for row in rows])
        inputs = {name: each.to(model.device) for name, each in inputs.items()}
        rewards[rows] = model(**inputs).cpu().numpy()
        done += len(rows)
        progress.show(done, f"{done} of {len(texts)} texts scored")
    check_finite(rewards)
    ends = np.cumsum([0, *map(len, own)])
    return [
        rewards[start:end][inverse]
        for (start, end), inverse in zip(pairwise(ends), inverses, strict=True)
    ]


def check(texts: list[np.ndarray], vocabulary: int) -> None:
    """Raise ArtifactError if a text is empty or has ids outside of the vocabulary."""
    if not all(map(len, texts)):
        raise ArtifactError("a text has no tokens; use a template with text of its own")
    if (largest := max(int(ids.max()) for ids in texts)) >= vocabulary:
        raise ArtifactError(
            f"token id {largest}, but the model's vocabulary has {vocabulary} tokens; tokenizer "
            "and weights do not belong together"
        )


def check_finite(rewards: np.ndarray) -> None:
    """Raise ArtifactError if a reward is not finite."""
    if not np.isfinite(rewards).all():
        raise ArtifactError("the reward model's rewards are not finite: its weights are damaged")


def _batches(texts: list[np.ndarray], tokens_at_once: int) -> list[list[int]]:
    """Texts of similar length, of at most `tokens_at_once` tokens, or a single longer one."""
    batches: list[list[int]] = []
    for i in sorted(range(len(texts)), key=lambda i: len(texts[i])):
        if not batches or (len(batches[-1]) + 1) * len(texts[i]) > tokens_at_once:
            batches.append([])
        batches[-1].append(i)
    return batches
