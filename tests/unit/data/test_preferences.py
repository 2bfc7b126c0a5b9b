"""The simulated rater: Bradley-Terry frequencies, noise, and a bias that gold does not share.

Frequencies are compared by exact binomial tests at fixed seeds; at FALSE_ALARM a sound rater
would fail for one seed in a million.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from underspec.artifacts import PREFERENCES, read_table, write_table
from underspec.data.preferences import label_pairs

PAIRS = 4000
FALSE_ALARM = 1e-6
GOLD = np.tile([0.6, 0.1], PAIRS)  # of the first and the second of each pair
WORDS = np.tile([2, 5], PAIRS)


def samples():
    """Two samples a post, of two and five words, all texts different."""
    return pd.DataFrame(
        {
            "post_id": np.repeat([f"post{i:04d}" for i in range(PAIRS)], 2),
            "sample_index": np.tile([0, 1], PAIRS),
            "text": [f"text{i}" + " word" * (words - 1) for i, words in enumerate(WORDS)],
        }
    )


def split_of(table):
    posts = table.post_id.unique()
    return pd.Series(np.where(np.arange(len(posts)) % 2, "preferences", "validation"), index=posts)


def labels(table=None, gold=GOLD, seed=0, temperature=0.5, noise=0.0, length_bias=0.0):
    table = samples() if table is None else table
    return label_pairs(table, split_of(table), gold, seed, temperature, noise, length_bias)


def first_wins(compared):
    return int((compared.chosen.str.split().str.len() == 2).sum())


@pytest.mark.parametrize(
    "options, probability",
    [
        ({}, expit(0.5 / 0.5)),
        ({"temperature": 2.0}, expit(0.5 / 2.0)),
        ({"gold": -GOLD}, expit(-0.5 / 0.5)),
        ({"gold": 0 * GOLD}, 0.5),
        ({"noise": 0.2}, 0.8 * expit(1.0) + 0.2 * expit(-1.0)),
        ({"length_bias": 0.1}, expit((0.5 - 0.1 * 3) / 0.5)),
        ({"length_bias": 1.0}, expit((0.5 - 1.0 * 3) / 0.5)),
    ],
    ids=["plain", "warm", "reversed", "indifferent", "noisy", "biased", "very biased"],
)
def test_frequencies_are_those_of_bradley_terry(options, probability):
    compared = labels(**options)
    assert len(compared) == PAIRS
    assert binomtest(first_wins(compared), PAIRS, probability).pvalue > FALSE_ALARM


def test_noise_flips_its_share_of_the_labels():
    clean, noisy = labels(temperature=1e-6), labels(temperature=1e-6, noise=0.1)
    assert first_wins(clean) == PAIRS
    assert binomtest(PAIRS - first_wins(noisy), PAIRS, 0.1).pvalue > FALSE_ALARM


def test_the_bias_turns_labels_and_leaves_gold_alone():
    gold = GOLD.copy()
    compared = labels(gold=gold, temperature=1e-6, length_bias=1.0)
    assert first_wins(compared) == 0
    np.testing.assert_array_equal(gold, GOLD)


def test_one_seed_repeats_and_two_differ():
    assert labels().equals(labels())
    assert labels().chosen.tolist() != labels(seed=1).chosen.tolist()


def test_samples_are_compared_with_their_neighbour_and_each_once():
    table = pd.DataFrame(
        {
            "post_id": ["a"] * 6 + ["b"] * 6,
            "sample_index": [*range(6)] * 2,
            "text": [f"text{i}" for i in range(12)],
        }
    )
    compared = labels(table, np.arange(12.0), temperature=1e-6)
    assert compared.post_id.tolist() == ["a"] * 3 + ["b"] * 3
    assert compared.chosen.tolist() == [f"text{i}" for i in range(1, 12, 2)]
    assert compared.rejected.tolist() == [f"text{i}" for i in range(0, 12, 2)]
    assert compared.split.tolist() == ["validation"] * 3 + ["preferences"] * 3


def test_equal_texts_are_no_comparison_and_the_rest_is_as_good_as_new():
    table = samples()
    table.loc[[1, 7], "text"] = table.text[[0, 6]].to_numpy()
    compared = labels(table)
    assert len(compared) == PAIRS - 2
    assert (compared.chosen != compared.rejected).all()
    assert not {"post0000", "post0003"} & set(compared.post_id)
    texts = table.groupby("post_id").text.apply(set)
    for row in compared.head(50).itertuples():
        assert {row.chosen, row.rejected} == texts[row.post_id]
        assert row.split == split_of(table)[row.post_id]


def test_what_is_left_out_is_counted_by_split_and_reason(tmp_path, caplog):
    """Posts with even numbers validate; the counts go where the table goes."""
    table = samples()
    table.loc[[1, 5, 7], "text"] = table.text[[0, 4, 6]].to_numpy()
    table.loc[[8, 15], "text"] = "\u200b\ufeff", " \u2060"
    with caplog.at_level("INFO", logger="underspec"):
        compared = labels(table)
    assert len(compared) == PAIRS - 5
    unseen = "with a text that has no visible character"
    dropped = {
        "validation": {"of equal texts": 2, unseen: 1},
        "preferences": {"of equal texts": 1, unseen: 1},
    }
    assert compared.attrs["dropped"] == dropped
    write_table(compared, tmp_path / "preferences.parquet", PREFERENCES)
    assert read_table(tmp_path / "preferences.parquet", PREFERENCES).attrs["dropped"] == dropped
    assert "validation: 3 comparisons left out (2 of equal texts; 1 with a text" in caplog.text


def test_the_table_fits_its_schema(tmp_path):
    write_table(labels(), tmp_path / "preferences.parquet", PREFERENCES)
    read = read_table(tmp_path / "preferences.parquet", PREFERENCES)
    assert list(read.columns) == list(PREFERENCES)
    assert len(read) == PAIRS


def test_an_empty_text_is_a_text():
    table = samples().head(2).assign(text=["", "some words"])
    compared = labels(table, np.array([1.0, 0.0]), temperature=1e-6)
    assert compared.chosen.tolist() == [""]


def test_texts_that_look_the_same_are_no_comparison():
    table = samples()
    table.loc[[1], "text"] = table.text[0] + "\u200b"
    assert labels(table).attrs["dropped"] == {"validation": {"of equal texts": 1}}
