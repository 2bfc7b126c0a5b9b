"""Tidy tables of RLHF at one scale, one row a point.

`value` is a mean over the paths of a kind of ranker. low and high bound its 95% interval over posts
and seeds, posts_low and posts_high that over posts alone; empty where the data cannot give one.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from underspec.analysis import overoptimisation, shared_error
from underspec.analysis.frontier import SHARES, Kind, at_equal_kl, courses
from underspec.analysis.intervals import (
    NORMAL_95,
    mean_and_error,
    with_intervals,
)
from underspec.analysis.published import kind_name
from underspec.analysis.rank_correlation import OVER
from underspec.analysis.rlhf import MEMBERS, Rlhf
from underspec.analysis.statistics import PAIRS
from underspec.analysis.tables import of_scale, with_error

ALL = "all"  # rankers and seeds of a kind
SFT_POLICY = {"ensemble": "policy", "aggregator": "single", "kl_coefficient": math.nan, "kl": 0.0}
NOT_ALONG = ("raw_reward", "raw_gold")
OF_GRID, CHEAPER = ("single", "finetune", "pretrain"), "cheaper"
BETTER = [("pretrain", "finetune"), ("pretrain", "single"), ("finetune", "single")]
BETTER += [("pretrain", CHEAPER), (CHEAPER, "single")]


def tables(rlhf: Rlhf, metrics: Mapping[str, np.ndarray]) -> dict[str, pd.DataFrame]:
    """metrics: of the SFT policy's samples, (posts, samples) by name."""
    made = {
        "frontier": [*_frontier(rlhf), *_best_of_n(rlhf, metrics)],
        "equal_kl": _equal_kl(rlhf),
        "turning": _turning(rlhf),
        "correlation": _correlation(rlhf),
        "shift": _shift(rlhf),
        "table1": _table1(rlhf),
    }
    if rlhf.errors is not None:
        made["shared_error"] = _shared_error(rlhf, rlhf.errors)
    return {name: of_scale(pd.DataFrame(rows), rlhf.of_scale, []) for name, rows in made.items()}


def _interval(rlhf: Rlhf, values: np.ndarray, *kinds: Kind) -> dict[str, float]:
    """From resamples (DRAWS, resamples) of what compares these kinds."""
    return with_intervals(values, rlhf.frontier.units(*kinds))


def _of_kind(kind: Kind) -> dict[str, str]:
    return dict(zip(("ensemble", "aggregator"), kind, strict=True))


def _points(rlhf: Rlhf) -> Iterator[tuple[dict, int, Kind]]:
    """Every kind and coefficient: the columns that say so, with the mean KL, and the index of the
    coefficient."""
    for kind, paths in rlhf.frontier.kinds.items():
        kl = rlhf.frontier.values["kl"][paths].mean(axis=(0, 2))
        for point, coefficient in enumerate(rlhf.frontier.coefficients):
            columns = {"kl_coefficient": coefficient, "kl": kl[point]}
            yield _of_kind(kind) | columns, point, kind


def _frontier(rlhf: Rlhf) -> Iterator[dict]:
    """Columns ensemble, aggregator, kl_coefficient, kl (nats, exact), ranker and seed (ALL and
    empty: a mean over those of the kind), by (see `aligned_policies.values`) and value."""
    frontier, drawn = rlhf.frontier, rlhf.drawn
    names = [name for name in frontier.values if name not in NOT_ALONG]
    for about, point, kind in _points(rlhf):
        paths = frontier.kinds[kind]
        for name in names:
            values = frontier.values[name][paths, point]
            mean = drawn.over_paths(drawn.over_posts(values), paths)
            every = {"ranker": ALL, "seed": math.nan, "by": name}
            yield about | every | _interval(rlhf, mean, kind)
            for path, value, error in zip(paths, *mean_and_error(values), strict=True):
                own = {"ranker": frontier.rankers[path].name, "seed": frontier.seeds[path]}
                own |= {"by": name, "kl": frontier.values["kl"][path, point].mean()}
                reach = NORMAL_95 * error
                bounds = {"posts_low": value - reach, "posts_high": value + reach}
                yield about | own | {"value": value} | bounds


