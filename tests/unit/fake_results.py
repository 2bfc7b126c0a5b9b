"""A results folder made up in a moment, and the statistics on it as plain loops."""

import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

import rerank as rerank_adapter
from disagreement_tables import disagreement_tables
from evaluation_tables import evaluation_tables
from underspec.analysis.results import read_cheaper, read_results
from underspec.artifacts import SAMPLES, SCORES, read_table, write_table
from underspec.cheaper_ensembles import cheaper_ensembles
from underspec.grid import rankers, reward_models

POSTS, SAMPLES_A_POST = 12, 16
SCALES = {"small": 100, "large": 1000}
DESIGN = {
    "scales": list(SCALES),
    "grid": "workshop",
    "pretrain_seeds": [0, 1, 2],
    "finetune_seeds": [0, 1],
    "aggregators": ["mean", "min"],
    "ensemble_size": 5,
    "best_of_n": [1, 2, 4, 16],
}
EVALUATOR = "huge/pretrain9-finetune0"
NO_DROPOUT = {"pretrain_seeds": [], "members": [8]}
NO_CHEAPER = {"warm": [], "multihead": [], "mc_dropout": NO_DROPOUT}
GRID_KEYS = ("grid", "pretrain_seeds", "finetune_seeds", "aggregators", "ensemble_size")
GRID_KEYS += ("best_of_n",)
MODELS = reward_models("workshop", [0, 1, 2], [0, 1])
RANKERS = {ranker.name: ranker for ranker in rankers(MODELS, ["mean", "min"], 5)}
NEWER = {
    "uwo": {"coefficient": 0.5},
    "soft": {"temperature": 0.5},
    "poisson": {},
    "pessimism": {"beta": 0.1},
    "mbr": {"beta": 0.5},
}
PUBLISHED = Path(__file__).parents[2] / "reports" / "published" / "table1.csv"
CLOSE = {"rel": 1e-5, "abs": 1e-7}  # the tables print six digits, rewards are single precision


def make_results(folder, design, gold=True):
    """A results folder with planted effects of seeds; about one sample in five is a duplicate."""
    rng = np.random.default_rng(7)
    text = rng.integers(0, 30, (POSTS, SAMPLES_A_POST))

    def effect(size):
        return size * np.take_along_axis(rng.normal(size=(POSTS, 30)), text, axis=1)

    keys = pd.DataFrame(
        {
            "post_id": np.repeat([f"post{post}" for post in range(POSTS)], SAMPLES_A_POST),
            "sample_index": np.tile(np.arange(SAMPLES_A_POST), POSTS),
        }
    )
    samples = keys.assign(text=[f"summary {code}" for code in text.ravel()], log_prob=-1.0)
    write_table(samples, folder / "samples" / "best_of_n.parquet", SAMPLES)

    def put_scores(name, rewards):
        path = folder / "scores" / f"{name}.parquet"
        write_table(keys.assign(reward=rewards.ravel()), path, SCORES)
        return path

    def put_metrics(name, **metrics):
        path = folder / name / "metrics.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(metrics))

    quality = effect(1)
    put_scores(EVALUATOR, quality + effect(0.2))
    put_metrics(
        f"reward_models/{EVALUATOR}",
        scale="huge",
        parameters=9999,
        accuracy=0.8,
        pairs=50,
    )
    if gold:
        put_scores("gold", np.round(2 * quality))
    models = reward_models(design["grid"], design["pretrain_seeds"], design["finetune_seeds"])
    for scale, accuracy in zip(design["scales"], (0.6, 0.7), strict=False):
        of_seed = {seed: effect(0.7) + seed / 4 for seed in design["pretrain_seeds"]}
        paths = []
        for model in models:
            rewards = quality + of_seed[model.pretrain_seed] + effect(0.4)
            paths.append(put_scores(f"{scale}/{model.name}", rewards))
            put_metrics(
                f"reward_models/{scale}/{model.name}",
                scale=scale,
                pretrain_seed=model.pretrain_seed,
                finetune_seed=model.finetune_seed,
                parameters=SCALES.get(scale, 500),
                accuracy=accuracy + rng.normal(0, 0.005),
                pairs=50,
            )
        slice_of_config = {key: design[key] for key in GRID_KEYS}
        choices = [
            folder / "rerank" / scale / f"{ranker.name}.parquet"
            for ranker in rankers(models, design["aggregators"], design["ensemble_size"])
        ]
        rerank_adapter.rerank(scores=paths, **slice_of_config, choices=choices)


def score_cheaper(folder, scale, dropout=NO_DROPOUT):
    """Tables of cheaper ensembles of pretraining seed 0 that are copies of the grid's: WARM of its
    first reward model, the heads, and members of MC dropout in turn if it is asked for, of its two.
    Returns the config's cheaper_ensembles."""
    chosen = NO_CHEAPER | {"warm": [0], "multihead": [0], "mc_dropout": dropout}
    scores, of_grid = folder / "scores" / scale, ("pretrain0-finetune0", "pretrain0-finetune1")
    for each in cheaper_ensembles(chosen, DESIGN["finetune_seeds"], 2):
        for name, source in zip(each.tables, itertools.cycle(of_grid), strict=False):
            shutil.copy(scores / f"{source}.parquet", scores / f"{name}.parquet")
    return chosen


