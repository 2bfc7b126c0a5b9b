"""Scoring by decoders: candidates after a post that is read once, against every pair by itself.

    python tests/benchmarks/shared_prefix.py                          on one core, some minutes
    python tests/benchmarks/shared_prefix.py --sizes pythia-14m --repeats 1

Shapes are those of Pythia and of a Llama with fewer heads for keys and values; weights are random.
Both ways have the same weights, posts and candidates (64 different ones a post, of 9 to 40 tokens
with what the template adds), and take turns; ratios are of CPU-seconds. Pairs by themselves are
sorted by length, so that hardly any padding is read.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from best_of_n import OURS, SAMPLES, cpu, interleaved
from transformers import GPTNeoXConfig, LlamaConfig

from underspec.allocator import keep_freed_memory
from underspec.inference import pair_scoring, shared_prefix
from underspec.models.sequence_classifier import DecoderClassifier

VOCABULARY = 2_048  # costs them nothing
# Width, layers, heads, and heads for keys and values (None: GPT-NeoX).
SIZES = {
    "pythia-14m": (128, 6, 4, None),
    "pythia-31m": (256, 6, 8, None),
    "pythia-70m": (512, 6, 8, None),
    "llama, d256": (256, 6, 8, 2),
}
PER_PAIR = "per pair"


def scorers(size: str, post_tokens: int, posts: int) -> dict:
    """Score the candidates of some posts: seed -> number of candidates."""
    width, layers, heads, own = SIZES[size]
    shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    shape |= {"intermediate_size": 4 * width, "vocab_size": VOCABULARY, "num_labels": 1}
    torch.manual_seed(0)
    if own is None:
        config = GPTNeoXConfig(rotary_pct=0.25, **shape)
    else:
        config = LlamaConfig(num_key_value_heads=own, **shape)
    model = DecoderClassifier(config).eval()
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, VOCABULARY, post_tokens) for _ in range(posts)]
    candidates = [
        [np.append(rng.integers(3, VOCABULARY, rng.integers(8, 40)), 0) for _ in range(SAMPLES)]
        for _ in texts
    ]

    def by(score):
        return lambda _: sum(map(len, score(model, texts, candidates)))

    return {OURS: by(shared_prefix.score), PER_PAIR: by(pair_scoring.score)}


def main(sizes: list[str], lengths: list[int], repeats: int, posts: int) -> pd.DataFrame:
    rows = []
    for size in sizes:
        for tokens in lengths:
            found = pd.DataFrame(interleaved(scorers(size, tokens, posts), repeats))
            seconds = found.pivot(index="repeat", columns="system", values="seconds")
            ratio = seconds[PER_PAIR] / seconds[OURS]
            rows.append(
                {
                    "size": size,
                    "tokens a post": tokens,
                    "candidates a CPU-second": posts * SAMPLES / seconds[OURS].median(),
                    "times per pair": ratio.median(),
                    "lowest": ratio.min(),
                    "highest": ratio.max(),
                }
            )
            print(pd.DataFrame(rows[-1:]).to_string(index=False, float_format="%.3g"), flush=True)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--post-tokens", nargs="+", type=int, default=[256, 512])
    parser.add_argument("--posts", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="folder for shared_prefix.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"{cpu()}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}")
    table = main(options.sizes, options.post_tokens, options.repeats, options.posts)
    if options.output:
        table.to_csv(options.output / "shared_prefix.csv", index=False, float_format="%.4g")
    sys.exit(0)
