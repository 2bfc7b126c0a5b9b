"""Rewards of many candidates a post: the post is encoded once, equal candidates judged once."""

import numpy as np
import torch

from underspec.reward_model import RewardModel
from underspec.tokens import pad

POSTS_AT_ONCE = 16
CANDIDATES_AT_ONCE = 256


@torch.inference_mode()
def score(
    model: RewardModel, posts: list[np.ndarray], candidates: list[list[np.ndarray]]
) -> list[np.ndarray]:
    """The reward of each of a post's candidates (token ids): a float32 array a post, in order.

    Posts of like length, and within them candidates of like length, go together, so that little
    is spent on padding. Candidates of a post with equal ids get the very same reward.
    """
    model.eval()
    rewards: list[np.ndarray] = [np.empty(0, np.float32)] * len(posts)
    by_length = sorted(range(len(posts)), key=lambda i: len(posts[i]))
    for start in range(0, len(posts), POSTS_AT_ONCE):
        together = by_length[start : start + POSTS_AT_ONCE]
        distinct = [_distinct(candidates[i]) for i in together]
        judged = _judge(model, [posts[i] for i in together], [texts for texts, _ in distinct])
        for i, (_, inverse), values in zip(together, distinct, judged, strict=True):
            rewards[i] = values[inverse]
    return rewards


def _distinct(candidates: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The different candidates and, for each candidate, which of them it is."""
    places: dict[bytes, int] = {}
    inverse = [places.setdefault(ids.tobytes(), len(places)) for ids in candidates]
    first = {place: ids for ids, place in zip(candidates, inverse, strict=True)}
    return [first[place] for place in range(len(places))], np.array(inverse)


def _judge(
    model: RewardModel, posts: list[np.ndarray], candidates: list[list[np.ndarray]]
) -> list[np.ndarray]:
    flat = [(post, ids) for post, texts in enumerate(candidates) for ids in texts]
    order = sorted(range(len(flat)), key=lambda i: len(flat[i][1]))
    padded = torch.from_numpy(pad(posts)).to(model.device)
    encoded = model.encode(padded)
    rewards = np.empty(len(flat), np.float32)
    for start in range(0, len(flat), CANDIDATES_AT_ONCE):
        chunk = order[start : start + CANDIDATES_AT_ONCE]
        ids = torch.from_numpy(pad([flat[i][1] for i in chunk])).to(model.device)
        post_of = torch.tensor([flat[i][0] for i in chunk], device=model.device)
        rewards[chunk] = model.judge(encoded, padded, ids, post_of).float().cpu().numpy()
    return np.split(rewards, np.cumsum([len(texts) for texts in candidates])[:-1])


def pairwise_accuracy(
    model: RewardModel,
    posts: list[np.ndarray],
    chosen: list[np.ndarray],
    rejected: list[np.ndarray],
) -> float:
    """The share of held-out pairs in which the chosen one has the higher reward; ties half."""
    pairs = [list(pair) for pair in zip(chosen, rejected, strict=True)]
    rewards = np.stack(score(model, posts, pairs))
    return float(np.mean(np.sign(rewards[:, 0] - rewards[:, 1]) / 2 + 0.5))
