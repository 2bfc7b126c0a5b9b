"""All statistics of one scale, post by post: computed once, then tabulated and compared."""

from dataclasses import dataclass

import numpy as np

from underspec.analysis.results import ScaleResults
from underspec.analysis.statistics import (
    agreement,
    anova_share,
    bootstrap_weights,
    judged,
    pick,
    relations,
)

Kind = tuple[str, str]  # (ensemble, aggregator); a single reward model is ("single", "single")


@dataclass(frozen=True)
class Summary:
    """Per post, so that any mean, difference and interval over posts follows from it.

    has_judge: (rankers, judges) bool; judged: the reward of choices (rankers, judges, ns, posts);
    policy_judged: the mean reward of all samples of the post (rankers, judges, 1, posts);
    agreement: (pairs, ns, posts); share: (rankers, ns); share_resamples: (rankers, ns, resamples);
    worth: by yardstick and kind of ranker, (ns, posts), a mean over the rankers of the kind;
    best_possible: by yardstick (ns, posts), the highest worth among the first n samples.
    Rankers here are the single reward models, in the order of `results.models`.
    """

    results: ScaleResults
    has_judge: np.ndarray
    judged: np.ndarray
    policy_judged: np.ndarray
    agreement: np.ndarray
    share: np.ndarray
    share_resamples: np.ndarray
    worth: dict[str, dict[Kind, np.ndarray]]
    best_possible: dict[str, np.ndarray]


def summarise(results: ScaleResults, yardsticks: dict[str, np.ndarray]) -> Summary:
    """Every statistic of section 2.2 and section 3 at one scale."""
    relation = relations(results.models)
    policy = results.rewards.mean(axis=-1, dtype=np.float64)[:, None]
    weights = bootstrap_weights(results.rewards.shape[1])
    singles = [results.choices[f"single-{model.name}"] for model in results.models]
    picked = [pick(results.rewards, choices).astype(np.float64) for choices in singles]
    texts = np.stack([pick(results.texts, choices) for choices in singles])
    last = np.asarray(results.ns) - 1
    return Summary(
        results=results,
        has_judge=relation.any(axis=2),
        judged=np.stack([judged(*each) for each in zip(picked, relation, strict=True)]),
        policy_judged=np.stack([judged(policy, judges) for judges in relation]),
        agreement=agreement(texts, relation),
        share=np.stack([anova_share(rewards) for rewards in picked]),
        share_resamples=np.stack([anova_share(rewards, weights) for rewards in picked]),
        worth={name: _worth(results, yardstick) for name, yardstick in yardsticks.items()},
        best_possible={
            name: np.maximum.accumulate(yardstick, axis=1)[:, last].T
            for name, yardstick in yardsticks.items()
        },
    )


def _worth(results: ScaleResults, yardstick: np.ndarray) -> dict[Kind, np.ndarray]:
    values: dict[Kind, list[np.ndarray]] = {}
    for ranker in results.rankers:
        kind = (ranker.ensemble, ranker.aggregator or "single")
        values.setdefault(kind, []).append(pick(yardstick, results.choices[ranker.name]))
    return {kind: np.mean(group, axis=0, dtype=np.float64) for kind, group in values.items()}
