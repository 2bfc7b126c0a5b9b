"""Which texts a judge compares: those that kinds of rankers choose, and those of aligned policies.

A *contest* is of two kinds at one scale: single reward models, an ensemble, aligned policies, or
the SFT policy, for which its first sample of a post stands. The rankers of a kind differ in seeds;
a contest has a pair of them for each, and every pair a comparison for each post.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from underspec.analysis.aligned_policies import Judged
from underspec.analysis.published import kind_name
from underspec.analysis.results import ScaleResults
from underspec.analysis.tables import of_scale
from underspec.grid import Alignment, Ranker, first_of_kinds

POLICY = "policy"  # the SFT policy, in the place of a kind
RLHF = "RLHF "  # and a kind: policies aligned to one
AGAINST = [("pretrain", "finetune"), ("pretrain", "single")]
FIRST = 0  # the sample that stands for a policy


def kind_of(ranker: Ranker) -> str:
    return kind_name(ranker.ensemble, ranker.aggregator or "single")


def judged_rankers(rankers: list[Ranker], most: int) -> dict[str, list[Ranker]]:
    """At most so many rankers of each kind, by the kind's name.

    Of single reward models the first of each pretraining seed; of ensembles those with the mean, or
    with the first aggregator where there is no mean.
    """
    aggregators = [ranker.aggregator for ranker in rankers]
    only = "mean" if "mean" in aggregators else next(filter(None, aggregators), None)
    kinds: dict[str, list[Ranker]] = {}
    seeds = set()
    for ranker in rankers:
        seed = ranker.members[0].pretrain_seed if ranker.aggregator is None else None
        if ranker.aggregator == only or (seed is not None and seed not in seeds):
            seeds.add(seed)
            kinds.setdefault(kind_of(ranker), []).append(ranker)
    return {kind: of_kind[:most] for kind, of_kind in kinds.items()}


def contests(
    kinds: Mapping[str, list[Ranker]],
) -> Iterator[tuple[str, str, list[tuple[Ranker, Ranker | None]]]]:
    """The contests of rankers at a scale: two kinds and their pairs; None is the SFT policy."""
    for kind, rankers in kinds.items():
        yield kind, POLICY, [(ranker, None) for ranker in rankers]
    by_ensemble = {rankers[0].ensemble: kind for kind, rankers in kinds.items()}
    for better, worse in AGAINST:
        if better in by_ensemble and worse in by_ensemble:
            better, worse = by_ensemble[better], by_ensemble[worse]
            yield better, worse, list(paired(kinds[better], kinds[worse]))


def paired(first: list[Ranker], second: list[Ranker]) -> Iterator[tuple[Ranker, Ranker]]:
    """Each ranker of the longer list with one of the other, whose rankers recur if need be."""
    for i in range(max(len(first), len(second))):
        yield first[i % len(first)], second[i % len(second)]


def judged_policies(alignments: list[Alignment], rankers: list[Ranker]) -> list[Alignment]:
    """Of the aligned policies of one scale, those whose kind `judged_rankers` has: of each kind the
    first ranker, with the first seed and every coefficient."""
    kinds = judged_rankers(rankers, 1)
    aligned_to = {each.ranker for each in alignments}
    every = first_of_kinds(ranker for ranker in rankers if ranker.name in aligned_to)
    names = [ranker.name for ranker in every if kind_of(ranker) in kinds]
    seeds = [each.seed for each in alignments[:1]]
    return [each for each in alignments if each.ranker in names and each.seed in seeds]


def comparisons(
    results: ScaleResults,
    sft_policy: Judged,
    aligned: Mapping[Alignment, Judged],
    post_ids: np.ndarray,
    rankers: int,
    posts: int,
) -> pd.DataFrame:
    """The comparisons of one scale (artifacts.COMPARISONS) on the first so many posts, with the
    KL coefficient of aligned policies, and the metrics of both texts, where there are any.

    rankers: how many of each kind, at most; aligned: the policies that are judged.
    """
    by_name = {ranker.name: ranker for ranker in results.rankers}
    first = np.full(len(post_ids), FIRST)
    of_policy = _Side(POLICY, sft_policy, first)

    def chosen(ranker: Ranker | None) -> _Side:
        if ranker is None:
            return of_policy
        return _Side(ranker.name, sft_policy, results.choices[ranker.name][-1])

    def table(
        better: str, worse: str, pair: int, mine: _Side, other: _Side, **about
    ) -> pd.DataFrame:
        names = {"better": better, "worse": worse, "pair": pair}
        names |= {"better_ranker": mine.name, "worse_ranker": other.name, "post_id": post_ids}
        texts = mine.columns("text", "") | other.columns("other", "other_")
        return pd.DataFrame(names | texts | about)[:posts]

    tables = [
        table(better, worse, number, *map(chosen, pair))
        for better, worse, pairs in contests(judged_rankers(results.rankers, rankers))
        for number, pair in enumerate(pairs)
    ]
    for alignment, judged in aligned.items():
        kind = RLHF + kind_of(by_name[alignment.ranker])
        mine, at = _Side(alignment.ranker, judged, first), alignment.kl_coefficient
        tables.append(table(kind, POLICY, 0, mine, of_policy, kl_coefficient=at))
    return of_scale(pd.concat(tables, ignore_index=True), results, [])


@dataclass(frozen=True)
class _Side:
    """A side of a comparison: its ranker or policy, whose texts are judged, and the index of the
    sample of each post, (posts,)."""

    name: str
    policy: Judged
    samples: np.ndarray

    def columns(self, text: str, prefix: str) -> dict[str, np.ndarray]:
        """Texts under the name `text`, and metrics under their own with a prefix, (posts,) each."""
        at = np.arange(len(self.samples)), self.samples
        metrics = {prefix + name: values[at] for name, values in self.policy.metrics.items()}
        return {text: self.policy.texts[at]} | metrics
