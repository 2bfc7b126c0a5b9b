"""Tokenizers with T5's ids, in a folder that others can open, and texts as token ids."""

import logging
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from published import t5_tokenizer, write_t5
from tokenizers import Regex, normalizers
from transformers import AutoTokenizer

import import_tokenizer as importer
import tokenizer as adapter
import tokens as encoder
from underspec.data.texts import lines
from underspec.data.tokenization import (
    EOS,
    PAD,
    SENTINELS,
    UNK,
    check_ids,
    decode,
    encode,
    first_sentinel,
    load_tokenizer,
    pad,
    read_tokenizer,
    save_tokenizer,
    token_ids,
    train_tokenizer,
    used_tokens,
)
from underspec.data.worlds import micro_tldr
from underspec.errors import ArtifactError, ConfigError

ROOT = Path(__file__).parents[3]

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
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "text.txt").write_text("\n".join(TEXT * 3) + "\n", encoding="utf-8")
    adapter.tokenizer(
        text=folder / "text.txt",
        kind=request.param,
        vocabulary=VOCABULARY[request.param],
        output=folder / "tokenizer",
    )
    return folder / "tokenizer"


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
    assert first_sentinel(trained) == size - 1


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


NAMES = ["</s>", "<pad>", "<unk>", "<extra_id_0>", "<extra_id_99>", "<unused_0>"]


@pytest.fixture(params=["word", "unigram", "t5"])
def any_tokenizer(request, tmp_path):
    """Of each kind, as the workflow leaves it on disk."""
    if request.param == "t5":
        return load_tokenizer(import_from(write_t5(tmp_path)))
    save_tokenizer(train_tokenizer(TEXT * 3, request.param, VOCABULARY[request.param]), tmp_path)
    return load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["{}", "my bike {} my bike", "my{}bike", " {}{}", "{} ", "<{}>"])
def test_a_text_that_names_a_special_token_is_text(any_tokenizer, name, text):
    """Of special tokens it has the eos at its end, and what no vocabulary knows is unknown."""
    text = text.format(*[name] * 2)
    special = any_tokenizer.get_added_tokens_decoder().keys() - {UNK}
    (ids,), (plain,) = (
        encode(any_tokenizer, [each], limit=100) for each in (text, text.replace(name, ""))
    )
    assert ids[-1] == EOS
    assert not special & set(ids[:-1].tolist())
    assert len(ids) > len(plain) or UNK in ids  # the name has pieces
    after = encode(any_tokenizer, ["my bike", text, "my brother"], limit=100)
    np.testing.assert_array_equal(after[1], ids)


def test_letters_in_the_name_of_a_special_token_come_back():
    (ids,) = encode(t5_tokenizer(), ["my<pad>bike"], limit=100)
    assert decode(t5_tokenizer(), ids[None]) == ["mypadbike"]


def test_other_texts_have_the_ids_that_the_tokenizer_gives(any_tokenizer):
    texts = [*TEXT, "", "a < b > c </ s> <pad <s>", "see <http://example.org> now\u200b"]
    for text, ids in zip(texts, encode(any_tokenizer, texts, limit=100), strict=True):
        assert ids.tolist() == any_tokenizer.encode(text).ids


def test_the_texts_of_the_generated_world_have_the_ids_they_had():
    options = yaml.safe_load((ROOT / "config.yaml").read_text())["worlds"]["micro_tldr"]
    world = micro_tldr.World(options)
    posts = world.posts()
    trained = train_tokenizer(world.pretraining_text(), "word", 512)
    texts = [*posts.post, *posts.reference]
    before = [each.ids for each in trained.encode_batch(texts)]
    assert [ids.tolist() for ids in token_ids(trained, texts)] == before


