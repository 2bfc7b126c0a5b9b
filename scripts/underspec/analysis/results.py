"""The reward matrix and what every ranker picks, read as the tables need it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from underspec import grid
from underspec.analysis.bootstrap import Weights, each_post
from underspec.analysis.ensembles import aggregate
from underspec.analysis.rerank import from_table, rerank
from underspec.analysis.reward_matrix import Layout, read_metrics, read_rewards, read_samples
from underspec.analysis.statistics import win_probability
from underspec.artifacts import RERANK, read_table
from underspec.cheaper_ensembles import CheaperEnsemble, cheaper_ensembles
from underspec.cheaper_ensembles import rankers as cheaper_rankers
from underspec.grid import Ranker, RewardModel


@dataclass(frozen=True)
class ScaleResults:
    """The reward models of one scale, and what every ranker picks.

    parameters: of a reward model, 0 if unknown or not of one size; rewards: (models, posts,
    samples); texts: (posts, samples) int, equal where the texts of a post are; choices: sample
    indices (ns, posts) by ranker name; training: what the training of each reward model reported,
    in the order of `models`; cheaper: the cheaper ensembles, if they were read (`read_cheaper`).
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
    cheaper: "ScaleResults | None" = None

    @cached_property
    def every_ranker(self) -> dict[str, Ranker]:
        """By name, with cheaper ensembles."""
        beside = self.cheaper.rankers if self.cheaper else []
        return {ranker.name: ranker for ranker in [*self.rankers, *beside]}

    @cached_property
    def every_choice(self) -> dict[str, np.ndarray]:
        """`choices`, with those of cheaper ensembles."""
        return self.choices | (self.cheaper.choices if self.cheaper else {})

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
    evaluator, its `win_rate` under the evaluator, and its `gold` score where the world has one;
    none if choices are not evaluated.
    """

    scales: list[ScaleResults]
    layout: Layout
    metrics: dict[str, np.ndarray]


class ResultFiles(TypedDict):
    """samples, evaluator_scores, gold_scores: tables, the last two if there is such a judge of
    choices; scores, choices, reward_models: folders that have {scale}/{name} of every reward model
    or ranker."""

    samples: Path
    scores: Path
    choices: Path
    reward_models: Path
    evaluator_scores: NotRequired[Path]
    gold_scores: NotRequired[Path]


def read_results(
    samples: Path,
    scores: Path,
    choices: Path,
    reward_models: Path,
    design: Mapping,
    evaluator_scores: Path | None = None,
    gold_scores: Path | None = None,
    cheaper: Mapping | None = None,
) -> Results:
    """Read everything the tables need, from ResultFiles.

    design: the keys scales, grid, pretrain_seeds, finetune_seeds, aggregators, ensemble_size and
    best_of_n of the config; cheaper: its cheaper_ensembles, which are read beside the grid's reward
    models (see `read_cheaper`). Raises ArtifactError, naming the file, if one is missing, damaged,
    or about other samples than `samples`.
    """
    layout, texts = read_samples(samples)
    models = grid.reward_models(design["grid"], design["pretrain_seeds"], design["finetune_seeds"])
    rankers = grid.rankers(models, design["aggregators"], design["ensemble_size"])
    sets = design["finetune_seeds"], design["ensemble_size"]
    beside = cheaper_ensembles(cheaper, *sets) if cheaper else []
    ns, scales = design["best_of_n"], []
    for scale in design["scales"]:
        paths = [scores / scale / f"{model.name}.parquet" for model in models]
        _, rewards = read_rewards(paths, layout)
        picked = _read_choices(choices / scale, rankers, layout, ns)
        paths = [reward_models / scale / model.name / "metrics.json" for model in models]
        training = [read_metrics(path, scale) for path in paths]
        sizes = {each["parameters"] for each in training}
        parameters = sizes.pop() if len(sizes) == 1 else 0
        found = ScaleResults(
            scale, parameters, models, rankers, ns, rewards, texts, picked, training
        )
        if beside:
            of_beside = read_cheaper(scores, found, layout, beside, design["aggregators"])
            found = replace(found, cheaper=of_beside)
        scales.append(found)
    judges = {"reward": evaluator_scores, "gold": gold_scores}
    given = {name: path for name, path in judges.items() if path}
    rewards = read_rewards(list(given.values()), layout)[1] if given else []
    metrics = dict(zip(given, rewards, strict=True))
    if "reward" in metrics:
        win_rate = win_probability(metrics["reward"])
        metrics = {"reward": metrics["reward"], "win_rate": win_rate} | metrics
    return Results(scales, layout, metrics)


def read_cheaper(
    scores: Path,
    of_grid: ScaleResults,
    layout: Layout,
    ensembles: list[CheaperEnsemble],
    aggregators: list[str],
) -> ScaleResults:
    """Cheaper ensembles of one scale, apart from the grid's reward models, which they do not judge.

    scores: the folder that has {scale}/{name}. Raises ArtifactError as `read_results` does.
    """
    every_ranker = cheaper_rankers(ensembles, aggregators)
    models = list(dict.fromkeys(model for ranker in every_ranker for model in ranker.members))
    paths = [scores / of_grid.scale / f"{model.name}.parquet" for model in models]
    _, rewards = read_rewards(paths, layout)
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


def _read_choices(
    folder: Path, rankers: list[Ranker], layout: Layout, ns: list[int]
) -> dict[str, np.ndarray]:
    choices = {}
    for ranker in rankers:
        path = folder / f"{ranker.name}.parquet"
        table = read_table(path, RERANK)
        choices[ranker.name] = from_table(table, path, layout.post_ids, ns).sample_index
    return choices
