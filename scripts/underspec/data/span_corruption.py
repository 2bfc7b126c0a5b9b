"""T5's span corruption (Raffel et al., 2020, section 3.1.4), with inputs and targets of fixed
length.
"""

from collections.abc import Iterable

import numpy as np


def corrupted_lengths(tokens: int, density: float, mean_span: float) -> tuple[int, int]:
    """Lengths, including eos, of the inputs and targets that `corrupt` makes of `tokens` tokens."""
    noise, spans = _noise_and_spans(tokens, density, mean_span)
    return tokens - noise + spans + 1, noise + spans + 1


def corrupted_spans(tokens: int, density: float, mean_span: float) -> int:
    """How many spans of `tokens` tokens `corrupt` replaces, each by one sentinel."""
    return _noise_and_spans(tokens, density, mean_span)[1]


def tokens_for(input_length: int, density: float, mean_span: float) -> int:
    """The largest number of tokens whose corrupted inputs fit into `input_length`."""
    tokens = 2
    while corrupted_lengths(tokens + 1, density, mean_span)[0] <= input_length:
        tokens += 1
    return tokens


def corrupt(
    tokens: np.ndarray,
    density: float,
    mean_span: float,
    first_sentinel: int,
    eos: int,
    rngs: Iterable[np.random.Generator],
) -> tuple[np.ndarray, np.ndarray]:
    """Replace random spans of `tokens` (rows, length) by sentinels; the targets hold the spans.

    Each row has its own generator in `rngs`. Spans and the gaps between them have random lengths,
    but their number and total are fixed, so the lengths of inputs and targets depend only on the
    number of tokens. Sentinels count down from `first_sentinel`, as in T5.
    """
    rows, length = tokens.shape
    noise, spans = _noise_and_spans(length, density, mean_span)
    lengths = _segments((length - noise, noise), spans, rngs)
    alternately = lengths.transpose(0, 2, 1).ravel()
    is_noise = np.repeat(np.arange(2 * spans * rows) % 2 == 1, alternately).reshape(rows, length)
    kept_ends, noise_ends = lengths.cumsum(2).transpose(1, 0, 2)
    sentinels = first_sentinel - np.arange(spans)
    return (
        _insert(sentinels, tokens[~is_noise], kept_ends, eos),
        _insert(sentinels, tokens[is_noise], noise_ends - lengths[:, 1], eos),
    )


def _noise_and_spans(tokens: int, density: float, mean_span: float) -> tuple[int, int]:
    noise = min(max(round(tokens * density), 1), tokens - 1)
    spans = min(max(round(noise / mean_span), 1), noise, tokens - noise)
    return noise, spans


def _segments(
    totals: tuple[int, ...], parts: int, rngs: Iterable[np.random.Generator]
) -> np.ndarray:
    """Random partitions of each total into `parts` positive lengths, uniformly drawn with each
    generator: (rows, totals, parts).
    """
    draws = [[rng.choice(each - 1, parts - 1, replace=False) for each in totals] for rng in rngs]
    cuts = np.sort(draws) + 1
    ends = np.broadcast_to(np.array(totals)[:, None], (*cuts.shape[:2], 1))
    return np.diff(cuts, prepend=0, append=ends).astype(np.int64)


def _insert(
    sentinels: np.ndarray, tokens: np.ndarray, positions: np.ndarray, eos: int
) -> np.ndarray:
    """Split `tokens` (any,) into rows of equal length, insert sentinels before the tokens at
    `positions` (rows, spans), and append `eos`.
    """
    rows, spans = positions.shape
    ids = np.full((rows, len(tokens) // rows + spans + 1), eos, dtype=tokens.dtype)
    is_token = np.ones(ids.shape, dtype=bool)
    is_token[:, -1] = False
    at = positions + np.arange(spans)
    np.put_along_axis(is_token, at, False, axis=1)
    np.put_along_axis(ids, at, sentinels[None], axis=1)
    ids[is_token] = tokens
    return ids
