"""A Triton kernel for self-attention of the last token: it reads each key and value once.

PyTorch's fused attention is made for many queries, and its matrix products for more than one row.
With a single query, the speed is limited by how fast keys and values are read. Triton comes with
PyTorch for CUDA.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64  # keys per block


@triton.jit(do_not_specialize=["length"])
def _attend(
    query,
    key,
    value,
    bias,
    out,
    stride,
    heads,
    capacity,
    length,
    BLOCKS: tl.constexpr,  # number of blocks of keys
    WIDTH: tl.constexpr,
    POWER: tl.constexpr,  # WIDTH rounded up to a power of two
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)  # one per sample and head
    sample, head = row // heads, row % heads
    across, along = tl.arange(0, POWER), tl.arange(0, BLOCK)
    inside = across < WIDTH
    query_row = tl.load(query + sample * stride + head * WIDTH + across, mask=inside, other=0.0)
    query_row = query_row.to(tl.float32)
    largest = -float("inf")
    total = 0.0
    result = tl.zeros([POWER], dtype=tl.float32)
    for block in range(BLOCKS):
        at = block * BLOCK + along
        valid = at < length
        both = valid[:, None] & inside[None, :]
        where = (row * capacity + at)[:, None] * WIDTH + across[None, :]
        keys = tl.load(key + where, mask=both, other=0.0).to(tl.float32)
        added = tl.load(bias + head * length + at, mask=valid, other=0.0).to(tl.float32)
        scores = tl.where(valid, tl.sum(keys * query_row[None, :], 1) + added, -float("inf"))
        new = tl.maximum(largest, tl.max(scores, 0))
        weights = tl.exp(scores - new)
        shrunk = tl.exp(largest - new)
        values = tl.load(value + where, mask=both, other=0.0).to(tl.float32)
        result = result * shrunk + tl.sum(values * weights[:, None], 0)
        total = total * shrunk + tl.sum(weights, 0)
        largest = new
    tl.store(out + row * WIDTH + across, (result / total).to(out.dtype.element_ty), mask=inside)


def attend_last(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention of `query` (samples, heads * d_kv) to the first `length` keys and values (samples,
    heads, capacity, d_kv), with `bias` (heads, length) added to the scores.

    `query` may be strided along samples; the other tensors must be contiguous.
    """
    samples, heads, capacity, d_kv = key.shape
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    _attend[(samples * heads,)](
        *(query, key, value, bias, out),
        *(query.stride(0), heads, capacity, bias.shape[1]),
        BLOCKS=triton.cdiv(bias.shape[1], BLOCK),
        WIDTH=d_kv,
        POWER=triton.next_power_of_2(d_kv),
        BLOCK=BLOCK,
        num_warps=1,
    )
    return out
