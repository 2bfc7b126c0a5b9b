"""Reward models trained on a few words in a moment, by the stage itself."""

import json

import pandas as pd

from reward_model import reward_model
from underspec.artifacts import POSTS, PREFERENCES, write_table
from underspec.data.tokenization import save_tokenizer, train_tokenizer
from underspec.models.t5 import new_t5

SHAPE = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 1}
T5 = {"name": "t5", "shape": SHAPE}
LENGTHS = {"post": 9, "summary": 4}
RECIPE = {"steps": 2, "batch": 2, "learning_rate": 1e-3, "warmup": 1}
RECIPE |= {"dropout": 0.0, "weight_decay": 0.0}
WORDS = "my brother sold bike and i am sad"
PAIRS = [("my bike", "my brother"), ("i am sad", "i am"), ("", "and")]


def trainer(folder):
    """Trains reward models of two steps in `folder`, on given pairs: train(pairs, **options)."""
    tokenizer = train_tokenizer([WORDS], "word", 140)
    save_tokenizer(tokenizer, folder / "tokenizer")
    new_t5(SHAPE, tokenizer.get_vocab_size(), 0).save_pretrained(folder / "pretrained")
    posts = pd.DataFrame({"post_id": ["a", "b"], "split": ["preferences", "validation"]})
    write_table(posts.assign(post=WORDS, reference=""), folder / "posts.parquet", POSTS)

    def train(pairs, **changes):
        table = pd.DataFrame(pairs * 2, columns=["chosen", "rejected"]).assign(source="people")
        table["post_id"] = ["a"] * len(pairs) + ["b"] * len(pairs)
        table["split"] = table.post_id.map(posts.set_index("post_id").split)
        write_table(table, folder / "preferences.parquet", PREFERENCES)
        options = {"posts": folder / "posts.parquet", "reward": "preference"}
        options |= {"labelled": folder / "preferences.parquet"}
        folders = ("tokenizer", "pretrained", "checkpoints", "output")
        options |= {name: folder / name for name in folders}
        options |= {"scale": "base", "architecture": T5, "lengths": LENGTHS, "recipe": RECIPE}
        options |= {"centering": 0.01, "save_seconds": 1e9, "device_layout": {}}
        options |= {"pretrain_seed": 0, "finetune_seed": 0, "head_seed": 0, "heads": 1} | changes
        reward_model(**options)
        return json.loads((options["output"] / "metrics.json").read_text())

    return train
