"""What the claims compare, at one scale: each quantity in the data and in every resample.

A quantity has a name, which the claims file uses, and an n (0 where there is none). Its value
is an array (2, resamples): posts drawn with the reward models as they are, and posts and seeds
drawn; the first resample is the data.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from underspec.analysis.bootstrap import Resamples
from underspec.analysis.disagreement import agreement, rewards_by_judge, shares_of_variance
from underspec.analysis.ensembles import AGGREGATORS, standardise
from underspec.analysis.length_bias import length_coefficient, sums_of_products
from underspec.analysis.rerank import best_of_n
from underspec.analysis.results import ScaleResults
from underspec.analysis.statistics import JUDGES, PAIRS, over_rankers, value_of_choices
from underspec.grid import Ranker

Quantity = tuple[str, int]
BOTH = 2  # posts alone, and posts and seeds
EXTREMES = ("highest accuracy", "accuracy range")
POSTS_AT_ONCE = 256  # of an ensemble's rewards: so many stay in the processor's cache


def evidence(
    results: ScaleResults,
    metrics: Mapping[str, np.ndarray],
    evaluator_accuracy: float,
    weights: Resamples,
) -> dict[Quantity, np.ndarray]:
    """Every quantity of one scale, (2, resamples) each; those its grid lacks are absent.

    metrics: (posts, samples) by name.
    """

    def by_judge(name: str, rewards: np.ndarray) -> dict[Quantity, np.ndarray]:
        values = over_rankers(rewards_by_judge(results, rewards, weights), weights.models)
        return _by_n([f"{name} by {judge}" for judge in JUDGES], values, results.ns)

    centred = standardise(results.rewards)
    share = over_rankers(shares_of_variance(results, weights)[:, None], weights.models)
    pairs = [f"agreement, {pair}" for pair in PAIRS]
    found = _accuracy(results, evaluator_accuracy, weights)
    found |= by_judge("reward", results.rewards)
    found |= _by_n(["correlation ratio"], np.sqrt(np.maximum(share, 0)), results.ns)
    found |= by_judge("gain", centred.astype(np.float32))
    found |= _by_n(pairs, agreement(results, weights), results.ns)
    found |= _values(results, metrics, centred, weights)
    return {quantity: values for quantity, values in found.items() if np.isfinite(values[0, 0])}


def evaluator_length_coefficient(
    metrics: Mapping[str, np.ndarray], words: np.ndarray, weights: Resamples
) -> dict[Quantity, np.ndarray]:
    """The evaluator's length coefficient (see `length_bias`); there is one evaluator, so no seeds
    vary."""
    products = sums_of_products(metrics["reward"], metrics["gold"], words)
    drawn = np.tensordot(weights.posts.astype(np.float64), products, axes=1)
    coefficient, _ = length_coefficient(drawn)
    return {("price of a word, evaluator", 0): np.stack([coefficient] * BOTH)}


def shrinks_with_seeds(name: str, grid: str) -> bool:
    """Whether the seeds' part of a quantity's variance falls as 1 / number of pretraining seeds.

    Not that of an extreme over all reward models, which itself moves with their number; nor, on the
    workshop grid, of what only the reward models of one checkpoint have: the finetune ensemble,
    and what compares them with others of their own pretraining seed.
    """
    of_one_checkpoint = " by " in name or "same pretrain" in name or " of finetune " in name
    return name not in EXTREMES and not (grid == "workshop" and of_one_checkpoint)


def to_table(found: dict[Quantity, np.ndarray]) -> pd.DataFrame:
    """Columns quantity, n, seeds (whether seeds were drawn too), resample and value; a resample in
    which a quantity does not exist has no row."""
    names, ns = zip(*found, strict=True)
    values = np.stack(list(found.values()))
    quantity, seeds, resample = np.unravel_index(np.arange(values.size), values.shape)
    table = pd.DataFrame(
        {
            "quantity": np.array(names)[quantity],
            "n": np.array(ns)[quantity],
            "seeds": seeds == 1,
            "resample": resample,
            "value": values.ravel(),
        }
    )
    return table.dropna()


def from_table(table: pd.DataFrame) -> dict[Quantity, np.ndarray]:
    """The inverse of `to_table`."""
    shape = (BOTH, table["resample"].max() + 1)
    found = {}
    for (name, n), rows in table.groupby(["quantity", "n"], sort=False):
        found[name, int(n)] = values = np.full(shape, np.nan)
        values[rows["seeds"].astype(int), rows["resample"]] = rows["value"]
    return found


def _by_n(names: list[str], values: np.ndarray, ns: list[int]) -> dict[Quantity, np.ndarray]:
    """values: (names, 2, ns, resamples)."""
    return {
        (name, n): row[:, i]
        for name, row in zip(names, values, strict=True)
        for i, n in enumerate(ns)
    }


def _accuracy(
    results: ScaleResults, evaluator_accuracy: float, weights: Resamples
) -> dict[Quantity, np.ndarray]:
    accuracy = np.array([training["accuracy"] for training in results.training])
    models = weights.models
    drawn = np.where(models > 0, accuracy[:, None, None], np.nan)
    highest = np.nanmax(drawn, axis=0)
    return {
        ("parameters", 0): np.full(highest.shape, float(results.parameters)),
        ("posts", 0): np.full(highest.shape, float(weights.posts.shape[1])),
        ("accuracy", 0): np.tensordot(accuracy, models, axes=1) / models.sum(axis=0),
        ("highest accuracy", 0): highest,
        ("accuracy range", 0): highest - np.nanmin(drawn, axis=0),
        ("accuracy of the evaluator", 0): np.full(highest.shape, evaluator_accuracy),
    }


def _values(
    results: ScaleResults,
    metrics: Mapping[str, np.ndarray],
    centred: np.ndarray,
    weights: Resamples,
) -> dict[Quantity, np.ndarray]:
    """The value, by each metric, of what each kind of ranker chooses at the largest n.

    The gold rater, where there is one, is a kind as well: what it would choose.
    """
    if not metrics:
        return {}
    n, values = results.ns[-1], np.stack(list(metrics.values()))
    single_precision = values.astype(np.float32)  # as all that every resample holds
    singles = zip((choices[-1:] for choices in results.singles), weights.models, strict=True)
    kinds = {"single": value_of_choices(single_precision, singles, weights)[:, :, 0]}
    if "gold" in metrics:
        rater = best_of_n(metrics["gold"], [n]), np.ones_like(weights.models[0])
        kinds["gold rater"] = value_of_choices(single_precision, [rater], weights)[:, :, 0]
    for ensemble in ("finetune", "pretrain"):
        of_kind = [ranker for ranker in results.rankers if ranker.ensemble == ensemble]
        aggregators = list(dict.fromkeys(ranker.aggregator for ranker in of_kind))
        if of_kind:
            drawn = _ensembles(results, of_kind, aggregators, centred[:, :, :n], weights)
            found = value_of_choices(values, drawn, weights)
            kinds |= {f"{ensemble} {name}": found[:, :, i] for i, name in enumerate(aggregators)}
    return {
        (f"{metric} of {kind}", n): row
        for kind, found in kinds.items()
        for metric, row in zip(metrics, found, strict=True)
    }


def _ensembles(
    results: ScaleResults,
    rankers: list[Ranker],
    aggregators: list[str],
    centred: np.ndarray,
    weights: Resamples,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every ensemble of the reward models that some resample drew, reassembled from these.

    centred: (models, posts, samples), the standardised rewards of the samples they choose among.
    Yields what each chooses (aggregators, posts), and how often each resample holds it (2,
    resamples): with the reward models as they are, and as drawn.
    """
    rows, members = _redrawn(results, rankers, weights)
    different, which = np.unique(np.sort(members), axis=0, return_inverse=True)
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which))
    for members, held_in in zip(different, np.split(rows[order], ends[:-1]), strict=True):
        held = np.bincount(held_in, minlength=len(weights.posts))
        as_it_is = np.full_like(held, held[0])  # the first resample is the data
        yield _choose(members, aggregators, centred), np.stack([as_it_is, held])


