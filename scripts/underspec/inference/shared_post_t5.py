"""T5 inference for many texts per post, with one cross-attention cache per post.

transformers' T5 copies the cross-attention keys and values for every text that it decodes. Here the
tokens of all texts are the rows of one matrix, and all rows of a post are the queries of one
cross-attention product. In the encoder, the tokens of all posts are the rows of one matrix. The
arithmetic and the weights are those of transformers.

On a CPU, results are bitwise independent of the rest of the batch: posts are never padded, and
matrix products have at least MIN_ROWS rows. A GPU needs few and large products, so posts are padded
to a multiple of POST_MULTIPLE tokens, with the padding masked. There, results are independent of
the rest of the batch up to rounding.
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

# With at least MIN_ROWS rows, a row of MKL's matrix products is bitwise independent of the others,
# unless there is a single column or the width of a head is not a multiple of four. PyTorch passes
# batched products to MKL if they take at least MIN_MULTIPLICATIONS.
MIN_ROWS = 4
MIN_MULTIPLICATIONS = 400
POST_MULTIPLE = 128
JOINED_MULTIPLE = 8
POSTS_SHARE = 0.2  # share of a GPU's memory for the cross-attention cache


class Encoded(NamedTuple):
    """The encoder's states of posts that have the same length, including padding."""

    states: Tensor  # (posts, length, d_model)
    padding_bias: Tensor | None  # (posts, 1, 1, length): -inf on padding, 0 elsewhere


