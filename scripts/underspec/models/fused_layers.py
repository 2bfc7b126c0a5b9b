"""Attention and norm for transformers' T5: the same functions in fewer passes over memory.

Weights, their names and their modules stay those of transformers. On a CPU, separate matrix
products are faster at small sizes; on a GPU, PyTorch's fused attention and norm are faster.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask, sdpa_mask
from transformers.models.t5.modeling_t5 import T5Attention, T5LayerNorm

ATTENTION = "t5_folded"

# cuDNN's attention plans for each new shape, and here shapes change all the time. A plan takes
# longer than a training step: 0.5 to 2 s for a reward model on an H200, where PyTorch prefers
# cuDNN.
torch.backends.cuda.enable_cudnn_sdp(False)


def fused(device: torch.device | str) -> bool:
    """Whether PyTorch's fused attention and norm are faster on `device`."""
    return torch.device(device).type == "cuda"


def attention(
    module: T5Attention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    position_bias: Tensor | None = None,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[Tensor, Tensor | None]:
    """T5's attention of `query` (candidates, heads, length, width) to `key` and `value` (posts,
    heads, post length, width). Returns (posts, ..., heads, width) and, on a CPU, the weights.

    In cross-attention, posts may have several candidates, the same number each and in the order of
    the posts. The candidates of a post attend to it like one longer candidate, so that its keys and
    values are not copied.
    """
    if module.is_decoder and not module.is_causal:  # cross-attention
        heads, width = query.shape[1], query.shape[3]
        query = query.transpose(1, 2).reshape(len(key), -1, heads, width).transpose(1, 2)
        position_bias = None  # the library gives zeros
        if attention_mask is not None:
            attention_mask = attention_mask[:, :, :1]  # the same for every query
    attend = _unfused_attention
    if fused(query.device):
        attend = sdpa_attention_forward
        if position_bias is not None:  # the efficient kernel needs it
            position_bias = position_bias.contiguous()
    return attend(
        *(module, query, key, value, attention_mask),
        dropout=dropout,
        position_bias=position_bias,
        **kwargs,
    )


def _unfused_attention(
    module: T5Attention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float,
    position_bias: Tensor | None,
    **kwargs,
) -> tuple[Tensor, Tensor]:
    scores = (query @ key.transpose(2, 3)).float()
    for added in (position_bias, attention_mask):
        if added is not None:
            scores += added  # in place: no gradient needs the scores
    weights = scores.softmax(-1).to(value.dtype)
    weights = nn.functional.dropout(weights, dropout, module.training)
    return (weights @ value).transpose(1, 2), weights


def mask(*args, device: torch.device, **kwargs) -> Tensor | None:
    """The mask that `attention` takes on `device`: boolean on a GPU, additive on a CPU."""
    return (sdpa_mask if fused(device) else eager_mask)(*args, device=device, **kwargs)


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, mask)


class RMSNorm(torch.autograd.Function):
    """x / rms(x) * weight with an explicit gradient, for a third of the passes over memory. Without
    a weight (None), x / rms(x).
    """

    @staticmethod
    def forward(ctx, states: Tensor, weight: Tensor | None, epsilon: float) -> Tensor:
        norm = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32)
        scale = norm.square_().div_(states.shape[-1]).add_(epsilon).rsqrt_()
        normed = (states * scale).to(states.dtype)
        ctx.save_for_backward(normed, scale, weight)
        return normed if weight is None else normed * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        normed, scale, weight = ctx.saved_tensors
        product = gradient * normed
        if weight is None:
            along = product.mean(-1, keepdim=True)
            return torch.addcmul(gradient, normed, along, value=-1).mul_(scale), None, None
        along = (product @ weight).div_(len(weight))[..., None]
        across = torch.addcmul(gradient * weight, normed, along, value=-1).mul_(scale)
        return across, product.flatten(0, -2).sum(0), None


class FastT5LayerNorm(T5LayerNorm):
    """T5's layer norm: the same function, but faster."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        if hidden_states.dtype != torch.float32 or self.weight.dtype != torch.float32:
            return super().forward(hidden_states)
        if fused(hidden_states.device):
            shape = self.weight.shape
            return nn.functional.rms_norm(hidden_states, shape, self.weight, self.variance_epsilon)
        return RMSNorm.apply(hidden_states, self.weight, self.variance_epsilon)
