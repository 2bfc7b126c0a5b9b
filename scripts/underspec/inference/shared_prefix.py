"""Rewards of many candidates per post by decoders, which read what candidates begin with once.

The keys and values of the longest beginning that a post's texts have in common serve all of them,
without a copy for each where `prefix_attention` knows the model. So rewards are those of each text
by itself, up to rounding (single precision).
"""

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from underspec.data.readers import split
from underspec.inference.pair_scoring import TOKENS_AT_ONCE, Results, Texts, scored
from underspec.inference.prefix_attention import Prefixes, can_share, sharing
from underspec.models.sequence_classifier import DecoderClassifier

# Prefixes that are read together differ by at most so many tokens; shorter ones are padded.
# A GPU needs many texts at once more than it minds padding.
SLACK = {"cpu": 4, "cuda": 256}
LENGTH_GROUPS = 4  # in which a post's candidates are read: most are far shorter than the longest


def score(model: DecoderClassifier, posts: Texts, candidates: list[Texts]) -> Texts:
    """As `pair_scoring.score`, with prefixes read once."""
    return scored(_with_prefixes, model, posts, candidates)


def _with_prefixes(model: DecoderClassifier, texts: list[Texts]) -> Results:
    tokens_at_once = TOKENS_AT_ONCE[model.device.type]
    ends = np.cumsum([0, *map(len, texts)])
    padding = model.config.pad_token_id
    both = [split([_read(ids, padding) for ids in own]) for own in texts]
    shared = can_share(model.model)
    slack = SLACK[model.device.type] if shared else 0
    with sharing(model.model) if shared else nullcontext():
        for group in _groups(both, tokens_at_once, slack):
            prefixes = _prefixes(model, [both[i][0] for i in group])
            rest = [both[i][1] for i in group]
            for part in _parts(rest, tokens_at_once):
                chosen = [own[j] for own, some in zip(rest, part, strict=True) for j in some]
                numbers = [ends[i] + j for i, some in zip(group, part, strict=True) for j in some]
                yield numbers, _continued(model, prefixes, chosen)


def _parts(rest: list[Texts], tokens_at_once: int) -> Iterator[list[list[int]]]:
    """Texts of similar length, as many of each post, at most some `tokens_at_once`
    tokens. If a post has too few, one of its texts comes again.
    """
    tokens = sum(len(ids) for own in rest for ids in own)
    most = max(map(len, rest))
    number = min(most, max(LENGTH_GROUPS, -(-tokens // tokens_at_once)))
    by_length = [sorted(range(len(own)), key=lambda j, own=own: len(own[j])) for own in rest]
    split_up = [np.array_split(order, number) for order in by_length]
    for parts in zip(*split_up, strict=True):
        size = max(map(len, parts))
        yield [[*map(int, own), *[0] * (size - len(own))] for own in parts]


def _read(ids: np.ndarray, padding: int | None) -> np.ndarray:
    """Up to the last token that is not padding: the one whose state the model's head reads."""
    if padding is None or ids[-1] != padding:
        return ids
    others = np.flatnonzero(ids != padding)
    return ids[: others[-1] + 1] if len(others) else ids


def _groups(
    both: list[tuple[np.ndarray, Texts]], tokens_at_once: int, slack: int
) -> Iterator[list[int]]:
    """Posts with prefixes whose lengths differ by at most `slack`, of at most `tokens_at_once`
    tokens with their candidates, or a single longer one. Those without prefixes are by themselves.
    """
    group, tokens = [], 0
    for i in sorted(range(len(both)), key=lambda i: len(both[i][0])):
        prefix, rest = both[i]
        more = len(prefix) + sum(map(len, rest))
        shortest = len(both[group[0]][0]) if group else 0
        far = len(prefix) - shortest > (slack if shortest else 0)
        if group and (far or tokens + more > tokens_at_once):
            yield group
            group, tokens = [], 0
        group.append(i)
        tokens += more
    yield group


def _prefixes(model: DecoderClassifier, texts: Texts) -> Prefixes | None:
    """Those of posts, read; None if all are empty."""
    lengths = torch.tensor([len(ids) for ids in texts])
    padded = pad_sequence([torch.from_numpy(ids) for ids in texts], batch_first=True)
    if not padded.shape[1]:
        return None
    cache = DynamicCache()
    model.model.base_model(input_ids=padded.to(model.device), past_key_values=cache, use_cache=True)
    tokens = torch.arange(padded.shape[1]) < lengths[:, None]
    return Prefixes(
        layers=[(layer.keys, layer.values) for layer in cache.layers],
        lengths=lengths.to(model.device),
        shortest=int(lengths.min()),
        tokens=tokens.flatten().nonzero()[:, 0].to(model.device),
    )


def _continued(model: DecoderClassifier, prefixes: Prefixes | None, rest: Texts) -> Tensor:
    """The rewards (texts, heads) of what follows the prefixes: as many texts for each, one prefix
    after the other.
    """
    inputs = model.inputs([np.empty(0, np.int64)] * len(rest), rest)
    tokens, lengths = (each.to(model.device) for each in inputs.values())
    given: dict = {"use_cache": False}
    if prefixes:
        each = len(rest) // len(prefixes.lengths)
        if can_share(model.model):
            starts = prefixes.lengths.repeat_interleave(each)
            positions = starts[:, None] + torch.arange(tokens.shape[1], device=model.device)
            given |= {"prefixes": prefixes, "position_ids": positions}
        else:  # of one length
            copies = [
                tuple(part.repeat_interleave(each, 0) for part in layer)
                for layer in prefixes.layers
            ]
            given = {"use_cache": True, "past_key_values": DynamicCache(copies)}
    states = model.model.base_model(input_ids=tokens, **given).last_hidden_state
    return model.rewards(states, tokens, lengths)
