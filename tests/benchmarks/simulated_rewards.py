"""Experiments with known effects of seeds and posts, as simulations of intervals need them."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from underspec.analysis import bootstrap  # noqa: E402
from underspec.analysis.newer_rankers import Newer  # noqa: E402
from underspec.analysis.quantities import Quantity, by_draw, evidence  # noqa: E402
from underspec.analysis.rerank import rerank  # noqa: E402
from underspec.analysis.results import ScaleResults  # noqa: E402
from underspec.grid import RewardModel, rankers, reward_models  # noqa: E402

FEATURES, SAMPLES = 8, 16


def means(
    generator: np.random.Generator,
    models: list[RewardModel],
    posts: int,
    resamples: int,
    effects: tuple[float, float],
    scales: int = 1,
) -> np.ndarray:
    """(scales, DRAWS, resamples), at each scale the mean over reward models and posts of a value;
    its truth is 0.

    effects: the standard deviations of pretraining and finetuning seed; posts and what is left have
    the deviation 1. Seeds differ between scales, posts do not.
    """
    seeds = np.unique([model.pretrain_seed for model in models], return_inverse=True)[1]
    of_post, found = generator.normal(0, 1, posts), []
    for scale in range(scales):
        of_seed = generator.normal(0, effects[0], seeds.max() + 1)
        of_model = of_seed[seeds] + generator.normal(0, effects[1], len(models))
        values = of_model[:, None] + of_post + generator.normal(0, 1, (len(models), posts))
        drawn = bootstrap.draw(models, posts, resamples, f"scale{scale}")
        alone = drawn.with_seeds_alone()
        means = alone.total(values[:, None])[:, 0] / alone.models.sum(axis=0)
        found.append(by_draw(means, drawn))
    return np.stack(found)


def quantities(
    generator: np.random.Generator,
    models: list[RewardModel],
    posts: int,
    resamples: int,
    effects: tuple[float, float],
) -> dict[Quantity, np.ndarray]:
    """The evidence of a scale whose reward models weigh the features of a sample by the true
    weights, of length 1, plus errors of their pretraining and finetuning seed.

    effects: the length of these errors. The evaluator weighs by the true weights. Rewards have
    offsets between models, a third of the errors in size. Best of 2 and SAMPLES, ensembles of five
    by the mean.
    """
    seeds = np.unique([model.pretrain_seed for model in models], return_inverse=True)[1]
    sizes = np.array(effects) / np.sqrt(FEATURES)
    true = np.full(FEATURES, 1 / np.sqrt(FEATURES))
    of_seed = generator.normal(0, sizes[0], (seeds.max() + 1, FEATURES))
    of_model = generator.normal(0, sizes[1], (len(models), FEATURES))
    offsets = generator.normal(0, np.array(effects)[:, None] / 3, (2, len(models)))
    features = generator.normal(0, 0.7, (posts, 1, FEATURES))
    features = features + generator.normal(0, 1, (posts, SAMPLES, FEATURES))
    weights = true + of_seed[seeds] + of_model
    rewards = np.einsum("psf,mf->mps", features, weights)
    rewards += (offsets[0][seeds] + offsets[1])[:, None, None]
    every_ranker = rankers(models, ["mean"], 5)
    choices = rerank(
        {model.name: each for model, each in zip(models, rewards, strict=True)},
        every_ranker,
        [2, SAMPLES],
    )
    results = ScaleResults(
        scale="base",
        parameters=1,
        models=models,
        rankers=every_ranker,
        ns=[2, SAMPLES],
        rewards=rewards.astype(np.float32),
        texts=np.broadcast_to(np.arange(SAMPLES), (posts, SAMPLES)),
        choices={name: each.sample_index for name, each in choices.items()},
        training=[{"accuracy": 0.7}] * len(models),
    )
    drawn = bootstrap.draw(models, posts, resamples, "base")
    none = Newer({}, np.zeros((posts, SAMPLES)))
    return evidence(results, {"reward": features @ true}, 0.8, drawn, none)


def grid_of(name: str, pretraining_seeds: int) -> list[RewardModel]:
    """The paper's workshop grid has five finetuning seeds; on the full grid two are enough here."""
    finetuning_seeds = {"workshop": 5, "full": 2}[name]
    return reward_models(name, list(range(pretraining_seeds)), list(range(finetuning_seeds)))
