"""Numbers in [0, 1) pick tokens by the inverse of the cumulative distribution."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TopKLogitsWarper, TopPLogitsWarper

from underspec.inference.token_sampling import choose, uniforms


@given(st.data())
@settings(max_examples=200)
def test_choose_is_the_inverse_of_the_cumulative_distribution(data):
    size = data.draw(st.integers(1, 300))
    seed = data.draw(st.integers(0, 2**32 - 1))
    uniform = data.draw(st.floats(0, 1, exclude_max=True))
    top_k = data.draw(st.none() | st.integers(1, 300))
    top_p = data.draw(st.floats(0.01, 1))
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (1, size))).float()
    kept = TopKLogitsWarper(top_k)(None, logits) if top_k else logits
    kept = TopPLogitsWarper(top_p)(None, kept) if top_p < 1 else kept
    shares = kept.double().softmax(-1)[0].numpy()
    uniforms = torch.tensor([[0.5, uniform]], dtype=torch.float64)
    tokens, log_probs = choose(logits, uniforms, top_k, top_p)
    token, log_prob = tokens[0, 1].item(), log_probs[0, 1]
    upper = np.cumsum(shares)[token]
    tolerance = 1e-6  # single precision; a share within it of top_p may be kept or not
    if abs(np.sort(shares)[::-1].cumsum() - top_p).min() > tolerance:
        assert upper - shares[token] - tolerance <= uniform <= upper + tolerance
        assert shares[token] > 0
        assert log_prob.item() == pytest.approx(np.log(shares[token].item()), abs=1e-4)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_the_interval_pick_tokens_that_are_possible(uniform):
    logits = torch.full((3, 200), -torch.inf)
    logits[:, [70, 71, 150]] = torch.tensor([0.0, 1.0, 0.5])
    token, log_prob = choose(logits, torch.full((3, 1), uniform, dtype=torch.float64))
    assert token.flatten().tolist() == [70 if uniform == 0 else 150] * 3
    assert log_prob.isfinite().all()


def test_uniforms_of_a_sample_are_its_own():
    first = uniforms(0, "a", range(4), 10)
    assert first.shape == (4, 10) and ((first >= 0) & (first < 1)).all()
    np.testing.assert_array_equal(uniforms(0, "a", range(2, 4), 6), first[2:, :6])
    others = [uniforms(1, "a", range(4), 10), uniforms(0, "b", range(4), 10)]
    assert not any(np.isin(first, other).any() for other in others)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("distribution", [{}, {"top_k": 5}, {"top_p": 0.7}])
def test_logits_that_are_not_finite_give_a_token_and_no_log_probability(value, distribution):
    logits = torch.zeros(2, 12)
    logits[1, 3] = value
    tokens, log_probs = choose(
        logits, torch.full((2, 1), 0.99, dtype=torch.float64), **distribution
    )
    assert set(tokens.flatten().tolist()) <= set(range(12))
    assert log_probs.isfinite().flatten().tolist() == [True, False]
