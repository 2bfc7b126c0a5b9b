"""Figures and pages in other words for seeds."""

import matplotlib.pyplot as plt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from underspec.report.plots import save, use_style
from underspec.report.words import plural, reworded

WORDS = {"group": "base model", "member": "run"}


@given(st.text())
def test_without_words_nothing_changes(text):
    assert reworded(text, {}) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pairs from the same checkpoint", "pairs from the same base model"),
        ("same\ncheckpoint", "same\nbase model"),
        ("Different pretraining seeds", "Different base models"),
        ("Pretrain ensembles beat finetune ensembles", "Base model ensembles beat run ensembles"),
        ("pretrain\nensembles", "base model\nensembles"),
        ("finetune\nens.", "run\nens."),
        ("a pretrained checkpoint", "a base model"),
        ("between finetuning seeds", "between runs"),
        ("no reward of pretrain mean at n = 16", "no reward of base model mean at n = 16"),
        ("single reward model", "single reward model"),
    ],
)
def test_seeds_checkpoints_and_ensembles_are_called_otherwise(text, expected):
    assert reworded(text, WORDS) == expected


def test_plurals():
    assert [plural(noun) for noun in ("base model", "family", "day", "class")] == [
        *("base models", "families", "days", "classes")
    ]


def test_every_text_of_a_figure_is_reworded(tmp_path):
    use_style()
    plt.rcParams["svg.fonttype"] = "none"
    figure, axis = plt.subplots()
    axis.set_title("by others of the same checkpoint")
    axis.plot([1], [1], label="pretrain ensemble")
    axis.legend()
    save(figure, str(tmp_path / "figure"), WORDS)
    drawn = (tmp_path / "figure.svg").read_text()
    assert "same base model" in drawn and "base model ensemble" in drawn
    assert "checkpoint" not in drawn and "pretrain" not in drawn
