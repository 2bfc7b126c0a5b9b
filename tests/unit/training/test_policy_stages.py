"""The stages policy and sample: which posts the policy learns from and writes for, and how long."""

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from small_reward_model import LENGTHS, RECIPE, SHAPE, WORDS, trainer

from policy import policy
from sample import sample
from underspec.artifacts import POSTS, SAMPLES, read_table, write_table

SPLITS = ["policy", "policy", "preferences", "validation", "best_of_n"]


@pytest.fixture
def folder(tmp_path):
    trainer(tmp_path)  # makes a tokenizer and a pretrained checkpoint
    return tmp_path


def posts_of(folder, references):
    table = pd.DataFrame({"post_id": list("abcde"), "split": SPLITS, "post": WORDS})
    write_table(table.assign(reference=references), folder / "posts.parquet", POSTS)
    return folder / "posts.parquet"


def learned(folder, references):
    """The weights of a policy after two steps on posts with these references."""
    policy(
        posts=posts_of(folder, references),
        tokenizer=folder / "tokenizer",
        pretrained=folder / "pretrained",
        shape=SHAPE,
        lengths=LENGTHS,
        recipe=RECIPE,
        seed=0,
        checkpoints=folder / "checkpoints",
        save_seconds=1e9,
        device_layout={},
        output=folder / "policy",
    )
    return load_file(folder / "policy/model.safetensors")


def test_the_policy_learns_from_the_references_of_its_own_posts_alone(folder):
    first, same, other = (
        learned(folder, [*own, *others])
        for own, others in (
            (["my bike", "i am sad"], ["my brother"] * 3),
            (["my bike", "i am sad"], ["and", "sold", "i am"]),
            (["my bike", "i am"], ["my brother"] * 3),
        )
    )
    assert all(np.array_equal(values, same[name]) for name, values in first.items())
    assert any(not np.array_equal(values, other[name]) for name, values in first.items())


def test_samples_are_of_every_post_of_the_split_and_leave_room_for_an_end(folder, caplog):
    learned(folder, ["my bike"] * 5)
    sample(
        posts=folder / "posts.parquet",
        tokenizer=folder / "tokenizer",
        policy=folder / "policy",
        shape=SHAPE,
        lengths=LENGTHS,
        split="policy",
        samples=50,
        distribution={"temperature": 1.0, "top_k": None, "top_p": 1.0},
        seed=0,
        precision="fp32",
        output=folder / "samples.parquet",
    )
    found = read_table(folder / "samples.parquet", SAMPLES)
    indices = {post: sorted(rows.sample_index) for post, rows in found.groupby("post_id")}
    assert indices == dict.fromkeys("ab", [*range(50)])
    assert f"truncated at {LENGTHS['summary'] - 1} tokens" in caplog.text
