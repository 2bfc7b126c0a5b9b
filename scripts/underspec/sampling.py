"""Samples of the policy: n = 2, 4, ... are nested prefixes of one draw a post."""

import logging
import time
import zlib

import numpy as np
import pandas as pd
import tokenizers
import torch
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.order import SAMPLING, stream_seed
from underspec.tokens import EOS, PAD, decode, pad

log = logging.getLogger(__name__)

SEQUENCES_AT_ONCE = 1024


@torch.inference_mode()
def draw(
    policy: T5ForConditionalGeneration,
    tokenizer: tokenizers.Tokenizer,
    post_ids: list[str],
    posts: list[np.ndarray],
    samples: int,
    temperature: float,
    max_length: int,
    seed: int,
) -> pd.DataFrame:
    """`samples` samples a post, as artifacts.SAMPLES, in the order of the posts.

    `log_prob` is the log-probability of the sample, eos included, under the distribution it was
    drawn from (so with the temperature). The generator of a batch of posts is seeded by `seed`
    and the first post in it.
    """
    device = policy.device
    at_once = max(1, SEQUENCES_AT_ONCE // samples)
    tables, began = [], time.monotonic()
    for start in range(0, len(posts), at_once):
        together = slice(start, start + at_once)
        inputs = torch.from_numpy(pad(posts[together])).to(device)
        torch.manual_seed(stream_seed(seed, SAMPLING, zlib.crc32(post_ids[start].encode())))
        drawn = policy.generate(
            input_ids=inputs,
            attention_mask=(inputs != PAD).long(),
            do_sample=True,
            temperature=temperature,
            top_k=0,
            num_return_sequences=samples,
            max_new_tokens=max_length,
            output_scores=True,
            return_dict_in_generate=True,
        )
        scores = policy.compute_transition_scores(
            drawn.sequences, drawn.scores, normalize_logits=True
        )
        tokens = drawn.sequences[:, 1:]
        ends = (tokens == EOS).long()
        log_prob = scores.masked_fill(ends.cumsum(1) > ends, 0).sum(1)  # nothing after eos
        tables.append(
            pd.DataFrame(
                {
                    "post_id": np.repeat(post_ids[together], samples),
                    "sample_index": np.tile(np.arange(samples), len(inputs)),
                    "text": decode(tokenizer, tokens.cpu().numpy()),
                    "log_prob": log_prob.float().cpu().numpy(),
                }
            )
        )
        done = min(start + at_once, len(posts))
        if start % (10 * at_once) == 0 or done == len(posts):
            left = (time.monotonic() - began) / done * (len(posts) - done)
            log.info("%d of %d posts sampled, %.0f s left", done, len(posts), left)
    return pd.concat(tables, ignore_index=True)
