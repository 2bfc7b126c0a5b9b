"""How fast one GPU pretrains, by the real training loop: tokens/s, and the share of its peak (MFU).

    python tests/benchmarks/training_gpu.py                      base and large in bfloat16
    python tests/benchmarks/training_gpu.py --scales tiny --precision fp32     anywhere, to try it

Inputs of 512 and targets of 114 tokens; tokens are those of the inputs. Operations are counted
by underspec.cost, whose figures are those known for T5. Each repeat is a run of its own; a short
run is taken off a long one, so that neither start-up nor the first steps count.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from underspec.cost import corrupted, forward  # noqa: E402
from underspec.models import new_t5  # noqa: E402
from underspec.objectives.denoising import denoising  # noqa: E402
from underspec.parallel import Placement  # noqa: E402
from underspec.training import Recipe, train  # noqa: E402

NAMES = ("version", "d_model", "d_ff", "d_kv", "num_heads", "num_layers")
SHAPES = {
    "tiny": ("v1.0", 64, 128, 16, 4, 2),
    "base": ("v1.0", 768, 3072, 64, 12, 12),
    "large": ("v1.0", 1024, 4096, 64, 16, 24),
}
VOCABULARY, FIRST_SENTINEL = 32_128, 32_099
CORRUPTION = {"input_length": 512, "noise_density": 0.15, "mean_span_length": 3.0}


def seconds(shape: dict, steps: int, asked: argparse.Namespace) -> float:
    """To train `steps` steps from nothing."""
    tokens = np.random.default_rng(0).integers(3, 32_000, 5_000_000, dtype=np.uint16)
    objective = denoising([tokens], FIRST_SENTINEL, asked.batch, 0, **CORRUPTION)
    recipe = Recipe(
        steps=steps,
        batch=asked.batch,
        learning_rate=0.01,
        warmup=10_000,
        dropout=asked.dropout,
        weight_decay=0.0,
        optimizer="adafactor",
        schedule="inverse_sqrt",
        precision=asked.precision,
    )
    placement = Placement(micro_batch=asked.micro_batch)
    model = new_t5(shape, VOCABULARY, 0)
    with tempfile.TemporaryDirectory() as checkpoints:
        began = time.perf_counter()
        train(model, objective, recipe, 0, Path(checkpoints), 1e9, placement)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scales", nargs="+", choices=SHAPES, default=["base", "large"])
    parser.add_argument("--batch", type=int, default=128, help="rows a step")
    parser.add_argument("--micro_batch", type=int, default=None, help="rows at once")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--steps", nargs=2, type=int, default=[10, 40], help="short and long run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tflops", type=float, default=989.0, help="the GPU's peak")
    parser.add_argument("--output", type=Path, help="a JSON file for the results")
    asked = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    inputs, targets = corrupted(CORRUPTION)
    results = []
    for scale in asked.scales:
        shape = dict(zip(NAMES, SHAPES[scale], strict=True))
        operations = 3 * asked.batch * forward(shape, VOCABULARY, inputs, targets)
        short, long = asked.steps
        times = [
            (seconds(shape, long, asked) - seconds(shape, short, asked)) / (long - short)
            for _ in range(asked.repeats)
        ]
        step = statistics.median(times)
        results.append(
            {
                "scale": scale,
                "device": device,
                "seconds a step": step,
                "spread": [min(times), max(times)],
                "tokens/s": asked.batch * inputs / step,
                "MFU": operations / step / (asked.tflops * 1e12),
            }
        )
        print(
            f"{scale} on {device}, {asked.precision}: {1000 * step:.1f} ms a step of {asked.batch} "
            f"rows (median of {len(times)}, {1000 * min(times):.1f} to {1000 * max(times):.1f}), "
            f"{results[-1]['tokens/s']:,.0f} tokens/s, MFU {results[-1]['MFU']:.1%} of "
            f"{asked.tflops:g} TFLOP/s",
            flush=True,
        )
    if asked.output:
        asked.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
