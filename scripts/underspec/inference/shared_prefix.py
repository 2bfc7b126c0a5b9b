"""Rewards of many candidates per post by decoders, which read what candidates begin with once.

The keys and values of the longest beginning that a post's texts have in common serve all of them.
So rewards are those of each text by itself, up to rounding (single precision).
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from underspec.data.readers import split
from underspec.inference.pair_scoring import TOKENS_AT_ONCE, Results, Texts, batches, scored
from underspec.models.sequence_classifier import DecoderClassifier

# Posts that are read together share prefixes of one length: that of the shortest, with at most so
# many tokens of a longer one left to each of its candidates.
SLACK = 2


def score(model: DecoderClassifier, posts: Texts, candidates: list[Texts]) -> Texts:
    """As `pair_scoring.score`, with prefixes read once."""
    return scored(_with_prefixes, model, posts, candidates)


def _with_prefixes(model: DecoderClassifier, texts: list[Texts]) -> Results:
    tokens_at_once = TOKENS_AT_ONCE[model.device.type]
    ends = np.cumsum([0, *map(len, texts)])
    both = [split([_read(ids, model.config.pad_token_id) for ids in own]) for own in texts]
    for group in _groups(both, tokens_at_once):
        length = min(len(both[i][0]) for i in group)
        prefixes = np.stack([both[i][0][:length] for i in group])
        keys = _keys_and_values(model, torch.from_numpy(prefixes)) if length else []
        numbers = [ends[i] + j for i in group for j in range(len(both[i][1]))]
        owners = [k for k, i in enumerate(group) for _ in both[i][1]]
        rest = [np.concatenate([both[i][0][length:], ids]) for i in group for ids in both[i][1]]
        for rows in batches(rest, tokens_at_once):
            of_rows = [owners[row] for row in rows]
            rewards = _continued(model, keys, of_rows, [rest[row] for row in rows])
            yield [int(numbers[row]) for row in rows], rewards


def _read(ids: np.ndarray, padding: int | None) -> np.ndarray:
    """Up to the last token that is not padding: the one whose state the model's head reads."""
    others = np.flatnonzero(ids != padding)
    return ids[: others[-1] + 1] if padding is not None and len(others) else ids


def _groups(both: list[tuple[np.ndarray, Texts]], tokens_at_once: int) -> Iterator[list[int]]:
    """Posts with prefixes of similar length, of at most `tokens_at_once` tokens with their
    candidates, or a single longer one.
    """
    group, tokens = [], 0
    for i in sorted(range(len(both)), key=lambda i: len(both[i][0])):
        prefix, rest = both[i]
        more = len(prefix) + sum(map(len, rest))
        far = group and len(prefix) - len(both[group[0]][0]) > SLACK
        if group and (far or tokens + more > tokens_at_once):
            yield group
            group, tokens = [], 0
        group.append(i)
        tokens += more
    yield group


def _keys_and_values(model: DecoderClassifier, prefixes: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of each layer, (prefixes, heads, length, size) each."""
    cache = DynamicCache()
    model.model.base_model(
        input_ids=prefixes.to(model.device), past_key_values=cache, use_cache=True
    )
    return [(layer.keys, layer.values) for layer in cache.layers]


def _continued(
    model: DecoderClassifier,
    keys: list[tuple[Tensor, Tensor]],
    owners: list[int],
    rest: Texts,
) -> Tensor:
    """The rewards (texts, heads) of what follows prefixes with these keys and values; owners: the
    number of each text's prefix.
    """
    inputs = model.inputs([np.empty(0, np.int64)] * len(rest), rest)
    tokens, lengths = (each.to(model.device) for each in inputs.values())
    cache = None
    if keys:
        same = len(set(owners)) == 1  # then nothing is copied here
        rows = torch.tensor(owners, device=model.device)
        cache = DynamicCache(
            [
                tuple(
                    each[owners[:1]].expand(len(rest), -1, -1, -1) if same else each[rows]
                    for each in layer
                )
                for layer in keys
            ]
        )
    states = model.model.base_model(
        input_ids=tokens, past_key_values=cache, use_cache=cache is not None
    ).last_hidden_state
    return model.rewards(states, tokens, lengths)
