"""The grid of reward models (scale x pretraining seed x finetuning seed) and the rankers.

A *ranker* is whatever picks the best of n samples: a reward model, or an ensemble with an
aggregator. Everything here is per scale; all scales have the same grid.
"""

from dataclasses import dataclass
from itertools import product

GRIDS = ("workshop", "full")


@dataclass(frozen=True, order=True)
class RewardModel:
    """One cell of the grid, at any scale."""

    pretrain_seed: int
    finetune_seed: int

    @property
    def name(self) -> str:
        return f"pretrain{self.pretrain_seed}-finetune{self.finetune_seed}"


@dataclass(frozen=True)
class Ranker:
    """Reward models, and the aggregator of their standardised rewards (None for a single model)."""

    name: str
    ensemble: str
    aggregator: str | None
    members: tuple[RewardModel, ...]


def reward_models(
    grid: str, pretrain_seeds: list[int], finetune_seeds: list[int]
) -> list[RewardModel]:
    """The reward models of one scale.

    `workshop` (the paper's section 2.1): every pretraining seed with the first finetuning seed, and
    the first pretraining seed with every finetuning seed; `full`: all combinations.
    """
    cells = product(pretrain_seeds, finetune_seeds)
    if grid == "full":
        return [RewardModel(p, f) for p, f in cells]
    return [RewardModel(p, f) for p, f in cells if p == pretrain_seeds[0] or f == finetune_seeds[0]]


def rankers(models: list[RewardModel], aggregators: list[str]) -> list[Ranker]:
    """The rankers of one scale: single reward models, then each ensemble with each aggregator.

    A finetune ensemble has all reward models of one pretraining seed, a pretrain ensemble all
    reward models of one finetuning seed. Ensembles have at least two members, and those smaller
    than the largest of their kind are left out, so that all ensembles of a kind have the same size.
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