def test_a_special_token_of_another_name_is_refused_where_a_text_has_it():
    other = t5_tokenizer(special=("[PAD]", "</s>", "<unk>"))
    assert len(encode(other, ["my bike"], limit=9)) == 1
    with pytest.raises(ArtifactError, match=r"a text contains \[PAD\], a special token"):
        encode(other, ["my [PAD]"], limit=9)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "^b: has no tokens"),
        ([5, PAD, EOS], "^b: token 1 is padding"),
        ([5, EOS, PAD], "^b: token 2 is padding"),
        ([5, 9, EOS], "^b: token id 9, but the model's vocabulary has 9"),
    ],
)
def test_ids_that_no_model_reads_as_they_are_meant(ids, message):
    check_ids(["a"], [np.array([5, 8, EOS])], 9)
    with pytest.raises(ArtifactError, match=message):
        check_ids(["a", "b"], [np.array([5, EOS]), np.array(ids, dtype=np.int64)], 9)


PUBLISHED = t5_tokenizer().get_vocab_size()


def import_from(folder, vocabulary=PUBLISHED + 28, **options):
    importer.import_tokenizer(
        source={"name": str(folder), "revision": "unused"},
        vocabulary=vocabulary,
        **options,
        output=folder / "imported",
    )
    return folder / "imported"


@pytest.fixture
def published(tmp_path):
    return write_t5(tmp_path)


def test_the_published_tokenizer_is_filled_up(published):
    imported = load_tokenizer(import_from(published))
    size = imported.get_vocab_size()
    assert size == PUBLISHED + 28
    assert sorted(imported.get_vocab().values()) == list(range(size))
    assert [imported.token_to_id(token) for token in ("<pad>", "</s>", "<unk>")] == [PAD, EOS, UNK]
    assert first_sentinel(imported) == PUBLISHED - 1
    assert [imported.token_to_id(f"<unused_{i}>") for i in (0, 27)] == [PUBLISHED, size - 1]


def test_the_published_tokenizer_reads_as_before(published):
    folder = import_from(published)
    text = "my brother sold\nmy  bike so i am sad"
    expected = t5_tokenizer().encode(text).ids
    assert encode(load_tokenizer(folder), [text], 100)[0].tolist() == expected
    opened = AutoTokenizer.from_pretrained(folder)
    assert opened(text)["input_ids"] == expected
    assert len(opened) == PUBLISHED + 28
    assert opened.decode(expected, skip_special_tokens=True) == " ".join(text.split())


def test_a_published_tokenizer_that_would_cut_does_not(tmp_path):
    tokenizer = t5_tokenizer()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ids = load_tokenizer(import_from(tmp_path)).encode_batch(["my brother sold my bike", "so"])
    assert [len(each.ids) for each in ids] == [6, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"special": ("</s>", "<pad>", "<unk>")}, "the id of <pad> is 1, not 0"),
        ({"sentinels": 0}, "the id of <extra_id_0> is None"),
        ({"sentinels": 99}, "the id of <extra_id_99> is None"),
    ],
)
def test_another_tokenizer_is_refused(tmp_path, changes, message):
    t5_tokenizer(**changes).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ArtifactError, match=rf"tokenizer\.json: not T5's: {message}"):
        import_from(tmp_path, 500)


def test_sentinels_in_another_order_are_refused(published):
    file = published / "tokenizer.json"
    text = (
        file.read_text().replace("<extra_id_3>", "<swap>").replace("<extra_id_4>", "<extra_id_3>")
    )
    file.write_text(text.replace("<swap>", "<extra_id_4>"))
    with pytest.raises(ArtifactError, match="the id of <extra_id_3> is"):
        import_from(published)


def test_a_tokenizer_that_does_not_end_texts_is_refused(tmp_path):
    tokenizer = t5_tokenizer()
    tokenizer.post_processor = None
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ArtifactError, match="it does not end a text with </s>"):
        import_from(tmp_path)


