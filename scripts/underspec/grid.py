"""The grid of reward models (scale x pretrain seed x finetune seed) and the rankers built on it.

A *ranker* is whatever picks the best of n samples: one reward model, or an ensemble with an
aggregator. Everything here is per scale; all scales have the same grid.
"""

from dataclasses import dataclass
from itertools import product

GRIDS = ("workshop", "full")


@dataclass(frozen=True, order=True)
class RewardModel:
    """One cell of the grid at a scale."""

    pretrain_seed: int
    finetune_seed: int

    @property
    def name(self) -> str:
        return f"pretrain{self.pretrain_seed}-finetune{self.finetune_seed}"


@dataclass(frozen=True)
class Ranker:
    """Reward models and how their standardised rewards are aggregated (None: a single one)."""

    name: str
    ensemble: str
    aggregator: str | None
    members: tuple[RewardModel, ...]


def reward_models(
    grid: str, pretrain_seeds: list[int], finetune_seeds: list[int]
) -> list[RewardModel]:
    """The reward models of one scale.

    `workshop` (the paper's section 2.1): every pretrain with the first finetune seed, and the
    first pretrain with every finetune seed; `full`: every pretrain with every finetune seed.
    """
    cells = product(pretrain_seeds, finetune_seeds)
    if grid == "full":
        return [RewardModel(p, f) for p, f in cells]
    return [RewardModel(p, f) for p, f in cells if p == pretrain_seeds[0] or f == finetune_seeds[0]]


def rankers(models: list[RewardModel], aggregators: list[str]) -> list[Ranker]:
    """Every ranker of one scale: the reward models alone, then each ensemble x aggregator.

    A finetune ensemble holds all reward models of one pretrain, a pretrain ensemble all reward
    models of one finetune seed; an ensemble needs at least two members and as many as the
    largest of its kind, so that all ensembles of a kind are of one size.
    """
    single = [Ranker(f"single-{model.name}", "single", None, (model,)) for model in models]
    return (
        single
        + _ensembles("finetune", "pretrain", models, aggregators)
        + _ensembles("pretrain", "finetune", models, aggregators)
    )


def _ensembles(
    ensemble: str, fixed: str, models: list[RewardModel], aggregators: list[str]
) -> list[Ranker]:
    groups: dict[int, list[RewardModel]] = {}
    for model in models:
        groups.setdefault(getattr(model, f"{fixed}_seed"), []).append(model)
    size = max(2, *(len(group) for group in groups.values()))
    return [
        Ranker(f"{ensemble}-{fixed}{seed}-{aggregator}", ensemble, aggregator, tuple(group))
        for seed, group in groups.items()
        if len(group) == size
        for aggregator in aggregators
    ]
