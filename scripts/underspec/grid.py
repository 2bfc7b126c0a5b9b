"""The grid of reward models (scale x pretraining seed x finetuning seed) and the rankers.

A *ranker* is whatever picks the best of n samples: a reward model, or an ensemble with an
aggregator. Everything here is per scale; all scales have the same grid.
"""

from collections.abc import Iterable, Sequence
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


@dataclass(frozen=True)
class Alignment:
    """An aligned policy: to which ranker, with which KL coefficient and seed."""

    scale: str
    ranker: str
    kl_coefficient: float
    seed: int

    @property
    def name(self) -> str:
        """Its path below aligned/, samples/aligned/ and so on."""
        return f"{self.scale}/{self.ranker}/kl{self.kl_coefficient:g}-seed{self.seed}"


def alignments(
    rankers: dict[str, list[str]], kl_coefficients: list[float], seeds: list[int]
) -> list[Alignment]:
    """The aligned policies; rankers: their names by scale."""
    return [
        Alignment(scale, ranker, kl_coefficient, seed)
        for scale, names in rankers.items()
        for ranker in names
        for kl_coefficient in kl_coefficients
        for seed in seeds
    ]


def reward_models(
    grid: str | Sequence[Sequence[int]], pretrain_seeds: list[int], finetune_seeds: list[int]
) -> list[RewardModel]:
    """The reward models of one scale, in the order of the seeds.

    `workshop` (the paper's section 2.1): every pretraining seed with the first finetuning seed, and
    the first pretraining seed with every finetuning seed; `full`: all combinations; or those
    listed, as pairs of a pretraining and a finetuning seed.
    """
    cells = list(product(pretrain_seeds, finetune_seeds))
    if grid == "workshop":
        first = pretrain_seeds[0], finetune_seeds[0]
        cells = [(p, f) for p, f in cells if p == first[0] or f == first[1]]
    elif grid != "full":
        listed = set(map(tuple, grid))
        cells = [cell for cell in cells if cell in listed]
    return [RewardModel(p, f) for p, f in cells]


def evaluator(scale: str, pretrain_seed: int, finetune_seed: int) -> str:
    """The path of the evaluator, itself a reward model, below reward_models/ and scores/."""
    return f"{scale}/{RewardModel(pretrain_seed, finetune_seed).name}"


def rankers(models: list[RewardModel], aggregators: list[str], ensemble_size: int) -> list[Ranker]:
    """The rankers of one scale: single reward models, then each ensemble with each aggregator.

    A finetune ensemble has reward models of one pretraining seed, a pretrain ensemble reward models
    of one finetuning seed: `ensemble_size` of them, or all if there are fewer, but at least two.
    Consecutive seeds make disjoint ensembles; seeds left over at the end are in none. A seed that
    has fewer reward models than that has no ensemble, so that all ensembles of a kind have the same
    size.
    """
    single = [Ranker(f"single-{model.name}", "single", None, (model,)) for model in models]
    return (
        single
        + _ensembles("finetune", "pretrain", models, aggregators, ensemble_size)
        + _ensembles("pretrain", "finetune", models, aggregators, ensemble_size)
    )


def _ensembles(
    ensemble: str, fixed: str, models: list[RewardModel], aggregators: list[str], size: int
) -> list[Ranker]:
    of_seed: dict[int, list[RewardModel]] = {}
    for model in models:
        of_seed.setdefault(getattr(model, f"{fixed}_seed"), []).append(model)
    most = max(2, *map(len, of_seed.values()))
    size = max(2, min(size, most))
    return [
        Ranker(
            f"{ensemble}-{fixed}{seed}-{aggregator}" + f"-group{group}" * (most >= 2 * size),
            ensemble,
            aggregator,
            tuple(members[size * (group - 1) : size * group]),
        )
        for seed, members in of_seed.items()
        for group in range(1, len(members) // size + 1)
        for aggregator in aggregators
    ]


def first_of_kinds(some_rankers: Iterable[Ranker]) -> list[Ranker]:
    """The first ranker of each ensemble and aggregator."""
    found: dict[tuple[str, str | None], Ranker] = {}
    for ranker in some_rankers:
        found.setdefault((ranker.ensemble, ranker.aggregator), ranker)
    return list(found.values())


def ensemble_sizes(every_ranker: list[Ranker]) -> dict[str, int]:
    """The number of members of each kind of ensemble (finetune, pretrain) that there is."""
    return {
        ranker.ensemble: len(ranker.members)
        for ranker in every_ranker
        if ranker.ensemble != "single"
    }
