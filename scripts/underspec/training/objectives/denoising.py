"""The pretraining objective: T5's span corruption, on flat arrays of tokens."""

import itertools
from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
import torch

from underspec.data.span_corruption import corrupt, corrupted_spans, tokens_for
from underspec.data.tokenization import EOS, SENTINELS
from underspec.errors import ArtifactError, ConfigError
from underspec.random_streams import NOISE, ORDER, examples
from underspec.training.loop import Batch, Objective
from underspec.training.objectives import digest, language_model_loss, target_tokens

SLICES = 1000  # of the data, hashed to identify it


class Chunks:
    """The sequence of all chunks of `length` tokens in `shards` (arrays of tokens).

    In each shard, chunks start at a random offset; no chunk crosses into another shard. Chunks are
    read lazily.
    """

    def __init__(self, shards: list[np.ndarray], length: int, seed: int):
        rng = np.random.default_rng([seed, ORDER])
        self.shards, self.length = shards, length
        self.offsets = [int(rng.integers(length)) for _ in shards]
        counts = (
            max(0, len(tokens) - offset) // length
            for tokens, offset in zip(shards, self.offsets, strict=True)
        )
        self.starts = [0, *itertools.accumulate(counts)]  # each shard's first chunk, and the end

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: int) -> np.ndarray:
        """Chunk `index`, (length,) int64."""
        shard = bisect_right(self.starts, index) - 1
        start = self.offsets[shard] + (index - self.starts[shard]) * self.length
        return np.asarray(self.shards[shard][start : start + self.length], dtype=np.int64)


def denoising(
    shards: list[np.ndarray],
    first_sentinel: int,
    batch: int,
    seed: int,
    input_length: int,
    noise_density: float,
    mean_span_length: float,
) -> Objective:
    """Span corruption of `shards`, arrays of tokens (tokens,), in chunks of equal length.

    The seed sets the offset and the order of the chunks, and which spans are corrupted. Inputs have
    exactly `input_length` tokens, without padding. Raises ArtifactError if there are too few tokens
    or they come from another tokenizer; ConfigError if there are too few sentinels.
    """
    length = tokens_for(input_length, noise_density, mean_span_length)
    chunks = Chunks(shards, length, seed)
    if len(chunks) == 0:
        raise ArtifactError(
            f"pretraining text: {sum(map(len, shards))} tokens are too few for chunks of {length}; "
            "provide more text or lower corruption.input_length"
        )
    if (spans := corrupted_spans(length, noise_density, mean_span_length)) > SENTINELS:
        raise ConfigError(
            f"corruption: {spans} spans per chunk are more than the {SENTINELS} sentinels; "
            "lower input_length or noise_density, or raise mean_span_length"
        )

    def make(step: int, rows: range) -> Batch:
        chosen = examples(seed, len(chunks), batch, step, rows)
        tokens = np.stack([chunks[chunk] for chunk in chosen])
        _check(tokens, first_sentinel)
        inputs, targets = corrupt(
            tokens,
            noise_density,
            mean_span_length,
            first_sentinel,
            EOS,
            [np.random.default_rng([seed, NOISE, step, row]) for row in rows],
        )
        return {"input_ids": torch.from_numpy(inputs), "labels": torch.from_numpy(targets)}

    for tokens in _sample(shards, length):
        _check(tokens, first_sentinel)
    settings = {"data": digest(_sample(shards, length))}
    return Objective(make, language_model_loss, target_tokens, settings)


def _check(tokens: np.ndarray, first_sentinel: int) -> None:
    """Raise ArtifactError if there is a token that no text has: a sentinel, or a larger id."""
    if (largest := int(tokens.max(initial=0))) > first_sentinel - SENTINELS:
        raise ArtifactError(
            f"pretraining text: token {largest} is not from this tokenizer; delete "
            "data/pretraining/*.npy and run Snakemake again"
        )


def _sample(shards: list[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """Slices of `length` tokens, evenly spaced in each shard."""
    each = max(1, SLICES // len(shards))
    for tokens in shards:
        for start in np.linspace(0, max(0, len(tokens) - length), each, dtype=np.int64):
            yield tokens[start : start + length]
