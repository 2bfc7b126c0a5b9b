"""T5's span corruption (Raffel et al., 2020, section 3.1.4) with exact, fixed lengths."""

import numpy as np


def corrupted_lengths(tokens: int, density: float, mean_span: float) -> tuple[int, int]:
    """Lengths of the inputs and targets that `corrupt` makes of `tokens` tokens, eos included."""
    noise, spans = _noise_and_spans(tokens, density, mean_span)
    return tokens - noise + spans + 1, noise + spans + 1


def corrupted_spans(tokens: int, density: float, mean_span: float) -> int:
    """How many spans `corrupt` replaces in `tokens` tokens: as many sentinels are needed."""
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
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Replace random spans of `tokens` (length,) by sentinels; the targets tell what they held.

    Spans and the gaps between them have random positive lengths of fixed sum and number, so the
    lengths of inputs and targets depend on the number of tokens alone. Sentinels count down from
    `first_sentinel`, as T5's do.
    """
    noise, spans = _noise_and_spans(len(tokens), density, mean_span)
    kept_lengths = _segment(len(tokens) - noise, spans, rng)
    noise_lengths = _segment(noise, spans, rng)
    lengths = np.stack([kept_lengths, noise_lengths], axis=1).ravel()
    is_noise = np.repeat(np.arange(2 * spans) % 2 == 1, lengths)
    sentinels = first_sentinel - np.arange(spans)
    inputs = np.insert(tokens[~is_noise], np.cumsum(kept_lengths), sentinels)
    targets = np.insert(tokens[is_noise], np.cumsum(noise_lengths) - noise_lengths, sentinels)
    return np.append(inputs, eos), np.append(targets, eos)


def _noise_and_spans(tokens: int, density: float, mean_span: float) -> tuple[int, int]:
    noise = min(max(round(tokens * density), 1), tokens - 1)
    spans = min(max(round(noise / mean_span), 1), noise, tokens - noise)
    return noise, spans


def _segment(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """`parts` positive random lengths that sum to `total`, all such partitions alike likely."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))
