"""The GPU's kernel for the last token, in Triton's interpreter on this CPU."""

import os

os.environ["TRITON_INTERPRET"] = "1"

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

pytest.importorskip("triton", reason="pip install -r envs/kernels.txt brings Triton")

from underspec.last_token import BLOCK, attend_last  # noqa: E402

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
    found = attend_last(query, key, value, bias)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.float(), expected.flatten(1), rtol=0, atol=TOLERANCE[dtype] * d_kv**0.5
    )
