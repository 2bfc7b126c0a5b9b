"""Samples from the policy. Best-of-n uses the first n samples of each post.

The random numbers are a function of (seed, post, sample index), and logits do not depend on the
rest of the batch (see shared_post_t5). So samples do not either: bit for bit on a CPU, and on a GPU
unless a random number lies within rounding error of the boundary between two tokens.
"""

import logging

import numpy as np
import pandas as pd
import tokenizers
import torch
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.data.tokenization import EOS, PAD, check_ids, decode
from underspec.errors import ArtifactError
from underspec.inference import continuous_batching
from underspec.inference.shared_post_t5 import Decoder, Encoder
from underspec.inference.token_sampling import Task
from underspec.progress import Progress

log = logging.getLogger(__name__)


def draw_samples(
    policy: T5ForConditionalGeneration,
    tokenizer: tokenizers.Tokenizer,
    post_ids: list[str],
    posts: list[np.ndarray],
    samples: int,
    max_length: int,
    seed: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> pd.DataFrame:
    """Draw `samples` samples per post: a table like artifacts.SAMPLES, in the order of the posts.

    Parameters and errors are those of `draw_tokens`.
    """
    tokens, log_probs = draw_tokens(
        policy, post_ids, posts, samples, max_length, seed, temperature, top_k, top_p
    )
    return samples_table(tokenizer, post_ids, tokens, log_probs)


@torch.inference_mode()
def draw_tokens(
    policy: T5ForConditionalGeneration,
    post_ids: list[str],
    posts: list[np.ndarray],
    samples: int,
    max_length: int,
    seed: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `samples` samples per post: token ids (posts, samples, max_length), with eos and then
    padding, and log-probabilities (posts, samples).

    `temperature`, `top_k` (None: all tokens) and `top_p` shape the distribution of each token. The
    log-probability of a sample, including eos, is that under this distribution. Samples without eos
    are truncated at `max_length` tokens, and the log says how many.

    Raises ArtifactError if a post is empty or has a token outside of the vocabulary, or if logits
    are not finite; ConfigError if a GPU needs a C compiler and there is none.
    """
    check_ids(post_ids, posts, policy.config.vocab_size)
    tokens = np.full((len(posts), samples, max_length), PAD, dtype=np.int32)
    log_probs = np.empty((len(posts), samples), dtype=np.float32)
    encoder = Encoder(policy.encoder, max(map(len, posts)))
    decoder = policy_decoder(policy, temperature)
    task = Task(
        encoder, decoder, post_ids, posts, samples, max_length, seed, top_k=top_k, top_p=top_p
    )
    done, progress = 0, Progress(log, len(posts))
    for rows, new_tokens, new_log_probs in continuous_batching.generate(task):
        tokens[rows], log_probs[rows] = new_tokens.cpu(), new_log_probs.cpu()
        if not np.isfinite(log_probs[rows]).all():
            raise ArtifactError("the policy's logits are not finite: its weights are damaged")
        done += len(rows)
        progress.show(done, f"{done} of {len(posts)} posts sampled")
    if truncated := int((~(tokens == EOS).any(axis=-1)).sum()):
        log.warning(
            "%d of %d samples truncated at %d tokens", truncated, log_probs.size, max_length
        )
    return tokens, log_probs


def samples_table(
    tokenizer: tokenizers.Tokenizer,
    post_ids: list[str],
    tokens: np.ndarray,
    log_probs: np.ndarray,
) -> pd.DataFrame:
    """What `draw_tokens` returns as a table like artifacts.SAMPLES, in the order of the posts."""
    posts, samples, max_length = tokens.shape
    return pd.DataFrame(
        {
            "post_id": np.repeat(post_ids, samples),
            "sample_index": np.tile(np.arange(samples), posts),
            "text": decode(tokenizer, tokens.reshape(-1, max_length)),
            "log_prob": log_probs.reshape(-1),
        }
    )


def until_eos(ids: np.ndarray) -> np.ndarray:
    """The tokens of a sample up to eos; all if there is none. Padding before eos is a token that
    the policy chose."""
    (ends,) = np.nonzero(ids == EOS)
    return ids[: ends[0] + 1] if len(ends) else ids


def policy_decoder(policy: T5ForConditionalGeneration, temperature: float = 1.0) -> Decoder:
    """The policy's decoder; its outputs are logits divided by `temperature`."""
    config = policy.config
    scale = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0
    return Decoder(policy.decoder, policy.lm_head.weight * (scale / temperature))
