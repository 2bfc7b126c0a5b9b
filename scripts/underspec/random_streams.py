"""Data order as a pure function of (seed, step, row): resuming a run is resuming an integer."""

from functools import lru_cache

import numpy as np

# Independent random streams of one seed.
ORDER, NOISE, DROPOUT, SAMPLING, ROLLOUTS, CENTERING, MASKS = range(7)


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    examples = np.arange(size, dtype=np.uint32)  # half the memory: C4 has millions of chunks
    return np.random.default_rng([seed, ORDER, epoch]).permutation(examples)


def example(seed: int, size: int, position: int) -> int:
    """The example at `position` of the endless stream; each epoch shuffles all `size` examples."""
    epoch, offset = divmod(position, size)
    return int(_permutation(seed, epoch, size)[offset])


def examples(seed: int, size: int, batch: int, step: int, rows: range) -> list[int]:
    """The examples in `rows` of the batch of `step`; batches have `batch` rows."""
    return [example(seed, size, step * batch + row) for row in rows]


def stream_seed(seed: int, stream: int, *index: int) -> int:
    """A 63-bit seed for another library's generator."""
    state = np.random.SeedSequence([seed, stream, *index]).generate_state(1, np.uint64)
    return int(state[0] >> 1)
