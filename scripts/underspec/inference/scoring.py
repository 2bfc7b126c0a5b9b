"""Rewards of many candidates per post: each post is encoded once, equal candidates are scored once.

Posts of one length form a batch, with the tokens of all their candidates concatenated (on a CPU
without padding). As explained in shared_post_t5, a reward depends on its post and candidate alone:
bit for bit on a CPU, up to rounding on a GPU.
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
    MIN_ROWS,
    CrossAttentionCache,
    Decoder,
    Encoder,
    RowsByPost,
    attend_by_length,
    length_runs,
    max_posts,
    padded,
    padding_masks,
    rounded_up,
)
from underspec.models import fused_layers
from underspec.models.reward_model import RewardModel
from underspec.progress import Progress

log = logging.getLogger(__name__)

# Tokens of candidates per batch; on a CPU, more would not fit into its caches.
TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 65536}
CANDIDATE_MULTIPLE = 8  # on a GPU, candidates are padded to a multiple of this length


@torch.inference_mode()
def score(
    model: RewardModel, posts: list[np.ndarray], candidates: list[list[np.ndarray]]
) -> list[np.ndarray]:
    """The rewards of each post's candidates (token ids), in order: one float32 array (candidates,
    heads) per post.

    Equal candidates of a post get exactly the same reward. Raises ArtifactError if a text is empty
    or has ids outside of the vocabulary, or if a reward is not finite.
    """
    model.eval()
    names = [f"post {i}" for i in range(len(posts))]
    check_ids(names, posts, model.config.vocab_size)
    for name, texts in zip(names, candidates, strict=True):
        check_ids([f"a candidate of {name}"] * len(texts), texts, model.config.vocab_size)
    longest = max(map(len, posts)), max(len(ids) for texts in candidates for ids in texts)
    scorer = _Scorer(model, longest)
    distinct, inverses = zip(*map(_distinct, candidates), strict=True)
    rewards: list[np.ndarray] = [np.empty(0, np.float32)] * len(posts)
    done, progress = 0, Progress(log, len(posts))
    limits = scorer.tokens_at_once, scorer.encoder.multiple, partial(max_posts, scorer.decoder)
    for batch in _batches(posts, distinct, *limits):
        texts = [distinct[i] for i in batch]
        for i, values in zip(batch, scorer([posts[i] for i in batch], texts), strict=True):
            rewards[i] = values[inverses[i]]
        done += len(batch)
        progress.show(done, f"{done} of {len(posts)} posts scored")
    if not all(np.isfinite(values).all() for values in rewards):
        raise ArtifactError("the reward model's rewards are not finite: its weights are damaged")
    return rewards


def _distinct(candidates: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The distinct candidates and, for each candidate, its index among them."""
    indices: dict[bytes, int] = {}
    inverse = [indices.setdefault(ids.tobytes(), len(indices)) for ids in candidates]
    by_index = dict(zip(inverse, candidates, strict=True))
    return [by_index[index] for index in range(len(indices))], np.array(inverse)


def _batches(
    posts: list[np.ndarray],
    candidates: list[list[np.ndarray]],
    tokens_at_once: int,
    multiple: int,
    max_posts: Callable[[int], float],
) -> Iterator[list[int]]:
    """Batches of posts that have one length when padded to a multiple of `multiple` tokens.

    A batch has at most `max_posts(length)` posts, and at most `tokens_at_once` tokens of candidates
    unless a single post has more.
    """
    by_length = sorted(range(len(posts)), key=lambda i: len(posts[i]))
    for length, same in groupby(by_length, key=lambda i: rounded_up(len(posts[i]), multiple)):
        batch, tokens = [], 0
        for i in same:
            more = sum(map(len, candidates[i]))
            full = len(batch) >= max_posts(length) or tokens + more > tokens_at_once
            if batch and full:
                yield batch
                batch, tokens = [], 0
            batch.append(i)
            tokens += more
        yield batch


class _Scorer:
    """Scores candidates of posts that have one length, including padding.

    `longest` are the maximum lengths of a post and of a candidate.
    """

    def __init__(self, model: RewardModel, longest: tuple[int, int]):
        self.head_bias = model.head.bias.float()
        self.heads = model.head.out_features
        head = pad(model.head.weight, (0, 0, 0, 1))  # one more output, of zeros: see MIN_ROWS
        self.decoder = Decoder(model.transformer.decoder, head)
        self.encoder = Encoder(model.transformer.encoder, longest[0])
        self.multiple = CANDIDATE_MULTIPLE if fused_layers.fused(self.decoder.device) else 1
        self.bias = self.decoder.causal_bias(rounded_up(longest[1], self.multiple))
        self.tokens_at_once = TOKENS_AT_ONCE[self.decoder.device.type]

    def __call__(
        self, posts: list[np.ndarray], candidates: list[list[np.ndarray]]
    ) -> list[np.ndarray]:
        """The rewards of each post's candidates: one float32 array (candidates, heads) per post."""
        texts = [(post, ids) for post, own in enumerate(candidates) for ids in own]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i][1]))
        order += order[:1] * max(0, MIN_ROWS - sum(len(ids) for _, ids in texts))  # fills up rows
        shifted = padded([np.append(PAD, texts[i][1][:-1]) for i in order], self.multiple)
        runs = length_runs(shifted)
        biases = [self.bias[:, :length, :length] for length, _ in runs]
        post_of = np.repeat([texts[i][0] for i in order], [len(ids) for ids in shifted])
        device = self.decoder.device
        (encoded,) = self.encoder(posts)
        cache = CrossAttentionCache(self.decoder, encoded)
        rows = RowsByPost(cache, torch.from_numpy(post_of).to(device))
        values = self.decoder(
            torch.from_numpy(np.concatenate(shifted)).to(device),
            lambda _, *states: attend_by_length(runs, biases, *states),
            lambda layer, query: cache.attend(layer, query, rows),
        )
        values = values[:, : self.heads].float().T.contiguous()
        parts = values.split([length * count for length, count in runs], dim=1)
        masks = padding_masks([len(texts[i][1]) for i in order], runs, device)
        means = [
            part.reshape(-1, *mask.shape).masked_fill(mask, 0).sum(2) / (~mask).sum(1)
            for part, mask in zip(parts, masks, strict=True)
        ]
        rewards = np.empty((len(texts), self.heads), np.float32)
        rewards[order] = (torch.cat(means, dim=1).T + self.head_bias).cpu().numpy()
        return np.split(rewards, np.cumsum([len(own) for own in candidates])[:-1])


def pairwise_accuracy(
    model: RewardModel,
    posts: list[np.ndarray],
    chosen: list[np.ndarray],
    rejected: list[np.ndarray],
) -> float:
    """The share of held-out pairs whose chosen candidate has the higher reward; ties count half.

    With several heads, it is the mean of theirs.
    """
    pairs = [list(pair) for pair in zip(chosen, rejected, strict=True)]
    rewards = np.stack(score(model, posts, pairs))
    return float(np.mean(np.sign(rewards[:, 0] - rewards[:, 1]) / 2 + 0.5))
