"""Drawing samples: a row for each sample that has not ended.

Posts that begin together, a cohort, are at the same step; several cohorts, each at a step of its
own, share the matrix products. Ended samples are dropped, and a new cohort fills the room. The
probabilities of the first token are computed once for all samples of a post.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from underspec.data.tokenization import EOS, PAD
from underspec.inference import shared_post_t5
from underspec.inference.shared_post_t5 import FEWEST, Decoder, Memory, Places, attend
from underspec.inference.token_sampling import Task

ROWS_AT_ONCE = 1024  # samples in flight: enough for large matrix products
ROWS_ON_GPU = 4096  # so many that kernels run longer than they take to launch
CACHE_SHARE = 0.4  # of a GPU's memory, for what is kept of the samples
COHORTS = 4  # a new one begins when the others leave this part of the room
BLOCK = 32  # tokens by which a cache grows


def drawn(task: Task) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """The samples of all posts: some posts' places, tokens (posts, samples, longest) and
    log-probabilities (posts, samples) at a time.

    All cohorts in flight go a step at a time, and new ones are let in as others shrink.
    """
    waiting, cohorts = task.by_length(), []
    rows, posts = rows_at_once(task), posts_at_once(task)
    while waiting or cohorts:
        room = rows - sum(len(cohort.rows) for cohort in cohorts)
        number = min(room // task.samples, posts - sum(len(cohort.posts) for cohort in cohorts))
        if waiting and (not cohorts or (number > 0 and room >= rows // COHORTS)):
            number = max(1, number)
            cohorts.append(_begin(task, waiting[:number]))
            waiting = waiting[number:]
        for cohort in cohorts:
            if not cohort.going:
                yield cohort.posts, *cohort.samples(task.samples)
        cohorts = [cohort for cohort in cohorts if cohort.going]
        for cohort in cohorts:
            cohort.drop()
        if cohorts:
            _step(task, cohorts)


def rows_at_once(task: Task) -> int:
    """How many samples are drawn at once. On a GPU its total memory decides, so that GPUs of one
    kind draw alike.
    """
    decoder = task.decoder
    if decoder.device.type != "cuda":
        return ROWS_AT_ONCE
    a_row = 2 * len(decoder.layers) * decoder.n_heads * decoder.d_kv * task.longest
    memory = torch.cuda.get_device_properties(decoder.device).total_memory
    return min(ROWS_ON_GPU, int(CACHE_SHARE * memory / (a_row * decoder.dtype.itemsize)))


def posts_at_once(task: Task) -> int:
    """How many posts samples are drawn of at once: as many as a GPU can keep."""
    fitting = shared_post_t5.posts_at_once(task.decoder, max(map(len, task.posts)))
    return int(min(fitting, len(task.posts)))


def uses_kernel(device: torch.device) -> bool:
    """Whether the last token's attention has a kernel of its own there."""
    return device.type == "cuda"


