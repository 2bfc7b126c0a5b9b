"""What tables and figures need beside the rewards, and why one is absent.

An experiment that was trained here has all of it but gold and styles, which only some worlds have.
A matrix from elsewhere has what its makers gave, and any grid.
"""

from collections import Counter
from collections.abc import Collection

from underspec.grid import RewardModel

GIVEN = ("evaluator", "gold", "texts", "accuracy")
NEEDED = {
    "evaluator": "no evaluator judges the choices",
    "gold": "there is no gold reward",
    "texts": "there are no texts",
    "accuracy": "the accuracy of the reward models is not given",
    "metrics": "what training the reward models reported is not given",
    "styles": "there are no texts in several styles",
    "replicates": "it needs two pretraining seeds, one of them with two finetuning seeds",
    "ensembles": "no two reward models have a seed in common",
}
# What tables and figures need, by their names; first those that rest on the evidence.
OF_EVIDENCE = {
    "exact": ["evaluator"],
    "shift": ["texts"],
    "components": ["replicates"],
    "paired": ["evaluator"],
    "overoptimisation": ["evaluator"],
    "overoptimisation_fit": ["evaluator", "gold"],
    "hedging": ["evaluator"],
    "rankers": ["evaluator"],
    "ensemble_size": ["evaluator", "ensembles"],
    "feature_coefficients": ["texts"],
    "bias": ["evaluator", "gold", "texts"],
    "shared_error": ["gold"],
    "style_accuracy": ["styles"],
}
NEEDS = OF_EVIDENCE | {
    "accuracy": ["accuracy"],
    "reliability": ["metrics"],
    "people": ["metrics"],
    "figure4": ["evaluator"],
    "table1": ["evaluator"],
    "gold": ["gold"],
    "judge": ["texts"],
    "rlhf_shared_error": ["gold"],
}


def parts(given: Collection[str], cells: list[RewardModel]) -> set[str]:
    """The keys of NEEDED that an experiment has: what was `given`, and what its grid makes."""
    of_seeds = [
        Counter(getattr(cell, seed) for cell in cells)
        for seed in ("pretrain_seed", "finetune_seed")
    ]
    several = [max(found.values()) > 1 for found in of_seeds]
    found = {*given} | ({"ensembles"} if any(several) else set())
    return found | ({"replicates"} if several[0] and len(of_seeds[0]) > 1 else set())


def missing(name: str, has: Collection[str]) -> str | None:
    """Why there is no table or figure of this name; None if there can be one."""
    return next((NEEDED[need] for need in NEEDS.get(name, []) if need not in has), None)


def possible(names: Collection[str], has: Collection[str]) -> list[str]:
    return [name for name in names if missing(name, has) is None]
