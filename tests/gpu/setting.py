"""What the parts of the check share: sizes, random texts, findings, a clock."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from underspec.data.tokenization import EOS, PAD  # noqa: E402
from underspec.inference import shared_post_t5  # noqa: E402
from underspec.models import fused_layers
from underspec.training import optimizers

# Of the GPU by its name: bfloat16 products in TFLOP/s without sparsity, memory in GB/s (the
# vendor's data sheets, SXM parts).
PEAKS = {
    "H200": (989.0, 4800.0),
    "H100": (989.0, 3350.0),
    "A100": (312.0, 2039.0),
}


class Finding(NamedTuple):
    """One line of the page. `passed` is None for what is only reported; a target that is missed
    is no fault.
    """

    name: str
    value: float | str
    unit: str = ""
    bound: str = ""
    passed: bool | None = None
    target: bool = False


def at_most(name: str, value: float, bound: float, unit: str = "") -> Finding:
    return Finding(name, float(value), unit, f"at most {bound:g}", bool(value <= bound))


def at_least(name: str, value: float, bound: float, unit: str = "") -> Finding:
    return Finding(name, float(value), unit, f"at least {bound:g}", bool(value >= bound))


def aim(name: str, value: float | None, bound: float, unit: str = "") -> Finding:
    """A speed that is aimed at; None if the GPU's peak is not listed."""
    if value is None:
        return Finding(name, "unknown: the peak of this device is not listed")
    return Finding(name, float(value), unit, f"aim: {bound:g}", bool(value >= bound), target=True)


@dataclass(frozen=True)
class Setting:
    """The device and the sizes of everything on it."""

    device: str
    shapes: dict[str, dict]  # base and large, without the version
    small: dict  # what is trained often
    vocabulary: int
    inputs: int  # tokens of a pretraining input
    batch: int  # rows of pretraining
    posts: int
    post: int  # tokens, half to three halves of it
    samples: int
    longest: int  # tokens of a sample
    repeats: int

    def shape(self, scale: str, version: str = "v1.0") -> dict:
        return self.shapes[scale] | {"version": version}

    def texts(self, count: int, shortest: int, longest: int, seed: int = 0) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        lengths = rng.integers(shortest, longest + 1, count)
        return [np.append(rng.integers(3, self.vocabulary, n - 1), EOS) for n in lengths]

    def of_posts(self, count: int) -> list[np.ndarray]:
        return self.texts(count, self.post // 2, self.post * 3 // 2)

    @property
    def gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def peaks(self) -> tuple[float, float] | None:
        """TFLOP/s and GB/s."""
        name = torch.cuda.get_device_name() if self.gpu else ""
        return next((each for kind, each in PEAKS.items() if kind in name), None)

    def synchronize(self) -> None:
        if self.gpu:
            torch.cuda.synchronize()

    def peak_memory(self) -> Finding:
        if not self.gpu:
            return Finding("peak memory", "not measured on a CPU")
        return Finding("peak memory", torch.cuda.max_memory_allocated() / 1e9, "GB")


NAMES = ("d_model", "d_ff", "d_kv", "num_heads", "num_layers")
T5_BASE = dict(zip(NAMES, (768, 3072, 64, 12, 12), strict=True))
T5_LARGE = dict(zip(NAMES, (1024, 4096, 64, 16, 24), strict=True))
SMALL = dict(zip(NAMES, (256, 512, 64, 4, 4), strict=True))
TINY = dict(zip(NAMES, (32, 64, 8, 4, 2), strict=True))

ON_GPU = Setting(
    "cuda",
    {"base": T5_BASE, "large": T5_LARGE},
    SMALL,
    vocabulary=32_128,
    inputs=512,
    batch=128,
    posts=64,
    post=256,
    samples=64,
    longest=128,
    repeats=3,
)
ON_CPU = Setting(
    "cpu",
    {"base": TINY, "large": TINY},
    TINY,
    vocabulary=400,
    inputs=48,
    batch=16,
    posts=4,
    post=20,
    samples=4,
    longest=12,
    repeats=1,
)


@contextmanager
def arithmetic_of(setting: Setting) -> Iterator[None]:
    """On a CPU, what the library does on a GPU: fused attention and norms, padded texts, Adafactor
    for many tensors at once.
    """
    before = fused_layers.fused, shared_post_t5.POST_MULTIPLE, optimizers.can_batch
    if not setting.gpu:
        fused_layers.fused, shared_post_t5.POST_MULTIPLE, optimizers.can_batch = (
            (lambda _: True),
            8,
            (lambda _: True),
        )
    try:
        yield
    finally:
        fused_layers.fused, shared_post_t5.POST_MULTIPLE, optimizers.can_batch = before


def rates(
    setting: Setting, systems: dict[str, Callable[[], float]], repeats: int
) -> dict[str, list[float]]:
    """How much each system does a second, which it says itself: they take turns, so often after a
    round that warms up.
    """
    found: dict[str, list[float]] = {name: [] for name in systems}
    for repeat in range(-1, repeats):
        for name, system in systems.items():
            setting.synchronize()
            began = time.perf_counter()
            done = system()
            setting.synchronize()
            if repeat >= 0:
                found[name].append(done / (time.perf_counter() - began))
    return found


def median(name: str, values: list[float], unit: str) -> Finding:
    spread = f"{min(values):,.4g} to {max(values):,.4g}"
    return Finding(name, statistics.median(values), unit, spread)


def padded(texts: list[np.ndarray]) -> torch.Tensor:
    """Token ids (texts, longest)."""
    longest = max(map(len, texts))
    rows = [np.pad(ids, (0, longest - len(ids)), constant_values=PAD) for ids in texts]
    return torch.from_numpy(np.stack(rows))
