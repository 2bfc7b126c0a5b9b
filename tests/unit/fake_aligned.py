"""Aligned policies made up in a moment, beside the results of `fake_results`.

A ranker's policy gains quality, and more and more of what only reward models of its pretraining
seeds like; the fewer these are, the more.
"""

from itertools import cycle

import numpy as np
import pandas as pd
from fake_results import score_cheaper

from underspec.artifacts import (
    ALIGNED_DIAGNOSTICS,
    ALIGNED_SAMPLES,
    DIAGNOSTICS,
    OF_BEST_OF_N,
    SAMPLES,
    aligned_scores,
    read_table,
    write_table,
)
from underspec.config.derived import every_ranker
from underspec.grid import alignments, rankers, reward_models

SAMPLES_OF_ALIGNED = 4
ALIGNED = {
    "rankers": {
        "small": [
            *("single-pretrain0-finetune0", "single-pretrain1-finetune0"),
            *("single-pretrain2-finetune0", "finetune-pretrain0-mean"),
            *("pretrain-finetune0-mean", "pretrain-finetune0-min"),
        ],
        "large": ["single-pretrain1-finetune0", "pretrain-finetune0-mean"],
    },
    "kl_coefficients": [0.05, 0.2, 0.8],
    "seeds": [0, 3],
}


def _write(folder, kind, alignment, table, schema):
    write_table(table, folder / kind / "aligned" / f"{alignment.name}.parquet", schema)


def _features(rng, keys, distance):
    """words, ... of as many samples as there are keys, that far from the SFT policy."""
    rows = len(keys)
    words = np.maximum(rng.normal(12 + 3 * distance, 3, rows).round(), 0)
    found = {"words": words, "common_subsequence": 0.4 * words}
    found |= {"copied": rng.uniform(0.2, 0.6, rows) + 0.05 * distance}
    truth = rng.normal(0, 1, rows) - 0.1 * distance**2
    return found | {"truth": truth, "form": 0.3 * distance + rng.normal(0, 0.3, rows)}


def make_aligned(folder, design, aligned=ALIGNED, gold=True):
    """diagnostics.parquet, and the tables of every aligned policy; after `make_results`."""
    samples = SAMPLES_OF_ALIGNED
    rng = np.random.default_rng(3)
    sft = read_table(folder / "samples" / "best_of_n.parquet", SAMPLES)
    sft_keys = sft[["post_id", "sample_index"]]
    features = _features(rng, sft_keys, 0.0) | dict.fromkeys(OF_BEST_OF_N, 0.5)
    write_table(sft_keys.assign(**features), folder / "diagnostics.parquet", DIAGNOSTICS)
    posts = sft["post_id"].unique()
    keys = pd.DataFrame(
        {
            "post_id": np.repeat(posts, samples),
            "sample_index": np.tile(np.arange(samples), len(posts)),
        }
    )
    models = reward_models(design["grid"], design["pretrain_seeds"], design["finetune_seeds"])
    every = rankers(models, design["aggregators"], design["ensemble_size"])
    by_name = {ranker.name: ranker for ranker in every}
    for alignment in alignments(*aligned.values()):
        ranker = by_name[alignment.ranker]
        seeds = {member.pretrain_seed for member in ranker.members}
        error = 1 / len(seeds) + (0.3 if len(ranker.members) == 1 else 0.0)
        kl = rng.gamma(8, 0.25 / alignment.kl_coefficient / 8, len(keys)) * (1 + error)
        distance = np.sqrt(kl.mean())
        quality = rng.normal(0, 1, len(keys)) + 1.2 * distance - 0.45 * error * distance**2
        shared = {seed: rng.normal(0, 0.7, len(keys)) for seed in design["pretrain_seeds"]}
        scores = {
            model.name: quality
            + (1 + 0.4 * distance) * shared[model.pretrain_seed]
            + (model.pretrain_seed in seeds) * 0.9 * error * distance**1.5
            + rng.normal(0, 0.4 + 0.1 * distance, len(keys))
            for model in models
        }
        scores["evaluator"] = quality + rng.normal(0, 0.2, len(keys))
        repeats = rng.integers(0, max(2, int(40 / (1 + distance**2))), len(keys))
        texts = [f"summary {code}" if code else "" for code in repeats]
        drawn = keys.assign(text=texts, log_prob=-1.0, kl=kl)
        _write(folder, "samples", alignment, drawn, ALIGNED_SAMPLES)
        names = [model.name for model in models]
        _write(folder, "scores", alignment, keys.assign(**scores), aligned_scores(names))
        measured = keys.assign(**_features(rng, keys, distance))
        if gold:
            measured["gold"] = 2 * quality - 0.3 * distance**2
        _write(folder, "diagnostics", alignment, measured, ALIGNED_DIAGNOSTICS)


# Rankers that `score_cheaper` makes copies of rankers of the grid.
EIGHT_OF_DROPOUT = {"pretrain_seeds": [0], "members": [8]}
COPIES = {
    "warm-pretrain0": "single-pretrain0-finetune0",
    "multihead-pretrain0-mean": "finetune-pretrain0-mean",
    "mc_dropout8-pretrain0-mean": "finetune-pretrain0-mean",
}


def align_to_copies(folder, design, scale="small"):
    """Policies aligned to cheaper ensembles, copies of those that are aligned to the same rewards.
    Returns the config's cheaper_ensembles."""
    chosen = score_cheaper(folder, scale, EIGHT_OF_DROPOUT)
    every = every_ranker(design | {"cheaper_ensembles": chosen})
    for name, source in COPIES.items():
        members = zip(every[name].members, cycle(every[source].members), strict=False)
        copies = {mine.name: theirs.name for mine, theirs in members}
        for kind in ("samples", "scores", "diagnostics"):
            for path in (folder / kind / "aligned" / scale / source).iterdir():
                table = pd.read_parquet(path)
                if kind == "scores":
                    table = table.assign(**{own: table[theirs] for own, theirs in copies.items()})
                path = path.parent.with_name(name) / path.name
                path.parent.mkdir(exist_ok=True)
                table.to_parquet(path)
    return chosen


def of_aligned(folder):
    """Options of the adapter that reads what `make_aligned` writes."""
    kinds = ("samples", "scores", "diagnostics")
    folders = {f"aligned_{kind}": folder / kind / "aligned" for kind in kinds}
    return {"diagnostics": folder / "diagnostics.parquet"} | folders
