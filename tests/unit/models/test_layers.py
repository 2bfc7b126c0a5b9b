"""Our layers compute what the library's compute, forwards and backwards."""

import copy
import json

import pytest
import torch
from transformers.models.t5.modeling_t5 import T5LayerNorm

from underspec.data.tokenization import PAD
from underspec.models import fused_layers
from underspec.models.fused_layers import ATTENTION, FastT5LayerNorm
from underspec.models.reward_model import RewardModel
from underspec.models.t5 import new_t5, save, set_dropout, t5_config, use_fast_norms

SHAPE = {"d_model": 12, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 2}
VOCABULARY = 120


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_same_gradients(model, other):
    ours, theirs = gradients(model), gradients(other)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-4, atol=1e-5, msg=name)


def padded(rows, length, seed):
    """Token ids (rows, length), the first row full and the others shorter."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCABULARY, (rows, length), generator=generator)
    ends = torch.randint(1, length + 1, (rows, 1), generator=generator)
    ends[0] = length
    return ids.masked_fill(torch.arange(length) >= ends, PAD)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("fused", [False, True])
def test_a_norm_and_its_gradients(monkeypatch, kind, fused):
    monkeypatch.setattr(fused_layers, "fused", lambda device: fused)
    torch.manual_seed(0)
    states = (3 * torch.randn(4, 5, 12)).to(kind)
    states[0, 0] = 0
    weight, seen = torch.randn(12).to(kind), torch.randn(4, 5, 12).to(kind)
    found = []
    for norm in (FastT5LayerNorm(12).to(kind), T5LayerNorm(12).to(kind)):
        inputs = states.clone().requires_grad_()
        norm.weight.data.copy_(weight)
        outputs = norm(inputs)
        outputs.backward(seen)
        found.append((outputs, inputs.grad, norm.weight.grad))
    torch.testing.assert_close(*found)


def plain(model):
    """A copy with the library's own attention and norms."""
    other = copy.deepcopy(model)
    for module in other.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation = "eager"
    return other


@pytest.mark.parametrize("version", ["v1.0", "v1.1"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("masked", [False, True])
def test_a_step_is_the_library_s(version, dropout, masked):
    model = new_t5({**SHAPE, "version": version}, VOCABULARY, 0)
    library = plain(model)
    use_fast_norms(model)
    assert not any(type(module) is T5LayerNorm for module in model.modules())
    assert model.state_dict().keys() == library.state_dict().keys()
    inputs, labels = padded(3, 9, 0), padded(3, 6, 1)
    mask = (inputs != PAD).long() if masked else None
    losses = []
    for each in (model, library):
        set_dropout(each, dropout)
        torch.manual_seed(0)
        losses.append(each.train()(input_ids=inputs, attention_mask=mask, labels=labels).loss)
        losses[-1].backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-5)
    assert_same_gradients(model, library)


@pytest.mark.parametrize("each", [1, 2, 3])
def test_candidates_that_share_a_post_are_judged_as_if_each_had_its_own(each):
    torch.manual_seed(0)
    model = RewardModel(t5_config(SHAPE, VOCABULARY)).eval()
    library = plain(model)
    use_fast_norms(model)
    posts, candidates = padded(5, 9, 0), padded(5 * each, 7, 1)
    together = model(posts, candidates)
    alone = library(posts.repeat_interleave(each, 0), candidates)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert alone.std() > 0.01
    for rewards in (together, alone):
        rewards.square().sum().backward()
    assert_same_gradients(model, library)


@pytest.fixture
def fused(monkeypatch):
    """What happens on a GPU, on this CPU."""
    monkeypatch.setattr(fused_layers, "fused", lambda device: True)


@pytest.mark.parametrize("masked", [False, True])
def test_fused_attention_is_the_library_s(fused, masked):
    model = new_t5(SHAPE, VOCABULARY, 0).eval()
    inputs, labels = padded(3, 9, 0), padded(3, 6, 1)
    mask = (inputs != PAD).long() if masked else None
    logits, expected = (
        each(input_ids=inputs, attention_mask=mask, labels=labels).logits
        for each in (model, plain(model))
    )
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_fused_attention_of_candidates_that_share_a_post(fused):
    torch.manual_seed(0)
    model = RewardModel(t5_config(SHAPE, VOCABULARY)).eval()
    posts, candidates = padded(5, 9, 0), padded(10, 7, 1)
    expected = plain(model)(posts.repeat_interleave(2, 0), candidates)
    torch.testing.assert_close(model(posts, candidates), expected, rtol=1e-5, atol=1e-5)


def test_what_is_drawn_token_by_token_is_the_same():
    model = new_t5(SHAPE, VOCABULARY, 0).eval()
    inputs = padded(3, 9, 0)
    drawn = [
        each.generate(
            input_ids=inputs, attention_mask=(inputs != PAD).long(), max_new_tokens=8, min_length=8
        )
        for each in (model, plain(model))
    ]
    assert torch.equal(*drawn)


def test_a_folder_does_not_name_our_attention(tmp_path):
    """The plain library, which does not know it, opens the folder."""
    model = new_t5(SHAPE, VOCABULARY, 0)
    assert model.config._attn_implementation == ATTENTION
    save(model, tmp_path / "model", [], {})
    assert ATTENTION not in json.dumps(json.loads((tmp_path / "model/config.json").read_text()))
