"""The reward of a sample in RLHF: what a ranker gives it.

Before they are aggregated, the rewards of each member are centred: less their mean over samples of
the SFT policy, one constant per reward model. (Best-of-n centres by post, for which a step has too
few samples. Ours.)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tokenizers
from numpy import ndarray
from scipy.special import expit
from torch import nn

from underspec.alignment import rollouts
from underspec.alignment.policy import AlignedPolicy, Samples
from underspec.alignment.rloo import Reward
from underspec.analysis.reward_matrix import read_json
from underspec.architectures import BaseArchitecture
from underspec.data.tokenization import decode, encode
from underspec.inference.scoring import Scorer
from underspec.models import mc_dropout
from underspec.models.t5 import for_inference


def load_members(
    models: BaseArchitecture, folder: Path, precision: str, dropout_members: int
) -> Iterator[nn.Module]:
    """The reward model in `folder`, ready to score; or so many members of MC dropout in place of
    it, if not 0: those that score samples for best-of-n.

    Raises ArtifactError, naming the folder, as `load` and `members` of its architecture do.
    """
    model = for_inference(models.load(folder), precision)
    if not dropout_members:
        yield model
        return
    provenance = read_json(folder / "provenance.json", mc_dropout.Training)
    yield from models.members(model, folder, provenance, dropout_members)


@dataclass(frozen=True)
class RankerReward:
    """members: scorers, of which every head is a member of the ranker; aggregate: takes the rewards
    of members (members, posts, samples) to (posts, samples); longest: of a sample's text in tokens,
    with eos.
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
        rewards = (np.stack(member(posts, candidates)) for member in self.members)
        return np.concatenate([np.moveaxis(by_head, -1, 0) for by_head in rewards])


def bounded(reward: Reward, sft_policy: AlignedPolicy, seed: int) -> Reward:
    """The logistic function of a reward less that of one sample of the SFT policy (PAR; Fu et al.,
    2502.18770). The sample is a function of the post and the seed."""

    def bounded_reward(posts: list[ndarray], samples: Samples) -> ndarray:
        names = [ids.tobytes().hex() for ids in posts]
        drawn, _ = rollouts.draw(sft_policy.t5, names, posts, 1, sft_policy.longest, seed)
        return expit(reward(posts, samples) - reward(posts, drawn))

    return bounded_reward
