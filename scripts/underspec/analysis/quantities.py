"""What the claims compare, at one scale: each quantity in the data and in every resample.

A quantity has a name, which the ledger of claims uses, and an n (0 where there is none). Its value
is an array (2, resamples): posts drawn with the reward models as they are, and posts and seeds
drawn; the first resample is the data.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from underspec.analysis.bootstrap import Resamples
from underspec.analysis.ensembles import AGGREGATORS, standardise
from underspec.analysis.length_bias import price_of_a_word, sums_of_products
from underspec.analysis.rerank import best_of_n
from underspec.analysis.results import ScaleResults
from underspec.analysis.statistics import JUDGES, PAIRS, pick, relations

Quantity = tuple[str, int]
BOTH = 2  # posts alone, and posts and seeds
POSTS_AT_ONCE = 256  # of an ensemble's rewards: so many stay in the processor's cache


def evidence(
    results: ScaleResults,
    yardsticks: Mapping[str, np.ndarray],
    evaluator_accuracy: float,
    resamples: Resamples,
) -> dict[Quantity, np.ndarray]:
    """Every quantity of one scale, (2, resamples) each; those its grid lacks are absent."""
    found = _accuracy(results, evaluator_accuracy, resamples)
    singles = [results.choices[f"single-{model.name}"] for model in results.models]
    relation = relations(results.models)
    centred = standardise(results.rewards).astype(np.float32)
    for kind, rewards in (("reward", results.rewards), ("gain", centred)):
        picked = [pick(rewards, choices) for choices in singles]
        names = [f"{kind} by {judge}" for judge in JUDGES]
        found |= _by_n(names, _judged(picked, relation, resamples), results.ns)
        if kind == "reward":
            found |= _by_n(["share of variance"], _share(picked, resamples)[None], results.ns)
    texts = np.stack([pick(results.texts, choices) for choices in singles])
    names = [f"agreement, {pair}" for pair in PAIRS]
    found |= _by_n(names, _agreement(texts, relation, resamples), results.ns)
    found |= _worth(results, yardsticks, resamples)
    return {quantity: values for quantity, values in found.items() if np.isfinite(values[0, 0])}


def evaluator_price(
    yardsticks: Mapping[str, np.ndarray], words: np.ndarray, resamples: Resamples
) -> dict[Quantity, np.ndarray]:
    """What the evaluator pays for a word (see `bias`); there is one evaluator, so no seeds vary."""
    products = sums_of_products(yardsticks["reward"], yardsticks["gold"], words)
    drawn = np.tensordot(resamples.posts.astype(np.float64), products, axes=1)
    price, _ = price_of_a_word(drawn)
    return {("price of a word, evaluator", 0): np.stack([price] * BOTH)}


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


def _mean_over_posts(values: np.ndarray, resamples: Resamples) -> np.ndarray:
    """(..., posts) to (..., resamples)."""
    flat = values.reshape(-1, values.shape[-1]).astype(np.float32, copy=False)
    means = flat @ (resamples.posts.T / np.float32(values.shape[-1]))
    return means.reshape(*values.shape[:-1], -1)


def _accuracy(
    results: ScaleResults, evaluator_accuracy: float, resamples: Resamples
) -> dict[Quantity, np.ndarray]:
    accuracy = np.array([metrics["accuracy"] for metrics in results.metrics])
    weights = resamples.weights
    drawn = np.where(weights > 0, accuracy[:, None, None], np.nan)
    highest = np.nanmax(drawn, axis=0)
    return {
        ("parameters", 0): np.full(highest.shape, float(results.parameters)),
        ("posts", 0): np.full(highest.shape, float(resamples.posts.shape[1])),
        ("accuracy", 0): np.tensordot(accuracy, weights, axes=1) / weights.sum(axis=0),
        ("highest accuracy", 0): highest,
        ("accuracy range", 0): highest - np.nanmin(drawn, axis=0),
        ("accuracy of the evaluator", 0): np.full(highest.shape, evaluator_accuracy),
    }


def _judged(picked: list[np.ndarray], relation: np.ndarray, resamples: Resamples) -> np.ndarray:
    """Figure 1: the reward of choices by each kind of judge, (judges, 2, ns, resamples).

    picked: of each ranker the reward of its choices under every reward model (models, ns, posts).
    As in the figure, over the rankers that have every kind of judge the grid has.
    """
    weights = resamples.weights
    exists = relation.any(axis=(0, 2))
    total, rankers = 0.0, 0.0
    for rewards, judges, weight in zip(picked, relation, weights, strict=True):
        means = _mean_over_posts(rewards, resamples)
        number = np.tensordot(judges.astype(np.float32), weights, axes=1)
        counts = weight * (number[exists] > 0).all(axis=0)
        sums = np.stack([_weighted(weights[judge], means[judge]) for judge in judges])
        number = np.where(number > 0, number, 1)[:, :, None]
        total += counts[:, None] * sums / number
        rankers += counts[:, None]
    judged = _ratio(total, np.broadcast_to(rankers, total.shape))
    judged[~exists] = np.nan
    return judged


def _weighted(weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Sum over models: (models, 2, resamples) and (models, ns, resamples) to (2, ns, resamples)."""
    return np.einsum("mdr,mnr->dnr", weights, means)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def _share(picked: list[np.ndarray], resamples: Resamples) -> np.ndarray:
    """Figure 3: the share of variance that per-model offsets explain, (2, ns, resamples)."""
    weights = resamples.weights
    models = weights.sum(axis=0)[:, None]
    total = 0.0
    for rewards, weight in zip(picked, weights, strict=True):
        centred = rewards - rewards.mean(axis=(0, 2), keepdims=True)
        means = _mean_over_posts(centred, resamples)
        grand = _weighted(weights, means) / models
        between = _weighted(weights, means**2) - models * grand**2
        squares = _weighted(weights, _mean_over_posts(centred**2, resamples)) - models * grand**2
        share = np.divide(between, squares, out=np.zeros_like(squares), where=squares > 0)
        total += weight[:, None] * share
    return total / models


