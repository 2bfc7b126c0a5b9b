"""Whether as many pretraining seeds as `seeds_needed` says decide as often as it says.

From simulated experiments with five pretraining seeds (see simulated_rewards.py) come the parts of
the variance, a mean over experiments, and the truth, the mean estimate if it is not known. Prints
how many seeds these ask for, which share of the experiments with so many should have an interval on
the right side of 0, which has, and what single experiments with five seeds say that leave it
undecided: quartiles.

    python tests/benchmarks/seeds_needed.py [--experiments 400]
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from simulated_rewards import SAMPLES, grid_of, means, quantities

from underspec.analysis.intervals import Variance, over_posts_and_seeds, variance_of
from underspec.analysis.seeds_needed import power, seeds_needed

SEEDS, RESAMPLES = 5, 300


def mean(generator, models, effects, posts, truth) -> np.ndarray:
    return means(generator, models, posts, RESAMPLES, effects)[0] + truth


def agreement(generator, models, effects, posts) -> np.ndarray:
    found = quantities(generator, models, posts, RESAMPLES, effects)
    return np.subtract(
        *(found[f"agreement, {pair} pretraining seed", SAMPLES] for pair in ("same", "other"))
    )


def ensembles(generator, models, effects, posts) -> np.ndarray:
    found = quantities(generator, models, posts, RESAMPLES, effects)
    return found["reward of pretrain mean", SAMPLES] - found["reward of single", SAMPLES]


CASES = {
    "mean, seeds 1.0, posts 30, truth 1.0": (
        partial(mean, effects=(1.0, 0.3), posts=30, truth=1.0),
        1,
    ),
    "mean, seeds 1.0, posts 300, truth 0.5": (
        partial(mean, effects=(1.0, 0.3), posts=300, truth=0.5),
        1,
    ),
    "mean, seeds 0.2, posts 200, truth 0.25": (
        partial(mean, effects=(0.2, 0.1), posts=200, truth=0.25),
        1,
    ),
    "mean, seeds 0.4, posts 200, truth 0.3": (
        partial(mean, effects=(0.4, 0.1), posts=200, truth=0.3),
        1,
    ),
    "agreement, same minus other pretraining seed": (
        partial(agreement, effects=(0.5, 0.6), posts=100),
        1,
    ),
    "pretrain ensembles minus single reward models": (
        partial(ensembles, effects=(0.2, 0.05), posts=40),
        SEEDS,
    ),
}


def simulated(simulate: Callable, seeds: int, experiments: int, seed: int) -> np.ndarray:
    """(experiments, DRAWS, resamples)"""
    generator, models = np.random.default_rng(seed), grid_of("full", seeds)
    runs = [simulate(generator, models) for _ in range(experiments)]
    return np.stack(runs).astype(np.float64)


def decided(values: np.ndarray, seeds: int) -> np.ndarray:
    """(experiments,) whether the interval lies above 0."""
    return np.array([over_posts_and_seeds(*each, seeds).low > 0 for each in values])


def row(name: str, experiments: int) -> dict:
    simulate, multiple_of = CASES[name]
    values = simulated(simulate, SEEDS, experiments, seed=0)
    variances = [variance_of(*each, SEEDS) for each in values]
    estimates = values[:, 1, 0]
    parts = [np.mean([getattr(each, part) for each in variances]) for part in ("posts", "seeds")]
    truth = simulate.keywords.get("truth", estimates.mean())
    variance = Variance(*parts, SEEDS)
    needed = seeds_needed(truth, variance, multiple_of)
    at_five = decided(values, SEEDS)
    said = [
        seeds_needed(estimate, variance, multiple_of)
        for estimate, variance, sure in zip(estimates, variances, at_five, strict=True)
        if not sure
    ]
    quartiles = np.quantile(said, [0.25, 0.5, 0.75], method="nearest")
    return {
        "statistic": name,
        "decided with five": at_five.mean(),
        "seeds needed": needed,
        "expected": power(truth, variance.with_seeds(needed)),
        "decided with these": decided(
            simulated(simulate, needed, experiments, seed=1), needed
        ).mean(),
        "said by undecided experiments": " / ".join(f"{each:.0f}" for each in quartiles),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--experiments", type=int, default=400)
    options = parser.parse_args()
    table = pd.DataFrame([row(name, options.experiments) for name in CASES])
    print(table.to_string(index=False, float_format="%.3f"))
    print(f"{options.experiments} experiments each, {time.process_time():.0f} CPU seconds")


if __name__ == "__main__":
    main()
