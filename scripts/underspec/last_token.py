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
    query, key, value, bias, out, stride, heads, room, length, D: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)  # of all samples and heads
    sample, head = row // heads, row % heads
    across, along = tl.arange(0, D), tl.arange(0, BLOCK)
    asked = tl.load(query + sample * stride + head * D + across).to(tl.float32)
    largest = -float("inf")
    total = 0.0
    mixed = tl.zeros([D], dtype=tl.float32)
    for start in range(0, length, BLOCK):
        at = start + along
        there = at < length
        where = (row * room + at)[:, None] * D + across[None, :]
        keys = tl.load(key + where, mask=there[:, None], other=0.0).to(tl.float32)
        added = tl.load(bias + head * length + at, mask=there, other=0.0).to(tl.float32)
        scores = tl.where(there, tl.sum(keys * asked[None, :], 1) + added, -float("inf"))
        new = tl.maximum(largest, tl.max(scores, 0))
        weights = tl.exp(scores - new)
        shrunk = tl.exp(largest - new)
        values = tl.load(value + where, mask=there[:, None], other=0.0).to(tl.float32)
        mixed = mixed * shrunk + tl.sum(values * weights[:, None], 0)
        total = total * shrunk + tl.sum(weights, 0)
        largest = new
    tl.store(out + row * D + across, (mixed / total).to(out.dtype.element_ty))


def attend_last(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention (samples, heads * d_kv) of `query` (samples, heads * d_kv) to the first `length` of
    `key` and `value` (samples, heads, room, d_kv), with `bias` (heads, length) added to the scores.
    Rows of `query` may lie apart; all else is contiguous, and d_kv a power of two.
    """
    samples, heads, room, d_kv = key.shape
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    _attend[(samples * heads,)](
        *(query, key, value, bias, out),
        *(query.stride(0), heads, room, bias.shape[1]),
        D=d_kv,
        BLOCK=BLOCK,
        num_warps=1,
    )
    return out
