"""What the sample browser shows: the texts that rankers pick, and what each reward model says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import pandas as pd

from underspec.analysis.newer_rankers import Newer, chances
from underspec.analysis.results import Results, ScaleResults
from underspec.analysis.statistics import pick
from underspec.grid import Ranker, RewardModel
from underspec.report.look import label
from underspec.report.pages import LARGEST_PAGE, packed
from underspec.report.policy_texts import PolicyTexts

SHOWN_N = (1, 4, 16, 64)
MOST_POSTS = 300
ROOM = LARGEST_PAGE - 50_000  # for the data; the template takes half of what is left
SHOWN_CHANCE = 5  # per cent: texts that rankers beside the paper's take less often are not listed


def browsable(
    results: Results,
    samples: np.ndarray,
    posts: pd.DataFrame,
    newer: Newer,
    aligned: Sequence[Sequence[PolicyTexts]] = (),
    most: int = MOST_POSTS,
) -> dict:
    """Posts, their candidates and every reward of these, as JSON can hold them.

    samples: the texts (posts, samples); posts: post_id, post and reference in the same order;
    aligned: what aligned policies of each scale write, if there are any, all with the same KL
    coefficients. A candidate is a text
    that some ranker of the grid picks at one of the n shown, that newer rankers or cheaper
    ensembles of some kind take with at least SHOWN_CHANCE, or the policy's own sample (the first
    one). A post's texts are its candidates, then other texts of aligned policies. Rewards are those
    above the mean of the post's samples, for reward models, evaluator and gold rater alike.
    Of more than `most` posts, half are those on which reward models part most at the largest n, on
    the average over scales, and half are drawn at random.
    """
    ns = shown(results.scales[0].ns)
    apart = np.stack([_apart(scale, ns) for scale in results.scales])
    kept = selection(apart[:, -1].mean(axis=0), most)
    judges = {
        name: above_mean(results.metrics[metric])
        for name, metric in (("evaluator", "reward"), ("gold", "gold"))
        if metric in results.metrics
    }
    rewards = [above_mean(scale.rewards) for scale in results.scales]
    first = first_of_text(results.scales[0].texts)
    picks = [_picks(scale, ns, first) for scale in results.scales]
    by_sample = [chances(scale, newer, ns, kept) for scale in results.scales]
    cheaper = [scale.cheaper for scale in results.scales if scale.cheaper]
    for of_scale, ensembles in zip(by_sample, cheaper, strict=bool(cheaper)):
        of_scale |= _best_of_n(ensembles, newer, ns, kept)
    of_grid, of_cheaper = (_kinds(scales[:1]) for scales in (results.scales, cheaper))
    names, kinds = [*newer.parameters, *of_cheaper], of_grid + of_cheaper
    taken = [_taken(each, names, kinds, len(ns), first[kept]) for each in by_sample]
    aligned = aligned or [[] for _ in results.scales]
    return {
        "ns": ns,
        "newer": [label(name) for name in names],
        "kinds": kinds,
        "shown_chance": SHOWN_CHANCE,
        "posts_in_all": len(posts),
        "kl_coefficients": next((each.kl_coefficients for each in chain(*aligned)), []),
        "scales": [_about(*each) for each in zip(results.scales, aligned, strict=True)],
        "judges": list(judges),
        "posts": [
            _post(
                posts.iloc[post],
                samples[post],
                [each[..., post] for each in picks],
                [each[..., i, :] for each in taken],
                [each[:, post] for each in rewards],
                [each[post] for each in judges.values()],
                apart[..., post],
                [
                    [(each.texts[:, post], each.values[:, post]) for each in of_scale]
                    for of_scale in aligned
                ],
            )
            for i, post in enumerate(kept)
        ],
    }


def as_many_as_fit(make: Callable[..., dict], room: int = ROOM) -> dict:
    """`make()`, or `make(most=...)` with fewer posts if it is longer than `room` when packed."""
    data = make()
    while (size := len(packed(data))) > room and (posts := len(data["posts"])) > 1:
        data = make(most=max(1, min(posts - 1, posts * room // size)))
    return data


def shown(ns: list[int]) -> list[int]:
    """The n that the browser shows: those of SHOWN_N that there are, and the largest."""
    return sorted({n for n in ns if n in SHOWN_N} | {max(ns)})


def disagreement(texts: np.ndarray) -> np.ndarray:
    """The share of pairs of reward models that pick different texts: 1 - mean agreement.

    texts: (models, ns, posts) int; returns (ns, posts), 0 if there is one reward model only.
    """
    models = len(texts)
    if models < 2:
        return np.zeros(texts.shape[1:])
    different = sum((texts != text).sum(axis=0) for text in texts)
    return different / (models * (models - 1))


def selection(apart: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """Which posts to show, in their order: all, or of more than `most` half with the highest
    value of `apart` (posts,) and the rest drawn from the others."""
    if len(apart) <= most:
        return np.arange(len(apart))
    order = np.argsort(-apart, kind="stable")
    half = most // 2
    others = np.random.default_rng(seed).choice(order[half:], most - half, replace=False)
    return np.sort(np.concatenate([order[:half], others]))


def above_mean(rewards: np.ndarray) -> np.ndarray:
    """Rewards less their mean over the samples of the post, the last axis."""
    return rewards - rewards.mean(axis=-1, keepdims=True, dtype=np.float64)


def first_of_text(texts: np.ndarray) -> np.ndarray:
    """(posts, samples) the first sample of the post with the same text: duplicates are one."""
    return (texts[:, :, None] == texts[:, None]).argmax(axis=-1)


def _apart(scale: ScaleResults, ns: list[int]) -> np.ndarray:
    rows = [scale.ns.index(n) for n in ns]
    singles = [scale.choices[f"single-{model.name}"][rows] for model in scale.models]
    return disagreement(np.stack([pick(scale.texts, choices) for choices in singles]))


def _picks(scale: ScaleResults, ns: list[int], first: np.ndarray) -> np.ndarray:
    """(ns, rankers, posts) the first sample with the text that each ranker picks."""
    rows = [scale.ns.index(n) for n in ns]
    choices = [scale.choices[ranker.name][rows] for ranker in scale.rankers]
    return np.stack([pick(first, each) for each in choices], axis=1)


def _best_of_n(
    cheaper: ScaleResults, newer: Newer, ns: list[int], posts: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """What share of the cheaper ensembles of each kind pick each sample, as `chances` has it."""
    found = chances(cheaper, replace(newer, parameters={"best_of_n": {}}), ns, posts)
    return {(kind, kind): share for (_, kind), share in found.items()}


def _taken(
    by_sample: Mapping[tuple[str, str], np.ndarray],
    names: list[str],
    kinds: list[str],
    ns: int,
    first: np.ndarray,
) -> np.ndarray:
    """(ns, names, kinds, posts, samples) in how many per cent of cases each text is taken, at its
    first sample; NaN where a name is not for that kind.

    by_sample: by name and kind, as `chances` has it; first: (posts, samples).
    """
    found = np.full((len(names), len(kinds), ns, *first.shape), np.nan)
    rows = np.arange(len(first))[:, None]
    for (name, kind), each in by_sample.items():
        texts = np.zeros_like(each)
        for of_text, of_sample in zip(texts, each, strict=True):
            np.add.at(of_text, (rows, first), of_sample)
        found[names.index(name), kinds.index(kind)] = 100 * texts
    return np.moveaxis(found, 2, 0)


def _kinds(scales: Sequence[ScaleResults]) -> list[str]:
    return list(dict.fromkeys(ranker.ensemble for scale in scales for ranker in scale.rankers))


def _own_names(reported: Mapping) -> list[str] | None:
    """What a reward model from elsewhere is called: its group, its member and itself."""
    if "from_elsewhere" not in reported:
        return None
    return [reported[key] for key in ("group", "member", "name")]


def _about(scale: ScaleResults, aligned: Sequence[PolicyTexts]) -> dict:
    """`rankers` are those whose picks are listed, then cheaper ensembles to which policies are
    aligned, with all reward models of their pretraining seed in place of their members."""
    seeds = [(model.pretrain_seed, model.finetune_seed) for model in scale.models]
    to_cheaper = [each.ranker for each in aligned if each.ranker not in scale.rankers]
    every = [*scale.rankers, *to_cheaper]
    rankers = [
        {
            "ensemble": ranker.ensemble,
            "aggregator": ranker.aggregator,
            "members": _members(ranker, scale.models),
        }
        for ranker in every
    ]
    own = [_own_names(reported) for reported in scale.training]
    about = {"name": scale.scale, "parameters": scale.parameters, "models": seeds, "own": own}
    return about | {
        "rankers": rankers,
        "aligned": [every.index(each.ranker) for each in aligned],
    }


def _members(ranker: Ranker, models: list[RewardModel]) -> list[int]:
    of_grid = [models.index(member) for member in ranker.members if member in models]
    seed = ranker.members[0].pretrain_seed
    return of_grid or [i for i, model in enumerate(models) if model.pretrain_seed == seed]


def _post(
    post: pd.Series,
    texts: np.ndarray,
    picks: list[np.ndarray],
    taken: list[np.ndarray],
    rewards: list[np.ndarray],
    judges: list[np.ndarray],
    apart: np.ndarray,
    aligned: list[list[tuple[np.ndarray, np.ndarray]]],
) -> dict:
    """One post; `picks`, `taken`, `rewards`, `apart` and `aligned` (texts and values of each point,
    by ranker) by scale. The policy's sample is candidate 0."""
    often = [each >= SHOWN_CHANCE for each in taken]
    likely = [np.nonzero(each)[-1] for each in often]
    candidates = np.unique(np.concatenate([[0], *(each.ravel() for each in picks), *likely]))
    codes = {text: code for code, text in enumerate(texts[candidates].tolist())}
    points = [[_points(*each, codes) for each in of_scale] for of_scale in aligned]
    return {
        "id": post["post_id"],
        "post": post["post"],
        "reference": post["reference"],
        "texts": list(codes),
        "samples": candidates.tolist(),
        "picks": [np.searchsorted(candidates, each).tolist() for each in picks],
        "taken": [_listed(each, candidates) for each in taken],
        "rewards": [_rounded(each[:, candidates].T) for each in rewards],
        "judges": [_rounded(each[candidates]) for each in judges],
        "apart": _rounded(apart),
        "aligned": points,
    }


