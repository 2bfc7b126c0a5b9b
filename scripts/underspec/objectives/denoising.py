"""Pretraining: span corruption of a flat stream of tokens."""

import numpy as np
import torch

from underspec.corruption import corrupt, corrupted_spans, tokens_for
from underspec.errors import ArtifactError, ConfigError
from underspec.objectives import digest, language_model_loss, target_tokens
from underspec.order import NOISE, ORDER, examples
from underspec.tokens import EOS, SENTINELS
from underspec.training import Batch, Objective


def denoising(
    tokens: np.ndarray,
    vocabulary: int,
    batch: int,
    seed: int,
    input_length: int,
    noise_density: float,
    mean_span_length: float,
) -> Objective:
    """Span corruption over the flat stream `tokens` (tokens,), cut into chunks of one length.

    The seed decides where the cuts lie, the order of the chunks and which spans are corrupted.
    Inputs are exactly `input_length` long, so there is no padding and no mask. Raises
    ArtifactError if there are too few tokens, ConfigError if there are too few sentinels.
    """
    length = tokens_for(input_length, noise_density, mean_span_length)
    offset = int(np.random.default_rng([seed, ORDER]).integers(length))
    chunks = (len(tokens) - offset) // length
    if chunks == 0:
        raise ArtifactError(
            f"pretraining text: {len(tokens)} tokens are too few for chunks of {length}; "
            "bring more text or lower corruption.input_length"
        )
    if (spans := corrupted_spans(length, noise_density, mean_span_length)) > SENTINELS:
        raise ConfigError(
            f"corruption: {spans} spans a chunk are more than the {SENTINELS} sentinels; "
            "lower input_length or noise_density, or raise mean_span_length"
        )

    def corrupted(step: int, row: int, chunk: int) -> tuple[np.ndarray, np.ndarray]:
        start = offset + chunk * length
        rng = np.random.default_rng([seed, NOISE, step, row])
        text = np.asarray(tokens[start : start + length], dtype=np.int64)
        return corrupt(text, noise_density, mean_span_length, vocabulary - 1, EOS, rng)

    def make(step: int, rows: range) -> Batch:
        chosen = examples(seed, chunks, batch, step, rows)
        pairs = [corrupted(step, row, chunk) for row, chunk in zip(rows, chosen, strict=True)]
        inputs, targets = zip(*pairs, strict=True)
        return {
            "input_ids": torch.from_numpy(np.stack(inputs)),
            "labels": torch.from_numpy(np.stack(targets)),
        }

    slices = np.linspace(0, len(tokens) - length, 1000, dtype=np.int64)
    settings = {"data": digest(tokens[i : i + length] for i in slices)}
    return Objective(make, language_model_loss, target_tokens, settings)
