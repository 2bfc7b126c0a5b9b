"""Samples of the SFT policy and of aligned policies, judged: read, checked, and a mean per post.

An aligned policy is judged by fresh samples for the posts of best-of-n, the SFT policy by those
that best-of-n chooses among.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from underspec.analysis.ensembles import AGGREGATORS
from underspec.analysis.results import ScaleResults
from underspec.analysis.reward_matrix import Layout, layout
from underspec.analysis.statistics import spread_within_posts
from underspec.analysis.text_features import read_diagnostics
from underspec.artifacts import (
    ALIGNED_SAMPLES,
    OF_BEST_OF_N,
    SAMPLES,
    Schema,
    aligned_scores,
    read_table,
)
from underspec.errors import ArtifactError
from underspec.grid import Alignment, Ranker

KEY = {"post_id": "string", "sample_index": "int32"}
ROUNDING = 1e-3  # nats by which rounding may take a divergence below zero
JUDGES = ("reward", "gold")  # by the evaluator, and by the gold rater where there is one


@dataclass(frozen=True)
class Judged:
    """The samples of one policy, all arrays (posts, samples) but rewards (models, posts, samples).

    texts: the texts themselves; beside: the rewards by members of cheaper ensembles, by name: of an
    aligned policy's own ranker, of the SFT policy all; metrics: some of JUDGES; features: what the
    texts look like and, where the world knows, the parts of gold; kl: nats from the SFT policy,
    whose own are 0.
    """

    texts: np.ndarray
    rewards: np.ndarray
    beside: dict[str, np.ndarray]
    metrics: dict[str, np.ndarray]
    features: dict[str, np.ndarray]
    kl: np.ndarray


@dataclass(frozen=True)
class AlignedTables:
    """The folders with {name}.parquet of every aligned policy, by its name."""

    samples: Path
    scores: Path
    diagnostics: Path


def read_sft_policy(
    path: Path, of_scale: ScaleResults, samples: Layout, metrics: Mapping[str, np.ndarray]
) -> Judged:
    """path: of the diagnostics of its samples; metrics: (posts, samples) by name, those of
    `results.Results`. Raises ArtifactError, naming the file, if the diagnostics are damaged or
    about other samples."""
    measured = read_diagnostics(path, samples)
    measured = {name: each for name, each in measured.items() if name not in OF_BEST_OF_N}
    texts = samples.matrix(read_table(samples.path, SAMPLES)["text"])
    beside = of_scale.cheaper
    return Judged(
        texts=texts,
        rewards=of_scale.rewards,
        beside=dict(zip(_names(beside), beside.rewards, strict=True)) if beside else {},
        metrics={name: metrics[name] for name in JUDGES if name in metrics},
        features=measured | _of_texts(texts),
        kl=np.zeros(texts.shape),
    )


def read_aligned(
    tables: AlignedTables,
    of_scale: ScaleResults,
    alignment: Alignment,
    sft_policy: Judged,
    posts: Layout,
) -> Judged:
    """The samples of an aligned policy of this scale; posts: the layout of the SFT policy's.

    Raises ArtifactError, naming the file, if a table is missing or damaged, lacks a reward model,
    a member of the policy's ranker, the gold reward or a feature that the SFT policy has, is about
    other posts or samples, or has a divergence below zero.
    """
    file = f"{alignment.name}.parquet"

    def read(folder: Path, schema: Schema) -> pd.DataFrame:
        table = read_table(folder / file, schema)
        samples.check(table, folder / file)
        return table

    drawn = read_table(tables.samples / file, ALIGNED_SAMPLES)
    samples = layout(drawn, tables.samples / file)
    if list(samples.post_ids) != list(posts.post_ids):
        raise ArtifactError(
            f"{samples.path}: its posts are not those of {posts.path}; delete the older of the two "
            "files and run Snakemake again"
        )
    if (lowest := drawn["kl"].min()) < -ROUNDING:
        raise ArtifactError(
            f"{samples.path}: has a divergence of {lowest:.3g} nats, and none is below 0; the "
            "log-probabilities of the two policies are not of the same samples"
        )
    names = _names(of_scale)
    members = of_scale.every_ranker[alignment.ranker].members
    beside = [member.name for member in members if member.name not in names]
    scores = read(tables.scores, aligned_scores([*names, *beside]))
    gold = ["gold"] if "gold" in sft_policy.metrics else []
    measured = [name for name in sft_policy.features if name != "empty"]
    wanted = KEY | dict.fromkeys([*measured, *gold], "float32")
    diagnostics = read(tables.diagnostics, Schema(*KEY, **wanted))
    metrics = {"reward": samples.matrix(scores["evaluator"])}
    metrics |= {name: samples.matrix(diagnostics[name]) for name in gold}
    texts = samples.matrix(drawn["text"])
    return Judged(
        texts=texts,
        rewards=np.stack([samples.matrix(scores[name]) for name in names]),
        beside={name: samples.matrix(scores[name]) for name in beside},
        metrics=metrics,
        features={name: samples.matrix(diagnostics[name]) for name in measured} | _of_texts(texts),
        kl=samples.matrix(drawn["kl"]),
    )


def _names(of_scale: ScaleResults) -> list[str]:
    return [model.name for model in of_scale.models]


def _of_texts(texts: np.ndarray) -> dict[str, np.ndarray]:
    """The features that no diagnostics have."""
    empty = np.reshape([not text.strip() for text in texts.flat], texts.shape)
    return {"empty": empty.astype(np.float64)}


def _distinct(texts: np.ndarray) -> np.ndarray:
    """What each sample adds to the number of distinct texts: the mean is their share."""
    code = pd.factorize(texts.ravel())[0]
    return (1 / np.bincount(code))[code].reshape(texts.shape)


def own_reward(
    ranker: Ranker, of_scale: ScaleResults, judged: Judged, sft_policy: Judged
) -> np.ndarray:
    """The ranker's reward of samples (posts, samples): each member less its mean over all of these
    samples of the SFT policy, one constant, then aggregated. RLHF takes the means over other posts
    (`scripts/align.py`), which matters little and to the mean not at all, and may bound the reward.
    """

    def of_members(policy: Judged) -> np.ndarray:
        by_name = dict(zip(_names(of_scale), policy.rewards, strict=True)) | policy.beside
        return np.stack([by_name[member.name] for member in ranker.members])

    constants = of_members(sft_policy).mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    return AGGREGATORS[ranker.aggregator or "mean"](of_members(judged) - constants)


def win_rate(rewards: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How likely each sample (posts, samples) beats a random one of `others` (posts, others) of the
    same post; ties count one half."""
    rewards, others = rewards[:, :, None], others[:, None]
    return ((rewards > others).mean(axis=2) + (rewards >= others).mean(axis=2)) / 2


