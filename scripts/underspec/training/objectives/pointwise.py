"""The objective of a pointwise reward model: binary cross-entropy over judged statements."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from underspec.data.tokenization import check_batchable, pad
from underspec.errors import ConfigError
from underspec.models.reward_model import RewardModel
from underspec.random_streams import examples
from underspec.training.loop import Batch, Objective
from underspec.training.objectives import digest


def pointwise(
    posts: list[np.ndarray],
    statements: list[np.ndarray],
    labels: np.ndarray,
    batch: int,
    seed: int,
    centering: float = 0.0,
) -> Objective:
    """Binary cross-entropy of labels (0 or 1), by which a reward is the log-odds of 1 (ours: the
    paper does not say).

    Such a reward has no free constant: ConfigError is raised if `centering` is not 0. The loss of a
    model with several heads is the mean of theirs. Raises ArtifactError if a text is empty or
    contains padding.
    """
    if centering:
        raise ConfigError(f"centering: {centering} is not 0; pointwise rewards are not centred")
    for kind, texts in (("post", posts), ("statement", statements)):
        check_batchable((f"{kind} {i}" for i in range(len(texts))), texts)

    def make(step: int, rows: range) -> Batch:
        chosen = examples(seed, len(posts), batch, step, rows)
        return {
            "posts": torch.from_numpy(pad([posts[i] for i in chosen])),
            "candidates": torch.from_numpy(pad([statements[i] for i in chosen])),
            "labels": torch.from_numpy(labels[chosen].astype(np.float32)),
        }

    def loss(model: RewardModel, batch: Batch) -> Tensor:
        rewards = model(posts=batch["posts"], candidates=batch["candidates"])
        labels = batch["labels"][:, None].expand_as(rewards)
        entropy = binary_cross_entropy_with_logits(rewards, labels, reduction="sum")
        return entropy / rewards.shape[1]

    def judgements(batch: Batch) -> int:
        return len(batch["labels"])

    settings = {"data": digest(posts, statements, [labels])}
    return Objective(make, loss, judgements, settings)
