"""T5 for many texts of one post: what the decoder reads of a post is made and kept once.

transformers' T5 keeps a copy of the cross-attention keys and values for every text it decodes. Here
the tokens of all texts are rows of one matrix, and cross-attention takes all rows of a post as
queries of one product. The encoder takes the tokens of all posts as rows of one matrix, too. The
arithmetic is that of transformers, whose weights are read as they are.

On a CPU, what a row comes out as depends on its own text and post alone, not on the rows beside
it: a post is never padded, and matrix products have at least FEWEST rows. A GPU wants few and large
products: there posts are padded to a multiple of POST_GRAIN tokens, which attention does not see,
and the above holds but for rounding.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear, pad, rms_norm, scaled_dot_product_attention
from transformers.models.t5.modeling_t5 import T5Block, T5LayerNorm, T5Stack

from underspec.data.tokenization import PAD
from underspec.models import fused_layers

# From so many rows on, MKL's products give a row the same bits whatever the other rows are, unless
# they have a single column or heads whose width is no multiple of four. PyTorch leaves batched ones
# to MKL from so many multiplications on.
FEWEST = 4
FEWEST_MULTIPLICATIONS = 400
POST_GRAIN = 128
POSTS_SHARE = 0.2  # of a GPU's memory, for the cross-attention keys and values of posts


class Encoded(NamedTuple):
    """The encoder's states of posts of one length, padding included."""

    states: Tensor  # (posts, length, d_model)
    hidden: Tensor | None  # (posts, 1, 1, length): -inf on padding, 0 elsewhere


