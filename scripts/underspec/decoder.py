"""T5's decoder for many texts of one post: what it reads of a post is made and kept once.

transformers' T5 keeps a copy of the cross-attention keys and values for every text it decodes. Here
the tokens of all texts are rows of one matrix, and cross-attention takes all rows of a post as
queries of one product. The arithmetic is that of transformers, whose weights are read as they are.

What a row comes out as depends on its own text and post alone, not on the rows beside it: a post
is never padded, and matrix products have at least FEWEST rows.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear, pad
from transformers.models.t5.modeling_t5 import (
    T5Block,
    T5ForConditionalGeneration,
    T5LayerNorm,
    T5Model,
    T5Stack,
)

# From so many rows on, MKL's products give a row the same bits whatever the other rows are, unless
# they have a single column. PyTorch leaves batched ones to MKL from so many multiplications on.
FEWEST = 4
FEWEST_MULTIPLICATIONS = 400


class Decoder:
    """The decoder stack of a T5 and a linear head on its states.

    `head` is (outputs, d_model): the language model's logits, say, or a single reward.
    """

    def __init__(self, stack: T5Stack, head: Tensor):
        attention = stack.block[0].layer[0].SelfAttention
        self.n_heads, self.d_kv = attention.n_heads, attention.key_value_proj_dim
        self.device, self.dtype = head.device, stack.embed_tokens.weight.dtype
        self.embed = stack.embed_tokens
        self.relative_position = attention
        self.layers = [_Layer(block) for block in stack.block]
        self.epsilon = stack.final_layer_norm.variance_epsilon
        self.head = _scaled(head, stack.final_layer_norm)

    def causal_bias(self, length: int) -> Tensor:
        """What is added to self-attention's scores: (heads, length, length), -inf on the future."""
        bias = self.relative_position.compute_bias(length, length, device=self.device)[0]
        future = torch.ones(length, length, dtype=torch.bool, device=self.device).triu(1)
        return bias.masked_fill(future, -torch.inf)

    def __call__(self, tokens: Tensor, attend, read) -> Tensor:
        """The head's outputs (rows, outputs) for `tokens` (rows,), the ones before those wanted.

        `attend(layer, query, key, value)` is self-attention and `read(layer, query)`
        cross-attention; all of them are (rows, heads * d_kv).
        """
        states = self.embed(tokens)
        for i, layer in enumerate(self.layers):
            query, key, value = linear(self._normed(states), layer.qkv).chunk(3, dim=-1)
            states = torch.addmm(states, attend(i, query, key, value), layer.o)
            query = linear(self._normed(states), layer.cross_q)
            states = torch.addmm(states, read(i, query), layer.cross_o)
            states = torch.addmm(states, layer.feed_forward(self._normed(states)), layer.wo)
        return linear(self._normed(states), self.head)

    def _normed(self, states: Tensor) -> Tensor:
        """T5's layer norm without its weights, which are in the matrix that comes next."""
        norm = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32)
        scale = norm.square_().div_(states.shape[-1]).add_(self.epsilon).rsqrt_()
        return (states * scale).to(states.dtype)


class _Layer:
    """The weights of a decoder layer, those that are used together joined."""

    def __init__(self, block: T5Block):
        own, cross, feed_forward = block.layer
        attention = own.SelfAttention
        qkv = [attention.q.weight, attention.k.weight, attention.v.weight]
        self.qkv = _scaled(torch.cat(qkv), own.layer_norm)
        self.o = attention.o.weight.T
        self.cross_q = _scaled(cross.EncDecAttention.q.weight, cross.layer_norm)
        self.cross_k = cross.EncDecAttention.k.weight
        self.cross_v = cross.EncDecAttention.v.weight
        self.cross_o = cross.EncDecAttention.o.weight.T
        dense = feed_forward.DenseReluDense
        self.gated = hasattr(dense, "wi_1")
        wi = [dense.wi_0.weight, dense.wi_1.weight] if self.gated else [dense.wi.weight]
        self.wi = _scaled(torch.cat(wi), feed_forward.layer_norm)
        self.activation = dense.act
        self.wo = dense.wo.weight.T.to(self.wi.dtype)  # transformers keeps it in single precision

    def feed_forward(self, normed: Tensor) -> Tensor:
        """The inner states (rows, d_ff)."""
        inner = linear(normed, self.wi)
        if not self.gated:
            return self.activation(inner)
        gate, inner = inner.chunk(2, dim=-1)
        return self.activation(gate) * inner


