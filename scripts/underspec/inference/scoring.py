"""Rewards of many candidates a post: the post is encoded once, equal candidates judged once.

Posts of one length are judged together, and the tokens of their candidates put behind each other,
on a CPU without padding. Self-attention takes candidates of one length together, cross-attention
all tokens of a post as queries of one product (see t5). So a reward depends on post and candidate
alone, on a GPU but for rounding.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby

import numpy as np
import torch
from torch.nn.functional import pad

from underspec.data.tokenization import PAD, check_ids
from underspec.errors import ArtifactError
from underspec.inference.shared_post_t5 import (
    FEWEST,
    Decoder,
    Encoder,
    Memory,
    Places,
    attend_alike,
    padded,
    past_the_end,
    posts_at_once,
    rounded_up,
    runs_of,
)
from underspec.models import fused_layers
from underspec.models.reward_model import RewardModel
from underspec.progress import Progress

log = logging.getLogger(__name__)

# Tokens of candidates that are judged together; on a CPU more of them fall out of its caches.
TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 65536}
CANDIDATE_GRAIN = 8  # a GPU takes candidates padded to a multiple of so many tokens


@torch.inference_mode()
def score(
    model: RewardModel, posts: list[np.ndarray], candidates: list[list[np.ndarray]]
) -> list[np.ndarray]:
    """The reward of each of a post's candidates (token ids): a float32 array a post, in order.

    Candidates of a post with equal ids get the very same reward. Raises ArtifactError if a text
    is empty or has ids that the model has not, or if a reward is not finite.
    """
    model.eval()
    names = [f"post {i}" for i in range(len(posts))]
    check_ids(names, posts, model.config.vocab_size)
    for name, texts in zip(names, candidates, strict=True):
        check_ids([f"a candidate of {name}"] * len(texts), texts, model.config.vocab_size)
    longest = max(map(len, posts)), max(len(ids) for texts in candidates for ids in texts)
    judge = _Judge(model, longest)
    distinct = [_distinct(texts) for texts in candidates]
    rewards: list[np.ndarray] = [np.empty(0, np.float32)] * len(posts)
    done, progress = 0, Progress(log, len(posts))
    different = [texts for texts, _ in distinct]
    at_once = judge.tokens_at_once, judge.encoder.grain, partial(posts_at_once, judge.decoder)
    for together in _alike(posts, different, *at_once):
        texts = [different[i] for i in together]
        for i, values in zip(together, judge([posts[i] for i in together], texts), strict=True):
            rewards[i] = values[distinct[i][1]]
        done += len(together)
        progress.show(done, f"{done} of {len(posts)} posts scored")
    if not all(np.isfinite(values).all() for values in rewards):
        raise ArtifactError("the reward model's rewards are not finite: its weights are damaged")
    return rewards


def _distinct(candidates: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The different candidates and, for each candidate, which of them it is."""
    places: dict[bytes, int] = {}
    inverse = [places.setdefault(ids.tobytes(), len(places)) for ids in candidates]
    first = {place: ids for ids, place in zip(candidates, inverse, strict=True)}
    return [first[place] for place in range(len(places))], np.array(inverse)


def _alike(
    posts: list[np.ndarray],
    candidates: list[list[np.ndarray]],
    tokens_at_once: int,
    grain: int,
    posts_at_once: Callable[[int], float],
) -> Iterator[list[int]]:
    """Posts that are of one length when padded to a multiple of `grain` tokens: as many as have so
    many tokens of candidates, or one with more, and `posts_at_once(length)` at most.
    """
    by_length = sorted(range(len(posts)), key=lambda i: len(posts[i]))
    for length, alike in groupby(by_length, key=lambda i: rounded_up(len(posts[i]), grain)):
        together, tokens = [], 0
        for i in alike:
            more = sum(map(len, candidates[i]))
            full = len(together) >= posts_at_once(length) or tokens + more > tokens_at_once
            if together and full:
                yield together
                together, tokens = [], 0
            together.append(i)
            tokens += more
        yield together


class _Judge:
    """A reward model that reads posts of one length, padding included.

    `longest` are the tokens that a post and that a candidate has at most.
    """

    def __init__(self, model: RewardModel, longest: tuple[int, int]):
        self.head_bias = model.head.bias.float()
        head = pad(model.head.weight, (0, 0, 0, 1))  # see t5.FEWEST: a second column, of zeros
        self.decoder = Decoder(model.transformer.decoder, head)
        self.encoder = Encoder(model.transformer.encoder, longest[0])
        self.grain = CANDIDATE_GRAIN if fused_layers.fused(self.decoder.device) else 1
        self.bias = self.decoder.causal_bias(rounded_up(longest[1], self.grain))
        self.tokens_at_once = TOKENS_AT_ONCE[self.decoder.device.type]

    def __call__(
        self, posts: list[np.ndarray], candidates: list[list[np.ndarray]]
    ) -> list[np.ndarray]:
        """The rewards of each post's candidates: a float32 array a post."""
        texts = [(post, ids) for post, those in enumerate(candidates) for ids in those]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i][1]))
        order += order[:1] * max(0, FEWEST - sum(len(ids) for _, ids in texts))  # judged again
        shifted = padded([np.append(PAD, texts[i][1][:-1]) for i in order], self.grain)
        runs = runs_of(shifted)
        biases = [self.bias[:, :length, :length] for length, _ in runs]
        post_of = np.repeat([texts[i][0] for i in order], [len(ids) for ids in shifted])
        device = self.decoder.device
        (encoded,) = self.encoder(posts)
        memory = Memory(self.decoder, encoded)
        places = Places(memory, torch.from_numpy(post_of).to(device))
        values = self.decoder(
            torch.from_numpy(np.concatenate(shifted)).to(device),
            lambda _, *states: attend_alike(runs, biases, *states),
            lambda layer, query: memory.read(layer, query, places),
        )
        parts = values[:, 0].float().contiguous().split([length * count for length, count in runs])
        past = past_the_end([len(texts[i][1]) for i in order], runs, device)
        means = [
            part.view(those.shape).masked_fill(those, 0).sum(1) / (~those).sum(1)
            for part, those in zip(parts, past, strict=True)
        ]
        rewards = np.empty(len(texts), np.float32)
        rewards[order] = (torch.cat(means) + self.head_bias).cpu().numpy()
        return np.split(rewards, np.cumsum([len(those) for those in candidates])[:-1])


def pairwise_accuracy(
    model: RewardModel,
    posts: list[np.ndarray],
    chosen: list[np.ndarray],
    rejected: list[np.ndarray],
) -> float:
    """The share of held-out pairs in which the chosen one has the higher reward; ties half."""
    pairs = [list(pair) for pair in zip(chosen, rejected, strict=True)]
    rewards = np.stack(score(model, posts, pairs))
    return float(np.mean(np.sign(rewards[:, 0] - rewards[:, 1]) / 2 + 0.5))
