"""The reward model objective: centred Bradley-Terry over pairs."""

import numpy as np
from torch import Tensor, nn

from underspec.models.reward_model import RewardModel
from underspec.random_streams import examples
from underspec.training.loop import Batch, Objective
from underspec.training.objectives import digest


def preference(
    posts: list[np.ndarray],
    chosen: list[np.ndarray],
    rejected: list[np.ndarray],
    batch: int,
    seed: int,
    centering: float,
    kind: type[nn.Module] = RewardModel,
) -> Objective:
    """Bradley-Terry over pairs with the paper's centring term (section 2.1).

    The loss of a model with several heads is the mean of theirs: every head learns from every pair
    (Ahmed et al., 2406.01013). kind: the class of the model. Raises ArtifactError if the model
    cannot read a text.
    """
    kind.check(post=posts, chosen=chosen, rejected=rejected)

    def make(step: int, rows: range) -> Batch:
        pairs = examples(seed, len(posts), batch, step, rows)
        candidates = [text[i] for i in pairs for text in (chosen, rejected)]
        return kind.inputs([posts[i] for i in pairs], candidates)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        rewards = model(**batch)
        heads = rewards.shape[1]
        chosen, rejected = rewards.view(-1, 2, heads).unbind(1)
        return bradley_terry(chosen, rejected, centering) / heads

    def pairs(batch: Batch) -> int:
        return len(batch["candidates"]) // 2

    settings = {"centering": centering, "data": digest(posts, chosen, rejected)}
    return Objective(make, loss, pairs, settings)


def bradley_terry(chosen: Tensor, rejected: Tensor, centering: float) -> Tensor:
    """Sum of -log sigmoid(r+ - r-) + centering (r+ + r-)^2 over pairs (pairs, ...): a scalar."""
    likelihood = nn.functional.logsigmoid(chosen - rejected)
    return (centering * (chosen + rejected) ** 2 - likelihood).sum()
