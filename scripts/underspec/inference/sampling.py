"""Samples of the policy: n = 2, 4, ... are nested prefixes of one draw a post.

A post is encoded once, and its cross-attention keys and values are kept once for all its samples.
The numbers that pick the tokens belong to (seed, post, sample index), and the probabilities of a
token do not depend on what else is in the batch (see t5), so neither do the samples: on a CPU to
the last bit, on a GPU unless a number lies within rounding of an edge.
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
from underspec.models.compiler import need_compiler
from underspec.progress import Progress

log = logging.getLogger(__name__)


@torch.inference_mode()
def draw(
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
    """`samples` samples a post, as artifacts.SAMPLES, in the order of the posts.

    At each step, of the tokens at `temperature` only the `top_k` likeliest (None: all) are kept,
    and of those the likeliest that together have the probability `top_p`. `log_prob` is the
    log-probability of the sample, eos included, under the distribution it was drawn from. A sample
    without an end is cut at `max_length` tokens; how many were is said on the log. Raises
    ArtifactError if a post has no tokens or one that the policy has not, or if logits are not
    finite, and ConfigError if there is no C compiler where a GPU needs one.
    """
    check_ids(post_ids, posts, policy.config.vocab_size)
    tokens = np.full((len(posts), samples, max_length), PAD, dtype=np.int32)
    log_probs = np.empty((len(posts), samples), dtype=np.float32)
    encoder = Encoder(policy.encoder, max(map(len, posts)))
    decoder = language_model(policy, temperature)
    if continuous_batching.uses_kernel(decoder.device):
        need_compiler("sampling on a GPU")
    of_posts = (post_ids, posts, samples, max_length, seed)
    task = Task(encoder, decoder, *of_posts, top_k, top_p)
    done, progress = 0, Progress(log, len(posts))
    for places, drawn, likely in continuous_batching.drawn(task):
        tokens[places], log_probs[places] = drawn.cpu(), likely.cpu()
        if not np.isfinite(log_probs[places]).all():
            raise ArtifactError("the policy's logits are not finite: its weights are damaged")
        done += len(places)
        progress.show(done, f"{done} of {len(posts)} posts sampled")
    endless = int((tokens[:, :, -1] != PAD).sum() - (tokens[:, :, -1] == EOS).sum())
    if endless:
        log.warning("%d of %d samples cut at %d tokens", endless, log_probs.size, max_length)
    return pd.DataFrame(
        {
            "post_id": np.repeat(post_ids, samples),
            "sample_index": np.tile(np.arange(samples), len(posts)),
            "text": decode(tokenizer, tokens.reshape(-1, max_length)),
            "log_prob": log_probs.reshape(-1),
        }
    )


def language_model(policy: T5ForConditionalGeneration, temperature: float = 1.0) -> Decoder:
    """The policy's decoder with its logits over `temperature` for outputs."""
    config = policy.config
    scale = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0
    return Decoder(policy.decoder, policy.lm_head.weight * (scale / temperature))