def _redrawn(
    results: ScaleResults, rankers: list[Ranker], weights: Resamples
) -> tuple[np.ndarray, np.ndarray]:
    """The ensembles of one kind in every resample: (ensembles,) which resample, and (ensembles,
    size) the reward models of each.

    The sequence of seeds that a resample drew is cut into ensembles as that of the data is (see
    `grid.rankers`): for each finetuning seed that has pretrain ensembles, the drawn pretrains; for
    each drawn pretrain that has finetune ensembles, the finetunes drawn within.
    """
    first = rankers[0]
    size = len(first.members)
    if first.ensemble == "pretrain":
        seeds = dict.fromkeys(ranker.members[0].finetune_seed for ranker in rankers)
        of_seed = [
            [i for i, model in enumerate(results.models) if model.finetune_seed == seed]
            for seed in seeds
        ]
        sequences = np.array(of_seed)[:, weights.pretrains].swapaxes(0, 1)
    else:
        sequences = weights.drawn
    rows, slots = np.nonzero((sequences >= 0).all(axis=2))
    groups = sequences.shape[2] // size
    members = sequences[rows, slots, : groups * size].reshape(-1, size)
    return np.repeat(rows, groups), members


def _choose(members: np.ndarray, aggregators: list[str], centred: np.ndarray) -> np.ndarray:
    """(aggregators, posts) the sample that each ensemble of `members` picks among all it sees."""
    chosen = np.empty((len(aggregators), centred.shape[1]), np.int64)
    for start in range(0, centred.shape[1], POSTS_AT_ONCE):
        part = slice(start, start + POSTS_AT_ONCE)
        rewards = centred[members, part]
        for row, aggregator in zip(chosen, aggregators, strict=True):
            row[part] = AGGREGATORS[aggregator](rewards).argmax(axis=-1)
    return chosen
