"""Samples of the policy as it is now, for training."""

import numpy as np
import torch
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.alignment.policy import Samples
from underspec.data.tokenization import EOS
from underspec.errors import ArtifactError
from underspec.inference import continuous_batching
from underspec.inference.sampling import policy_decoder, until_eos
from underspec.inference.shared_post_t5 import Encoder
from underspec.inference.token_sampling import Task


@torch.inference_mode()
def draw(
    policy: T5ForConditionalGeneration,
    names: list[str],
    posts: list[np.ndarray],
    samples: int,
    longest: tuple[int, int],
    seed: int,
) -> tuple[Samples, np.ndarray]:
    """Samples of each post (token ids) at temperature 1, and their log-probabilities (posts,
    samples).

    They are a function of the weights, `seed` and the post's name; longest: the maximum lengths of
    a post and of a sample, which is truncated. Raises ArtifactError if logits are not finite.
    """
    encoder = Encoder(policy.encoder, longest[0], joined=True)
    task = Task(encoder, policy_decoder(policy), names, posts, samples, longest[1], seed)
    drawn: Samples = [[]] * len(posts)
    log_probs = np.empty((len(posts), samples), np.float32)
    for rows, tokens, values in continuous_batching.generate(task):
        for i, of_post in zip(rows, tokens.cpu().numpy(), strict=True):
            drawn[i] = [until_eos(ids) for ids in of_post]
        log_probs[rows] = values.float().cpu()
    if not np.isfinite(log_probs).all():
        raise ArtifactError(
            "the policy's logits are not finite: the training diverged; lower the learning rate"
        )
    return drawn, log_probs


def truncated(samples: Samples) -> np.ndarray:
    """Whether each sample (posts, samples) lacks eos."""
    return np.array([[ids[-1] != EOS for ids in own] for own in samples])
