"""How long everything after the reward matrix takes at two sizes: the paper's (6,500 posts, five
pretraining seeds), and that of experiments/decisive.yaml (600 posts, twenty). The rest is the same:
64 samples, five finetuning seeds, the full grid at three scales. Rewards are generated; the stages
run as commands, `--processes` at a time, as the workflow runs them. Prints wall seconds, CPU
seconds and peak memory by stage.

    python tests/benchmarks/statistics_at_paper_size.py [--size paper] [--processes 2]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))

from underspec.artifacts import DIAGNOSTICS, SAMPLES, SCORES, write_table  # noqa: E402
from underspec.grid import RewardModel, rankers, reward_models  # noqa: E402
from underspec.yaml_map import read_map  # noqa: E402

SAMPLES_A_POST = 64
SIZES = {"paper": (6500, 5), "decisive": (600, 20)}  # posts, pretraining seeds
DESIGN = {
    "scales": ["base", "large", "xl"],
    "grid": "full",
    "finetune_seeds": [0, 1, 2, 3, 4],
    "aggregators": ["mean", "median", "min", "mean_minus_stdev"],
    "ensemble_size": 5,
    "best_of_n": [1, 2, 4, 8, 16, 32, 64],
}
EVALUATOR = "xxl/pretrain3-finetune0"
TABLES = ["exact", "shift", "components", "paired", "overoptimisation", "hedging", "rankers"]
TABLES += ["ensemble_size"]
CONFIG = read_map(ROOT / "config.yaml")
NEWER, CHEAPER = CONFIG["newer_rankers"], CONFIG["cheaper_ensembles"]


def models(design: dict) -> list[RewardModel]:
    return reward_models(design["grid"], design["pretrain_seeds"], design["finetune_seeds"])


def generate(folder: Path, posts: int, design: dict) -> None:
    """Rewards with effects of both kinds of seeds; a tenth of the samples are duplicates."""
    rng = np.random.default_rng(0)
    shape = (posts, SAMPLES_A_POST)
    text = rng.integers(0, 300, shape)
    keys = pd.DataFrame(
        {
            "post_id": np.repeat([f"post{post:06}" for post in range(posts)], SAMPLES_A_POST),
            "sample_index": np.tile(np.arange(SAMPLES_A_POST), posts),
        }
    )
    samples = keys.assign(text=[f"summary {code}" for code in text.ravel()], log_prob=-1.0)
    write_table(samples, folder / "samples/best_of_n.parquet", SAMPLES)

    def effect(size):
        return size * np.take_along_axis(rng.normal(size=(posts, 300)), text, axis=1)

    def put(name, rewards):
        write_table(keys.assign(reward=rewards.ravel()), folder / f"scores/{name}.parquet", SCORES)

    def describe(name, **metrics):
        (folder / name).mkdir(parents=True)
        (folder / name / "metrics.json").write_text(json.dumps(metrics))

    quality = effect(1)
    put(EVALUATOR, quality + effect(0.3))
    put("gold", quality)
    judge = {"scale": "xxl", "parameters": 11 * 10**9, "accuracy": 0.8, "pairs": 5000}
    describe(f"reward_models/{EVALUATOR}", **judge)
    for scale in design["scales"]:
        of_seed = [effect(0.6) + rng.normal(0, 0.2) for _ in design["pretrain_seeds"]]
        for model in models(design):
            put(f"{scale}/{model.name}", quality + of_seed[model.pretrain_seed] + effect(0.4))
            described = {"scale": scale, "parameters": 10**9, "accuracy": 0.7, "pairs": 5000}
            describe(f"reward_models/{scale}/{model.name}", **described)
    measured = keys.assign(words=text.ravel() % 40, common_subsequence=5.0, copied=0.5)
    measured["similarity"] = (quality + effect(1)).ravel()
    measured = measured.assign(copied_words=text.ravel() % 20, list_items=0.0, numerals=0.0)
    write_table(measured, folder / "diagnostics.parquet", DIAGNOSTICS)


def command(stage: str, **options) -> list[str]:
    values = {
        key: value if isinstance(value, str | Path | int | float) else json.dumps(value)
        for key, value in options.items()
    }
    arguments = [str(part) for key, value in values.items() for part in (f"--{key}", value)]
    return [sys.executable, str(SCRIPTS / f"{stage}.py"), *arguments]


def stages(folder: Path, design: dict) -> list[list[tuple[str, list[str]]]]:
    """Commands by name; those of a list may run side by side, the lists one after the other."""
    grid = {key: design[key] for key in design if key != "scales"}
    every_ranker = rankers(models(design), design["aggregators"], design["ensemble_size"])
    published = ROOT / "reports/published/table1.csv"
    of_grid = {"samples": folder / "samples/best_of_n.parquet", "scores": folder / "scores"}
    of_grid |= {"choices": folder / "rerank", "reward_models": folder / "reward_models"}
    of_grid |= {"design": design}
    evaluated = of_grid | {"evaluator": folder / "reward_models" / EVALUATOR}
    evaluated |= {"evaluator_scores": folder / f"scores/{EVALUATOR}.parquet"}
    evaluated |= {"gold_scores": folder / "scores/gold.parquet"}
    output = folder / "tables"
    of_evaluation = evaluated | {"published": published, "output": output}
    rerank = [
        (
            f"rerank {scale}",
            command(
                "rerank",
                scores=[
                    str(folder / f"scores/{scale}/{model.name}.parquet") for model in models(design)
                ],
                choices=[
                    str(folder / f"rerank/{scale}/{ranker.name}.parquet") for ranker in every_ranker
                ],
                **grid,
            ),
        )
        for scale in design["scales"]
    ]
    tables = [
        ("tables of Figures 1 to 3", command("disagreement_tables", **of_grid, output=output)),
        ("tables of Figure 4", command("evaluation_tables", **of_evaluation)),
    ]
    evidence = [
        (
            f"evidence {scale}",
            command(
                "evidence",
                **evaluated,
                diagnostics=folder / "diagnostics.parquet",
                scale=scale,
                newer=NEWER,
                cheaper=CHEAPER,
                length_bias=0.0,
                resamples=2000,
                output=folder / "evidence" / scale,
            ),
        )
        for scale in design["scales"]
    ]
    claims = command(
        "claims",
        claims_file=ROOT / "reports/claims.yaml",
        published=published,
        evidence=[str(folder / "evidence" / scale) for scale in design["scales"]],
        tables=[str(folder / f"tables/{name}.csv") for name in TABLES],
        table1_long=folder / "tables/table1_long.csv",
        best_of_n=design["best_of_n"],
        pretraining_seeds=len(design["pretrain_seeds"]),
        grid=design["grid"],
        ensemble_size=design["ensemble_size"],
        world="debian",
        reward="preference",
        claims=folder / "claims.csv",
    )
    return [rerank, evidence + tables, [("claims", claims)]]


def run(name: str, arguments: list[str]) -> dict:
    began = time.monotonic()
    process = subprocess.Popen(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name} failed")
    return {
        "stage": name,
        "wall s": round(time.monotonic() - began, 1),
        "CPU s": round(used.ru_utime + used.ru_stime, 1),
        "peak MB": used.ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--size", choices=SIZES, default="paper")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where results go (left out: nowhere)")
    options = parser.parse_args()
    posts, seeds = SIZES[options.size]
    design = DESIGN | {"pretrain_seeds": list(range(seeds))}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "diagnostics.parquet").exists():
            print(f"generating {posts} posts x {SAMPLES_A_POST} x {3 * len(models(design))}")
            generate(folder, posts, design)
        rows = []
        began = time.monotonic()
        with ThreadPoolExecutor(options.processes) as pool:
            for together in stages(folder, design):
                stage_began = time.monotonic()
                rows += pool.map(lambda each: run(*each), together)
                print(f"{together[0][0]} ...: {time.monotonic() - stage_began:.1f} s", flush=True)
        total = time.monotonic() - began
    print(pd.DataFrame(rows).to_string(index=False))
    print(f"all: {total:.1f} s, at most {options.processes} at a time")


if __name__ == "__main__":
    main()
