"""A T5's outputs at every token of given texts, many per post (teacher forcing).

The tokens of all texts are the rows of one matrix, as in shared_post_t5, so that nothing is
computed for padding. With `multiple` above 1, texts are padded to a multiple of so many tokens, and
take fewer operations. It works with and without gradients.
"""

from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from underspec.data.tokenization import PAD
from underspec.inference.shared_post_t5 import (
    MIN_ROWS,
    CrossAttentionCache,
    Decoder,
    Encoder,
    RowsByPost,
    attend_by_length,
    length_runs,
    padded,
    padding_masks,
    rounded_up,
)


class TeacherForcing:
    """`encoder` and `decoder` of a T5, for texts of at most `longest` tokens."""

    def __init__(self, encoder: Encoder, decoder: Decoder, longest: int, multiple: int = 1):
        self.encoder, self.decoder, self.multiple = encoder, decoder, multiple
        self.bias = decoder.causal_bias(rounded_up(longest, multiple))

    def __call__(
        self, posts: list[np.ndarray], texts: list[list[np.ndarray]]
    ) -> tuple[Tensor, "Rows"]:
        """The decoder's outputs (rows, outputs), and what the rows are, for the texts (token ids)
        of each post (token ids).
        """
        order = sorted(range(len(posts)), key=lambda i: len(posts[i]))
        position = np.empty(len(posts), np.int64)
        position[order] = np.arange(len(posts))
        rows = Rows(texts, position, self.multiple, self.decoder.device)
        caches = [
            CrossAttentionCache(self.decoder, encoded)
            for encoded in self.encoder([posts[i] for i in order])
        ]
        cross_attention = _CrossAttention(caches, rows.post_of)
        biases = [self.bias[:, :length, :length] for length, _ in rows.runs]
        outputs = self.decoder(
            rows.inputs,
            lambda _, *states: attend_by_length(rows.runs, biases, *states),
            cross_attention,
        )
        return outputs, rows


class Rows:
    """The tokens of many texts, short texts first, as rows.

    inputs: the decoder's input (rows,); targets: the token that follows (rows,); runs: (length,
    count) of texts of one length, with padding; post_of: the position of a row's post (rows,).
    """

    def __init__(self, texts: list[list[np.ndarray]], position: np.ndarray, multiple: int, device):
        every = [(at, ids) for at, own in zip(position, texts, strict=True) for ids in own]
        order = sorted(range(len(every)), key=lambda i: len(every[i][1]))
        self.texts = len(order)
        order += order[:1] * max(0, MIN_ROWS - sum(len(ids) for _, ids in every))  # fills up rows
        self.order = torch.tensor(order, device=device)
        ordered = [every[i][1] for i in order]
        shifted = padded([np.append(PAD, ids[:-1]) for ids in ordered], multiple)
        self.runs = length_runs(shifted)
        self.inputs = torch.from_numpy(np.concatenate(shifted)).to(device)
        self.targets = torch.from_numpy(np.concatenate(padded(ordered, multiple))).to(device)
        lengths = [len(ids) for ids in shifted]
        self.post_of = torch.from_numpy(np.repeat([every[i][0] for i in order], lengths)).to(device)
        self.masks = padding_masks([len(ids) for ids in ordered], self.runs, device)

    def sums(self, values: Tensor) -> Tensor:
        """The sum of `values` (..., rows) over each text's tokens: (..., texts), in their order."""
        return self._by_text(values, lambda kept, _: kept.sum(-1))

    def means(self, values: Tensor) -> Tensor:
        """As `sums`, divided by the number of tokens."""
        return self._by_text(values, lambda kept, mask: kept.sum(-1) / (~mask).sum(-1))

    def _by_text(self, values: Tensor, reduce) -> Tensor:
        parts = values.split([length * count for length, count in self.runs], dim=-1)
        reduced = [
            reduce(part.unflatten(-1, mask.shape).masked_fill(mask, 0), mask)
            for part, mask in zip(parts, self.masks, strict=True)
        ]
        ordered = torch.cat(reduced, dim=-1)[..., : self.texts]
        return ordered[..., self.order[: self.texts].argsort()]


class _CrossAttention:
    """Cross-attention of rows to posts of several lengths, one cache per length."""

    def __init__(self, caches: list[CrossAttentionCache], post_of: Tensor):
        self.caches, grouped, self.sizes = caches, [], []
        self.ungrouped = torch.empty_like(post_of)
        ends = accumulate(cache.posts for cache in caches)
        for cache, end in zip(caches, ends, strict=True):
            first = end - cache.posts
            rows = ((post_of >= first) & (post_of < end)).nonzero().flatten()
            by_post = RowsByPost(cache, post_of[rows] - first)
            own = rows if by_post.grouped is None else rows[by_post.grouped]
            at = torch.arange(len(rows), device=rows.device)
            at = at if by_post.ungrouped is None else by_post.ungrouped
            self.ungrouped[rows] = sum(self.sizes) + at
            self.sizes.append(len(own))
            grouped.append(own)
        self.grouped = torch.cat(grouped)

    def __call__(self, layer: int, query: Tensor) -> Tensor:
        parts = query[self.grouped].split(self.sizes)
        states = [
            cache.attend_grouped(layer, part)
            for cache, part in zip(self.caches, parts, strict=True)
        ]
        return torch.cat(states)[self.ungrouped]