def _scaled(weight: Tensor, norm: T5LayerNorm) -> Tensor:
    """`weight` of a linear layer after `norm`, whose own weights it takes over."""
    return (weight.float() * norm.weight.float()).to(weight.dtype)


class Memory:
    """Cross-attention keys and values of posts of one length: one copy a post and layer.

    `encoded` (posts, length, d_model) are the encoder's states, without padding.
    """

    def __init__(self, decoder: Decoder, encoded: Tensor):
        posts, length, _ = encoded.shape
        heads, d_kv = decoder.n_heads, decoder.d_kv
        enough = pad(encoded.flatten(0, 1), (0, 0, 0, max(0, FEWEST - posts * length)))

        def split(weight: Tensor) -> Tensor:
            states = linear(enough, weight)[: posts * length].view(posts, length, heads, d_kv)
            return states.transpose(1, 2).reshape(posts * heads, length, d_kv)

        self.posts, self.heads, self.d_kv = posts, heads, d_kv
        self.device = encoded.device
        self.fewest = max(FEWEST, -(-FEWEST_MULTIPLICATIONS // (length * d_kv)))
        self.keys = [split(layer.cross_k) for layer in decoder.layers]
        self.values = [split(layer.cross_v) for layer in decoder.layers]

    def keep(self, posts: Tensor) -> None:
        """Forget all posts but `posts` (indices)."""
        self.posts = len(posts)
        kept = (posts[:, None] * self.heads + torch.arange(self.heads, device=posts.device)).view(
            -1
        )
        self.keys = [keys[kept] for keys in self.keys]
        self.values = [values[kept] for values in self.values]

    def read(self, layer: int, query: Tensor, places: "Places") -> Tensor:
        """Cross-attention of rows (rows, heads * d_kv) that lie at `places` of the posts."""
        folded = query.reshape(-1, self.d_kv)[places.fold].view(-1, places.each, self.d_kv)
        weights = torch.bmm(folded, self.keys[layer].transpose(1, 2)).softmax(-1)
        states = torch.bmm(weights, self.values[layer]).view(-1, self.d_kv)
        return states[places.unfold].view(query.shape)


class Places:
    """Where rows stand when those of a post are put together, as `Memory.read` does.

    `post_of` (rows,) says which post of `memory` each row belongs to.
    """

    def __init__(self, memory: Memory, post_of: Tensor):
        device, rows, heads = post_of.device, len(post_of), memory.heads
        counts = torch.bincount(post_of, minlength=memory.posts)
        self.each = max(memory.fewest, int(counts.max()))
        order = post_of.argsort(stable=True)
        place = torch.arange(rows, device=device) - (counts.cumsum(0) - counts)[post_of[order]]
        grid = torch.zeros(memory.posts, self.each, dtype=torch.long, device=device)
        grid[post_of[order], place] = order  # what is left over repeats row 0 and is not read
        head = torch.arange(heads, device=device)
        self.fold = (grid[:, None, :] * heads + head[:, None]).view(-1)
        self.unfold = torch.empty(rows, heads, dtype=torch.long, device=device)
        self.unfold[order] = (post_of[order, None] * heads + head) * self.each + place[:, None]
        self.unfold = self.unfold.view(-1)


def encode_alike(model: T5Model | T5ForConditionalGeneration, posts: list[np.ndarray]) -> Tensor:
    """The encoder's states (posts, length, d_model) of posts of one length (token ids)."""
    ids = torch.from_numpy(np.stack(posts)).to(model.device)
    enough = ids.repeat(-(-FEWEST // ids.numel()), 1)
    return model.encoder(input_ids=enough).last_hidden_state[: len(ids)]
