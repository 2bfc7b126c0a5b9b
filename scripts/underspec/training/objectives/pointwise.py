"""The objectives of reward models that learn from judgements of single statements: binary
cross-entropy of what is entailed, and the squared error of ratings."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

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
    kind: type[nn.Module] = RewardModel,
) -> Objective:
    """Binary cross-entropy of labels (0 or 1), by which a reward is the log-odds of 1 (ours: the
    paper does not say).

    Such a reward has no free constant: ConfigError is raised if `centering` is not 0. The loss of a
    model with several heads is the mean of theirs. kind: the class of the model. Raises
    ArtifactError if the model cannot read a text.
    """
    loss = binary_cross_entropy_with_logits
    return _of_judgements(posts, statements, labels, batch, seed, centering, kind, loss)


def squared_error(
    posts: list[np.ndarray],
    statements: list[np.ndarray],
    ratings: pd.DataFrame,
    batch: int,
    seed: int,
    centering: float = 0.0,
    kind: type[nn.Module] = RewardModel,
) -> Objective:
    """Squared error of the column `label` of ratings, by which a reward is the expected mean rating
    (ours). Otherwise as `pointwise`.
    """
    labels = ratings.label.to_numpy(np.float32)
    return _of_judgements(posts, statements, labels, batch, seed, centering, kind, mse_loss)


def _of_judgements(
    posts: list[np.ndarray],
    statements: list[np.ndarray],
    labels: np.ndarray,
    batch: int,
    seed: int,
    centering: float,
    kind: type[nn.Module],
    loss_of: Callable[..., Tensor],
) -> Objective:
    if centering:
        raise ConfigError(f"centering: {centering} is not 0; pointwise rewards are not centred")
    kind.check(post=posts, statement=statements)

    def make(step: int, rows: range) -> Batch:
        chosen = examples(seed, len(posts), batch, step, rows)
        inputs = kind.inputs([posts[i] for i in chosen], [statements[i] for i in chosen])
        return inputs | {"labels": torch.from_numpy(labels[chosen].astype(np.float32))}

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        rewards = model(**{name: each for name, each in batch.items() if name != "labels"})
        labels = batch["labels"][:, None].expand_as(rewards)
        return loss_of(rewards, labels, reduction="sum") / rewards.shape[1]

    def judgements(batch: Batch) -> int:
        return len(batch["labels"])

    exact = labels.view(np.int32) if labels.dtype == np.float32 else labels  # a digest is of ints
    settings = {"data": digest(posts, statements, [exact])}
    return Objective(make, loss, judgements, settings)
