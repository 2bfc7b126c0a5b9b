"""How often intervals of 95% hold the truth, in simulated experiments (see simulated_rewards.py).

Prints the share of experiments by statistic, grid, number of pretraining seeds and size of the
effects of seeds, for the interval that decides verdicts, for percentiles of the same resamples and
for the interval over posts alone. The truth is the mean of the estimates of all experiments.

    python tests/benchmarks/interval_coverage.py [--experiments 600]
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from simulated_rewards import SAMPLES, grid_of, means, quantities

from underspec.analysis import intervals

RESAMPLES = 300
EFFECTS = {"large": (1.0, 0.5), "small": (0.4, 0.2)}
GRIDS = [("workshop", 5), ("full", 5), ("full", 20)]


def of_means(generator, models, effects) -> dict[str, np.ndarray]:
    return {
        "mean": means(generator, models, 30, RESAMPLES, effects),
        "difference of means between scales": means(generator, models, 30, RESAMPLES, effects, 2),
    }


def between_scales(values: np.ndarray) -> tuple[np.ndarray, float]:
    """The difference of the last scale from the first, or the only one's value (DRAWS, resamples),
    and of how many independent sets of seeds it is made up: (scales, DRAWS, resamples)."""
    if len(values) == 1:
        return values[0], 1.0
    return values[-1] - values[0], intervals.independent_sets(values[:, 2])


def of_rewards(generator, models, effects) -> dict[str, np.ndarray]:
    found = quantities(generator, models, 50, RESAMPLES, effects)
    agreement = [
        found[f"agreement, {pair} pretraining seed", SAMPLES] for pair in ("same", "other")
    ]
    ensemble = found["reward of pretrain mean", SAMPLES]
    ratios = [found["correlation ratio", n] for n in (SAMPLES, 2)]
    found = {
        "agreement, same minus other pretraining seed": np.subtract(*agreement),
        "value of pretrain ensembles of five": ensemble,
        "the same minus single reward models": ensemble - found["reward of single", SAMPLES],
        "share of variance, growth with n": np.subtract(*(ratio**2 for ratio in ratios)),
        "its square root, growth with n": np.subtract(*ratios),
    }
    return {name: values[None] for name, values in found.items()}


def coverage(
    simulate: Callable, grid: str, seeds: int, effects: str, experiments: int
) -> Iterator[dict]:
    """A row for each statistic that `simulate` returns."""
    generator, models = np.random.default_rng(0), grid_of(grid, seeds)
    runs = [simulate(generator, models, EFFECTS[effects]) for _ in range(experiments)]
    for name in runs[0]:
        found = [between_scales(run[name].astype(np.float64)) for run in runs]
        values = np.stack([each for each, _ in found])
        truth = values[:, 1, 0].mean()
        both = [intervals.over_posts_and_seeds(*each, seeds, sets=sets) for each, sets in found]
        alone = [intervals.over_posts(each[0]) for each in values]
        low, high = np.nanpercentile(values[:, 1, 1:], [2.5, 97.5], axis=1)
        yield {
            "statistic": name,
            "grid": grid,
            "pretraining seeds": seeds,
            "effects": effects,
            "posts and seeds": np.mean([each.low < truth < each.high for each in both]),
            "percentiles": np.mean((low < truth) & (truth < high)),
            "posts alone": np.mean([each.low < truth < each.high for each in alone]),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--experiments", type=int, default=600)
    options = parser.parse_args()
    cells = itertools.product((of_means, of_rewards), GRIDS, EFFECTS)
    rows = [
        row
        for simulate, grid, effects in cells
        for row in coverage(simulate, *grid, effects, options.experiments)
    ]
    table = pd.DataFrame(rows).sort_values("statistic", kind="stable", key=order(rows))
    print(table.to_string(index=False, float_format="%.3f"))
    print(f"{options.experiments} experiments each, {time.process_time():.0f} CPU seconds")


def order(rows: list[dict]) -> Callable:
    """Keeps the rows of a statistic together, in the order in which statistics first come."""
    names = list(dict.fromkeys(row["statistic"] for row in rows))
    return lambda column: column.map(names.index)


if __name__ == "__main__":
    main()
