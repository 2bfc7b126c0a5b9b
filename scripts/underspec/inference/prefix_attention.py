"""Attention of texts to themselves and to a prefix that many of them share, which is not copied.

It stands in for transformers' own attention in decoders whose attention has no more to it than a
softmax of scaled products.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import AuxRequest, varlen_attn
from torch.nn.functional import pad
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "shared_prefix"
PLAIN = ("gpt_neox", "llama", "mistral", "qwen2")  # types of models that tests hold this for
LARGEST_HEAD = 256  # of PyTorch's fused attention, which wants multiples of 8


class Prefixes(NamedTuple):
    """What consecutive texts share, as many of each prefix."""

    layers: list[tuple[Tensor, Tensor]]  # keys and values: (prefixes, heads, longest, size) each
    lengths: Tensor  # (prefixes,), without the padding at their ends
    # What follows from the lengths is kept: to find it in every layer would stop a GPU each time.
    shortest: int
    tokens: Tensor  # numbers of those that are no padding, in (prefixes * longest,)


def can_share(model: PreTrainedModel) -> bool:
    """Whether this attention can stand in for the model's."""
    config = model.config
    no_window = getattr(config, "sliding_window", None) is None
    layers = set(getattr(config, "layer_types", None) or ())
    return config.model_type in PLAIN and (no_window or layers == {"full_attention"})


@contextmanager
def sharing(model: PreTrainedModel) -> Iterator[None]:
    """Within it, `model` takes the argument `prefixes`, by which texts continue them."""
    usual = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    scaling: float | None = None,
    prefixes: Prefixes | None = None,
    **given,
) -> tuple[Tensor, None]:
    """As transformers wants it: (texts, heads, length, size) each to (texts, length, heads, size).

    There may be fewer heads of keys and values than of queries. Texts are padded at the end, and
    so need no mask.
    """
    if prefixes is None:
        return sdpa_attention_forward(module, query, key, value, None, scaling=scaling, **given)
    keys, values = prefixes.layers[module.layer_idx]
    if _can_fuse(query):
        return _fused(query, key, value, (keys, values), prefixes, scaling), None
    texts, heads, length, size = query.shape
    posts, own_heads, shared, _ = keys.shape
    each, groups = texts // posts, heads // own_heads
    query = query * (scaling or size**-0.5)
    # The queries of all texts of a post, and of all heads that share keys, are rows of one matrix.
    by_post = query.view(posts, each, own_heads, groups, length, size).permute(0, 2, 3, 1, 4, 5)
    rows = posts, own_heads, groups * each * length
    to_prefix = by_post.reshape(*rows, size) @ keys.transpose(2, 3)
    to_text = query.reshape(texts, own_heads, groups * length, size) @ key.transpose(2, 3)
    to_text = to_text.view(posts, each, own_heads, groups, length, length)
    later = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
    to_text = to_text.masked_fill(later, -torch.inf).permute(0, 2, 3, 1, 4, 5)
    to_prefix = to_prefix.view(*to_text.shape[:-1], shared)
    some_pad = to_prefix[..., prefixes.shortest :]
    some_pad.masked_fill_(_padding(prefixes, shared), -torch.inf)
    weights = torch.cat([to_prefix, to_text], -1).softmax(-1)
    of_prefix = weights[..., :shared].reshape(*rows, shared) @ values
    of_text = weights[..., shared:].permute(0, 3, 1, 2, 4, 5)
    of_text = of_text.reshape(texts, own_heads, groups * length, length) @ value
    output = of_prefix.view(posts, own_heads, groups, each, length, size).permute(0, 3, 4, 1, 2, 5)
    others = of_text.view(posts, each, own_heads, groups, length, size).permute(0, 1, 4, 2, 3, 5)
    return (output + others).reshape(texts, length, heads, size), None


def _can_fuse(query: Tensor) -> bool:
    """Whether PyTorch's fused attention takes such queries: on a GPU, in bfloat16."""
    size = query.shape[-1]
    of_gpu = query.is_cuda and query.dtype == torch.bfloat16
    return of_gpu and size % 8 == 0 and size <= LARGEST_HEAD


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    shared: tuple[Tensor, Tensor],
    prefixes: Prefixes,
    scaling: float | None,
) -> Tensor:
    """The same by PyTorch's fused attention, which keeps no scores: to the text and to the prefix
    by themselves, then weighed by how much of the softmax is whose.
    """
    texts, heads, length, _ = query.shape
    posts, own_heads, longest, _ = shared[0].shape
    queries = _by_token(query)
    given: dict = {"return_aux": AuxRequest(lse=True), "scale": scaling}
    if own_heads != heads:
        given["enable_gqa"] = True
    ends = torch.arange(0, len(queries) + 1, length, device=query.device, dtype=torch.int32)
    of_text, own = varlen_attn(
        *(queries, _by_token(key), _by_token(value), ends, ends, length, length),
        window_size=(-1, 0),  # causal
        **given,
    )
    keys, values = (_by_token(part)[prefixes.tokens] for part in shared)
    of_post = ends[:: texts // posts].contiguous()
    of_prefix, others = varlen_attn(
        *(queries, keys, values, of_post, pad(prefixes.lengths.cumsum(0), (1, 0)).int()),
        *(length * (texts // posts), longest),
        **given,
    )
    share = (others - own).sigmoid().T[..., None]
    output = of_text + share * (of_prefix - of_text)
    return output.to(query.dtype).view(texts, length, heads, -1)


def _by_token(states: Tensor) -> Tensor:
    """(texts, heads, length, size) to (texts * length, heads, size)."""
    return states.transpose(1, 2).flatten(0, 1)


def _padding(prefixes: Prefixes, longest: int) -> Tensor:
    """Which positions after the shortest are padding: (prefixes, 1, 1, 1, 1, positions)."""
    positions = torch.arange(prefixes.shortest, longest, device=prefixes.lengths.device)
    return (positions >= prefixes.lengths[:, None])[:, None, None, None, None]


AttentionInterface.register(NAME, attention)
