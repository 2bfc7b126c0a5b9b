"""What samples are to be drawn, and how numbers in [0, 1) pick their tokens: by the inverse of the
cumulative distribution.

The numbers belong to (seed, post, sample index) and come from nowhere else.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from underspec.inference.shared_post_t5 import Decoder, Encoded, Encoder
from underspec.random_streams import SAMPLING, stream_seed

CUMULATED = 64  # probabilities that are added up at a time


@dataclass(frozen=True)
class Task:
    """`samples` samples of each of `posts` (token ids), of at most `longest` tokens.

    Of the tokens only the `top_k` likeliest (None: all) are kept at each step, and of those the
    likeliest that together have the probability `top_p`.
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
        """The places of the posts, short ones first."""
        return sorted(range(len(self.posts)), key=lambda i: len(self.posts[i]))

    def numbers(self, posts: list[int], samples: int) -> Tensor:
        """What picks the tokens of so many samples of some posts: (posts, samples, longest)."""
        each = [uniforms(self.seed, self.post_ids[i], range(samples), self.longest) for i in posts]
        return torch.from_numpy(np.stack(each)).to(self.decoder.device)

    def encode(self, posts: list[int]) -> list[Encoded]:
        """See Encoder."""
        return self.encoder([self.posts[i] for i in posts])

    def pick(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """See choose."""
        return choose(logits, uniform, self.top_k, self.top_p)


def uniforms(seed: int, post_id: str, samples: range, length: int) -> np.ndarray:
    """The numbers in [0, 1) that pick the tokens of a post's samples: (samples, length)."""
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
    """The tokens that `uniform` (rows, draws) in [0, 1) picks by inverse CDF from `logits` (rows,
    vocabulary), and their log-probabilities among those kept by `top_k` and `top_p`.

    Where logits are not finite, neither are the log-probabilities of what is picked.
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
    # In two rounds, first which CUMULATED tokens, then which of them: a cumulative sum over all
    # takes as long as the logits did.
    if spare := -probabilities.shape[-1] % CUMULATED:
        probabilities = torch.nn.functional.pad(probabilities, (0, spare))
    parts = probabilities.unflatten(1, (-1, CUMULATED))
    sums = parts.sum(-1)
    part, inside = _inverse(sums, uniform)
    rows = torch.arange(len(logits), device=logits.device)[:, None]
    place, _ = _inverse(parts[rows, part].flatten(0, 1), inside.flatten()[:, None])
    token = (part * CUMULATED + place.view_as(part)).clamp_(max=logits.shape[-1] - 1)
    return token, probabilities[rows, token].log() - sums.sum(-1, keepdim=True).log()


def _inverse(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Where the cumulative sum of `weights` (rows, n) first exceeds the shares `uniform` (rows,
    draws) of the whole, and how far into that weight's own share each point lies, in [0, 1).
    """
    edges = weights.cumsum(-1, dtype=torch.float64)
    target = uniform * edges[:, -1:]
    place = torch.searchsorted(edges, target, right=True).clamp_(max=weights.shape[-1] - 1)
    weight = weights.gather(1, place)
    begin = edges.gather(1, place) - weight
    inside = ((target - begin) / weight).clamp_(0, 1 - 2**-53)
    return place, inside
