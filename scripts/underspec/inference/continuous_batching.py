"""Draws samples by continuous batching: samples that end free their slots for new posts.

Up to `max_slots` samples are drawn at a time. Posts that start together form a batch, whose samples
are all at the same step; batches at different steps share the matrix products. The logits of the
first token are computed once for all samples of a post.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from underspec.data.tokenization import EOS, PAD
from underspec.inference import shared_post_t5
from underspec.inference.shared_post_t5 import (
    MIN_ROWS,
    CrossAttentionCache,
    Decoder,
    RowsByPost,
    attend,
)
from underspec.inference.token_sampling import Task
from underspec.models.compiler import need_compiler

MAX_SLOTS = 1024  # enough for large matrix products on a CPU
MAX_SLOTS_ON_GPU = 4096  # enough for kernels to run longer than they take to launch
CACHE_SHARE = 0.4  # share of a GPU's memory for the KV cache of the samples
REFILL_PARTS = 4  # a new batch starts once this part (a quarter) of the slots is free
CACHE_BLOCK = 32  # a cache grows by this many tokens at a time


def generate(task: Task) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield the samples of all posts, some posts at a time: the posts' indices, tokens (posts,
    samples, longest) and log-probabilities (posts, samples). Raises ConfigError if a GPU needs a C
    compiler and there is none.
    """
    if uses_triton(task.decoder.device):
        need_compiler("sampling on a GPU")
    waiting, batches = task.by_length(), []
    slots, posts = max_slots(task), max_posts(task)
    while waiting or batches:
        free = slots - sum(len(batch.active) for batch in batches)
        number = min(free // task.samples, posts - sum(len(batch.posts) for batch in batches))
        if waiting and (not batches or (number > 0 and free >= slots // REFILL_PARTS)):
            number = max(1, number)
            batches.append(_start(task, waiting[:number]))
            waiting = waiting[number:]
        for batch in batches:
            if not batch.unfinished:
                yield batch.posts, *batch.samples(task.samples)
        batches = [batch for batch in batches if batch.unfinished]
        for batch in batches:
            batch.drop_ended()
        if batches:
            _step(task, batches)


def max_slots(task: Task) -> int:
    """How many samples are drawn at a time.

    On a GPU, this depends on total rather than free memory, so that equal GPUs batch alike.
    """
    decoder = task.decoder
    if decoder.device.type != "cuda":
        return MAX_SLOTS
    slot_size = 2 * len(decoder.layers) * decoder.n_heads * decoder.d_kv * task.longest
    memory = torch.cuda.get_device_properties(decoder.device).total_memory
    return min(MAX_SLOTS_ON_GPU, int(CACHE_SHARE * memory / (slot_size * decoder.dtype.itemsize)))


def max_posts(task: Task) -> int:
    """How many posts are sampled at a time: at most as many as a GPU's cache holds."""
    fitting = shared_post_t5.max_posts(task.decoder, max(map(len, task.posts)))
    return int(min(fitting, len(task.posts)))


def uses_triton(device: torch.device) -> bool:
    """Whether self-attention on `device` uses our Triton kernel."""
    return device.type == "cuda"


def _start(task: Task, posts: list[int]) -> "SampleBatch":
    """A batch of samples of `posts` with the first tokens drawn.

    It has at least MIN_ROWS rows: if necessary, a few more samples than asked for.
    """
    caches = [CrossAttentionCache(task.decoder, states) for states in task.encode(posts)]
    uniforms = task.uniforms(posts, max(task.samples, -(-MIN_ROWS // len(posts))))
    logits, first_step = _first_token(task.decoder, caches)
    batch = SampleBatch(task.decoder, posts, caches, uniforms, first_step)
    batch.append(*task.choose(logits, uniforms[:, :, 0]))
    return batch


def _first_token(
    decoder: Decoder, caches: list[CrossAttentionCache]
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """What all samples of a post share: the logits (posts, vocabulary) of their first token, and
    each layer's keys and values (posts, heads * d_kv) at that step.
    """
    posts = [torch.arange(cache.posts, device=decoder.device) for cache in caches]
    number = sum(map(len, posts))
    extra = max(0, MIN_ROWS - number)  # unused rows
    posts[-1] = torch.cat([posts[-1], posts[-1][-1:].expand(extra)])
    rows_by_post = [RowsByPost(*pair) for pair in zip(caches, posts, strict=True)]
    keys_and_values = []

    def attend(_: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        keys_and_values.append((key[:number], value[:number]))
        return value  # the first token attends only to itself

    def cross_attend(layer: int, query: Tensor) -> Tensor:
        queries = query.split([len(rows) for rows in posts])
        parts = zip(caches, queries, rows_by_post, strict=True)
        return torch.cat([cache.attend(layer, part, rows) for cache, part, rows in parts])

    tokens = torch.full((number + extra,), PAD, device=decoder.device)
    return decoder(tokens, attend, cross_attend)[:number], keys_and_values


def _step(task: Task, batches: list["SampleBatch"]) -> None:
    """Draw one more token for every active row."""
    sizes = [len(batch.active) for batch in batches]

    def attend(layer: int, *states: Tensor) -> Tensor:
        parts = zip(batches, *(each.split(sizes) for each in states), strict=True)
        return torch.cat([batch.attend(layer, *rows) for batch, *rows in parts])

    def cross_attend(layer: int, query: Tensor) -> Tensor:
        parts = zip(batches, query.split(sizes), strict=True)
        return torch.cat(
            [part for batch, rows in parts for part in batch.cross_attend(layer, rows)]
        )

    for batch in batches:
        batch.grow()
    logits = task.decoder(torch.cat([batch.last for batch in batches]), attend, cross_attend)
    uniform = torch.cat([batch.uniforms[batch.active, batch.step] for batch in batches])
    tokens, log_probs = task.choose(logits, uniform[:, None])
    for batch, *drawn in zip(batches, tokens.split(sizes), log_probs.split(sizes), strict=True):
        batch.append(*drawn)


class SampleBatch:
    """Samples of some posts that started together and are at the same step.

    `posts` are indices of posts, sorted by length, with one cross-attention cache per length.
    `uniforms` (posts, samples, longest) are the random numbers that choose the tokens.
    `first_step` has each layer's keys and values (posts, heads * d_kv) at the first step.
    """

    def __init__(
        self,
        decoder: Decoder,
        posts: list[int],
        caches: list[CrossAttentionCache],
        uniforms: Tensor,
        first_step: list[tuple[Tensor, Tensor]],
    ):
        self.posts, (_, samples, longest) = posts, uniforms.shape
        self.heads, self.d_kv = decoder.n_heads, decoder.d_kv
        device, rows = decoder.device, len(posts) * samples
        self.bias, self.uniforms = decoder.causal_bias(longest), uniforms.view(rows, longest)
        self.tokens = torch.full((rows, longest), PAD, device=device)
        self.log_probs = torch.zeros(rows, device=device)
        self.step, self.unfinished = 0, rows
        self.active = torch.arange(rows, device=device)  # the rows that occupy slots
        self.alive = torch.ones(rows, dtype=torch.bool, device=device)  # of the active rows
        self.readers = [PostReaders(cache, samples) for cache in caches]
        self.sizes = [len(readers.post_of) for readers in self.readers]
        self.kv_cache = [
            tuple(
                each.view(-1, self.heads, 1, self.d_kv).repeat_interleave(samples, 0)
                for each in pair
            )
            for pair in first_step
        ]

    def samples(self, number: int) -> tuple[Tensor, Tensor]:
        """Tokens (posts, number, longest) and log-probabilities (posts, number) of the first
        `number` samples of each post.
        """
        each = (len(self.posts), -1)
        tokens, log_probs = (part.unflatten(0, each) for part in (self.tokens, self.log_probs))
        return tokens[:, :number], log_probs[:, :number]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Self-attention of the active rows over their tokens so far."""
        shape = (-1, self.heads, self.d_kv)
        keys, values = self.kv_cache[layer]
        keys[:, :, self.step], values[:, :, self.step] = key.view(shape), value.view(shape)
        if uses_triton(keys.device):
            from underspec.inference.last_token import attend_last  # Triton comes with CUDA only

            bias = self.bias[:, self.step, : self.step + 1].contiguous()
            return attend_last(query, keys, values, bias)
        bias = self.bias[:, self.step, None, : keys.shape[2]]
        return attend(query.reshape(shape)[:, :, None], keys, values, bias[None]).view(query.shape)

    def cross_attend(self, layer: int, query: Tensor) -> list[Tensor]:
        """Cross-attention of the active rows, in one part per length of posts."""
        parts = zip(self.readers, query.split(self.sizes), strict=True)
        return [readers.attend(layer, rows) for readers, rows in parts]

    def grow(self) -> None:
        """Make room for one more token in the KV cache."""
        length = self.kv_cache[0][0].shape[2]
        if self.step == length:
            more = min(CACHE_BLOCK - length % CACHE_BLOCK, self.uniforms.shape[1] - length)
            for i, pair in enumerate(self.kv_cache):  # one by one: a second copy may not fit
                self.kv_cache[i] = tuple(
                    torch.nn.functional.pad(each, (0, 0, 0, more)) for each in pair
                )

    def append(self, tokens: Tensor, log_probs: Tensor) -> None:
        """Append one token to each active row, except to those that have ended."""
        tokens, log_probs = tokens.flatten(), log_probs.flatten()
        self.last = torch.where(self.alive, tokens, PAD)
        self.tokens[self.active, self.step] = self.last
        self.log_probs[self.active] += torch.where(self.alive, log_probs, 0.0)
        self.step += 1
        self.alive &= (tokens != EOS) & (self.step < self.uniforms.shape[1])
        self.unfinished = int(self.alive.sum())

    def drop_ended(self) -> None:
        """Free the slots of ended rows once an eighth of the active rows has ended."""
        if self.unfinished > 7 / 8 * len(self.active) or len(self.active) == MIN_ROWS:
            return
        alive_first = self.alive.long().argsort(descending=True, stable=True)
        kept = alive_first[: max(MIN_ROWS, self.unfinished)].sort().values
        self.active, self.alive, self.last = self.active[kept], self.alive[kept], self.last[kept]
        for i, pair in enumerate(self.kv_cache):
            self.kv_cache[i] = tuple(each[kept] for each in pair)
        ends = np.cumsum(self.sizes)
        for readers, end, size in zip(self.readers, ends, self.sizes, strict=True):
            readers.keep(kept[(kept >= end - size) & (kept < end)] - (end - size))
        self.readers = [readers for readers in self.readers if len(readers.post_of)]
        self.sizes = [len(readers.post_of) for readers in self.readers]


class PostReaders:
    """The active rows that attend to posts of one length, `samples` rows per post at first."""

    def __init__(self, cache: CrossAttentionCache, samples: int):
        self.cache = cache
        self.post_of = torch.arange(cache.posts, device=cache.device).repeat_interleave(samples)
        self.rows = RowsByPost(cache, self.post_of)

    def attend(self, layer: int, query: Tensor) -> Tensor:
        return self.cache.attend(layer, query, self.rows)

    def keep(self, rows: Tensor) -> None:
        """Drop all rows except `rows`, and posts that are left without rows."""
        if len(rows) < len(self.post_of):
            posts, self.post_of = self.post_of[rows].unique(return_inverse=True)
            self.cache.keep(posts)
            self.rows = RowsByPost(self.cache, self.post_of) if len(rows) else None
