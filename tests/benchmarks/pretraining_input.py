"""How fast one core makes pretraining batches, from memory-mapped shards to tensors.

    python tests/benchmarks/pretraining_input.py

At the paper's setting: span corruption of 15 % in spans of 3, inputs of 512 and targets of 114
tokens. Only the 512 are counted. Where a training step is faster than this, it waits for data.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from underspec.files import write_flat_array  # noqa: E402
from underspec.training.objectives.denoising import denoising  # noqa: E402

FIRST_SENTINEL = 32_099  # T5's
CORRUPTION = {"input_length": 512, "noise_density": 0.15, "mean_span_length": 3.0}


def write_shards(folder: Path, shards: int, tokens: int) -> list[np.ndarray]:
    """Random tokens in the range of T5's, as the rule `tokens` writes them."""
    kind = np.dtype(np.uint16)
    for i in range(shards):
        rng = np.random.default_rng(i)
        pieces = [rng.integers(3, 32_000, tokens // shards, dtype=kind)]
        write_flat_array(pieces, folder / f"{i}.npy", kind)
    return [np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(shards)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=100_000_000, help="in all shards")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20, help="batches a repeat")
    parser.add_argument("--repeats", type=int, default=9)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shards = write_shards(Path(folder), asked.shards, asked.tokens)
        objective = denoising(shards, FIRST_SENTINEL, asked.batch, 0, **CORRUPTION)
        began = time.perf_counter()
        objective.batch(0, range(asked.batch))
        print(f"first batch, which draws the order: {time.perf_counter() - began:.2f} s")
        rates = []
        for repeat in range(asked.repeats):
            began, tokens = time.perf_counter(), 0
            for step in range(repeat * asked.steps, (repeat + 1) * asked.steps):
                batch = objective.batch(step, range(asked.batch))
                tokens += batch["input_ids"].numel()
            rates.append(tokens / (time.perf_counter() - began))
    print(
        f"input tokens/s on one core: median {statistics.median(rates):,.0f} of {len(rates)} "
        f"repeats (lowest {min(rates):,.0f}, highest {max(rates):,.0f})"
    )


if __name__ == "__main__":
    main()
