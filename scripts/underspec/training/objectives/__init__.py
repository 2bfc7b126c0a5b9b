"""Training objectives, one module each, so that a stage depends only on its own."""

import hashlib
import itertools
from collections.abc import Iterable

import numpy as np
from torch import Tensor, nn

from underspec.training.loop import Batch

IGNORED = -100  # transformers ignores labels of this value in the loss


def language_model_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy as in transformers, summed over all target tokens of the batch."""
    return model(**batch, use_cache=False).loss * target_tokens(batch)


def target_tokens(batch: Batch) -> Tensor:
    """The number of target tokens, on the batch's device, so that it does not wait for a GPU."""
    return (batch["labels"] != IGNORED).sum()


def digest(*texts: Iterable[np.ndarray]) -> str:
    """A digest of token ids, so that a run resumes only on the same data."""
    found = hashlib.sha256()
    for ids in itertools.chain(*texts):
        found.update(np.asarray(ids, dtype=np.int64).tobytes() + b";")
    return found.hexdigest()