def _points(texts: np.ndarray, values: np.ndarray, codes: dict[str, int]) -> list[list]:
    """Which text, and the values, of every point of a path; a text that is not in `codes` is
    added."""
    found = [codes.setdefault(text, len(codes)) for text in texts.tolist()]
    return [[text, *point] for text, point in zip(found, _rounded(values), strict=True)]


def _listed(taken: np.ndarray, candidates: np.ndarray) -> list:
    """By n and newer ranker, the candidates that some kind takes often, with the percentage of each
    kind, or null. taken: (ns, newer rankers, kinds, samples)."""
    often = (taken >= SHOWN_CHANCE).any(axis=2)
    return [
        [
            [
                [int(np.searchsorted(candidates, sample)), *_percentages(of_kinds[:, sample])]
                for sample in np.flatnonzero(shown)
            ]
            for of_kinds, shown in zip(of_n, shown_at_n, strict=True)
        ]
        for of_n, shown_at_n in zip(taken, often, strict=True)
    ]


def _percentages(values: np.ndarray) -> list[int | None]:
    return [None if np.isnan(value) else round(value) for value in values.tolist()]


def _rounded(values: np.ndarray) -> list:
    """As nested lists, to two digits after the point; no -0.0."""
    return (np.round(values.astype(np.float64), 2) + 0.0).tolist()
