"""Samples of the policy: n = 2, 4, ... are nested prefixes of one draw a post.

A post is encoded once, its cross-attention keys and values are kept once for all its samples, and
the probabilities of their first token are computed once. Posts that begin together, a cohort, are
at the same step; several cohorts, each at a step of its own, share the matrix products. Ended
samples are dropped, and a new cohort fills the room.

The numbers that pick the tokens belong to (seed, post, sample index), and the probabilities of a
token do not depend on what else is in the batch (see t5), so neither do the samples.
"""

import hashlib
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import tokenizers
import torch
from torch import Tensor
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.errors import ArtifactError
from underspec.order import SAMPLING, stream_seed
from underspec.progress import Progress
from underspec.t5 import FEWEST, Decoder, Encoder, Memory, Places
from underspec.tokens import EOS, PAD, check_ids, decode

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 1024  # samples in flight: enough for large matrix products
COHORTS = 4  # a new one begins when the others leave this part of the room
BLOCK = 32  # tokens by which a cache grows, and which attention reads at a time
CUMULATED = 64  # probabilities that are added up at a time

# Logits (rows, vocabulary) and numbers in [0, 1) (rows, draws): tokens and their log-probabilities.
Pick = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@torch.inference_mode()
def draw(
    policy: T5ForConditionalGeneration,
    tokenizer: tokenizers.Tokenizer,
    post_ids: list[str],
    posts: list[np.ndarray],
    samples: int,
    max_length: int,
    seed: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> pd.DataFrame:
    """`samples` samples a post, as artifacts.SAMPLES, in the order of the posts.

    At each step, of the tokens at `temperature` only the `top_k` likeliest (None: all) are kept,
    and of those the likeliest that together have the probability `top_p`. `log_prob` is the
    log-probability of the sample, eos included, under the distribution it was drawn from. A sample
    without an end is cut at `max_length` tokens; how many were is said on the log. Raises
    ArtifactError if a post has no tokens or one that the policy has not, or if logits are not
    finite.
    """
    check_ids(post_ids, posts, policy.config.vocab_size)
    tokens = np.full((len(posts), samples, max_length), PAD, dtype=np.int32)
    log_probs = np.empty((len(posts), samples), dtype=np.float32)
    decoder = language_model(policy, temperature)
    done, progress = 0, Progress(log, len(posts))
    encoder = Encoder(policy.encoder, max(map(len, posts)))
    pick = partial(choose, top_k=top_k, top_p=top_p)
    waiting = _Waiting(encoder, decoder, pick, post_ids, posts, samples, max_length, seed)
    for cohort in _finished(decoder, waiting, pick):
        drawn = (len(cohort.posts), -1)  # samples a post: at least those asked for
        tokens[cohort.posts] = cohort.tokens.unflatten(0, drawn)[:, :samples].cpu()
        log_probs[cohort.posts] = cohort.log_probs.unflatten(0, drawn)[:, :samples].cpu()
        done += len(cohort.posts)
        progress.show(done, f"{done} of {len(posts)} posts sampled")
    endless = int((tokens[:, :, -1] != PAD).sum() - (tokens[:, :, -1] == EOS).sum())
    if endless:
        log.warning("%d of %d samples cut at %d tokens", endless, log_probs.size, max_length)
    return pd.DataFrame(
        {
            "post_id": np.repeat(post_ids, samples),
            "sample_index": np.tile(np.arange(samples), len(posts)),
            "text": decode(tokenizer, tokens.reshape(-1, max_length)),
            "log_prob": log_probs.reshape(-1),
        }
    )


def language_model(policy: T5ForConditionalGeneration, temperature: float = 1.0) -> Decoder:
    """The policy's decoder with its logits over `temperature` for outputs."""
    config = policy.config
    scale = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0
    return Decoder(policy.decoder, policy.lm_head.weight * (scale / temperature))


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

    Raises ArtifactError if there are logits that are not finite.
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
    whole = sums.sum(-1)
    if not math.isfinite(whole.sum().item()):
        raise ArtifactError("the policy's logits are not finite: its weights are damaged")
    part, inside = _inverse(sums, uniform)
    rows = torch.arange(len(logits), device=logits.device)[:, None]
    place, _ = _inverse(parts[rows, part].flatten(0, 1), inside.flatten()[:, None])
    token = part * CUMULATED + place.view_as(part)
    return token, probabilities[rows, token].log() - whole.log()[:, None]


def _inverse(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Where the cumulative sum of `weights` (rows, n) first exceeds the shares `uniform` (rows,
    draws) of the whole, and how far into that weight's own share each point lies, in [0, 1).
    """
    edges = weights.cumsum(-1, dtype=torch.float64)
    target = uniform * edges[:, -1:]
    place = torch.searchsorted(edges, target, right=True)
    weight = weights.gather(1, place)
    begin = edges.gather(1, place) - weight
    inside = ((target - begin) / weight).clamp_(0, 1 - 2**-53)
    return place, inside


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

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Self-attention of the rows in flight over what has been drawn of them so far."""
        shape = (-1, self.heads, self.d_kv)
        keys, values = self.cache[layer]
        keys[:, :, self.step], values[:, :, self.step] = key.view(shape), value.view(shape)
        room = keys.shape[2]
        keys, values = keys.view(-1, room, self.d_kv), values.view(-1, room, self.d_kv)
        scores = torch.bmm(query.reshape(-1, 1, self.d_kv), keys.transpose(1, 2))
        bias = self.bias[:, self.step, :room]
        scores = scores.view(-1, self.heads, room)
        scores += bias
        weights = scores.softmax(-1).view(-1, 1, room)
        return torch.bmm(weights, values).view(query.shape)

    def read(self, layer: int, query: Tensor) -> list[Tensor]:
        """Cross-attention, a part for the posts of each length."""
        parts = zip(self.readers, query.split(self.sizes), strict=True)
        return [readers.read(layer, rows) for readers, rows in parts]

    def grow(self) -> None:
        """Make room for one more token in the caches."""
        room = self.cache[0][0].shape[2]
        if self.step == room:
            more = min(BLOCK - room % BLOCK, self.uniforms.shape[1] - room)
            self.cache = [
                tuple(torch.nn.functional.pad(each, (0, 0, 0, more)) for each in pair)
                for pair in self.cache
            ]

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
        self.cache = [tuple(each[kept] for each in pair) for pair in self.cache]
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


@dataclass
class _Waiting:
    """Posts that have not begun, by length."""

    encoder: Encoder
    decoder: Decoder
    pick: Pick
    post_ids: list[str]
    posts: list[np.ndarray]
    samples: int
    longest: int
    seed: int

    def __post_init__(self):
        self.order = sorted(range(len(self.posts)), key=lambda i: len(self.posts[i]))

    def begin(self, room: int) -> Cohort:
        """A cohort of as many posts as have room, and at least one, its first tokens drawn.

        It has at least FEWEST rows: a few more samples than asked for, if need be.
        """
        number = max(1, room // self.samples)
        chosen, self.order = self.order[:number], self.order[number:]
        drawn = max(self.samples, -(-FEWEST // len(chosen)))
        numbers = [
            uniforms(self.seed, self.post_ids[i], range(drawn), self.longest) for i in chosen
        ]
        numbers = torch.from_numpy(np.stack(numbers)).to(self.decoder.device)
        encoded = self.encoder([self.posts[i] for i in chosen])
        memories = [Memory(self.decoder, states) for states in encoded]
        logits, cache = _first(self.decoder, memories)
        cohort = Cohort(self.decoder, chosen, memories, numbers, cache)
        cohort.take(*self.pick(logits, numbers[:, :, 0]))
        return cohort


def _first(decoder: Decoder, memories: list[Memory]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
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


def _finished(decoder: Decoder, waiting: _Waiting, pick: Pick) -> Iterator[Cohort]:
    """Step all cohorts in flight, let new ones in as others shrink, and yield those at an end."""
    most, cohorts = ROWS_AT_ONCE, []
    while waiting.order or cohorts:
        room = most - sum(len(cohort.rows) for cohort in cohorts)
        if waiting.order and (not cohorts or room >= max(waiting.samples, most // COHORTS)):
            cohorts.append(waiting.begin(room))
        yield from (cohort for cohort in cohorts if not cohort.going)
        cohorts = [cohort for cohort in cohorts if cohort.going]
        for cohort in cohorts:
            cohort.drop()
        if cohorts:
            _step(decoder, pick, cohorts)


def _step(decoder: Decoder, pick: Pick, cohorts: list[Cohort]) -> None:
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
    logits = decoder(torch.cat([cohort.last for cohort in cohorts]), attend, read)
    uniform = torch.cat([cohort.uniforms[cohort.rows, cohort.step] for cohort in cohorts])
    tokens, log_probs = pick(logits, uniform[:, None])
    for cohort, drawn, value in zip(
        cohorts, tokens.split(sizes), log_probs.split(sizes), strict=True
    ):
        cohort.take(drawn, value)
