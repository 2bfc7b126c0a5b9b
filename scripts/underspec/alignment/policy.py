"""The policy in RLHF: how likely its samples are, under it and under the SFT policy."""

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.inference.sampling import policy_decoder, until_eos
from underspec.inference.shared_post_t5 import Encoder
from underspec.inference.teacher_forcing import TeacherForcing
from underspec.models.t5 import encoder_decoder

SAMPLE_MULTIPLE = 8  # padding samples to a multiple of so many tokens takes fewer operations
LOGITS_AT_ONCE = 2**26  # a quarter of a gigabyte each

Samples = list[list[np.ndarray]]  # of each post, token ids: with eos, unless truncated


class AlignedPolicy(nn.Module):
    """A T5 whose forward pass returns log-probabilities of samples.

    longest: the maximum lengths of a post and of a sample, in tokens.
    """

    def __init__(
        self,
        config: T5Config,
        longest: tuple[int, int],
        t5: T5ForConditionalGeneration | None = None,
    ):
        super().__init__()
        self.config, self.longest = config, longest
        self.t5 = t5 or encoder_decoder(config)(config)

    def forward(self, posts: list[np.ndarray], samples: Samples) -> Tensor:
        """The log-probability of each sample (samples of all posts,), in nats, at temperature 1."""
        return log_probs(self.forcing(), posts, samples)

    def forcing(self) -> TeacherForcing:
        """With the weights as they are now."""
        return forcing(self.t5, self.longest)

    def frozen(self) -> "AlignedPolicy":
        """A copy that is not trained."""
        copied = copy.deepcopy(self.t5).requires_grad_(False)
        return AlignedPolicy(self.config, self.longest, copied.eval())


def forcing(policy: T5ForConditionalGeneration, longest: tuple[int, int]) -> TeacherForcing:
    encoder = Encoder(policy.encoder, longest[0], joined=True)
    return TeacherForcing(encoder, policy_decoder(policy), longest[1], SAMPLE_MULTIPLE)


def log_probs(policy: TeacherForcing, posts: list[np.ndarray], samples: Samples) -> Tensor:
    """The log-probability of each sample: the sum over its tokens, with eos if it has one."""
    logits, rows = policy(posts, samples)
    return rows.sums(-cross_entropy(logits.float(), rows.targets, reduction="none"))


def kl_divergence(
    policy: TeacherForcing, reference: TeacherForcing, posts: list[np.ndarray], samples: Samples
) -> Tensor:
    """KL(policy || reference) on each sample, in nats: the exact divergence of the distributions of
    the next token, summed over the sample's positions. Its mean over samples of the policy is the
    divergence of the distributions of samples.
    """
    logits, rows = policy(posts, samples)
    others, _ = reference(posts, samples)
    own, other = (each.float().log_softmax(-1) for each in (logits, others))
    return rows.sums((own.exp() * (own - other)).sum(-1))


@torch.inference_mode()
def divergences(
    policy: T5ForConditionalGeneration,
    reference: T5ForConditionalGeneration,
    posts: list[np.ndarray],
    tokens: np.ndarray,
    longest: tuple[int, int],
) -> np.ndarray:
    """`kl_divergence` of many samples, tokens (posts, samples, length) as `sampling.draw_tokens`
    returns them: (posts, samples)."""
    own, other = forcing(policy, longest), forcing(reference, longest)
    _, samples, length = tokens.shape
    at_once = max(1, LOGITS_AT_ONCE // (samples * length * policy.config.vocab_size))
    found = np.empty(tokens.shape[:2], np.float32)
    by_length = sorted(range(len(posts)), key=lambda i: len(posts[i]))
    for start in range(0, len(posts), at_once):
        batch = by_length[start : start + at_once]
        drawn = [[until_eos(ids) for ids in tokens[i]] for i in batch]
        values = kl_divergence(own, other, [posts[i] for i in batch], drawn)
        found[batch] = values.view(len(batch), samples).float().cpu()
    return found
