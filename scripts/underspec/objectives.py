"""The three objectives: denoising (pretraining), SFT (the policy), preference (reward models)."""

import numpy as np
import torch
from torch import Tensor, nn

from underspec.corruption import corrupt, corrupted_spans, tokens_for
from underspec.errors import ArtifactError, ConfigError
from underspec.models import RewardModel
from underspec.order import NOISE, ORDER, examples
from underspec.tokens import EOS, PAD, SENTINELS, pad
from underspec.training import Batch, Objective

IGNORED = -100  # transformers leaves labels of this value out of the loss


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

    return Objective(make, language_model_loss)


def sft(posts: list[np.ndarray], references: list[np.ndarray], batch: int, seed: int) -> Objective:
    """Maximum likelihood of the reference given the post (token ids, one array a text)."""

    def make(step: int, rows: range) -> Batch:
        chosen = examples(seed, len(posts), batch, step, rows)
        inputs = torch.from_numpy(pad([posts[i] for i in chosen]))
        labels = torch.from_numpy(pad([references[i] for i in chosen]))
        return {
            "input_ids": inputs,
            "attention_mask": (inputs != PAD).long(),
            "labels": labels.masked_fill(labels == PAD, IGNORED),
        }

    return Objective(make, language_model_loss)


def preference(
    posts: list[np.ndarray],
    chosen: list[np.ndarray],
    rejected: list[np.ndarray],
    batch: int,
    seed: int,
    centering: float,
) -> Objective:
    """Bradley-Terry over pairs with the paper's centring term (section 2.1)."""

    def make(step: int, rows: range) -> Batch:
        pairs = examples(seed, len(posts), batch, step, rows)
        candidates = [text[i] for i in pairs for text in (chosen, rejected)]
        return {
            "posts": torch.from_numpy(pad([posts[i] for i in pairs])),
            "candidates": torch.from_numpy(pad(candidates)),
            "post_of": torch.arange(len(pairs)).repeat_interleave(2),
        }

    def loss(model: RewardModel, batch: Batch) -> Tensor:
        rewards = model(**batch).view(-1, 2)
        return bradley_terry(rewards[:, 0], rewards[:, 1], centering)

    return Objective(make, loss, {"centering": centering})


def bradley_terry(chosen: Tensor, rejected: Tensor, centering: float) -> Tensor:
    """Mean of -log sigmoid(r+ - r-) + centering (r+ + r-)^2 over pairs (pairs,): a scalar."""
    likelihood = nn.functional.logsigmoid(chosen - rejected)
    return (centering * (chosen + rejected) ** 2 - likelihood).mean()


def language_model_loss(model: nn.Module, batch: Batch) -> Tensor:
    return model(**batch, use_cache=False).loss