def mc_dropout(folder, read, pretrain_seeds, members):
    """MC dropout at the first scale, read: the rewards of its reward models, with noise."""
    rng, scale = np.random.default_rng(11), read.scales[0]
    chosen = {"pretrain_seeds": pretrain_seeds, "members": members}
    seeds = [model.finetune_seed for model in scale.models]
    made = cheaper_ensembles(NO_CHEAPER | {"mc_dropout": chosen}, seeds, 2)
    scores = folder / "scores" / scale.scale
    for each in made:
        plain = read_table(scores / f"{each.folder}.parquet", SCORES)
        for name in each.tables:
            noisy = plain.assign(reward=plain.reward + rng.normal(0, 0.5, len(plain)))
            write_table(noisy, scores / f"{name}.parquet", SCORES)
    return read_cheaper(folder / "scores", scale, read.layout, made, ["mean", "min"])


def of_grid(folder):
    """Options of the adapters that read what `make_results` writes of the grid."""
    folders = {"scores": "scores", "choices": "rerank", "reward_models": "reward_models"}
    samples = folder / "samples" / "best_of_n.parquet"
    return {"samples": samples} | {name: folder / path for name, path in folders.items()}


def judges(folder, gold=True):
    """Options for the score tables of the evaluator and the gold rater."""
    names = {"evaluator_scores": EVALUATOR} | ({"gold_scores": "gold"} if gold else {})
    return {name: folder / "scores" / f"{path}.parquet" for name, path in names.items()}


def read_made(folder, design=DESIGN, gold=True):
    return read_results(**of_grid(folder), **judges(folder, gold), design=design)


def run(folder, design=DESIGN, published=PUBLISHED, gold=True):
    grid = of_grid(folder) | {"design": design, "output": folder / "tables"}
    disagreement_tables(**grid)
    evaluator = judges(folder, gold) | {"evaluator": folder / "reward_models" / EVALUATOR}
    evaluation_tables(**grid, **evaluator, published=published)
    return {path.stem: pd.read_csv(path) for path in (folder / "tables").iterdir()}


def read_world(folder):
    """The artifacts as nested dictionaries, so that the checks below are plain loops."""

    def column(path, name, *keys):
        return pd.read_parquet(folder / path).set_index(list(keys))[name].to_dict()

    def reward(name):
        return column(f"scores/{name}.parquet", "reward", "post_id", "sample_index")

    return {
        "posts": [f"post{post}" for post in range(POSTS)],
        "text": column("samples/best_of_n.parquet", "text", "post_id", "sample_index"),
        "evaluator": reward(EVALUATOR),
        "gold": reward("gold"),
        "reward": {(s, m.name): reward(f"{s}/{m.name}") for s in SCALES for m in MODELS},
        "choice": {
            (s, name): column(f"rerank/{s}/{name}.parquet", "sample_index", "post_id", "n")
            for s in SCALES
            for name in RANKERS
        },
    }


def mean_and_error(values):
    values = np.asarray(values, dtype=float)
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


def rows(table):
    return table.to_dict("records")


def judges_of(ranker):
    for judge in MODELS:
        same = judge.pretrain_seed == ranker.pretrain_seed
        kind = (
            "itself"
            if judge == ranker
            else "same pretraining seed"
            if same
            else "other pretraining seed"
        )
        yield kind, judge


def figure1_values(world, scale, ranker, kind, n):
    """For each post, the mean over the judges of the kind, or None if there is none."""
    judges = [judge for its_kind, judge in judges_of(ranker) if its_kind == kind]
    choice = world["choice"][scale, f"single-{ranker.name}"]
    return judges and [
        np.mean([world["reward"][scale, judge.name][post, choice[post, n]] for judge in judges])
        for post in world["posts"]
    ]


def agreement_values(world, scale, kind, n):
    pairs = [
        (first, second)
        for first, second in itertools.combinations(MODELS, 2)
        if (first.pretrain_seed == second.pretrain_seed) == (kind == "same pretraining seed")
    ]

    def text(model, post):
        return world["text"][post, world["choice"][scale, f"single-{model.name}"][post, n]]

    return [
        np.mean([text(first, post) == text(second, post) for first, second in pairs])
        for post in world["posts"]
    ]


def win_rate(world, post, choice):
    mine = world["evaluator"][post, choice]
    others = [world["evaluator"][post, sample] for sample in range(SAMPLES_A_POST)]
    return np.mean([1.0 if mine > o else 0.5 if mine == o else 0.0 for o in others])


def of_kind(row):
    return [
        ranker.name
        for ranker in RANKERS.values()
        if (ranker.ensemble, ranker.aggregator or "single") == (row["ensemble"], row["aggregator"])
    ]


def values_of_kind(world, row, value):
    """For each post, the mean over the rankers of the kind."""
    choices = [world["choice"][row["scale"], name] for name in of_kind(row)]
    return [
        np.mean([value(post, choice[post, row["n"]]) for choice in choices])
        for post in world["posts"]
    ]


def anova_share(world, scale, ranker, n, posts):
    choice = world["choice"][scale, ranker]
    x = np.array(
        [[world["reward"][scale, m.name][post, choice[post, n]] for m in MODELS] for post in posts]
    )
    between = len(posts) * ((x.mean(axis=0) - x.mean()) ** 2).sum()
    return between / ((x - x.mean()) ** 2).sum()
