"""RLHF at one scale: its aligned policies, and what claims compare, in the data and resamples."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from underspec.analysis import aligned_policies, rank_correlation, shared_error
from underspec.analysis.aligned_policies import AlignedTables, Judged, read_aligned, read_sft_policy
from underspec.analysis.bootstrap import Resamples
from underspec.analysis.frontier import (
    Draws,
    Frontier,
    at_equal_kl,
    courses,
    draws,
    in_draws,
)
from underspec.analysis.published import kind_name
from underspec.analysis.quantities import UNITS_OF_RLHF, Quantity
from underspec.analysis.results import Results, ScaleResults
from underspec.analysis.statistics import PAIRS
from underspec.cheaper_ensembles import folders
from underspec.errors import ArtifactError
from underspec.grid import Ranker, alignments

COMPARED = ("proxy", "reward", "gold", "win_rate")  # at equal KL
TURNING = ("reward", "gold")
MEMBERS = ("without", "with")  # pairs of reward models without and with a member of the ranker


@dataclass(frozen=True)
class Rlhf:
    """The aligned policies of one scale, by path and coefficient (see `Frontier`).

    looks: (paths, coefficients, posts) by name, and of the SFT policy (posts,), see
    `aligned_policies.looks`; correlations: (paths, 1 + coefficients, OVER, PAIRS, MEMBERS, DRAWS,
    resamples), the SFT policy first; NaN where there is no such pair; errors: (paths, 1 +
    coefficients, MEASURES, JUDGES, posts), the SFT policy first, see `shared_error.of_aligned`; NaN
    for ensembles and WARM, and where there is no such judge; None without gold.
    """

    of_scale: ScaleResults
    frontier: Frontier
    looks: dict[str, np.ndarray]
    looks_of_sft_policy: dict[str, np.ndarray]
    correlations: np.ndarray
    errors: np.ndarray | None
    drawn: Draws

    @property
    def compared(self) -> list[str]:
        return [name for name in COMPARED if name in self.frontier.values]

    @property
    def turning(self) -> list[str]:
        return [name for name in TURNING if name in self.frontier.values]


def read(
    tables: AlignedTables,
    diagnostics: Path,
    every: Results,
    of_scale: ScaleResults,
    rankers: list[str],
    kl_coefficients: list[float],
    seeds: list[int],
    weights: Resamples,
) -> Rlhf:
    """The aligned policies of one scale.

    diagnostics: of the SFT policy's samples; every: the results with this scale; rankers: names.
    Raises ArtifactError, naming the file, as
    `aligned_policies.read_aligned` does, and if two policies have unequally many samples.
    """
    paths = [(of_scale.every_ranker[name], seed) for name in rankers for seed in seeds]
    falling = sorted(kl_coefficients, reverse=True)
    drawn = draws([ranker for ranker, _ in paths], of_scale.models, weights)
    pairs = rank_correlation.weighted_pairs(of_scale.models, drawn.models)
    sft_policy = read_sft_policy(diagnostics, of_scale, every.layout, every.metrics)
    samples, before = 0, np.empty(0)
    values, looks, correlations, errors = [], [], [], []
    for ranker, seed in paths:
        of_path = []
        for alignment in alignments({of_scale.scale: [ranker.name]}, falling, [seed]):
            judged = read_aligned(tables, of_scale, alignment, sft_policy, every.layout)
            if not samples:
                samples = judged.kl.shape[1]
                before = _correlations(sft_policy, samples, weights)
            elif judged.kl.shape[1] != samples:
                raise ArtifactError(
                    f"{tables.samples / alignment.name}.parquet: has "
                    f"{judged.kl.shape[1]} samples of each post, where others have {samples}; "
                    "delete it and run Snakemake again"
                )
            of_path.append(judged)
        values.append(
            [aligned_policies.values(ranker, of_scale, each, sft_policy) for each in of_path]
        )
        looks.append([aligned_policies.looks(each, samples) for each in of_path])
        after = [_correlations(each, samples, weights) for each in of_path]
        correlations.append([pairs.average(each, folders(ranker)) for each in (before, *after)])
        if "gold" in sft_policy.metrics:
            judged = (sft_policy, *of_path)
            errors.append([_errors(ranker, of_scale, each, sft_policy) for each in judged])
    of_paths, their_seeds = map(list, zip(*paths, strict=True))
    return Rlhf(
        of_scale,
        Frontier(of_paths, their_seeds, falling, _by_name(values)),
        _by_name(looks),
        aligned_policies.looks(sft_policy, samples),
        np.array(correlations),
        np.array(errors) if errors else None,
        drawn,
    )


def _errors(
    ranker: Ranker, of_scale: ScaleResults, judged: Judged, sft_policy: Judged
) -> np.ndarray:
    """(MEASURES, JUDGES, posts), NaN unless the ranker is a reward model of the grid."""
    models = of_scale.models
    of_grid = ranker.ensemble == "single"
    index = models.index(ranker.members[0]) if of_grid else 0
    found = shared_error.of_aligned(judged, sft_policy, index, models)
    return found if of_grid else np.full_like(found, np.nan)


def _correlations(judged: Judged, samples: int, weights: Resamples) -> np.ndarray:
    """(OVER, pairs, DRAWS, resamples), by so many samples of each post."""
    sets = aligned_policies.in_sets(judged.rewards, samples)
    return in_draws(rank_correlation.correlations(sets).mean(weights))


def _by_name(rows: list[list[dict[str, np.ndarray]]]) -> dict[str, np.ndarray]:
    return {name: np.array([[each[name] for each in row] for row in rows]) for name in rows[0][0]}


def evidence(rlhf: Rlhf) -> dict[Quantity, np.ndarray]:
    """What claims compare, (DRAWS, resamples) each; what the grid lacks is absent."""
    shape = rlhf.drawn.paths.shape[1:]
    found = {
        UNITS_OF_RLHF + kind_name(*kind): np.full(shape, float(rlhf.frontier.units(kind)))
        for kind in rlhf.frontier.kinds
    }
    found |= dict(_along_the_frontier(rlhf)) | dict(_of_correlations(rlhf))
    return {(name, 0): values for name, values in found.items() if np.isfinite(values[0, 0])}


def _along_the_frontier(rlhf: Rlhf) -> Iterator[tuple[str, np.ndarray]]:
    course = courses(rlhf.frontier, rlhf.drawn, rlhf.compared)
    for name in rlhf.compared:
        for kind, values in at_equal_kl(rlhf.frontier, course, rlhf.drawn, name):
            yield f"RLHF {name} of {kind_name(*kind)}", values.mean(axis=0)
    for name in rlhf.turning:
        _, highest, end = course.turning(name, course.limit[None])
        for kind, paths in rlhf.frontier.kinds.items():
            fall = rlhf.drawn.over_paths((highest - end)[paths], paths)
            yield f"RLHF fall in {name} of {kind_name(*kind)}", fall


def _of_correlations(rlhf: Rlhf) -> Iterator[tuple[str, np.ndarray]]:
    """Of policies aligned to a single reward model, over posts, without that reward model."""
    paths = rlhf.frontier.kinds.get(("single", "single"), [])
    if not paths:
        return
    over = rank_correlation.OVER.index("posts"), slice(None), MEMBERS.index("without")
    for point, when in ((0, "before"), (-1, "after")):
        by_pair = rlhf.drawn.over_paths(rlhf.correlations[paths, point][:, *over], paths)
        for pair, values in zip(PAIRS, by_pair, strict=True):
            yield f"RLHF rank correlation {when}, {pair}", values
