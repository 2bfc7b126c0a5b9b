"""The GPU's kernel for the last token: without a GPU, in Triton's interpreter."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from underspec.data.tokenization import EOS
from underspec.inference import continuous_batching
from underspec.inference.sampling import policy_decoder
from underspec.inference.shared_post_t5 import Encoder
from underspec.inference.token_sampling import Task
from underspec.models.t5 import new_t5

pytest.importorskip("triton", reason="pip install -r envs/kernels.txt installs Triton")

from underspec.inference.last_token import BLOCK, attend_last  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.05}  # of numbers of order one


@given(
    samples=st.integers(1, 3),
    heads=st.integers(1, 3),
    d_kv=st.sampled_from([1, 5, 8, 12, 64]),
    length=st.integers(1, 2 * BLOCK + 1),
    spare=st.integers(0, 9),
    dtype=st.sampled_from(list(TOLERANCE)),
)
@settings(max_examples=40)
def test_it_is_attention_to_what_has_been_drawn(samples, heads, d_kv, length, spare, dtype):
    """Against single precision; what lies past `length` in the cache is never looked at."""
    torch.manual_seed(0)
    joined = torch.randn(samples, 3 * heads * d_kv).to(dtype)  # as of a joined matrix
    query = joined[:, heads * d_kv : 2 * heads * d_kv]
    key, value = (torch.randn(samples, heads, length + spare, d_kv).to(dtype) for _ in range(2))
    key[:, :, length:], value[:, :, length:] = torch.nan, torch.inf
    bias = 5 * torch.randn(heads, length).to(dtype)
    bias[:, :-1][:, ::3] = -torch.inf
    scores = torch.einsum(
        "shd,shtd->sht", query.view(samples, heads, d_kv).float(), key[:, :, :length].float()
    )
    weights = (scores + bias.float()).softmax(-1)
    expected = torch.einsum("sht,shtd->shd", weights, value[:, :, :length].float())
    found = attend_last(
        joined.to(DEVICE)[:, heads * d_kv : 2 * heads * d_kv],
        *(each.to(DEVICE) for each in (key, value, bias)),
    ).cpu()
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.float(), expected.flatten(1), rtol=0, atol=TOLERANCE[dtype] * d_kv**0.5
    )


@torch.inference_mode()
def test_samples_are_those_of_separate_matrix_products(monkeypatch):
    shape = {"d_model": 16, "d_ff": 32, "d_kv": 6, "num_heads": 2, "num_layers": 2}
    policy = new_t5(shape, 12, 0).eval().to(DEVICE)
    posts = [np.array([*range(3, 4 + i), EOS]) for i in range(3)]
    task = Task(
        *(Encoder(policy.encoder, 8), policy_decoder(policy), ["a", "b", "c"], posts, 4, 70, 0)
    )
    found = []
    for kernel in (False, True):
        monkeypatch.setattr(
            continuous_batching, "uses_triton", lambda device, kernel=kernel: kernel
        )
        found.append(
            sorted((i, tokens.tolist()) for i, tokens, _ in continuous_batching.generate(task))
        )
    assert found[0] == found[1]
