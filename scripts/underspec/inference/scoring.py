"""Rewards of many candidates per post: each post is encoded once, equal candidates are scored once.

As explained in shared_post_t5, a reward depends on its post and candidate alone: bit for bit on a
CPU, up to rounding on a GPU.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch.nn.functional import pad

from underspec.data.tokenization import check_ids
from underspec.errors import ArtifactError
from underspec.inference.shared_post_t5 import Decoder, Encoder, max_posts
from underspec.inference.teacher_forcing import TeacherForcing
from underspec.models import fused_layers
from underspec.models.reward_model import RewardModel
from underspec.progress import Progress

log = logging.getLogger(__name__)

# Rewards of each post's candidates by some reward model: (candidates, heads) for each post.
Score = Callable[[list[np.ndarray], list[list[np.ndarray]]], list[np.ndarray]]

# Tokens of candidates per batch; on a CPU, more would not fit into its caches.
TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 65536}
CANDIDATE_MULTIPLE = 8  # on a GPU, candidates are padded to a multiple of this length


class Scorer:
    """Scores candidates with a reward model; `longest` are the maximum lengths of a post and of a
    candidate. It keeps those of the model's weights that it uses, and folded copies of the others.
    """

    @torch.inference_mode()
    def __init__(self, model: RewardModel, longest: tuple[int, int]):
        self.vocabulary, self.heads = model.config.vocab_size, model.heads
        self.head_bias = model.head.bias.float()
        head = pad(model.head.weight, (0, 0, 0, 1))  # one more output, of zeros: see MIN_ROWS
        decoder = Decoder(model.transformer.decoder, head)
        multiple = CANDIDATE_MULTIPLE if fused_layers.fused(decoder.device) else 1
        self.tokens_at_once = TOKENS_AT_ONCE[decoder.device.type]
        self.max_posts = partial(max_posts, decoder)
        encoder = Encoder(model.transformer.encoder, longest[0])
        self.forcing = TeacherForcing(encoder, decoder, longest[1], multiple)

    @torch.inference_mode()
    def __call__(
        self,
        posts: list[np.ndarray],
        candidates: list[list[np.ndarray]],
        progress: Progress | None = None,
    ) -> list[np.ndarray]:
        """As `score`, which shows its progress."""
        names = [f"post {i}" for i in range(len(posts))]
        check_ids(names, posts, self.vocabulary)
        for name, texts in zip(names, candidates, strict=True):
            check_ids([f"a candidate of {name}"] * len(texts), texts, self.vocabulary)
        different, inverses = zip(*map(distinct, candidates), strict=True)
        rewards: list[np.ndarray] = [np.empty(0, np.float32)] * len(posts)
        done = 0
        for batch in _batches(posts, different, self.tokens_at_once, self.max_posts):
            texts = [different[i] for i in batch]
            for i, values in zip(
                batch, self._rewards([posts[i] for i in batch], texts), strict=True
            ):
                rewards[i] = values[inverses[i]]
            done += len(batch)
            if progress:
                progress.show(done, f"{done} of {len(posts)} posts scored")
        if not all(np.isfinite(values).all() for values in rewards):
            raise ArtifactError(
                "the reward model's rewards are not finite: its weights are damaged"
            )
        return rewards

    def _rewards(
        self, posts: list[np.ndarray], candidates: list[list[np.ndarray]]
    ) -> list[np.ndarray]:
        """The rewards of each post's candidates: one float32 array (candidates, heads) per post."""
        outputs, rows = self.forcing(posts, candidates)
        values = rows.means(outputs[:, : self.heads].float().T.contiguous())
        rewards = (values.T + self.head_bias).cpu().numpy()
        return np.split(rewards, np.cumsum([len(own) for own in candidates])[:-1])


def score(
    model: RewardModel, posts: list[np.ndarray], candidates: list[list[np.ndarray]]
) -> list[np.ndarray]:
    """The rewards of each post's candidates (token ids), in order: one float32 array (candidates,
    heads) per post.

    Equal candidates of a post get exactly the same reward. Raises ArtifactError if a text is empty
    or has ids outside of the vocabulary, or if a reward is not finite.
    """
    longest = max(map(len, posts)), max(len(ids) for texts in candidates for ids in texts)
    return Scorer(model.eval(), longest)(posts, candidates, Progress(log, len(posts)))


def _batches(
    posts: list[np.ndarray],
    candidates: list[list[np.ndarray]],
    tokens_at_once: int,
    max_posts: Callable[[int], float],
) -> Iterator[list[int]]:
    """Batches of posts of similar length: at most `max_posts(length)` of this length, with at most
    `tokens_at_once` tokens of candidates unless a single post has more.
    """
    batch, tokens = [], 0
    for i in sorted(range(len(posts)), key=lambda i: len(posts[i])):
        more = sum(map(len, candidates[i]))
        if batch and (len(batch) >= max_posts(len(posts[i])) or tokens + more > tokens_at_once):
            yield batch
            batch, tokens = [], 0
        batch.append(i)
        tokens += more
    yield batch


def distinct(candidates: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The distinct candidates and, for each candidate, its index among them."""
    indices: dict[bytes, int] = {}
    inverse = [indices.setdefault(ids.tobytes(), len(indices)) for ids in candidates]
    by_index = dict(zip(inverse, candidates, strict=True))
    return [by_index[index] for index in range(len(indices))], np.array(inverse)


def pairwise_accuracy(
    score: Score,
    posts: list[np.ndarray],
    chosen: list[np.ndarray],
    rejected: list[np.ndarray],
) -> float:
    """The share of held-out pairs whose chosen candidate has the higher reward; ties count half.

    With several heads, it is the mean of theirs.
    """
    pairs = [list(pair) for pair in zip(chosen, rejected, strict=True)]
    rewards = np.stack(score(posts, pairs))
    return float(np.mean(np.sign(rewards[:, 0] - rewards[:, 1]) / 2 + 0.5))
