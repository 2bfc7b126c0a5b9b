"""A sampling task, and how uniform random numbers choose tokens: by inverting the cumulative
distribution.

The random numbers are a function of (seed, post, sample index) alone.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from underspec.inference.shared_post_t5 import Decoder, Encoded, Encoder
from underspec.random_streams import SAMPLING, stream_seed

BLOCK = 64  # probabilities per block of a cumulative sum


@dataclass(frozen=True)
class Task:
    """Draw `samples` samples of at most `longest` tokens for each of `posts` (token ids).

    Each step samples from the `top_k` likeliest tokens (None: all), and of those from the likeliest
    whose total probability reaches `top_p`.
    """

    encoder: Encoder
    decoder: Decoder
    post_ids: list[str]
    posts: list[np.ndarray]
    samples: int
    longest: int
    seed: int
    top_k: int | None = None
    top_p: float = 1.0

    def by_length(self) -> list[int]:
        """The indices of the posts, short posts first."""
        return sorted(range(len(self.posts)), key=lambda i: len(self.posts[i]))

    def uniforms(self, posts: list[int], samples: int) -> Tensor:
        """The random numbers of each post's first samples: (posts, samples, longest)."""
        each = [uniforms(self.seed, self.post_ids[i], range(samples), self.longest) for i in posts]
        return torch.from_numpy(np.stack(each)).to(self.decoder.device)

    def encode(self, posts: list[int]) -> list[Encoded]:
        """The encoder's states, one item per length of posts."""
        return self.encoder([self.posts[i] for i in posts])

    def choose(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """As the function `choose`, with the task's top_k and top_p."""
        return choose(logits, uniform, self.top_k, self.top_p)


def uniforms(seed: int, post_id: str, samples: range, length: int) -> np.ndarray:
    """The random numbers in [0, 1) that choose a post's tokens: (samples, length)."""
    post = int.from_bytes(hashlib.blake2b(post_id.encode(), digest_size=8).digest())
    key = stream_seed(seed, SAMPLING, post)
    numbers, philox = np.empty((len(samples), length)), np.random.Philox(key=key)
    generator, state = np.random.Generator(philox), philox.state
    for row, sample in zip(numbers, samples, strict=True):
        state["state"]["counter"][:] = 0, 0, 0, sample
        philox.state = state
        generator.random(out=row)
    return numbers


def choose(
    logits: Tensor, uniform: Tensor, top_k: int | None = None, top_p: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Choose tokens from `logits` (rows, vocabulary) by inverse CDF at `uniform` (rows, draws).

    Returns the tokens and their log-probabilities under the distribution that `top_k` and `top_p`
    leave. If logits are not finite, neither are the log-probabilities.
    """
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = logits.softmax(-1, dtype=torch.float32)
    if top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1, dtype=torch.float64) - ordered
        kept = ordered.masked_fill(before >= top_p, 0)
        probabilities = torch.zeros_like(kept).scatter_(1, order, kept)
    # First choose a block of tokens, then a token of the block: a cumulative sum over the whole
    # vocabulary takes as long as computing the logits.
    if missing := -probabilities.shape[-1] % BLOCK:
        probabilities = torch.nn.functional.pad(probabilities, (0, missing))
    blocks = probabilities.unflatten(1, (-1, BLOCK))
    sums = blocks.sum(-1)
    block, inside = _inverse(sums, uniform)
    rows = torch.arange(len(logits), device=logits.device)[:, None]
    index, _ = _inverse(blocks[rows, block].flatten(0, 1), inside.flatten()[:, None])
    token = (block * BLOCK + index.view_as(block)).clamp_(max=logits.shape[-1] - 1)
    return token, probabilities[rows, token].log() - sums.sum(-1, keepdim=True).log()


def _inverse(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """The index at which the cumulative sum of `weights` (rows, n) first exceeds the fractions
    `uniform` (rows, draws) of the total, and the relative position within that weight, in [0, 1).
    """
    edges = weights.cumsum(-1, dtype=torch.float64)
    target = uniform * edges[:, -1:]
    index = torch.searchsorted(edges, target, right=True).clamp_(max=weights.shape[-1] - 1)
    weight = weights.gather(1, index)
    start = edges.gather(1, index) - weight
    inside = ((target - start) / weight).clamp_(0, 1 - 2**-53)
    return index, inside
