"""The reward of a sample in RLHF: what a ranker gives it.

Before they are aggregated, the rewards of each member are centred: less their mean over samples of
the SFT policy, one constant per reward model. (Best-of-n centres by post, for which a step has too
few samples. Ours.)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import tokenizers
from numpy import ndarray
from scipy.special import expit

from underspec.alignment import rollouts
from underspec.alignment.policy import AlignedPolicy, Samples
from underspec.alignment.rloo import Reward
from underspec.data.tokenization import decode, encode
from underspec.inference.scoring import Scorer


@dataclass(frozen=True)
class RankerReward:
    """members: one scorer per reward model, with a single head; aggregate: takes their rewards
    (members, posts, samples) to (posts, samples); longest: of a sample's text in tokens, with eos.
    """

    members: list[Scorer]
    aggregate: Callable[[ndarray], ndarray]
    tokenizer: tokenizers.Tokenizer
    longest: int
    constants: ndarray | float = 0.0

    def __call__(self, posts: list[ndarray], samples: Samples) -> ndarray:
        """Rewards (posts, samples). Raises ArtifactError if a reward is not finite."""
        return self.aggregate(self._of_members(posts, samples) - self.constants)

    def centred(self, posts: list[ndarray], samples: Samples) -> "RankerReward":
        """With the mean of each member over these samples of the SFT policy as its constant."""
        means = self._of_members(posts, samples).mean(axis=(1, 2), keepdims=True)
        return replace(self, constants=means)

    def _of_members(self, posts: list[ndarray], samples: Samples) -> ndarray:
        """(members, posts, samples). Reward models read the text of a sample, as in training."""
        texts = decode(self.tokenizer, (ids for own in samples for ids in own))
        encoded = iter(encode(self.tokenizer, texts, self.longest))
        candidates = [[next(encoded) for _ in own] for own in samples]
        return np.array([np.stack(member(posts, candidates))[..., 0] for member in self.members])


def bounded(reward: Reward, sft_policy: AlignedPolicy, seed: int) -> Reward:
    """The logistic function of a reward less that of one sample of the SFT policy (PAR; Fu et al.,
    2502.18770). The sample is a function of the post and the seed."""

    def bounded_reward(posts: list[ndarray], samples: Samples) -> ndarray:
        names = [ids.tobytes().hex() for ids in posts]
        drawn, _ = rollouts.draw(sft_policy.t5, names, posts, 1, sft_policy.longest, seed)
        return expit(reward(posts, samples) - reward(posts, drawn))

    return bounded_reward