class Encoder:
    """The encoder stack of a T5, for posts of `longest` tokens at most."""

    def __init__(self, stack: T5Stack, longest: int):
        self.device, self.embed = stack.embed_tokens.weight.device, stack.embed_tokens
        self.layers = [_Layer(block) for block in stack.block]
        self.grain = POST_GRAIN if fused_layers.fused(self.device) else 1
        self.bias = _position_bias(stack, rounded_up(longest, self.grain), self.device)
        self.norm = stack.final_layer_norm

    def __call__(self, posts: list[np.ndarray]) -> list[Encoded]:
        """The states of `posts` (token ids), which come by length, for those of each length."""
        lacking = FEWEST - sum(map(len, posts))
        more = [*posts, *posts[-1:] * max(0, -(-lacking // len(posts[-1])))]
        texts = padded(more, self.grain)
        wanted, runs = runs_of(texts[: len(posts)]), runs_of(texts)
        biases = [self.bias[:, :length, :length] for length, _ in runs]
        hidden = [None] * len(runs)
        if self.grain > 1:
            hidden = self._hidden([len(post) for post in more], runs)
            biases = [bias + those for bias, those in zip(biases, hidden, strict=True)]
        states = self.embed(torch.from_numpy(np.concatenate(texts)).to(self.device))
        for layer in self.layers:
            states = layer.attend(states, lambda *own: attend_alike(runs, biases, *own))
            states = layer.feed_forward(states)
        states = _normed(states, self.norm.variance_epsilon) * self.norm.weight
        parts = states.split([length * count for length, count in runs])
        return [
            Encoded(
                part.view(-1, length, part.shape[-1])[:count],
                None if those is None else those[:count],
            )
            for part, those, (length, count) in zip(parts, hidden, wanted, strict=True)
        ]

    def _hidden(self, ends: list[int], runs: list[tuple[int, int]]) -> list[Tensor]:
        """What Encoded has, of each run; `ends` are the posts' own lengths."""
        return [
            torch.zeros(past.shape, device=self.device, dtype=self.bias.dtype).masked_fill_(
                past, -torch.inf
            )[:, None, None]
            for past in past_the_end(ends, runs, self.device)
        ]


class Decoder:
    """The decoder stack of a T5 and a linear head on its states.

    `head` is (outputs, d_model): the language model's logits, say, or a single reward.
    """

    def __init__(self, stack: T5Stack, head: Tensor):
        attention = stack.block[0].layer[0].SelfAttention
        self.n_heads, self.d_kv = attention.n_heads, attention.key_value_proj_dim
        self.device, self.dtype = head.device, stack.embed_tokens.weight.dtype
        self.stack, self.embed = stack, stack.embed_tokens
        self.layers = [_ReadingLayer(block) for block in stack.block]
        self.epsilon = stack.final_layer_norm.variance_epsilon
        self.head = _scaled(head, stack.final_layer_norm)

    def causal_bias(self, length: int) -> Tensor:
        """What is added to self-attention's scores: (heads, length, length), -inf on the future."""
        future = torch.ones(length, length, dtype=torch.bool, device=self.device).triu(1)
        return _position_bias(self.stack, length, self.device).masked_fill(future, -torch.inf)

    def __call__(self, tokens: Tensor, attend, read) -> Tensor:
        """The head's outputs (rows, outputs) for `tokens` (rows,), the ones before those wanted.

        `attend(layer, query, key, value)` is self-attention, and `read(layer, query)`, which
        gives (rows, heads, d_kv), cross-attention; all else is (rows, heads * d_kv).
        """
        states = self.embed(tokens)
        for i, layer in enumerate(self.layers):
            states = layer.attend(states, partial(attend, i))
            states = layer.read(states, partial(read, i))
            states = layer.feed_forward(states)
        return linear(_normed(states, self.epsilon), self.head)


class _Layer:
    """A layer of self-attention and feed-forward; weights that are used together are joined."""

    def __init__(self, block: T5Block):
        own, feed_forward = block.layer[0], block.layer[-1]
        self.epsilon = own.layer_norm.variance_epsilon
        attention = own.SelfAttention
        qkv = [attention.q.weight, attention.k.weight, attention.v.weight]
        self.qkv = _scaled(torch.cat(qkv), own.layer_norm)
        self.o = attention.o.weight.T
        dense = feed_forward.DenseReluDense
        self.gated = hasattr(dense, "wi_1")
        wi = [dense.wi_0.weight, dense.wi_1.weight] if self.gated else [dense.wi.weight]
        self.wi = _scaled(torch.cat(wi), feed_forward.layer_norm)
        self.activation = dense.act
        self.wo = dense.wo.weight.T.to(self.wi.dtype)  # transformers keeps it in single precision

    def attend(self, states: Tensor, attention: Callable[..., Tensor]) -> Tensor:
        """The rows `states` (rows, d_model) after self-attention, `attention(q, k, v)`."""
        query, key, value = linear(_normed(states, self.epsilon), self.qkv).chunk(3, dim=-1)
        return torch.addmm(states, attention(query, key, value), self.o)

    def feed_forward(self, states: Tensor) -> Tensor:
        inner = linear(_normed(states, self.epsilon), self.wi)
        if self.gated:
            gate, inner = inner.chunk(2, dim=-1)
            inner = self.activation(gate) * inner
        else:
            inner = self.activation(inner)
        return torch.addmm(states, inner, self.wo)


class _ReadingLayer(_Layer):
    """A layer that also looks at what the encoder made of a post."""

    def __init__(self, block: T5Block):
        super().__init__(block)
        cross = block.layer[1]
        self.cross_q = _scaled(cross.EncDecAttention.q.weight, cross.layer_norm)
        self.cross_k = cross.EncDecAttention.k.weight
        self.cross_v = cross.EncDecAttention.v.weight
        self.cross_o = cross.EncDecAttention.o.weight.T

    def read(self, states: Tensor, attention: Callable[[Tensor], Tensor]) -> Tensor:
        """The rows `states` after cross-attention, `attention(query)` (rows, heads, d_kv)."""
        query = linear(_normed(states, self.epsilon), self.cross_q)
        return torch.addmm(states, attention(query).flatten(1), self.cross_o)


def _scaled(weight: Tensor, norm: T5LayerNorm) -> Tensor:
    """`weight` of a linear layer after `norm`, whose own weights it takes over."""
    return (weight.float() * norm.weight.float()).to(weight.dtype)


def _normed(states: Tensor, epsilon: float) -> Tensor:
    """T5's layer norm without its weights, which are in the matrix that comes next."""
    if fused_layers.fused(states.device):
        return rms_norm(states, states.shape[-1:], eps=epsilon)
    norm = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32)
    scale = norm.square_().div_(states.shape[-1]).add_(epsilon).rsqrt_()
    return (states * scale).to(states.dtype)


def _position_bias(stack: T5Stack, length: int, device: torch.device) -> Tensor:
    """What self-attention's scores have added for where tokens stand: (heads, length, length)."""
    attention = stack.block[0].layer[0].SelfAttention
    return attention.compute_bias(length, length, device=device)[0].contiguous()


def rounded_up(length: int, grain: int) -> int:
    return -(-length // grain) * grain


def posts_at_once(decoder: Decoder, longest: int) -> float:
    """How many posts of at most `longest` tokens may be kept at once; infinity on a CPU.

    On a GPU its total memory decides, so that GPUs of one kind do alike.
    """
    if decoder.device.type != "cuda":
        return math.inf
    a_token = 2 * len(decoder.layers) * decoder.n_heads * decoder.d_kv * decoder.dtype.itemsize
    share = POSTS_SHARE * torch.cuda.get_device_properties(decoder.device).total_memory
    return max(1, share // (a_token * rounded_up(longest, POST_GRAIN)))


def padded(texts: list[np.ndarray], grain: int) -> list[np.ndarray]:
    """`texts` (token ids), each padded to a multiple of `grain` tokens."""
    if grain == 1:
        return texts
    return [
        np.pad(ids, (0, rounded_up(len(ids), grain) - len(ids)), constant_values=PAD)
        for ids in texts
    ]


def past_the_end(
    ends: list[int], runs: list[tuple[int, int]], device: torch.device
) -> list[Tensor]:
    """Of each run of padded texts, whose own lengths are `ends`, where padding is: (texts,
    length).
    """
    own = torch.tensor(ends, device=device).split([count for _, count in runs])
    return [
        torch.arange(length, device=device) >= those[:, None]
        for (length, _), those in zip(runs, own, strict=True)
    ]


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Attention (texts, heads, queries, d_kv) of `query` (texts, heads, queries, d_kv) to `key` and
    `value` (texts, heads, length, d_kv), with `bias` added to the scores.
    """
    if fused_layers.fused(query.device) and query.shape[2] > 1:
        return scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
    queries, keys, values = (each.flatten(0, 1) for each in (query, key, value))
    scores = torch.bmm(queries, keys.transpose(1, 2)).unflatten(0, query.shape[:2])
    if bias is not None:
        scores += bias
    return torch.bmm(scores.softmax(-1).flatten(0, 1), values).view(query.shape)


def runs_of(texts: list[np.ndarray]) -> list[tuple[int, int]]:
    """The (length, number) of texts of one length that stand beside each other."""
    return [(length, len(list(run))) for length, run in groupby(map(len, texts))]


def attend_alike(
    runs: list[tuple[int, int]], biases: list[Tensor], query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """Self-attention (rows, heads * d_kv) of whole texts, whose tokens stand behind each other.

    Texts of one length are taken together, as `runs` says. A run's own of `biases`, (heads,
    length, length) or one a text, is added to its scores.
    """
    attended, start = torch.empty_like(query), 0
    for (length, count), bias in zip(runs, biases, strict=True):
        rows = slice(start, start + length * count)
        shape = (count, length, bias.shape[-3], -1)
        own = (each[rows].view(shape).transpose(1, 2) for each in (query, key, value))
        mixed = attend(*own, bias.expand(count, -1, -1, -1))
        attended[rows] = mixed.transpose(1, 2).reshape(rows.stop - start, -1)
        start = rows.stop
    return attended


class Memory:
    """Cross-attention keys and values of posts of one length: one copy a post and layer."""

    def __init__(self, decoder: Decoder, encoded: Encoded):
        states, self.hidden = encoded
        posts, length, _ = states.shape
        heads, d_kv = decoder.n_heads, decoder.d_kv
        enough = pad(states.flatten(0, 1), (0, 0, 0, max(0, FEWEST - posts * length)))

        def split(weight: Tensor) -> Tensor:
            made = linear(enough, weight)[: posts * length].view(posts, length, heads, d_kv)
            return made.transpose(1, 2).contiguous()

        self.posts, self.heads, self.d_kv = posts, heads, d_kv
        self.device = states.device
        self.fewest = max(FEWEST, -(-FEWEST_MULTIPLICATIONS // (length * d_kv)))
        self.keys = [split(layer.cross_k) for layer in decoder.layers]
        self.values = [split(layer.cross_v) for layer in decoder.layers]

    def keep(self, posts: Tensor) -> None:
        """Forget all posts but `posts` (indices)."""
        self.posts = len(posts)
        self.keys = [keys[posts] for keys in self.keys]
        self.values = [values[posts] for values in self.values]
        if self.hidden is not None:
            self.hidden = self.hidden[posts]

    def read(self, layer: int, query: Tensor, places: "Places") -> Tensor:
        """Cross-attention (rows, heads, d_kv) of rows `query` (rows, heads * d_kv), which lie at
        `places` of the posts.
        """
        if places.fold is not None:
            query = query[places.fold]
        query = query.view(self.posts, -1, self.heads, self.d_kv).transpose(1, 2)
        states = attend(query, self.keys[layer], self.values[layer], self.hidden)
        states = states.transpose(1, 2).reshape(-1, self.heads, self.d_kv)
        return states if places.unfold is None else states[places.unfold]


class Places:
    """Where rows stand when those of a post are put together, as `Memory.read` does.

    `post_of` (rows,) says which post of `memory` each row belongs to. There is nothing to put
    together (`fold` is None) if the rows stand by posts, as many of each, and are enough.
    """

    def __init__(self, memory: Memory, post_of: Tensor):
        device, rows = post_of.device, len(post_of)
        counts = torch.bincount(post_of, minlength=memory.posts)
        each = max(memory.fewest, int(counts.max()))
        self.fold = self.unfold = None
        if memory.posts * each == rows and (post_of.diff() >= 0).all():
            return
        order = post_of.argsort(stable=True)
        place = torch.arange(rows, device=device) - (counts.cumsum(0) - counts)[post_of[order]]
        place += post_of[order] * each
        self.fold = torch.zeros(memory.posts * each, dtype=torch.long, device=device)
        self.fold[place] = order  # what is left over repeats row 0 and is not read
        self.unfold = torch.empty_like(post_of)
        self.unfold[order] = place
