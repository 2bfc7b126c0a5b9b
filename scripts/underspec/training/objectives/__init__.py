"""What a stage trains on, one module an objective, so that each stage depends on its own."""

import hashlib
import itertools
from collections.abc import Iterable

import numpy as np
from torch import Tensor, nn

from underspec.training.loop import Batch

IGNORED = -100  # transformers leaves labels of this value out of the loss


def language_model_loss(model: nn.Module, batch: Batch) -> Tensor:
    """transformers' own cross-entropy, summed over all target tokens of the batch."""
    return model(**batch, use_cache=False).loss * target_tokens(batch)


def target_tokens(batch: Batch) -> Tensor:
    """How many there are, where the batch is: a GPU is not waited for."""
    return (batch["labels"] != IGNORED).sum()


def digest(*texts: Iterable[np.ndarray]) -> str:
    """A digest of token ids: a checkpoint goes on only with the data it was written on."""
    found = hashlib.sha256()
    for ids in itertools.chain(*texts):
        found.update(np.asarray(ids, dtype=np.int64).tobytes() + b";")
    return found.hexdigest()
