"""The stage reward_model: which comparisons it trains and is judged on."""

import json

import pandas as pd
import pytest

from reward_model import reward_model
from underspec.artifacts import POSTS, PREFERENCES, write_table
from underspec.data.tokenization import save_tokenizer, train_tokenizer
from underspec.errors import ArtifactError
from underspec.models.t5 import new_t5

SHAPE = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 1}
RECIPE = {"steps": 2, "batch": 2, "learning_rate": 1e-3, "warmup": 1}
RECIPE |= {"dropout": 0.0, "weight_decay": 0.0}
WORDS = "my brother sold bike and i am sad"
# The texts of the last two are equal as token ids: cut to three words and eos, and unknown words.
PAIRS = [("my bike", "my brother"), ("i am sad", "i am"), ("", "and")]
EQUAL = [("i am sad and sold", "i am sad and my"), ("my cat", "my dog")]


@pytest.fixture
def train(tmp_path):
    tokenizer = train_tokenizer([WORDS], "word", 140)
    save_tokenizer(tokenizer, tmp_path / "tokenizer")
    new_t5(SHAPE, tokenizer.get_vocab_size(), 0).save_pretrained(tmp_path / "pretrain")
    posts = pd.DataFrame({"post_id": ["a", "b"], "split": ["preferences", "validation"]})
    write_table(posts.assign(post=WORDS, reference=""), tmp_path / "posts.parquet", POSTS)

    def train(pairs):
        table = pd.DataFrame(pairs * 2, columns=["chosen", "rejected"]).assign(source="people")
        table["post_id"] = ["a"] * len(pairs) + ["b"] * len(pairs)
        table["split"] = table.post_id.map(posts.set_index("post_id").split)
        write_table(table, tmp_path / "preferences.parquet", PREFERENCES)
        names = ("posts", "preferences")
        reward_model(
            **{name: tmp_path / f"{name}.parquet" for name in names},
            **{name: tmp_path / name for name in ("tokenizer", "pretrain", "checkpoints")},
            **{"scale": "base", "shape": SHAPE, "lengths": {"post": 9, "summary": 4}},
            **{"recipe": RECIPE, "centering": 0.01, "pretrain_seed": 0, "finetune_seed": 0},
            **{"save_seconds": 1e9, "device_layout": {}, "output": tmp_path / "output"},
        )
        return json.loads((tmp_path / "output/metrics.json").read_text())

    return train


def test_comparisons_of_equal_token_ids_are_left_out_and_counted(train, caplog):
    assert train(PAIRS + EQUAL)["pairs"] == len(PAIRS)
    for split in ("preferences", "validation"):
        line = f"{split}: 2 of 5 comparisons left out: their texts are equal after encoding"
        assert line in caplog.text


def test_all_are_used_where_all_differ_and_none_is_too_few(train, caplog):
    assert train(PAIRS)["pairs"] == len(PAIRS)
    assert "left out" not in caplog.text
    with pytest.raises(ArtifactError, match=r"preferences\.parquet: the texts of all comparisons"):
        train(EQUAL)
