"""Scoring by decoders: rewards with shared prefixes against those of a CPU, and their speed."""

import copy
import statistics
from collections.abc import Iterator

import numpy as np
import torch
from setting import Finding, Setting, aim, at_most, median, rates
from transformers import GPTNeoXConfig

from underspec.inference import pair_scoring, shared_prefix
from underspec.models.sequence_classifier import DecoderClassifier

TINY = (32, 2, 2)  # width, layers, heads
PYTHIA_410M = (1024, 24, 16)


def new_decoder(setting: Setting, shape: tuple[int, int, int]) -> DecoderClassifier:
    width, layers, heads = shape
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        vocab_size=setting.vocabulary,
        num_labels=1,
        initializer_range=width**-0.5,  # so that rewards differ
    )
    return DecoderClassifier(config).eval()


@torch.inference_mode()
def decoder_scoring(setting: Setting) -> Iterator[Finding]:
    """A decoder's rewards: shared prefixes on the device against each text alone on the CPU, and
    candidates a second against pair by pair."""
    model = new_decoder(setting, (256, 4, 4) if setting.device == "cuda" else TINY)
    posts = setting.of_posts(4)
    candidates = [setting.texts(16, 2, 40, 10 + i) for i in range(len(posts))]
    plain = np.stack(pair_scoring.score(model, posts, candidates))
    model.to(setting.device)
    found = np.stack(shared_prefix.score(model, posts, candidates))
    rough = np.stack(
        shared_prefix.score(copy.deepcopy(model).to(torch.bfloat16), posts, candidates)
    )
    spread = plain.std(1).mean()
    yield at_most("fp32, of the spread", np.abs(found - plain).max() / spread, 1e-3)
    yield at_most("bf16, of the spread", (rough - plain).std() / spread, 0.3)
    large = new_decoder(setting, PYTHIA_410M if setting.device == "cuda" else TINY)
    large.to(setting.device, torch.bfloat16)
    posts = setting.of_posts(setting.posts)
    candidates = [setting.texts(setting.samples, 9, 40, 1 + i) for i in range(len(posts))]

    def by(score, count):
        return lambda: float(sum(map(len, score(large, posts[:count], candidates[:count]))))

    systems = {"ours": by(shared_prefix.score, None), "per pair": by(pair_scoring.score, 8)}
    measured = rates(setting, systems, setting.repeats)
    yield median("bf16: ours", measured["ours"], "candidates/s")
    yield median("bf16: per pair", measured["per pair"], "candidates/s")
    times = statistics.median(measured["ours"]) / statistics.median(measured["per pair"])
    yield aim("bf16: times per pair", times, 6.0)


PARTS = {"decoder scoring": (decoder_scoring, 60)}
