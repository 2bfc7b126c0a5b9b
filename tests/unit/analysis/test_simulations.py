"""The simulations behind docs/statistics.md still run, and simulate what they say."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import interval_coverage  # noqa: E402
import seeds_needed  # noqa: E402
from simulated_rewards import SAMPLES, grid_of, means, quantities  # noqa: E402

from underspec.analysis.statistics import PAIRS  # noqa: E402


@pytest.mark.parametrize("scales", [1, 2])
def test_the_truth_of_a_mean_is_0_and_its_variance_known(scales):
    """300 experiments without resamples: within 5 standard errors, of the variance 41 %."""
    generator, models = np.random.default_rng(0), grid_of("full", 5)
    runs = [means(generator, models, 30, 1, (1.0, 0.5), scales) for _ in range(300)]
    found = [interval_coverage.between_scales(run)[0][1, 0] for run in runs]
    of_seeds = (1.0 + 0.5**2 / 2 + 1 / 2 / 30) / 5
    variance = of_seeds + 1 / 30 if scales == 1 else 2 * of_seeds
    assert abs(np.mean(found)) < 5 * np.sqrt(variance / 300)
    assert np.var(found) == pytest.approx(variance, rel=5 * np.sqrt(2 / 300))


def test_pretraining_seeds_make_reward_models_disagree():
    """Without effects of finetuning seeds, reward models of one pretraining seed are the same."""
    found = quantities(np.random.default_rng(0), grid_of("full", 5), 40, 2, (1.0, 0.0))
    same, other = (found[f"agreement, {pair}", SAMPLES][1, 0] for pair in PAIRS)
    assert same == 1 and other < 0.8


@pytest.mark.parametrize("simulate", [interval_coverage.of_means, interval_coverage.of_rewards])
@pytest.mark.parametrize("grid", ["workshop", "full"])
def test_coverage_has_a_row_for_every_statistic(simulate, grid):
    rows = list(interval_coverage.coverage(simulate, grid, 5, "small", 2))
    assert len(rows) == {"of_means": 2, "of_rewards": 5}[simulate.__name__]
    assert all(0 <= row["posts and seeds"] <= 1 for row in rows)


@pytest.mark.parametrize("name", seeds_needed.CASES)
def test_every_case_of_the_seeds_needed_can_be_simulated(name):
    simulate, multiple_of = seeds_needed.CASES[name]
    values = seeds_needed.simulated(simulate, 5, 1, seed=0)
    assert values.shape == (1, 3, seeds_needed.RESAMPLES + 1)
    assert np.isfinite(values[:, :, 0]).all() and 5 % multiple_of == 0
