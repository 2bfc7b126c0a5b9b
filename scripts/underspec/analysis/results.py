"""What the workflow left under results/<experiment>/, read as the tables need it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from underspec.analysis.bootstrap import Weights, each_post
from underspec.analysis.ensembles import aggregate
from underspec.analysis.rerank import from_table, rerank
from underspec.analysis.reward_matrix import Layout, read_metrics, read_rewards, read_samples
from underspec.analysis.statistics import win_probability
from underspec.artifacts import RERANK, read_table
from underspec.cheaper_ensembles import Multihead, Warm
from underspec.cheaper_ensembles import rankers as cheaper_rankers
from underspec.grid import Ranker, RewardModel, rankers, reward_models


@dataclass(frozen=True)
class ScaleResults:
    """The reward models of one scale, and what every ranker picks.

    parameters: of a reward model; rewards: (models, posts, samples); texts: (posts, samples) int,
    equal where the texts of a post are; choices: sample indices (ns, posts) by ranker name;
    training: what the training of each reward model reported, in the order of `models`.
    """

    scale: str
    parameters: int
    models: list[RewardModel]
    rankers: list[Ranker]
    ns: list[int]
    rewards: np.ndarray
    texts: np.ndarray
    choices: dict[str, np.ndarray]
    training: list[dict]

    @cached_property
    def each_post(self) -> Weights:
        """Each post by itself under the reward models as they are, for errors over posts."""
        return each_post(*self.rewards.shape[:2])

    @cached_property
    def kinds(self) -> dict[tuple[str, str], list[Ranker]]:
        """Rankers by (ensemble, aggregator); a single reward model is ("single", "single")."""
        kinds = {}
        for ranker in self.rankers:
            kinds.setdefault((ranker.ensemble, ranker.aggregator or "single"), []).append(ranker)
        return kinds

    @property
    def singles(self) -> list[np.ndarray]:
        """The choices (ns, posts) of each reward model by itself, in the order of `models`."""
        return [self.choices[f"single-{model.name}"] for model in self.models]

    def rewards_of(self, ranker: Ranker) -> np.ndarray:
        """What a ranker ranks by: its reward (posts, samples), aggregated if it is an ensemble."""
        members = [self.models.index(model) for model in ranker.members]
        return aggregate(self.rewards[members], ranker.aggregator)


@dataclass(frozen=True)
class Results:
    """All scales, and the metrics they share.

    layout: which samples. metrics: of every sample (posts, samples), its `reward` by the
    evaluator, its `win_rate` under the evaluator, and its `gold` score where the world has one.
    evaluator: what its training reported. Both are empty if the design names no evaluator.
    """

    scales: list[ScaleResults]
    layout: Layout
    metrics: dict[str, np.ndarray]
    evaluator: dict


def read_results(results: Path, design: Mapping) -> Results:
    """Read everything the tables need.

    design: the keys scales, grid, pretrain_seeds, finetune_seeds, aggregators, ensemble_size and
    best_of_n of the config; if choices are evaluated, also `evaluator`, its path below
    reward_models/ and scores/, and whether there is a `gold` rater. Raises ArtifactError, naming
    the file, if one is missing, damaged, or about other samples than samples/best_of_n.parquet.
    """
    layout, texts = read_samples(results / "samples" / "best_of_n.parquet")
    scales = [_read_scale(results, scale, design, layout, texts) for scale in design["scales"]]
    if not (path := design.get("evaluator")):
        return Results(scales, layout, {}, {})
    names = [path, "gold"] if design["gold"] else [path]
    paths = [results / "scores" / f"{name}.parquet" for name in names]
    _, (reward, *gold) = read_rewards(paths, layout)
    metrics = {"reward": reward, "win_rate": win_probability(reward)}
    if gold:
        metrics["gold"] = gold[0]
    evaluator = read_metrics(results / "reward_models" / path / "metrics.json")
    return Results(scales, layout, metrics, evaluator)


def read_cheaper(
    results: Path,
    of_grid: ScaleResults,
    layout: Layout,
    ensembles: list[Warm | Multihead],
    aggregators: list[str],
) -> ScaleResults:
    """Cheaper ensembles of one scale, apart from the grid's reward models, which they do not judge.

    Raises ArtifactError as `read_results` does.
    """
    every_ranker = cheaper_rankers(ensembles, aggregators)
    models = list(dict.fromkeys(model for ranker in every_ranker for model in ranker.members))
    scores = results / "scores" / of_grid.scale
    _, rewards = read_rewards([scores / f"{model.name}.parquet" for model in models], layout)
    by_name = dict(zip((model.name for model in models), rewards, strict=True))
    choices = rerank(by_name, every_ranker, of_grid.ns)
    return replace(
        of_grid,
        models=models,
        rankers=every_ranker,
        rewards=rewards,
        choices={name: chosen.sample_index for name, chosen in choices.items()},
        training=[],
    )


def _read_scale(
    results: Path, scale: str, design: Mapping, layout: Layout, texts: np.ndarray
) -> ScaleResults:
    models = reward_models(design["grid"], design["pretrain_seeds"], design["finetune_seeds"])
    every_ranker = rankers(models, design["aggregators"], design["ensemble_size"])
    ns = design["best_of_n"]
    _, rewards = read_rewards(
        [results / "scores" / scale / f"{model.name}.parquet" for model in models], layout
    )
    choices = {}
    for ranker in every_ranker:
        path = results / "rerank" / scale / f"{ranker.name}.parquet"
        table = read_table(path, RERANK)
        choices[ranker.name] = from_table(table, path, layout.post_ids, ns).sample_index
    folder = results / "reward_models" / scale
    training = [read_metrics(folder / model.name / "metrics.json", scale) for model in models]
    parameters = training[0]["parameters"]
    return ScaleResults(
        scale, parameters, models, every_ranker, ns, rewards, texts, choices, training
    )