def _best_of_n(rlhf: Rlhf, metrics: Mapping[str, np.ndarray]) -> Iterator[dict]:
    """The same columns, with the upper bound on the KL: best-of-n by single reward models and by
    the mean of ensembles (see `overoptimisation`), of cheaper ones where policies are aligned to
    such."""
    judged = {name: metrics[name] for name in rlhf.turning}
    curves = overoptimisation.curves(rlhf.of_scale, judged)
    alone = {"single"}
    if rlhf.of_scale.cheaper:
        cheaper = overoptimisation.curves(rlhf.of_scale.cheaper, judged)
        aligned_to = {ensemble for ensemble, _ in rlhf.frontier.kinds}
        curves = pd.concat([curves, cheaper[cheaper["ensemble"].isin(aligned_to)]])
        alone |= {ensemble for ensemble, how in rlhf.of_scale.cheaper.kinds if how == "single"}
    curves = curves.rename(columns={"kl_bound": "kl", "gain": "value"})
    for (ensemble, n), of_n in curves.groupby(["ensemble", "n"], sort=False):
        aggregator = "single" if ensemble in alone else overoptimisation.AGGREGATOR
        about = {"ensemble": ensemble, "aggregator": aggregator, "ranker": f"best of {n}"}
        for row in of_n.itertuples():
            reach = NORMAL_95 * row.standard_error
            bounds = {"posts_low": row.value - reach, "posts_high": row.value + reach}
            yield about | {"by": row.by, "kl": row.kl, "value": row.value} | bounds
        gains = of_n.set_index("by")["value"]
        hacked = gains["proxy"] - gains["reward"]
        yield about | {"by": "hacked", "kl": of_n["kl"].iloc[0], "value": hacked}


def _equal_kl(rlhf: Rlhf) -> Iterator[dict]:
    """Kinds at SHARES of the largest KL that all paths reach. Columns by, share, kl, ensemble,
    aggregator; minus: empty, or the kind whose value was subtracted; value."""
    course = courses(rlhf.frontier, rlhf.drawn, rlhf.compared)
    limit = course.limit[0, 0]
    for name in rlhf.compared:
        found = dict(at_equal_kl(rlhf.frontier, course, rlhf.drawn, name))
        for i, share in enumerate(SHARES):
            at = {"by": name, "share": share, "kl": share * limit}
            for kind, values in found.items():
                yield at | _of_kind(kind) | {"minus": ""} | _interval(rlhf, values[i], kind)
            for first, second in _comparisons(found):
                difference = _interval(rlhf, found[first][i] - found[second][i], first, second)
                yield at | _of_kind(first) | {"minus": kind_name(*second)} | difference


def _comparisons(kinds: Iterable[Kind]) -> Iterator[tuple[Kind, Kind]]:
    """Ensembles with the same aggregator, and with single reward models; cheaper ones with single
    reward models and pretrain ensembles."""
    for first, second in itertools.permutations(kinds, 2):
        pair = tuple(name if name in OF_GRID else CHEAPER for name in (first[0], second[0]))
        if pair in BETTER and second[1] in (first[1], "single"):
            yield first, second


def _turning(rlhf: Rlhf) -> Iterator[dict]:
    """Where each path's reward is highest, and how far it falls from there to the end: a mean over
    the paths of a kind. Columns ensemble, aggregator, by; end: `common` (the largest KL that all
    paths reach) or `own`; kl_of_highest, highest, kl_at_end, at_end, and value, the fall."""
    frontier, drawn = rlhf.frontier, rlhf.drawn
    course = courses(frontier, drawn, rlhf.turning)
    ends = {
        "common": np.broadcast_to(course.limit, course.kl[:, -1].shape),
        "own": course.kl[:, -1],
    }
    for name, (end, limit) in itertools.product(rlhf.turning, ends.items()):
        kl, highest, at_end = course.turning(name, limit)
        for kind, paths in frontier.kinds.items():
            of_data = {
                "kl_of_highest": kl,
                "highest": highest,
                "kl_at_end": limit,
                "at_end": at_end,
            }
            means = {key: each[paths, 0, 0].mean() for key, each in of_data.items()}
            fall = drawn.over_paths((highest - at_end)[paths], paths)
            yield _of_kind(kind) | {"by": name, "end": end} | means | _interval(rlhf, fall, kind)


