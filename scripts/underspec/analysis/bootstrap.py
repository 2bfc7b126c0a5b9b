"""How a statistic averages over posts and reward models: each post by itself, or in resamples.

The nested bootstrap draws pretraining seeds with replacement, each with all its reward models, and
posts, the same posts for every ranker and scale (paired); or one of the two alone. Reward models
are not drawn again within their pretraining seed: its mean varies by them already, so that would
count their part twice (Davison and Hinkley, 1997, section 3.8). The exception is a grid in which a
single checkpoint has several reward models, such as the workshop grid: what only these show would
otherwise not vary at all. Ours: the paper's intervals are over posts alone.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from underspec.grid import RewardModel

SEED_DRAWS = 500  # then they repeat, with other posts: ensembles of every draw have to choose


@dataclass(frozen=True)
class Weights:
    """How often each resample holds each post and each reward model: what every statistic takes.

    posts: (resamples, posts); None is each post by itself, as many resamples of one post each.
    models: (models, draws, resamples); there is one draw, or two: without and with new seeds.
    """

    posts: np.ndarray | None
    models: np.ndarray

    def mean(self, values: np.ndarray, held: slice | np.ndarray = slice(None)) -> np.ndarray:
        """Means over posts: (..., posts) to (..., resamples), of the resamples `held` only.

        The precision is that of the weights, or of the values where theirs is higher.
        """
        if self.posts is None:
            return values[..., held].astype(self.models.dtype, copy=False)
        posts, dtype = values.shape[-1], self.posts.dtype
        flat = values.reshape(-1, posts)
        if np.result_type(flat, dtype) == dtype:
            means = flat.astype(dtype, copy=False) @ self._shares[:, held]
        else:
            means = flat @ self.posts[held].T / posts
        return means.reshape(*values.shape[:-1], -1)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sums over models of means over posts: (models, ns, posts) to (draws, ns, resamples)."""
        alike = self.models[:, :, 0]
        if (self.models == alike[:, :, None]).all():  # then the models first: far fewer means
            return self.mean(np.tensordot(alike.T, values, axes=1))
        return over_models(self.models, self.mean(values))

    @cached_property
    def _shares(self) -> np.ndarray:
        return self.posts.T / self.posts.dtype.type(self.posts.shape[1])


def over_models(weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """(draws, ns, resamples), the sum over models of means (models, ns, resamples), weighted."""
    return np.einsum("mdr,mnr->dnr", weights, means)


def each_post(models: int, posts: int) -> Weights:
    """Each post by itself under the reward models as they are: for standard errors over posts."""
    return Weights(None, np.broadcast_to(1.0, (models, 1, posts)))


def resampled_posts(models: int, posts: int, resamples: int = 0) -> Weights:
    """The data, then seeded resamples of the posts, under the reward models as they are."""
    counts = _after_the_data(posts, resamples)
    return Weights(counts, np.broadcast_to(1.0, (models, 1, len(counts))))


@dataclass(frozen=True)
class Resamples(Weights):
    """Resamples of posts and seeds, in single precision; the first resample is the data.

    models: (models, 2, resamples), the reward models as they are and as drawn; drawn: (resamples,
    pretraining seeds, models of each) int, the reward models in the order in which they were drawn,
    -1 where a seed has fewer than others; seed_of_model: (models,) the index of each model's
    pretraining seed.
    """

    drawn: np.ndarray
    seed_of_model: np.ndarray

    @property
    def drawn_seeds(self) -> np.ndarray:
        """(resamples, pretraining seeds) the index of each seed that was drawn, in that order."""
        return self.seed_of_model[self.drawn.max(axis=2)]

    def with_seeds_alone(self) -> "Resamples":
        """These, followed by each draw of the seeds with the posts as they are, the data first."""
        first = slice(SEED_DRAWS + 1)
        return replace(
            self,
            posts=np.concatenate([self.posts, np.ones_like(self.posts[first])]),
            models=np.concatenate([self.models, self.models[..., first]], axis=-1),
            drawn=np.concatenate([self.drawn, self.drawn[first]]),
        )


def draw(models: list[RewardModel], posts: int, resamples: int, scale: str) -> Resamples:
    """`resamples` seeded resamples after the data themselves.

    Posts are drawn alike for every scale and seeds independently, as they were trained. There are
    at most SEED_DRAWS draws of the seeds, of which each meets several draws of the posts.
    """
    names = list(dict.fromkeys(model.pretrain_seed for model in models))
    seed_of_model = np.array([names.index(model.pretrain_seed) for model in models])
    members = seed_of_model == np.arange(len(names))[:, None]
    generator = np.random.default_rng(list(scale.encode()))
    which = generator.integers(len(names), size=(min(resamples, SEED_DRAWS), len(names)))
    sizes = members.sum(axis=1)
    in_the_data = _in_rows(members.astype(int))
    one_has_several = (sizes > 1).sum() == 1 and len(sizes) > 1
    if not one_has_several:
        drawn = in_the_data[which]
    else:
        counts = generator.multinomial(sizes[which], members[which] / sizes[which][..., None])
        drawn = generator.permuted(_in_rows(counts), axis=2)  # any order is as likely
    repeated = drawn[np.arange(resamples) % SEED_DRAWS]
    drawn = np.concatenate([in_the_data[None], repeated])
    rows = (row[row >= 0] for row in drawn.reshape(len(drawn), -1))
    counts = np.stack([np.bincount(row, minlength=len(models)) for row in rows], axis=1)
    return Resamples(
        posts=_after_the_data(posts, resamples).astype(np.float32),
        models=np.stack([np.ones_like(counts), counts], axis=1, dtype=np.float32),
        drawn=drawn,
        seed_of_model=seed_of_model,
    )


def _in_rows(counts: np.ndarray) -> np.ndarray:
    """(..., longest) the models of which there are `counts` (..., models), one by one, then -1."""
    total = counts.sum(axis=-1)
    rows = np.full((*total.shape, total.max()), -1)
    models = np.broadcast_to(np.arange(counts.shape[-1]), counts.shape)
    rows[np.arange(rows.shape[-1]) < total[..., None]] = np.repeat(models.ravel(), counts.ravel())
    return rows


def distinct(seeds: int) -> int:
    """How many distinct resamples of so many pretraining seeds there are: 126 of five."""
    return math.comb(2 * seeds - 1, seeds)


def _after_the_data(posts: int, resamples: int) -> np.ndarray:
    return np.concatenate([np.ones((1, posts)), bootstrap_weights(posts, resamples)])


def bootstrap_weights(posts: int, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """(resamples, posts) how often each bootstrap resample holds each post; rows sum to posts."""
    drawn = np.random.default_rng(seed).integers(posts, size=(resamples, posts))
    drawn += np.arange(resamples)[:, None] * posts
    counts = np.bincount(drawn.ravel(), minlength=resamples * posts)
    return counts.reshape(resamples, posts).astype(np.float64)
