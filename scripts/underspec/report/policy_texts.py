"""What policies write for a post along the path of RLHF, as the sample browser shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from underspec.analysis.aligned_policies import (
    JUDGES,
    AlignedTables,
    Judged,
    own_reward,
    read_aligned,
    read_sft_policy,
)
from underspec.analysis.results import Results, ScaleResults
from underspec.analysis.statistics import kl_bound
from underspec.grid import Ranker, alignments


@dataclass(frozen=True)
class PolicyTexts:
    """One text for each post at every point of the path of one ranker.

    Points: the first sample of the SFT policy, the ranker's best of the largest n, and the first
    sample of the aligned policy of each KL coefficient, from weak to strong optimisation.
    texts: (points, posts). values: (points, posts, columns): the exact KL from the SFT policy along
    the sample, in nats (of best-of-n the upper bound on that of its distribution), and the reward
    by the ranker itself, the evaluator and the gold rater, if there is one, above the mean of the
    SFT policy's samples of the post.
    """

    ranker: Ranker
    kl_coefficients: list[float]
    texts: np.ndarray
    values: np.ndarray


def read_policy_texts(
    tables: AlignedTables,
    diagnostics: Path,
    every: Results,
    of_scale: ScaleResults,
    rankers: Sequence[str],
    kl_coefficients: list[float],
    seed: int,
) -> list[PolicyTexts]:
    """Of each ranker of this scale, by name, from one seed of RLHF.

    diagnostics: of the SFT policy's samples; every: the results with this scale. Raises
    ArtifactError, naming the file, as `aligned_policies.read_aligned` does.
    """
    if not rankers:
        return []
    sft_policy = read_sft_policy(diagnostics, of_scale, every.layout, every.metrics)
    falling = sorted(kl_coefficients, reverse=True)
    found = []
    for name in rankers:
        policies = [
            read_aligned(tables, of_scale, each, sft_policy, every.layout)
            for each in alignments({of_scale.scale: [name]}, falling, [seed])
        ]
        ranker = of_scale.every_ranker[name]
        points = _points(ranker, of_scale, sft_policy, policies)
        found.append(PolicyTexts(ranker, falling, *points))
    return found


def _points(
    ranker: Ranker, of_scale: ScaleResults, sft_policy: Judged, policies: list[Judged]
) -> tuple[np.ndarray, np.ndarray]:
    """texts and values of PolicyTexts."""

    def rewards(judged: Judged) -> list[np.ndarray]:
        judges = [judged.metrics[name] for name in JUDGES if name in sft_policy.metrics]
        return [own_reward(ranker, of_scale, judged, sft_policy), *judges]

    zeros = [each.mean(axis=1, dtype=np.float64) for each in rewards(sft_policy)]
    posts = np.arange(len(sft_policy.texts))
    largest = max(of_scale.ns)
    best = of_scale.every_choice[ranker.name][of_scale.ns.index(largest)]

    def at(judged: Judged, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        above = [
            each[posts, samples] - zero for each, zero in zip(rewards(judged), zeros, strict=True)
        ]
        return judged.texts[posts, samples], np.stack([judged.kl[posts, samples], *above], axis=-1)

    first = np.zeros_like(posts)
    shown = [at(sft_policy, first), at(sft_policy, best), *(at(each, first) for each in policies)]
    texts, values = map(np.stack, zip(*shown, strict=True))
    values[1, :, 0] = kl_bound(largest)
    return texts, values
