"""Drawing samples on a GPU: a step has the same shape whatever has ended, and is one CUDA graph.

A GPU needs longer to start a step's kernels one by one than to run them for rows that are of no
use. So some posts are in flight, with LANES rows each: a lane draws one sample of its post after
another, and a post that has all its samples makes room for the next. (On a CPU every row counts:
see cohorts.)
"""

from collections.abc import Callable, Iterator
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from underspec.draws import Task
from underspec.t5 import Memory
from underspec.tokens import EOS, PAD

POSTS = 32  # in flight
LANES = 32  # of a post
ROOM = 128  # posts of up to so many tokens, twice as many and so on are in flight together
STEPS = 8  # between two looks at which posts are done


def drawn(task: Task) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """The samples of all posts: a post's place, tokens (1, samples, longest) and log-probabilities
    (1, samples) at a time, to be copied before the next are asked for.
    """
    for room, alike in groupby(task.by_length(), lambda i: -(-len(task.posts[i]) // ROOM) * ROOM):
        yield from _drawn(task, list(alike), room)


def _drawn(task: Task, waiting: list[int], room: int) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    flight = Flight(task, room)
    step = captured(flight.step) if task.decoder.device.type == "cuda" else flight.step
    free, posts = list(range(POSTS)), {}
    while waiting or posts:
        if waiting and free:
            new, waiting = waiting[: len(free)], waiting[len(free) :]
            begun, free = free[: len(new)], free[len(new) :]
            flight.begin(begun, new)
            posts |= zip(begun, new, strict=True)
        for _ in range(STEPS):
            step()
        done = (flight.ended >= task.samples).tolist()
        for slot in [slot for slot in posts if done[slot]]:
            tokens, log_probs = flight.tokens[slot, :-1], flight.log_probs[slot, :-1]
            yield [posts.pop(slot)], tokens[None], log_probs[None]
            free.append(slot)


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """`step`, which changes tensors in place and asks the GPU for no values, as a CUDA graph.

    It is run a few times for that, so nothing may be in flight yet.
    """
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    # The kernels for masks that are the same for all heads: cuDNN's may not take them.
    with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries set themselves up, which cannot be captured
                step()
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            step()
    return graph.replay


class Flight:
    """POSTS posts of at most `room` tokens in flight; at first none.

    What is drawn is in `tokens` (POSTS, samples + 1, longest) and `log_probs` (POSTS, samples + 1).
    Lanes that have no sample to draw go on all the same, with the last one there, which nobody
    reads. `ended` (POSTS,) counts the samples that are whole. All tensors change in place.
    """

    def __init__(self, task: Task, room: int):
        self.task, decoder = task, task.decoder
        device, dtype, heads, d_kv = decoder.device, decoder.dtype, decoder.n_heads, decoder.d_kv
        samples, longest = task.samples, task.longest
        width = -(-longest // 8) * 8  # fused attention wants a multiple

        def pair(*shape: int) -> tuple[Tensor, Tensor]:
            return tuple(torch.zeros(shape, device=device, dtype=dtype) for _ in range(2))

        def numbers(value: int, *shape: int) -> Tensor:
            return torch.full(shape, value, device=device)

        self.cache = [pair(POSTS * LANES, heads, width, d_kv) for _ in decoder.layers]
        self.memory = [pair(POSTS, heads, room, d_kv) for _ in decoder.layers]
        # Added to attention's scores: -inf where a post has no token, and where a lane is not yet.
        self.hidden = torch.zeros(POSTS, 1, 1, room, device=device, dtype=dtype)
        self.bias = torch.full((longest, heads, 1, width), -torch.inf, device=device, dtype=dtype)
        self.bias[..., :longest] = decoder.causal_bias(longest).transpose(0, 1)[:, :, None]
        self.uniforms = torch.full(
            (POSTS, samples + 1, longest), 0.5, device=device, dtype=torch.float64
        )
        self.tokens = numbers(PAD, POSTS, samples + 1, longest)
        self.log_probs = torch.zeros(POSTS, samples + 1, device=device)
        self.begun, self.ended = numbers(samples, POSTS), numbers(samples, POSTS)
        # Of each lane: which sample it draws, how far it is, and what it has drawn.
        self.sample, self.at = numbers(samples, POSTS, LANES), numbers(0, POSTS, LANES)
        self.last = numbers(PAD, POSTS, LANES)
        self.log_prob = torch.zeros(POSTS, LANES, device=device)
        self.slots = torch.arange(POSTS, device=device)[:, None].expand(-1, LANES)

    def begin(self, slots: list[int], posts: list[int]) -> None:
        """Let `posts` (by length) begin in `slots`."""
        task, next_slot = self.task, iter(slots)
        self.uniforms[slots, :-1] = task.numbers(posts, task.samples)
        for encoded in task.encode(posts):
            memory = Memory(task.decoder, encoded)
            length, those = encoded.states.shape[1], [next(next_slot) for _ in encoded.states]
            for kept, *made in zip(self.memory, memory.keys, memory.values, strict=True):
                for old, new in zip(kept, made, strict=True):
                    old[those, :, :length] = new.view(len(those), -1, length, memory.d_kv)
            self.hidden[those] = -torch.inf
            self.hidden[those, :, :, :length] = 0 if encoded.hidden is None else encoded.hidden
        lanes = torch.arange(LANES, device=self.sample.device).clamp(max=task.samples)
        self.sample[slots], self.begun[slots] = lanes, min(LANES, task.samples)
        for each in (self.ended, self.at, self.log_prob):
            each[slots] = 0
        self.tokens[slots], self.last[slots] = PAD, PAD

    def step(self) -> None:
        """One more token for every lane."""
        task, (heads, d_kv) = self.task, (self.task.decoder.n_heads, self.task.decoder.d_kv)
        at = self.at.flatten()
        bias = self.bias[at]
        where = at.view(-1, 1, 1, 1).expand(-1, heads, 1, d_kv)

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            for kept, new in zip(self.cache[layer], (key, value), strict=True):
                kept.scatter_(2, where, new.reshape(where.shape))
            query = query.reshape(where.shape)
            attended = scaled_dot_product_attention(
                query, *self.cache[layer], attn_mask=bias, scale=1.0
            )
            return attended.flatten(1)

        def read(layer: int, query: Tensor) -> Tensor:
            query = query.view(POSTS, LANES, heads, d_kv).transpose(1, 2)
            hidden = self.hidden.expand(-1, heads, LANES, -1)
            states = scaled_dot_product_attention(
                query, *self.memory[layer], attn_mask=hidden, scale=1.0
            )
            return states.transpose(1, 2).reshape(-1, heads, d_kv)

        logits = task.decoder(self.last.flatten(), attend, read)
        uniform = self.uniforms[self.slots, self.sample, self.at].view(-1, 1)
        tokens, log_probs = (each.view_as(self.at) for each in task.pick(logits, uniform))
        self.log_prob += log_probs
        self.tokens.index_put_((self.slots, self.sample, self.at), tokens)
        self.log_probs.index_put_((self.slots, self.sample), self.log_prob)
        ends = (tokens == EOS) | (self.at + 1 == task.longest)
        self.ended += (ends & (self.sample < task.samples)).sum(1)
        following = self.begun[:, None] + ends.cumsum(1) - 1
        self.sample.copy_(torch.where(ends, following, self.sample).clamp(max=task.samples))
        self.begun += ends.sum(1)
        self.at.copy_(torch.where(ends, 0, self.at + 1))
        self.last.copy_(torch.where(ends, PAD, tokens))
        self.log_prob.masked_fill_(ends, 0)
