"""A policy so small that all of its samples can be listed."""

import numpy as np
import torch

from underspec.alignment.policy import AlignedPolicy, log_probs
from underspec.data.tokenization import EOS
from underspec.models.t5 import new_t5

SHAPE = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 1}
VOCABULARY, LONGEST = 5, 2
POST = np.array([3, 4, EOS])


def policy(seed=0, longest=LONGEST, version="v1.0", vocabulary=VOCABULARY):
    """Its logits have a standard deviation of about 1."""
    t5 = new_t5(SHAPE | {"version": version}, vocabulary, seed).eval()
    return AlignedPolicy(t5.config, (8, longest), t5)


def every_sample(vocabulary=VOCABULARY, longest=LONGEST):
    """All samples: they end with eos, or have the maximum length."""
    found, open_ended = [], [[]]
    for _ in range(longest):
        longer = [[*start, token] for start in open_ended for token in range(vocabulary)]
        found += [ids for ids in longer if ids[-1] == EOS]
        open_ended = [ids for ids in longer if ids[-1] != EOS]
    return [np.array(ids) for ids in found + open_ended]


def distribution(model, post=POST, **sizes):
    """The log-probability of every sample."""
    return log_probs(model.forcing(), [post], [every_sample(**sizes)])


def gradient(value, model):
    """Of a scalar, with respect to all weights: one vector."""
    found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(each).flatten() if part is None else part.flatten()
            for part, each in zip(found, model.parameters(), strict=True)
        ]
    )
