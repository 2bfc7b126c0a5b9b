"""The stages of RLHF called one after another on a policy of two steps."""

import json

import numpy as np
import pandas as pd
import pytest
from small_reward_model import LENGTHS, PAIRS, RECIPE, SHAPE, T5, WORDS, trainer

import align as stage
from align import align
from sample_aligned import sample_aligned
from score import score
from score_aligned import score_aligned
from underspec.artifacts import (
    ALIGNED_SAMPLES,
    POSTS,
    SAMPLES,
    SCORES,
    aligned_scores,
    read_table,
    write_table,
)
from underspec.models.t5 import new_t5, save

NAMES = ["pretrain0-finetune0", "pretrain0-finetune1"]


@pytest.fixture
def made(tmp_path):
    """Two reward models, an evaluator, an SFT policy and posts of every split."""
    train = trainer(tmp_path)
    for seed, name in enumerate([*NAMES, "evaluator"]):
        train(PAIRS, finetune_seed=seed, head_seed=seed, output=tmp_path / name)
    table = pd.DataFrame({"post_id": list("abcd"), "reference": ""})
    table["split"] = ["preferences", "validation", "policy", "best_of_n"]
    table["post"] = [WORDS, "my bike", "i am sad", "my brother"]
    write_table(table, tmp_path / "posts.parquet", POSTS)
    vocabulary = json.loads((tmp_path / NAMES[0] / "config.json").read_text())["vocab_size"]
    save(new_t5(SHAPE, vocabulary, 3), tmp_path / "policy", [], {"stage": "policy"})
    return tmp_path


def aligned(made, **changes):
    options = {"posts": made / "posts.parquet", "tokenizer": made / "tokenizer"}
    options |= {"policy": made / "policy", "reward_models": [made / name for name in NAMES]}
    options |= {"shape": SHAPE, "reward_architecture": T5, "lengths": LENGTHS, "samples": 4}
    options |= {"aggregator": "mean", "kl_coefficient": 0.1, "bounded_reward": False}
    options |= {"recipe": RECIPE | {"learning_rate": 0.1}, "precision": "fp32", "seed": 0}
    options |= {"scale": "base", "ranker": "finetune-pretrain0-mean", "device_layout": {}}
    options |= {"checkpoints": made / "checkpoints", "save_seconds": 1e9}
    options |= {"output": made / "aligned"} | changes
    align(**options)
    return json.loads((options["output"] / "provenance.json").read_text())


def test_a_policy_is_aligned_to_its_ranker_and_says_so(made, monkeypatch):
    drawn, draw = [], stage.rollouts.draw

    def watched(policy, names, posts, *others):
        drawn.append([tuple(ids) for ids in posts])
        return draw(policy, names, posts, *others)

    monkeypatch.setattr(stage.rollouts, "draw", watched)
    said = aligned(made)
    validation, *steps = drawn  # rewards are centred on other posts than those it learns from
    assert len(validation) == 1 and validation[0] not in {ids for step in steps for ids in step}
    assert [name.rpartition("/")[2] for name in said["reward"]] == NAMES
    assert len(said["means"]) == 2 and said["bounded"] is False
    bounded = aligned(made, bounded_reward=True, output=made / "bounded")
    log = [pd.read_csv(made / name / "training.csv").reward for name in ("aligned", "bounded")]
    assert bounded["bounded"] and log[1].between(0, 1).all() and not log[0].equals(log[1])


def test_samples_of_an_aligned_policy_have_the_rewards_of_the_reward_models_by_name(made):
    aligned(made)
    tables = [made / "samples0.parquet", made / "samples1.parquet"]
    common = {"posts": made / "posts.parquet", "tokenizer": made / "tokenizer", "lengths": LENGTHS}
    sample_aligned(
        **common,
        sft_policy=made / "policy",
        policies=[made / "policy", made / "aligned"],
        shape=SHAPE,
        split="best_of_n",
        samples=6,
        seed=0,
        precision="fp32",
        tables=tables,
    )
    kl = [read_table(path, ALIGNED_SAMPLES).kl for path in tables]
    assert kl[0].abs().max() < 1e-5 < kl[1].max()
    scores = [made / "scores0.parquet", made / "scores1.parquet"]
    score_aligned(
        **common,
        samples=tables,
        reward_models=[made / name for name in NAMES],
        evaluator=made / "evaluator",
        architecture=T5,
        evaluator_architecture=T5,
        precision="fp32",
        scores=scores,
    )
    for path, table in zip(scores, tables, strict=True):
        found = read_table(path, aligned_scores(NAMES))
        write_table(read_table(table, ALIGNED_SAMPLES), made / "plain.parquet", SAMPLES)
        for name in [*NAMES, "evaluator"]:
            score(
                **common,
                samples=made / "plain.parquet",
                reward_models=[made / name],
                architecture=T5,
                precision="fp32",
                scores=[made / "one.parquet"],
            )
            expected = read_table(made / "one.parquet", SCORES).reward
            np.testing.assert_allclose(found[name], expected, atol=1e-6)
        assert found[[*NAMES, "evaluator"]].T.drop_duplicates().shape[0] == 3
