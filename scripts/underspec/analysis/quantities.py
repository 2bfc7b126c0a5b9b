"""What the claims compare, at one scale: each quantity in the data and in every resample.

A quantity has a name, which the claims file uses, and an n (0 where there is none). Its value
is an array (DRAWS, resamples): posts drawn with the reward models as they are, posts and seeds
drawn, and seeds drawn with the posts as they are; the first resample is the data. There are fewer
draws of seeds alone: NaN follows.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from underspec.analysis.bootstrap import Resamples
from underspec.analysis.disagreement import agreement, rewards_by_judge, shares_of_variance
from underspec.analysis.ensembles import AGGREGATORS, mean_products, standardise, unit_of_mean
from underspec.analysis.length_bias import length_coefficient
from underspec.analysis.newer_rankers import Newer
from underspec.analysis.published import kind_name
from underspec.analysis.rerank import best_of_n
from underspec.analysis.results import ScaleResults
from underspec.analysis.statistics import JUDGES, PAIRS, over_rankers, pick, value_of_choices
from underspec.analysis.within_posts import sums_of_products
from underspec.grid import Ranker

Quantity = tuple[str, int]
DRAWS = ("posts", "posts and seeds", "seeds")
OF_RLHF = "RLHF "  # how the names of its quantities begin (see `rlhf`)
UNITS_OF_RLHF = OF_RLHF + "units of "  # and a kind of ranker (see `frontier.units`)
OF_JUDGE = "judge "  # the same, of a prompted judge (see `judging.tables`)
UNITS_OF_JUDGE = OF_JUDGE + "units of "  # and two kinds
OF_MC_DROPOUT = " of mc_dropout"  # in the names of its quantities, before the number of members
EXTREMES = ("highest accuracy", "accuracy range")
POSTS_AT_ONCE = 256  # of an ensemble's rewards: so many stay in the processor's cache


def evidence(
    results: ScaleResults,
    metrics: Mapping[str, np.ndarray],
    evaluator_accuracy: float | None,
    weights: Resamples,
    newer: Newer,
) -> dict[Quantity, np.ndarray]:
    """Every quantity of one scale, (DRAWS, resamples) each; those its grid lacks are absent.

    metrics: (posts, samples) by name; evaluator_accuracy: None if unknown; newer: rankers beside
    the paper's.
    """
    found = _evidence(results, metrics, evaluator_accuracy, weights.with_seeds_alone(), newer)
    return {quantity: by_draw(values, weights) for quantity, values in found.items()}


def _evidence(
    results: ScaleResults,
    metrics: Mapping[str, np.ndarray],
    evaluator_accuracy: float | None,
    weights: Resamples,
    newer: Newer,
) -> dict[Quantity, np.ndarray]:
    """Every quantity, (2, resamples), that exists in the data: with the reward models as they are,
    and as drawn."""

    def by_judge(name: str, rewards: np.ndarray) -> dict[Quantity, np.ndarray]:
        values = over_rankers(rewards_by_judge(results, rewards, weights), weights.models)
        return _by_n([f"{name} by {judge}" for judge in JUDGES], values, results.ns)

    centred = standardise(results.rewards)
    share = over_rankers(shares_of_variance(results, weights)[:, None], weights.models)
    pairs = [f"agreement, {pair}" for pair in PAIRS]
    found = _accuracy(results, evaluator_accuracy, weights)
    found |= _agreement_with_people(results, weights)
    found |= by_judge("reward", results.rewards)
    found |= _by_n(["correlation ratio"], np.sqrt(np.maximum(share, 0)), results.ns)
    found |= by_judge("gain", centred.astype(np.float32))
    found |= _by_n(pairs, agreement(results, weights), results.ns)
    found |= _values(results, metrics, centred, weights, newer)
    return {quantity: values for quantity, values in found.items() if np.isfinite(values[0, 0])}


def by_draw(values: np.ndarray, weights: Resamples) -> np.ndarray:
    """Values in `weights.with_seeds_alone()`, with the reward models as they are and as drawn, as
    (DRAWS, resamples)."""
    resamples = len(weights.posts)
    alone = values[1, resamples:]
    alone = np.pad(alone, (0, resamples - len(alone)), constant_values=np.nan)
    return np.stack([*values[:, :resamples], alone])


def evaluator_length_coefficient(
    metrics: Mapping[str, np.ndarray], words: np.ndarray, weights: Resamples
) -> dict[Quantity, np.ndarray]:
    """The evaluator's length coefficient (see `length_bias`); there is one evaluator, so no seeds
    vary."""
    products = sums_of_products(metrics["reward"], metrics["gold"], words)
    posts = weights.with_seeds_alone().posts.astype(np.float64)
    coefficient, _ = length_coefficient(np.tensordot(posts, products, axes=1))
    values = by_draw(np.stack([coefficient] * 2), weights)
    return {("length coefficient of the evaluator", 0): values}


def of_cheaper_ensembles(
    cheaper: ScaleResults,
    of_grid: ScaleResults,
    metrics: Mapping[str, np.ndarray],
    weights: Resamples,
) -> dict[Quantity, np.ndarray]:
    """The value, by each metric, of what cheaper ensembles choose at the largest n, a mean over
    those of a kind."""
    every = weights.with_seeds_alone()
    n, values, found = cheaper.ns[-1], np.stack(list(metrics.values())), {}
    for kind, rankers in cheaper.kinds.items():
        if not (drawn := with_their_seeds(rankers, of_grid, every)):
            continue
        chosen = (
            (pick(values, cheaper.choices[ranker.name][-1:]).astype(np.float32), count)
            for ranker, count in drawn
        )
        by_metric = value_of_choices(chosen, every)[:, :, 0]
        for metric, each in zip(metrics, by_metric, strict=True):
            found[f"{metric} of {kind_name(*kind)}", n] = by_draw(each, weights)
    return found


def with_their_seeds(
    rankers: list[Ranker], of_grid: ScaleResults, weights: Resamples
) -> list[tuple[Ranker, np.ndarray]]:
    """Cheaper ensembles of a kind, and how often each resample holds them (2, resamples): they are
    drawn with their pretraining seed. None unless every pretraining seed has one."""
    seeds = list(dict.fromkeys(model.pretrain_seed for model in of_grid.models))
    by_seed = {ranker.members[0].pretrain_seed: ranker for ranker in rankers}
    if by_seed.keys() != set(seeds):
        return []
    held = ((weights.drawn_seeds == i).sum(axis=1) for i in range(len(seeds)))
    return [(by_seed[seed], _counts(each)) for seed, each in zip(seeds, held, strict=True)]


def shrinks_with_seeds(name: str, grid: str | list) -> bool:
    """Whether the seeds' part of a quantity's variance falls as 1 / number of pretraining seeds.

    Not that of an extreme over all reward models, which itself moves with their number; nor, unless
    the grid is full, of what only the reward models of some checkpoints have: the finetune
    ensemble, and what compares them with others of their own pretraining seed; nor that of aligned
    policies, some of which keep their pretraining seeds (see `frontier.draws`).
    """
    if name.startswith((OF_RLHF, OF_JUDGE)):
        return False
    of_some = " by " in name or "same pretraining seed" in name or " of finetune " in name
    return name not in EXTREMES and (grid == "full" or not of_some)


def to_table(found: dict[Quantity, np.ndarray]) -> pd.DataFrame:
    """Columns quantity, n, drawn (of DRAWS), resample and value; a resample in which a quantity
    does not exist has no row."""
    names, ns = zip(*found, strict=True)
    values = np.stack(list(found.values()))
    quantity, drawn, resample = np.unravel_index(np.arange(values.size), values.shape)
    table = pd.DataFrame(
        {
            # As objects: rows hold the few names themselves, and no copies of them.
            "quantity": np.array(names, dtype=object)[quantity],
            "n": np.array(ns)[quantity],
            "drawn": np.array(DRAWS, dtype=object)[drawn],
            "resample": resample,
            "value": values.ravel(),
        }
    )
    return table.dropna()


def from_table(table: pd.DataFrame) -> dict[Quantity, np.ndarray]:
    """The inverse of `to_table`."""
    shape = (len(DRAWS), table["resample"].max() + 1)
    found = {}
    for (name, n), rows in table.groupby(["quantity", "n"], sort=False):
        found[name, int(n)] = values = np.full(shape, np.nan)
        values[rows["drawn"].map(DRAWS.index), rows["resample"]] = rows["value"]
    return found


def _by_n(names: list[str], values: np.ndarray, ns: list[int]) -> dict[Quantity, np.ndarray]:
    """values: (names, 2, ns, resamples)."""
    return {
        (name, n): row[:, i]
        for name, row in zip(names, values, strict=True)
        for i, n in enumerate(ns)
    }


def _accuracy(
    results: ScaleResults, evaluator_accuracy: float | None, weights: Resamples
) -> dict[Quantity, np.ndarray]:
    accuracy = np.array([training["accuracy"] for training in results.training], float)
    models = weights.models
    shape = models.shape[1:]
    found = {
        ("parameters", 0): np.full(shape, float(results.parameters)),
        ("posts", 0): np.full(shape, float(weights.posts.shape[1])),
    }
    if not np.isnan(accuracy).any():
        drawn = np.where(models > 0, accuracy[:, None, None], np.nan)
        highest = np.nanmax(drawn, axis=0)
        found |= {
            ("accuracy", 0): np.tensordot(accuracy, models, axes=1) / models.sum(axis=0),
            ("highest accuracy", 0): highest,
            ("accuracy range", 0): highest - np.nanmin(drawn, axis=0),
        }
    if evaluator_accuracy is not None:
        found["accuracy of the evaluator", 0] = np.full(shape, evaluator_accuracy)
    return found


def _agreement_with_people(results: ScaleResults, weights: Resamples) -> dict[Quantity, np.ndarray]:
    """Of rewards from ratings: the correlation with people, as a share of that of people with
    people, and how far it spreads over reward models: the standard deviation. Means over the
    domains that were learned from, and over the others, without those in which people do not agree
    at all, where there is no share. The held-out texts are as they are.
    """
    if not all("domains" in training for training in results.training):
        return {}
    found, models = {}, weights.models
    for name, learned in (("where learned", True), ("elsewhere", False)):
        shares = np.array(
            [
                [
                    each["correlation"] / each["people"]
                    for each in training["domains"].values()
                    if each["learned"] == learned and each["people"] > 0
                ]
                for training in results.training
            ]
        )
        if not shares.size:
            continue
        weighted = np.tensordot(shares.T, models / models.sum(axis=0), axes=1)
        squares = np.tensordot(shares.T**2, models / models.sum(axis=0), axes=1)
        spread = np.sqrt(np.maximum(squares - weighted**2, 0))
        found["agreement with people " + name, 0] = weighted.mean(axis=0)
        found["spread of agreement " + name, 0] = spread.mean(axis=0)
    return found


def _values(
    results: ScaleResults,
    metrics: Mapping[str, np.ndarray],
    centred: np.ndarray,
    weights: Resamples,
    newer: Newer,
) -> dict[Quantity, np.ndarray]:
    """The value, by each metric, of what each kind of ranker chooses at the largest n.

    The gold rater, where there is one, is a kind as well: what it would choose.
    """
    if not metrics:
        return {}
    n, values = results.ns[-1], np.stack(list(metrics.values()))
    products = mean_products(centred)

    def chosen(members: np.ndarray, aggregators: list[str]) -> np.ndarray:
        unit = unit_of_mean(products[np.ix_(members, members)])
        return _chosen(members, aggregators, centred, unit, n, values, newer)

    singles = (
        (chosen(np.array([model]), ["mean"]).astype(np.float32), count)
        for model, count in enumerate(weights.models)
    )
    ways = {"single": [("single", "best_of_n"), *newer.ways(1)]}
    found = {"single": value_of_choices(singles, weights)}
    if "gold" in metrics:
        rater = pick(values, best_of_n(metrics["gold"], [n])).astype(np.float32)
        ways["gold rater"] = [("single", "best_of_n")]
        found["gold rater"] = value_of_choices([(rater, np.ones_like(weights.models[0]))], weights)
    for ensemble in ("finetune", "pretrain"):
        of_kind = [ranker for ranker in results.rankers if ranker.ensemble == ensemble]
        aggregators = list(dict.fromkeys(ranker.aggregator for ranker in of_kind))
        if of_kind:
            drawn = (
                (chosen(members, aggregators), count)
                for members, count in ensembles(results, of_kind, weights)
            )
            ways[ensemble] = [(name, "best_of_n") for name in aggregators] + newer.ways(2)
            found[ensemble] = value_of_choices(drawn, weights)
    return {
        (f"{metric} of {kind_name(ensemble, *way)}", n): by_way[:, i]
        for ensemble, by_metric in found.items()
        for metric, by_way in zip(metrics, by_metric, strict=True)
        for i, way in enumerate(ways[ensemble])
    }


def ensembles(
    results: ScaleResults, rankers: list[Ranker], weights: Resamples
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every ensemble of the reward models that some resample drew, reassembled from these.

    Yields its members (indices), and how often each resample holds it (2, resamples): with the
    reward models as they are, and as drawn.
    """
    rows, members = _redrawn(results, rankers, weights)
    different, which = np.unique(np.sort(members), axis=0, return_inverse=True)
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which))
    for members, held_in in zip(different, np.split(rows[order], ends[:-1]), strict=True):
        yield members, _counts(np.bincount(held_in, minlength=len(weights.posts)))