def _begin(task: Task, posts: list[int]) -> "Cohort":
    """A cohort, its first tokens drawn.

    It has at least FEWEST rows: a few more samples than asked for, if need be.
    """
    memories = [Memory(task.decoder, states) for states in task.encode(posts)]
    uniforms = task.numbers(posts, max(task.samples, -(-FEWEST // len(posts))))
    logits, cache = _first_token(task.decoder, memories)
    cohort = Cohort(task.decoder, posts, memories, uniforms, cache)
    cohort.take(*task.pick(logits, uniforms[:, :, 0]))
    return cohort


def _first_token(
    decoder: Decoder, memories: list[Memory]
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """What samples of a post share: the logits (posts, vocabulary) of their first token, and each
    layer's keys and values (posts, heads * d_kv) at that step.
    """
    posts = [torch.arange(memory.posts, device=decoder.device) for memory in memories]
    number = sum(map(len, posts))
    spare = max(0, FEWEST - number)  # rows that are not used
    posts[-1] = torch.cat([posts[-1], posts[-1][-1:].expand(spare)])
    places = [Places(*pair) for pair in zip(memories, posts, strict=True)]
    cache = []

    def attend(_: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        cache.append((key[:number], value[:number]))
        return value  # a token that stands alone attends to itself

    def read(layer: int, query: Tensor) -> Tensor:
        parts = zip(memories, query.split([len(those) for those in posts]), places, strict=True)
        return torch.cat([memory.read(layer, rows, where) for memory, rows, where in parts])

    logits = decoder(torch.full((number + spare,), PAD, device=decoder.device), attend, read)
    return logits[:number], cache


def _step(task: Task, cohorts: list["Cohort"]) -> None:
    """One more token for every row in flight."""
    sizes = [len(cohort.rows) for cohort in cohorts]

    def attend(layer: int, *states: Tensor) -> Tensor:
        parts = zip(cohorts, *(each.split(sizes) for each in states), strict=True)
        return torch.cat([cohort.attend(layer, *rows) for cohort, *rows in parts])

    def read(layer: int, query: Tensor) -> Tensor:
        parts = zip(cohorts, query.split(sizes), strict=True)
        return torch.cat([part for cohort, rows in parts for part in cohort.read(layer, rows)])

    for cohort in cohorts:
        cohort.grow()
    logits = task.decoder(torch.cat([cohort.last for cohort in cohorts]), attend, read)
    uniform = torch.cat([cohort.uniforms[cohort.rows, cohort.step] for cohort in cohorts])
    tokens, log_probs = task.pick(logits, uniform[:, None])
    for cohort, drawn, value in zip(
        cohorts, tokens.split(sizes), log_probs.split(sizes), strict=True
    ):
        cohort.take(drawn, value)


class Cohort:
    """Samples of some posts that began together and stand at the same step.

    `posts` are their places among all posts, by length, `memories` those of each length, and
    `uniforms` (posts, samples, longest) the numbers that pick the tokens. `cache` has the keys and
    values (posts, heads * d_kv) of each layer at the first step, which samples of a post share.
    """

    def __init__(
        self,
        decoder: Decoder,
        posts: list[int],
        memories: list[Memory],
        uniforms: Tensor,
        cache: list[tuple[Tensor, Tensor]],
    ):
        self.posts, (_, samples, longest) = posts, uniforms.shape
        self.heads, self.d_kv = decoder.n_heads, decoder.d_kv
        device, rows = decoder.device, len(posts) * samples
        self.bias, self.uniforms = decoder.causal_bias(longest), uniforms.view(rows, longest)
        self.tokens = torch.full((rows, longest), PAD, device=device)
        self.log_probs = torch.zeros(rows, device=device)
        self.step, self.going = 0, rows
        self.rows = torch.arange(rows, device=device)  # in flight, of all
        self.alive = torch.ones(rows, dtype=torch.bool, device=device)
        self.readers = [Readers(memory, samples) for memory in memories]
        self.sizes = [len(readers.post_of) for readers in self.readers]
        self.cache = [
            tuple(
                each.view(-1, self.heads, 1, self.d_kv).repeat_interleave(samples, 0)
                for each in pair
            )
            for pair in cache
        ]

    def samples(self, number: int) -> tuple[Tensor, Tensor]:
        """Of the first `number` samples a post, tokens (posts, number, longest) and
        log-probabilities (posts, number).
        """
        each = (len(self.posts), -1)
        tokens, log_probs = (part.unflatten(0, each) for part in (self.tokens, self.log_probs))
        return tokens[:, :number], log_probs[:, :number]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Self-attention of the rows in flight over what has been drawn of them so far."""
        shape = (-1, self.heads, self.d_kv)
        keys, values = self.cache[layer]
        keys[:, :, self.step], values[:, :, self.step] = key.view(shape), value.view(shape)
        if uses_kernel(keys.device):
            from underspec.inference.last_token import (
                attend_last,  # Triton is there only where CUDA is
            )

            bias = self.bias[:, self.step, : self.step + 1].contiguous()
            return attend_last(query, keys, values, bias)
        bias = self.bias[:, self.step, None, : keys.shape[2]]
        return attend(query.reshape(shape)[:, :, None], keys, values, bias[None]).view(query.shape)

    def read(self, layer: int, query: Tensor) -> list[Tensor]:
        """Cross-attention, a part for the posts of each length."""
        parts = zip(self.readers, query.split(self.sizes), strict=True)
        return [readers.read(layer, rows) for readers, rows in parts]

    def grow(self) -> None:
        """Make room for one more token in the caches."""
        room = self.cache[0][0].shape[2]
        if self.step == room:
            more = min(BLOCK - room % BLOCK, self.uniforms.shape[1] - room)
            for i, pair in enumerate(self.cache):  # one by one: two copies of all may not fit
                self.cache[i] = tuple(
                    torch.nn.functional.pad(each, (0, 0, 0, more)) for each in pair
                )

    def take(self, tokens: Tensor, log_probs: Tensor) -> None:
        """Append the tokens drawn for the rows in flight; those that have ended take nothing."""
        tokens, log_probs = tokens.flatten(), log_probs.flatten()
        self.last = torch.where(self.alive, tokens, PAD)
        self.tokens[self.rows, self.step] = self.last
        self.log_probs[self.rows] += torch.where(self.alive, log_probs, 0.0)
        self.step += 1
        self.alive &= (tokens != EOS) & (self.step < self.uniforms.shape[1])
        self.going = int(self.alive.sum())

    def drop(self) -> None:
        """Let go of ended rows, if an eighth of those in flight has ended."""
        if self.going > 7 / 8 * len(self.rows) or len(self.rows) == FEWEST:
            return
        first = self.alive.long().argsort(descending=True, stable=True)
        kept = first[: max(FEWEST, self.going)].sort().values
        self.rows, self.alive, self.last = self.rows[kept], self.alive[kept], self.last[kept]
        for i, pair in enumerate(self.cache):
            self.cache[i] = tuple(each[kept] for each in pair)
        ends = np.cumsum(self.sizes)
        for readers, end, size in zip(self.readers, ends, self.sizes, strict=True):
            readers.keep(kept[(kept >= end - size) & (kept < end)] - (end - size))
        self.readers = [readers for readers in self.readers if len(readers.post_of)]
        self.sizes = [len(readers.post_of) for readers in self.readers]


class Readers:
    """The rows in flight that read posts of one length, so many of each to begin with."""

    def __init__(self, memory: Memory, samples: int):
        self.memory = memory
        self.post_of = torch.arange(memory.posts, device=memory.device).repeat_interleave(samples)
        self.places = Places(memory, self.post_of)

    def read(self, layer: int, query: Tensor) -> Tensor:
        return self.memory.read(layer, query, self.places)

    def keep(self, rows: Tensor) -> None:
        """Let go of all but `rows`, and of posts that no row reads any more."""
        if len(rows) < len(self.post_of):
            posts, self.post_of = self.post_of[rows].unique(return_inverse=True)
            self.memory.keep(posts)
            self.places = Places(self.memory, self.post_of) if len(rows) else None
