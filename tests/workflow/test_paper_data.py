"""The data stages on the paper's data in small: real runs."""

import numpy as np
import pandas as pd
import pytest
from published import WORDS, paper_data
from workflow import copy_repository, overlay, scheduled, snakemake

from underspec.data.tokenization import load_tokenizer

pytestmark = pytest.mark.slow

MADE = ["posts.parquet", "preferences.parquet", "tokenizer", "pretraining/0.npy"]
DATA = [f"results/smoke/data/{name}" for name in [*MADE, "pretraining/1.npy"]]


def test_the_data_stages_of_the_paper(tmp_path):
    folder = copy_repository(tmp_path)
    options = overlay(tmp_path, paper_data(tmp_path))
    done = snakemake(folder, *DATA, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    data = folder / "results/smoke/data"
    posts = pd.read_parquet(data / "posts.parquet")
    assert posts.split.value_counts().to_dict() == {
        "policy": 4,
        "preferences": 4,
        "validation": 1,
        "best_of_n": 4,
    }
    assert len(pd.read_parquet(data / "preferences.parquet")) == 5
    tokenizer = load_tokenizer(data / "tokenizer")
    assert tokenizer.get_vocab_size() == 200
    texts = [tokenizer.decode(np.load(data / f"pretraining/{i}.npy")) for i in (0, 1)]
    assert [text.count("page") for text in texts] == [2 * len(WORDS), len(WORDS)]
    assert not list(data.glob("pretraining/*.txt"))  # several shards: the text goes
    assert "1 of news (CNN/DM)" in (folder / "results/smoke/logs/posts.log").read_text()
    assert scheduled(folder, *DATA, *options) == set()
    checkpoint = "results/smoke/pretrain/base/seed0"
    done = snakemake(folder, checkpoint, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / checkpoint / "model.safetensors").is_file()
