"""How likely samples are: as transformers finds it, and as an enumeration of all samples does."""

import numpy as np
import pytest
import torch
import toy

from underspec.alignment import rollouts
from underspec.alignment.policy import forcing, kl_divergence, log_probs
from underspec.data.tokenization import EOS, PAD
from underspec.models.t5 import new_t5

SHAPE = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 2}
VOCABULARY = 40


def texts(count, seed, longest=9):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest, count)
    return [np.array([*rng.integers(3, VOCABULARY, length), EOS]) for length in lengths]


def by_transformers(model, post, sample):
    """The log-probability of one sample by teacher forcing."""
    shifted = torch.tensor([[PAD, *sample[:-1]]])
    logits = model(input_ids=torch.tensor(post)[None], decoder_input_ids=shifted).logits[0]
    chosen = torch.tensor(sample)[:, None]
    return logits.log_softmax(-1).gather(1, chosen).sum()


@pytest.mark.parametrize("version", ["v1.0", "v1.1"])
def test_log_probabilities_and_their_gradient_are_those_of_transformers(version):
    """Posts and samples of many lengths, truncated ones too; single precision."""
    model = new_t5(SHAPE | {"version": version}, VOCABULARY, 0).eval()
    posts = texts(7, 0)
    samples = [texts(4, 10 + i) for i in range(len(posts))]
    samples[2][1] = samples[2][1][:-1]  # no eos
    samples[3][0] = np.array([5, PAD, 7, EOS])  # a padding token that the policy chose
    weights = torch.linspace(-1, 2, 28)
    found = log_probs(forcing(model, (10, 10)), posts, samples)
    one_by_one = [
        by_transformers(model, post, ids)
        for post, own in zip(posts, samples, strict=True)
        for ids in own
    ]
    expected = torch.stack(one_by_one)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    ours, theirs = (toy.gradient((weights * each).sum(), model) for each in (found, expected))
    assert theirs.norm() > 1
    assert (ours - theirs).norm() < 1e-4 * theirs.norm()


def test_probabilities_of_all_samples_add_up_to_one():
    """Also without eos, where a sample is truncated."""
    for longest in (1, 2, 3):
        model = toy.policy(longest=longest)
        total = toy.distribution(model, longest=longest).exp().sum()
        assert total.item() == pytest.approx(1, abs=1e-5)


def test_samples_are_drawn_with_the_probabilities_that_are_computed():
    """At temperature 1, and their log-probabilities are the same; 20,000 samples."""
    model, number = toy.policy(), 20_000
    (drawn,), own = rollouts.draw(model.t5, ["0"], [toy.POST], number, model.longest, 0)
    torch.testing.assert_close(
        log_probs(model.forcing(), [toy.POST], [drawn[:50]]),
        torch.from_numpy(own[0, :50]),
        rtol=1e-4,
        atol=1e-4,
    )
    every = [tuple(ids) for ids in toy.every_sample()]
    counts = np.array([0] * len(every))
    for ids in drawn:
        counts[every.index(tuple(ids))] += 1
    expected = toy.distribution(model).exp().detach().numpy()
    errors = np.sqrt(expected * (1 - expected) / number)
    assert np.all(np.abs(counts / number - expected) < 5 * errors)


def test_the_divergence_is_that_of_all_samples():
    model, other = toy.policy(0), toy.policy(1)
    own, others = toy.distribution(model), toy.distribution(other)
    exact = (own.exp() * (own - others)).sum()
    every = toy.every_sample()
    of_samples = kl_divergence(model.forcing(), other.forcing(), [toy.POST], [every])
    assert exact > 0.1
    assert (own.exp() * of_samples).sum().item() == pytest.approx(exact.item(), abs=1e-4)
    none = kl_divergence(model.forcing(), model.frozen().forcing(), [toy.POST], [every])
    assert none.abs().max() < 1e-5


def test_a_frozen_copy_stays_as_it_was():
    model = toy.policy()
    frozen = model.frozen()
    before = toy.distribution(frozen)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(1)
    torch.testing.assert_close(toy.distribution(frozen), before)
    assert not any(each.requires_grad for each in frozen.parameters())
