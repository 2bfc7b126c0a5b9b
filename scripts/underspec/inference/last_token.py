"""Self-attention of the last token of many samples on a GPU: each key and value is read once.

PyTorch's fused attention is made for many queries, its matrix products for more than one row; a
single token is bound by how fast its keys and values are read. Written in Triton, which comes with
PyTorch for CUDA.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64  # keys at a time


@triton.jit(do_not_specialize=["length"])
def _attend(
    query,
    key,
    value,
    bias,
    out,
    stride,
    heads,
    room,
    length,
    BLOCKS: tl.constexpr,  # of keys, up to length
    WIDTH: tl.constexpr,
    POWER: tl.constexpr,  # of two, the next one from WIDTH on
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)  # of all samples and heads
    sample, head = row // heads, row % heads
    across, along = tl.arange(0, POWER), tl.arange(0, BLOCK)
    inside = across < WIDTH
    asked = tl.load(query + sample * stride + head * WIDTH + across, mask=inside, other=0.0)
    asked = asked.to(tl.float32)
    largest = -float("inf")
    total = 0.0
    mixed = tl.zeros([POWER], dtype=tl.float32)
    for block in range(BLOCKS):
        at = block * BLOCK + along
        there = at < length
        both = there[:, None] & inside[None, :]
        where = (row * room + at)[:, None] * WIDTH + across[None, :]
        keys = tl.load(key + where, mask=both, other=0.0).to(tl.float32)
        added = tl.load(bias + head * length + at, mask=there, other=0.0).to(tl.float32)
        scores = tl.where(there, tl.sum(keys * asked[None, :], 1) + added, -float("inf"))
        new = tl.maximum(largest, tl.max(scores, 0))
        weights = tl.exp(scores - new)
        shrunk = tl.exp(largest - new)
        values = tl.load(value + where, mask=both, other=0.0).to(tl.float32)
        mixed = mixed * shrunk + tl.sum(values * weights[:, None], 0)
        total = total * shrunk + tl.sum(weights, 0)
        largest = new
    tl.store(out + row * WIDTH + across, (mixed / total).to(out.dtype.element_ty), mask=inside)


def attend_last(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention (samples, heads * d_kv) of `query` (samples, heads * d_kv) to the first `length` of
    `key` and `value` (samples, heads, room, d_kv), with `bias` (heads, length) added to the scores.
    Rows of `query` may lie apart; all else is contiguous.
    """
    samples, heads, room, d_kv = key.shape
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    _attend[(samples * heads,)](
        *(query, key, value, bias, out),
        *(query.stride(0), heads, room, bias.shape[1]),
        BLOCKS=triton.cdiv(bias.shape[1], BLOCK),
        WIDTH=d_kv,
        POWER=triton.next_power_of_2(d_kv),
        BLOCK=BLOCK,
        num_warps=1,
    )
    return out