def values(
    ranker: Ranker, of_scale: ScaleResults, judged: Judged, sft_policy: Judged
) -> dict[str, np.ndarray]:
    """A mean over the samples of each post, (posts,), by name.

    kl; proxy (the ranker's own reward), reward (the evaluator's) and gold: gains over the SFT
    policy's samples of the post, in their standard deviations within a post; hacked: how far proxy
    is above reward; win_rate and gold_win_rate against the SFT policy; raw_reward and raw_gold, in
    their own units.
    """
    own = [own_reward(ranker, of_scale, each, sft_policy) for each in (judged, sft_policy)]
    found = {"kl": judged.kl, "proxy": in_sft_units(*own)}
    for name, judge in (("", "reward"), ("gold_", "gold")):
        if judge in judged.metrics:
            mine, theirs = judged.metrics[judge], sft_policy.metrics[judge]
            found |= {judge: in_sft_units(mine, theirs), f"raw_{judge}": mine}
            found[f"{name}win_rate"] = win_rate(mine, theirs)
    means = {name: each.mean(axis=1, dtype=np.float64) for name, each in found.items()}
    return means | {"hacked": means["proxy"] - means["reward"]}


def in_sft_units(rewards: np.ndarray, of_sft_policy: np.ndarray) -> np.ndarray:
    """Rewards (posts, samples) above the mean of the SFT policy's samples of the post, in standard
    deviations of these within a post."""
    mean = of_sft_policy.mean(axis=1, keepdims=True, dtype=np.float64)
    return (rewards - mean) / (spread_within_posts(of_sft_policy) or 1.0)


def looks(judged: Judged, samples: int) -> dict[str, np.ndarray]:
    """What the texts of each post look like, a mean over samples (posts,), by name: the features
    and the share of distinct texts among all samples of the policy.

    How many texts are distinct depends on their number, so they are counted among `samples` of each
    post: a mean over as many disjoint sets as there are.
    """
    found = {name: each.mean(axis=1, dtype=np.float64) for name, each in judged.features.items()}
    sets = [_distinct(each).mean(axis=1) for each in in_sets(judged.texts, samples)]
    return found | {"distinct": np.mean(sets, axis=0)}


def in_sets(values: np.ndarray, samples: int) -> list[np.ndarray]:
    """Disjoint sets of so many samples, (..., samples) each; those left over at the end are in
    none. If there are fewer, all are one set."""
    sets = max(1, values.shape[-1] // samples)
    return np.split(values[..., : sets * samples], sets, axis=-1)
