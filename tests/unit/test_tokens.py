"""Tokenizers with T5's ids, in a folder that others can open, and texts as token ids."""

import logging

import numpy as np
import pytest
from transformers import AutoTokenizer

import tokenizer as adapter
from underspec.errors import ArtifactError
from underspec.tokens import EOS, PAD, SENTINELS, UNK, decode, encode, load_tokenizer, pad

TEXT = [
    "my brother sold my bike .",
    "should i forgive my sister ?",
    "the boat of my uncle was lost at the beach last week .",
    "my sister said sorry , and i am so sad about the camera .",
]
VOCABULARY = {"word": 140, "unigram": 160}


@pytest.fixture(scope="module", params=VOCABULARY)
def folder(request, tmp_path_factory):
    """What the rule `tokenizer` writes."""
    place = tmp_path_factory.mktemp(request.param)
    (place / "text.txt").write_text("\n".join(TEXT * 3) + "\n", encoding="utf-8")
    adapter.tokenizer(
        text=place / "text.txt",
        kind=request.param,
        vocabulary=VOCABULARY[request.param],
        output=place / "tokenizer",
    )
    return place / "tokenizer"


@pytest.fixture
def trained(folder):
    return load_tokenizer(folder)


def test_special_ids_are_those_of_t5(trained):
    assert [trained.token_to_id(token) for token in ("<pad>", "</s>", "<unk>")] == [PAD, EOS, UNK]


def test_the_last_ids_are_a_hundred_sentinels_counting_down(trained):
    size = trained.get_vocab_size()
    assert size <= max(VOCABULARY.values())
    ids = [trained.token_to_id(f"<extra_id_{i}>") for i in range(SENTINELS)]
    assert ids == [size - 1 - i for i in range(SENTINELS)]
    assert sorted(trained.get_vocab().values()) == list(range(size))


def test_text_comes_back(trained):
    for text, ids in zip(TEXT, encode(trained, TEXT, limit=100), strict=True):
        assert ids[-1] == EOS
        assert UNK not in ids
        assert decode(trained, ids[None]) == [text]


def test_what_was_never_seen_is_unknown(trained):
    (ids,) = encode(trained, ["my ☃ sold my bike ."], limit=100)
    assert UNK in ids


def test_empty_text_is_eos(trained):
    np.testing.assert_array_equal(encode(trained, [""], limit=5)[0], [EOS])


def test_truncation_keeps_eos_and_is_logged(trained, caplog):
    (whole,) = encode(trained, TEXT[:1], limit=100)
    with caplog.at_level(logging.INFO, logger="underspec"):
        for limit in range(1, len(whole)):
            (cut,) = encode(trained, TEXT[:1], limit)
            np.testing.assert_array_equal(cut, [*whole[: limit - 1], EOS])
        assert len(caplog.records) == len(whole) - 1
        caplog.clear()
        np.testing.assert_array_equal(encode(trained, TEXT[:1], len(whole))[0], whole)
        assert not caplog.records


def test_padding(trained):
    rows = encode(trained, TEXT, limit=100)
    padded = pad(rows)
    assert padded.shape == (len(rows), max(map(len, rows)))
    for row, ids in zip(padded, rows, strict=True):
        np.testing.assert_array_equal(row[: len(ids)], ids)
        assert (row[len(ids) :] == PAD).all()
    assert decode(trained, padded) == TEXT


def test_auto_tokenizer_opens_the_folder(folder, trained):
    opened = AutoTokenizer.from_pretrained(folder)
    assert (opened.pad_token_id, opened.eos_token_id, opened.unk_token_id) == (PAD, EOS, UNK)
    assert len(opened) == trained.get_vocab_size()
    for text, ids in zip(TEXT, encode(trained, TEXT, limit=100), strict=True):
        assert opened(text)["input_ids"] == ids.tolist()


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "foreign"])
def test_a_folder_without_a_whole_tokenizer_is_named(trained, tmp_path, damage):
    file = tmp_path / "tokenizer.json"
    if damage != "missing":
        whole = trained.to_str()
        file.write_text({"truncated": whole[:-20], "empty": "", "foreign": "{}"}[damage])
    with pytest.raises(ArtifactError) as caught:
        load_tokenizer(tmp_path)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
