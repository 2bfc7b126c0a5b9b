"""How often intervals of 95% hold the truth, with five pretrains: simulated reward models with
known effects of pretrain, finetune and post. Prints the share by grid and size of those effects.

    python tests/benchmarks/interval_coverage.py [--experiments 600]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from underspec.analysis import bootstrap, intervals  # noqa: E402
from underspec.grid import reward_models  # noqa: E402

SEEDS, POSTS, RESAMPLES = [0, 1, 2, 3, 4], 30, 300
EFFECTS = {"large": (1.0, 0.3), "small": (0.2, 0.1)}  # deviations of pretrain and finetune; post 1


def means(values: np.ndarray, drawn: bootstrap.Resamples) -> np.ndarray:
    """(2, resamples) the mean of values (models, posts): posts drawn alone, and with seeds."""
    return drawn.total(values[:, None])[:, 0] / drawn.models.sum(axis=0)


def coverage(grid: str, effects: str, experiments: int) -> dict[str, float]:
    generator = np.random.default_rng(0)
    models = reward_models(grid, SEEDS, SEEDS)
    pretrain = [model.pretrain_seed for model in models]
    held = {"posts and seeds": 0, "percentiles of the same": 0, "posts alone": 0}
    for _ in range(experiments):
        of_pretrain, of_finetune = (generator.normal(0, size, 25) for size in EFFECTS[effects])
        values = of_pretrain[pretrain] + of_finetune[: len(models)]
        values = values[:, None] + generator.normal(0, 1, POSTS)
        values = values + generator.normal(0, 1, (len(models), POSTS))
        posts, nested = means(values, bootstrap.draw(models, POSTS, RESAMPLES, "base"))
        both = intervals.over_posts_and_seeds(posts, nested, len(SEEDS))
        alone = intervals.over_posts(posts)
        low, high = np.percentile(nested[1:], [2.5, 97.5])
        held["posts and seeds"] += both.low < 0 < both.high
        held["percentiles of the same"] += low < 0 < high
        held["posts alone"] += alone.low < 0 < alone.high
    return {name: count / experiments for name, count in held.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--experiments", type=int, default=600)
    options = parser.parse_args()
    rows = [
        {"grid": grid, "effects of seeds": effects} | coverage(grid, effects, options.experiments)
        for grid in ("workshop", "full")
        for effects in EFFECTS
    ]
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