def _agreement(texts: np.ndarray, relation: np.ndarray, resamples: Resamples) -> np.ndarray:
    """Figure 2: the share of pairs that pick the same text, (pairs, 2, ns, resamples)."""
    weights = resamples.weights
    agreeing = np.zeros((len(PAIRS), BOTH, texts.shape[1], weights.shape[-1]))
    number = np.zeros((len(PAIRS), BOTH, 1, weights.shape[-1]))
    for model in range(len(texts) - 1):
        equal = _mean_over_posts(texts[model + 1 :] == texts[model], resamples)
        pairs = weights[model] * weights[model + 1 :]
        for kind, mask in enumerate(relation[model, 1:, model + 1 :]):
            agreeing[kind] += _weighted(pairs[mask], equal[mask])
            number[kind] += pairs[mask].sum(axis=0)[:, None]
    return _ratio(agreeing, np.broadcast_to(number, agreeing.shape))


def _worth(
    results: ScaleResults, yardsticks: Mapping[str, np.ndarray], resamples: Resamples
) -> dict[Quantity, np.ndarray]:
    """Figure 4 and Table 1 at the largest n: what the choices of each kind of ranker are worth.

    An ensemble is put together anew from the reward models that a resample drew. The gold rater,
    where there is one, is a kind as well: what it would choose.
    """
    if not yardsticks:
        return {}
    n, values = results.ns[-1], np.stack(list(yardsticks.values()))
    weights = resamples.weights
    singles = [results.choices[f"single-{model.name}"][-1:] for model in results.models]
    means = np.stack([_mean_over_posts(pick(values, each)[:, 0], resamples) for each in singles])
    kinds = {"single": _weighted(weights, means).swapaxes(0, 1) / weights.sum(axis=0)}
    if "gold" in yardsticks:
        best = _mean_over_posts(pick(values, best_of_n(yardsticks["gold"], [n]))[:, 0], resamples)
        kinds["gold rater"] = np.stack([best] * BOTH, axis=1)
    centred = standardise(results.rewards)[:, :, :n]
    for ensemble in ("finetune", "pretrain"):
        rankers = [ranker for ranker in results.rankers if ranker.ensemble == ensemble]
        groups = [[results.models.index(m) for m in ms] for ms in {r.members: 0 for r in rankers}]
        aggregators = list({ranker.aggregator: 0 for ranker in rankers})
        if groups:
            worth = _ensembles(ensemble, groups, aggregators, centred, values, resamples)
            kinds |= {
                f"{ensemble} {name}": row for name, row in zip(aggregators, worth, strict=True)
            }
    return {
        (f"{yardstick} of {kind}", n): row
        for kind, worth in kinds.items()
        for yardstick, row in zip(yardsticks, worth, strict=True)
    }


def _ensembles(
    ensemble: str,
    groups: list[list[int]],
    aggregators: list[str],
    centred: np.ndarray,
    values: np.ndarray,
    resamples: Resamples,
) -> np.ndarray:
    """(aggregators, yardsticks, 2, resamples) the mean over the ensembles of a kind that a
    resample has; groups: the reward models of each ensemble."""
    number = len(resamples.posts)
    total = np.zeros((number, BOTH, len(aggregators), len(values)))
    ensembles = np.zeros((number, BOTH))
    for group in groups:
        same = np.arange(number), np.ones((number, len(group)), np.int64)
        for drawn, (rows, counts) in enumerate((same, _redrawn(ensemble, group, resamples))):
            np.add.at(ensembles, (rows, drawn), 1)
            different, which = np.unique(counts, axis=0, return_inverse=True)
            for i, members in enumerate(different):
                mine = rows[which == i]
                choices = _choose(np.repeat(group, members), aggregators, centred)
                worth = pick(values, choices).swapaxes(0, 1)
                means = worth @ resamples.posts[mine].T / worth.shape[-1]
                np.add.at(total, (mine, drawn), means.transpose(2, 0, 1))
    return _ratio(total, np.broadcast_to(ensembles[..., None, None], total.shape)).transpose(
        2, 3, 1, 0
    )


def _redrawn(
    ensemble: str, group: list[int], resamples: Resamples
) -> tuple[np.ndarray, np.ndarray]:
    """The resamples that hold an ensemble, some more than once, and the members it then has.

    A pretrain ensemble has as many of each pretrain as were drawn, with its own finetune seed; a
    finetune ensemble is there once for each time that its pretrain was drawn, with the finetunes
    drawn within. Returns (ensembles,) and (ensembles, members), how often each member is in it.
    """
    if ensemble == "pretrain":
        return np.arange(len(resamples.posts)), resamples.pretrains[:, resamples.pretrain[group]]
    members = resamples.drawn[:, :, group]
    rows, slots = np.nonzero(members.sum(axis=2))
    return rows, members[rows, slots]


def _choose(members: np.ndarray, aggregators: list[str], centred: np.ndarray) -> np.ndarray:
    """(aggregators, posts) the sample that each ensemble of `members` picks among all it sees."""
    chosen = np.empty((len(aggregators), centred.shape[1]), np.int64)
    for start in range(0, centred.shape[1], POSTS_AT_ONCE):
        part = slice(start, start + POSTS_AT_ONCE)
        rewards = centred[members, part]
        for row, aggregator in zip(chosen, aggregators, strict=True):
            row[part] = AGGREGATORS[aggregator](rewards).argmax(axis=-1)
    return chosen