def test_a_vocabulary_that_is_too_small(published):
    with pytest.raises(ConfigError, match=rf"tokenizer\.vocabulary: 111 .* the {PUBLISHED} tokens"):
        import_from(published, 111)


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_tokens_of_a_text(folder, trained, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(encoder, "LINES_AT_ONCE", at_once)
    lines = [*TEXT[:2], "my </s> bike<pad>", *TEXT[2:]]
    (tmp_path / "text.txt").write_text("".join(f"{line}\n" for line in lines))
    encoder.tokens(text=tmp_path / "text.txt", tokenizer=folder, output=tmp_path / "0.npy")
    read = np.load(tmp_path / "0.npy", mmap_mode="r")
    np.testing.assert_array_equal(read, np.concatenate(encode(trained, lines, limit=100)))
    assert read.dtype == np.uint16
    assert (read == EOS).sum() == len(lines) and PAD not in read


LISTS = [
    "so what now\n\n- sold my bike\n- my brother\n* so\n\u2022 and\n1. my bike\n2: so",
    "my bike\nso",
]


@pytest.fixture(scope="module", params=["word", "unigram", "t5"])
def with_line_breaks(request, tmp_path_factory):
    """As the workflow leaves it on disk; T5's normalises as the published one does."""
    folder = tmp_path_factory.mktemp("line_breaks")
    if request.param == "t5":
        published = t5_tokenizer()
        spaces = normalizers.Replace(Regex(" {2,}"), " ")
        published.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), spaces])
        published.save(str(folder / "tokenizer.json"))
        return import_from(folder, line_breaks=True)
    text = "".join(f"{' '.join(each.split())}\n" for each in [*LISTS, *TEXT] * 3)
    (folder / "text.txt").write_text(text, encoding="utf-8")
    adapter.tokenizer(
        text=folder / "text.txt",
        kind=request.param,
        vocabulary=300,
        line_breaks=True,
        output=folder / "trained",
    )
    return folder / "trained"


def test_lists_survive_tokenisation(with_line_breaks):
    tokenizer = load_tokenizer(with_line_breaks)
    assert decode(tokenizer, encode(tokenizer, LISTS, 100)) == LISTS
    opened = AutoTokenizer.from_pretrained(with_line_breaks)
    for text in LISTS:
        (ids,) = encode(tokenizer, [text], 100)
        assert opened(text)["input_ids"] == ids.tolist()
        found = opened.decode(ids, skip_special_tokens=True)
        assert [line.strip() for line in found.split("\n")] == text.split("\n")


WORDS = st.sampled_from(["my", "brother", "sold", "bike", "-", "*", "\u2022", "1.", "so", "</s>"])
ANY_LINES = st.lists(st.lists(WORDS, max_size=4).map(" ".join), max_size=6)


@given(ANY_LINES, st.sampled_from(["\n", "\r\n", " \n\t ", "\u2028", "\n\n"]))
def test_line_breaks_come_back(with_line_breaks, drawn, between):
    text = lines(between.join(drawn))
    tokenizer = load_tokenizer(with_line_breaks)
    (ids,) = encode(tokenizer, [text], 1000)
    (found,) = decode(tokenizer, [ids])
    assert (ids == tokenizer.token_to_id("\n")).sum() == text.count("\n")
    assert ids[-1] == EOS and (ids == EOS).sum() == 1
    if "</s>" not in text:  # whose < no vocabulary here knows
        assert found == text


def test_other_ids_stay(with_line_breaks):
    """A line break is the next token after those that a tokenizer has without it, apart from the
    sentinels of one that is trained here."""
    tokenizer = load_tokenizer(with_line_breaks)
    break_id = tokenizer.token_to_id("\n")
    size = tokenizer.get_vocab_size()
    assert sorted(tokenizer.get_vocab().values()) == list(range(size))
    assert "\n" not in used_tokens(tokenizer)
    if with_line_breaks.name == "imported":
        assert (break_id, size) == (PUBLISHED, PUBLISHED + 28)
        assert used_tokens(tokenizer) == used_tokens(
            read_tokenizer(with_line_breaks.parent / "tokenizer.json")
        )
    else:
        assert first_sentinel(tokenizer) == size - 1 == break_id + SENTINELS


def test_a_vocabulary_without_room_for_a_line_break(published):
    with pytest.raises(ConfigError, match=rf"{PUBLISHED} is less .* and a line break"):
        import_from(published, PUBLISHED, line_breaks=True)


@given(st.text())
def test_lines_are_as_tokenizers_keep_them(text):
    found = lines(text)
    assert found.split() == text.split() and lines(found) == found
    assert "\n\n\n" not in found and found == found.strip()
    assert lines(None) == ""