class Encoder:
    """The encoder stack of a T5, for posts of at most `longest` tokens.

    On a GPU, posts are padded to a multiple of POST_MULTIPLE tokens. If they are `joined`, they are
    padded to a multiple of JOINED_MULTIPLE tokens elsewhere too, and the states of all to one
    length. With few texts per post and posts of many lengths, that takes fewer operations.
    """

    def __init__(self, stack: T5Stack, longest: int, joined: bool = False):
        self.device, self.embed = stack.embed_tokens.weight.device, stack.embed_tokens
        self.joined = joined
        self.layers = [_Layer(block) for block in stack.block]
        multiple = JOINED_MULTIPLE if joined else 1
        self.multiple = POST_MULTIPLE if fused_layers.fused(self.device) else multiple
        self.bias = _position_bias(stack, rounded_up(longest, self.multiple), self.device)
        self.norm = stack.final_layer_norm

    def __call__(self, posts: list[np.ndarray]) -> list[Encoded]:
        """The states of `posts` (token ids, sorted by length): one item per length, or for all."""
        missing = MIN_ROWS - sum(map(len, posts))
        filled = [*posts, *posts[-1:] * max(0, -(-missing // len(posts[-1])))]
        texts = padded(filled, self.multiple)
        wanted, runs = length_runs(texts[: len(posts)]), length_runs(texts)
        biases = [self.bias[:, :length, :length] for length, _ in runs]
        padding_bias = [None] * len(runs)
        if self.multiple > 1:
            padding_bias = self._padding_bias([len(post) for post in filled], runs)
            biases = [bias + more for bias, more in zip(biases, padding_bias, strict=True)]
        states = self.embed(torch.from_numpy(np.concatenate(texts)).to(self.device))
        for layer in self.layers:
            states = layer.attend(states, lambda *own: attend_by_length(runs, biases, *own))
            states = layer.feed_forward(states)
        states = _normed(states, self.norm.variance_epsilon) * self.norm.weight
        parts = states.split([length * count for length, count in runs])
        encoded = [
            Encoded(
                part.view(-1, length, part.shape[-1])[:count],
                None if bias is None else bias[:count],
            )
            for part, bias, (length, count) in zip(parts, padding_bias, wanted, strict=True)
        ]
        return [_joined(encoded)] if self.joined else encoded

    def _padding_bias(self, ends: list[int], runs: list[tuple[int, int]]) -> list[Tensor]:
        """Encoded.padding_bias of each run; `ends` are the lengths of posts without padding."""
        return [
            torch.zeros(mask.shape, device=self.device, dtype=self.bias.dtype).masked_fill_(
                mask, -torch.inf
            )[:, None, None]
            for mask in padding_masks(ends, runs, self.device)
        ]


def _joined(encoded: list[Encoded]) -> Encoded:
    """States of several lengths as those of the greatest length."""
    longest = encoded[-1].states.shape[1]
    states = [pad(each.states, (0, 0, 0, longest - each.states.shape[1])) for each in encoded]
    biases = [
        pad(each.padding_bias, (0, longest - each.states.shape[1]), value=-torch.inf)
        for each in encoded
    ]
    return Encoded(torch.cat(states), torch.cat(biases))


class Decoder:
    """The decoder stack of a T5 with a linear head (outputs, d_model), for logits or rewards."""

    def __init__(self, stack: T5Stack, head: Tensor):
        attention = stack.block[0].layer[0].SelfAttention
        self.n_heads, self.d_kv = attention.n_heads, attention.key_value_proj_dim
        self.device, self.dtype = head.device, stack.embed_tokens.weight.dtype
        self.stack, self.embed = stack, stack.embed_tokens
        self.layers = [_DecoderLayer(block) for block in stack.block]
        self.epsilon = stack.final_layer_norm.variance_epsilon
        self.head = _scaled(head, stack.final_layer_norm)

    def causal_bias(self, length: int) -> Tensor:
        """The bias of self-attention scores: (heads, length, length), -inf for future tokens."""
        future = torch.ones(length, length, dtype=torch.bool, device=self.device).triu(1)
        return _position_bias(self.stack, length, self.device).masked_fill(future, -torch.inf)

    def __call__(self, tokens: Tensor, attend, cross_attend) -> Tensor:
        """The head's outputs (rows, outputs) for the decoder's input `tokens` (rows,).

        `attend(layer, query, key, value)` computes self-attention. `cross_attend(layer, query)`
        computes cross-attention and returns (rows, heads, d_kv). All other tensors are
        (rows, heads * d_kv).
        """
        states = self.embed(tokens)
        for i, layer in enumerate(self.layers):
            states = layer.attend(states, partial(attend, i))
            states = layer.cross_attend(states, partial(cross_attend, i))
            states = layer.feed_forward(states)
        return linear(_normed(states, self.epsilon), self.head)


class _Layer:
    """Self-attention and feed-forward; weights that are used together are concatenated."""

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
        """The states (rows, d_model) after self-attention, computed by `attention(q, k, v)`."""
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


class _DecoderLayer(_Layer):
    """A layer that also has cross-attention to the post."""

    def __init__(self, block: T5Block):
        super().__init__(block)
        cross = block.layer[1]
        self.cross_q = _scaled(cross.EncDecAttention.q.weight, cross.layer_norm)
        self.cross_k = cross.EncDecAttention.k.weight
        self.cross_v = cross.EncDecAttention.v.weight
        self.cross_o = cross.EncDecAttention.o.weight.T

    def cross_attend(self, states: Tensor, attention: Callable[[Tensor], Tensor]) -> Tensor:
        """The states after cross-attention, computed by `attention(query)` (rows, heads, d_kv)."""
        query = linear(_normed(states, self.epsilon), self.cross_q)
        return torch.addmm(states, attention(query).flatten(1), self.cross_o)


def _scaled(weight: Tensor, norm: T5LayerNorm) -> Tensor:
    """The weight of the linear layer after `norm`, with the norm's weights folded in."""
    return (weight.float() * norm.weight.float()).to(weight.dtype)


def _normed(states: Tensor, epsilon: float) -> Tensor:
    """T5's layer norm without its weights, which are folded into the next linear layer."""
    if fused_layers.fused(states.device):
        return rms_norm(states, states.shape[-1:], eps=epsilon)
    return fused_layers.RMSNorm.apply(states, None, epsilon)


def _position_bias(stack: T5Stack, length: int, device: torch.device) -> Tensor:
    """The relative position bias of self-attention scores: (heads, length, length)."""
    attention = stack.block[0].layer[0].SelfAttention
    return attention.compute_bias(length, length, device=device)[0].contiguous()


def rounded_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def max_posts(decoder: Decoder, longest: int) -> float:
    """How many posts of at most `longest` tokens fit into the cache; infinity on a CPU.

    On a GPU, this depends on total rather than free memory, so that equal GPUs batch alike.
    """
    if decoder.device.type != "cuda":
        return math.inf
    token_bytes = 2 * len(decoder.layers) * decoder.n_heads * decoder.d_kv * decoder.dtype.itemsize
    share = POSTS_SHARE * torch.cuda.get_device_properties(decoder.device).total_memory
    return max(1, share // (token_bytes * rounded_up(longest, POST_MULTIPLE)))


def padded(texts: list[np.ndarray], multiple: int) -> list[np.ndarray]:
    """`texts` (token ids), each padded to a multiple of `multiple` tokens."""
    if multiple == 1:
        return texts
    sizes = [rounded_up(len(ids), multiple) for ids in texts]
    found = [np.full(size, PAD, dtype=np.int64) for size in sizes]
    for longer, ids in zip(found, texts, strict=True):
        longer[: len(ids)] = ids
    return found


def padding_masks(
    ends: list[int], runs: list[tuple[int, int]], device: torch.device
) -> list[Tensor]:
    """For each run of padded texts, whether a position is padding: (texts, length).

    `ends` are the lengths of the texts without padding.
    """
    ends_of_runs = torch.tensor(ends, device=device).split([count for _, count in runs])
    return [
        torch.arange(length, device=device) >= own[:, None]
        for (length, _), own in zip(runs, ends_of_runs, strict=True)
    ]


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Attention of `query` (texts, heads, queries, d_kv), in the same shape, to `key` and `value`
    (texts, heads, length, d_kv). `bias` is added to the scores.
    """
    if fused_layers.fused(query.device) and query.shape[2] > 1:
        return scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
    queries, keys, values = (each.flatten(0, 1) for each in (query, key, value))
    scores = torch.bmm(queries, keys.transpose(1, 2)).unflatten(0, query.shape[:2])
    if bias is not None:
        scores += bias
    return torch.bmm(scores.softmax(-1).flatten(0, 1), values).view(query.shape)


def length_runs(texts: list[np.ndarray]) -> list[tuple[int, int]]:
    """(length, count) of each run of consecutive texts with the same length."""
    return [(length, len(list(run))) for length, run in groupby(map(len, texts))]


def attend_by_length(
    runs: list[tuple[int, int]], biases: list[Tensor], query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """Self-attention (rows, heads * d_kv) within each text; the rows are the concatenated texts.

    Each run of texts of one length is one batched product, and has one item of `biases`: (heads,
    length, length), or one such bias per text.
    """
    attended, sizes = [], [length * count for length, count in runs]
    parts = zip(*(each.split(sizes) for each in (query, key, value)), strict=True)
    for (length, count), bias, own in zip(runs, biases, parts, strict=True):
        shape = (count, length, bias.shape[-3], -1)
        query, key, value = (each.view(shape).transpose(1, 2) for each in own)
        result = attend(query, key, value, bias.expand(count, -1, -1, -1))
        attended.append(result.transpose(1, 2).reshape(length * count, -1))
    return torch.cat(attended)


class CrossAttentionCache:
    """Cross-attention keys and values of posts of one length: one copy per post and layer."""

    def __init__(self, decoder: Decoder, encoded: Encoded):
        states, self.padding_bias = encoded
        posts, length, _ = states.shape
        heads, d_kv = decoder.n_heads, decoder.d_kv
        rows = pad(states.flatten(0, 1), (0, 0, 0, max(0, MIN_ROWS - posts * length)))

        def project(weight: Tensor) -> Tensor:
            projected = linear(rows, weight)[: posts * length].view(posts, length, heads, d_kv)
            return projected.transpose(1, 2).contiguous()

        self.posts, self.heads, self.d_kv = posts, heads, d_kv
        self.device = states.device
        self.min_rows = max(MIN_ROWS, -(-MIN_MULTIPLICATIONS // (length * d_kv)))
        self.keys = [project(layer.cross_k) for layer in decoder.layers]
        self.values = [project(layer.cross_v) for layer in decoder.layers]

    def keep(self, posts: Tensor) -> None:
        """Drop all posts except `posts` (indices)."""
        self.posts = len(posts)
        self.keys = [keys[posts] for keys in self.keys]
        self.values = [values[posts] for values in self.values]
        if self.padding_bias is not None:
            self.padding_bias = self.padding_bias[posts]

    def attend(self, layer: int, query: Tensor, rows: "RowsByPost") -> Tensor:
        """Cross-attention (rows, heads, d_kv) of `query` (rows, heads * d_kv); `rows` says which
        post each row belongs to.
        """
        if rows.grouped is not None:
            query = query[rows.grouped]
        states = self.attend_grouped(layer, query)
        return states if rows.ungrouped is None else states[rows.ungrouped]

    def attend_grouped(self, layer: int, query: Tensor) -> Tensor:
        """The same for rows in the order of the posts, as many for each."""
        query = query.view(self.posts, -1, self.heads, self.d_kv).transpose(1, 2)
        states = attend(query, self.keys[layer], self.values[layer], self.padding_bias)
        return states.transpose(1, 2).reshape(-1, self.heads, self.d_kv)


class RowsByPost:
    """How to group rows by post, with the same number of rows for each post of `cache`.

    `post_of` (rows,) says which post each row belongs to. `grouped` are the rows in grouped order,
    filled up with row 0; `ungrouped` are the positions of the rows in that order. Both are None if
    the rows are grouped already.
    """

    def __init__(self, cache: CrossAttentionCache, post_of: Tensor):
        device, rows = post_of.device, len(post_of)
        counts = torch.bincount(post_of, minlength=cache.posts)
        per_post = max(cache.min_rows, int(counts.max()))
        self.grouped = self.ungrouped = None
        if cache.posts * per_post == rows and (post_of.diff() >= 0).all():
            return
        order = post_of.argsort(stable=True)
        position = torch.arange(rows, device=device) - (counts.cumsum(0) - counts)[post_of[order]]
        position += post_of[order] * per_post
        self.grouped = torch.zeros(cache.posts * per_post, dtype=torch.long, device=device)
        self.grouped[position] = order
        self.ungrouped = torch.empty_like(post_of)
        self.ungrouped[order] = position