def _correlation(rlhf: Rlhf) -> Iterator[dict]:
    """Columns ensemble, aggregator, kl_coefficient (empty: the SFT policy), kl, over (OVER), pair,
    members (MEMBERS: whether one of the two is a member of the ranker) and value."""
    for kind, paths in rlhf.frontier.kinds.items():
        mean = rlhf.drawn.over_paths(rlhf.correlations[paths], paths)
        kl = rlhf.frontier.values["kl"][paths].mean(axis=(0, 2))
        for point, (coefficient, at) in enumerate(
            zip([math.nan, *rlhf.frontier.coefficients], [0.0, *kl], strict=True)
        ):
            for i, over in enumerate(OVER):
                for j, pair in enumerate(PAIRS):
                    for k, members in enumerate(MEMBERS):
                        values = mean[point, i, j, k]
                        if np.isfinite(values[0, 0]):
                            yield (
                                _of_kind(kind)
                                | {"kl_coefficient": coefficient, "kl": at, "over": over}
                                | {"pair": pair, "members": members}
                                | _interval(rlhf, values, kind)
                            )


def _shift(rlhf: Rlhf) -> Iterator[dict]:
    """Columns ensemble (`policy`: the SFT policy), aggregator, kl_coefficient, kl, diagnostic (see
    `aligned_policies.looks`) and value."""
    for name, values in rlhf.looks_of_sft_policy.items():
        means = rlhf.drawn.over_posts(values)
        yield SFT_POLICY | {"diagnostic": name} | _interval(rlhf, means)
    for about, point, kind in _points(rlhf):
        paths = rlhf.frontier.kinds[kind]
        for name, values in rlhf.looks.items():
            means = rlhf.drawn.over_posts(values[paths, point])
            mean = rlhf.drawn.over_paths(means, paths)
            yield about | {"diagnostic": name} | _interval(rlhf, mean, kind)


def _shared_error(rlhf: Rlhf, errors: np.ndarray) -> Iterator[dict]:
    """The error of single reward models on texts of policies aligned to them (see `shared_error`),
    a mean over the paths that have every judge that any has. Columns kl_coefficient (empty: the SFT
    policy), kl, measure, part, value and share of the whole."""
    kind = ("single", "single")
    paths = rlhf.frontier.kinds.get(kind, [])
    has = np.isfinite(errors[paths, 0, 0, :, 0])
    paths = [path for path, own in zip(paths, has, strict=True) if own[has.any(axis=0)].all()]
    if not paths:
        return
    kl = rlhf.frontier.values["kl"][paths].mean(axis=(0, 2))
    coefficients = zip([math.nan, *rlhf.frontier.coefficients], [0.0, *kl], strict=True)
    for point, (coefficient, at) in enumerate(coefficients):
        means = rlhf.drawn.over_posts(errors[paths, point])
        every_measure = rlhf.drawn.over_paths(means, paths)
        for measure, by_judge in zip(shared_error.MEASURES, every_measure, strict=True):
            about = {"kl_coefficient": coefficient, "kl": at, "measure": measure}
            of_parts = shared_error.parts(by_judge)
            whole = of_parts[shared_error.WHOLE][0, 0]
            for part, values in of_parts.items():
                if np.isfinite(value := values[0, 0]):
                    share = shared_error.share(value, whole)
                    yield about | {"part": part} | _interval(rlhf, values, kind) | {"share": share}


def _table1(rlhf: Rlhf) -> Iterator[dict]:
    """Like the paper's Table 1, for RLHF: every kind at the coefficient that has the highest reward
    by the evaluator, and at the lowest. Columns ensemble, aggregator, at, kl_coefficient, kl; the
    evaluator's reward, win_rate and gold, with standard errors over posts."""
    frontier = rlhf.frontier
    names = {"reward": "raw_reward", "win_rate": "win_rate", "gold": "raw_gold"}
    for kind, paths in frontier.kinds.items():
        values = {name: frontier.values[name][paths].mean(axis=0) for name in frontier.values}
        highest = int(values["raw_reward"].mean(axis=1).argmax())
        for at, point in (("highest reward", highest), ("lowest coefficient", -1)):
            about = {"at": at, "kl_coefficient": frontier.coefficients[point]}
            row = _of_kind(kind) | about | {"kl": values["kl"][point].mean()}
            for name, key in names.items():
                if key in values:
                    row |= {k: float(v) for k, v in with_error(name, values[key][point]).items()}
            yield row