def _counts(held: np.ndarray) -> np.ndarray:
    """How often each resample holds a ranker, (2, resamples): with the reward models as they are,
    and as drawn, which is `held`. The first resample is the data."""
    return np.stack([np.full_like(held, held[0]), held])


def _redrawn(
    results: ScaleResults, rankers: list[Ranker], weights: Resamples
) -> tuple[np.ndarray, np.ndarray]:
    """The ensembles of one kind in every resample: (ensembles,) which resample, and (ensembles,
    size) the reward models of each.

    The sequence of seeds that a resample drew is cut into ensembles as that of the data is (see
    `grid.rankers`): for each finetuning seed that has pretrain ensembles, the drawn pretraining
    seeds; for each of these that has finetune ensembles, the reward models drawn within.
    """
    first = rankers[0]
    size = len(first.members)
    if first.ensemble == "pretrain":
        seeds = list(dict.fromkeys(ranker.members[0].finetune_seed for ranker in rankers))
        of_seed = np.full((len(seeds), weights.seed_of_model.max() + 1), -1)
        for i, (model, seed) in enumerate(zip(results.models, weights.seed_of_model, strict=True)):
            if model.finetune_seed in seeds:
                of_seed[seeds.index(model.finetune_seed), seed] = i
        sequences = of_seed[:, weights.drawn_seeds].swapaxes(0, 1)
    else:
        sequences = weights.drawn
    last = np.argsort(sequences < 0, axis=2, kind="stable")  # what a seed does not have
    sequences = np.take_along_axis(sequences, last, axis=2)
    groups = sequences.shape[2] // size
    ensembles = sequences[..., : groups * size].reshape(*sequences.shape[:2], groups, size)
    whole = (ensembles >= 0).all(axis=3)
    return np.nonzero(whole)[0], ensembles[whole]


def _chosen(
    members: np.ndarray,
    aggregators: list[str],
    centred: np.ndarray,
    unit: float,
    n: int,
    values: np.ndarray,
    newer: Newer,
) -> np.ndarray:
    """What the ensemble of `members` chooses: values (metrics, ways, posts), with each of the
    aggregators by best-of-n, then as the newer rankers do.

    centred: (models, posts, samples), standardised rewards; unit: of the members' mean; values:
    (metrics, posts, samples).
    """
    found = []
    for start in range(0, values.shape[1], POSTS_AT_ONCE):
        part = slice(start, start + POSTS_AT_ONCE)
        rewards, of_part = centred[members, part], values[:, part]
        first = rewards[:, :, :n]
        choices = [AGGREGATORS[name](first).argmax(axis=-1) for name in aggregators]
        by_newer = newer.part(part).values(rewards / unit, n, of_part)
        found.append(np.concatenate([pick(of_part, np.stack(choices)), by_newer], axis=1))
    return np.concatenate(found, axis=-1)
