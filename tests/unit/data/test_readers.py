"""How models of other families read texts: as their own tokenizers do, whatever the texts hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_models import LINES, TEMPLATE, WRITE
from transformers import AutoTokenizer

from underspec.data.readers import PairReader, TemplateReader, split
from underspec.errors import ArtifactError

LIMIT = 64
NAMES = ["<|endoftext|>", "[SEP]", "<|pad|>", "[CLS]x", "{post}", "{sample}"]
TEXT = st.one_of(st.text("abc. !?\n", max_size=12), st.sampled_from([*LINES, *NAMES]))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {family: write(folder / family) for family, write in WRITE.items()}


def whole(reader, post, texts):
    (shared,), (rest,) = reader([post], [texts])
    return [np.concatenate([shared, ids]).tolist() for ids in rest]


@settings(max_examples=60, deadline=None)
@given(TEXT, st.lists(TEXT, min_size=1, max_size=3))
def test_an_encoder_reads_pairs_as_its_tokenizer_makes_them(folders, post, texts):
    reader = PairReader(folders["bert"], LIMIT, LIMIT)
    tokenizer = AutoTokenizer.from_pretrained(folders["bert"])
    found = whole(reader, post, texts)
    plain = (post, *texts)
    for ids, text in zip(found, texts, strict=True):
        assert ids.count(tokenizer.sep_token_id) == 2 and ids.count(tokenizer.cls_token_id) == 1
        if not any(name in each for name in NAMES for each in plain):
            assert ids == tokenizer([post], [text])["input_ids"][0]


@settings(max_examples=60, deadline=None)
@given(TEXT, st.lists(TEXT, min_size=1, max_size=3))
def test_a_decoder_reads_the_template_filled_in_and_an_end(folders, post, texts):
    reader = TemplateReader(folders["neox"], 10_000, 10_000, TEMPLATE)
    tokenizer = AutoTokenizer.from_pretrained(folders["neox"])
    for ids, text in zip(whole(reader, post, texts), texts, strict=True):
        assert ids[-1] == tokenizer.eos_token_id and ids.count(tokenizer.eos_token_id) == 1
        assert tokenizer.decode(ids[:-1]) == f"{post}\n\nTL;DR: {text}"


def test_a_chat_is_what_the_tokenizer_makes_of_it(folders):
    reader = TemplateReader(folders["llama"], LIMIT, LIMIT, "chat")
    tokenizer = AutoTokenizer.from_pretrained(folders["llama"])
    (ids,) = whole(reader, LINES[0], ["Sold."])
    turns = [{"role": "user", "content": LINES[0]}, {"role": "assistant", "content": "Sold."}]
    assert ids == tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
    with pytest.raises(ArtifactError, match=r"a text contains <\|eot_id\|>"):
        reader(["x"], [["a <|eot_id|> b"]])


def test_a_tokenizer_with_a_start_adds_one_to_a_plain_template(folders):
    reader = TemplateReader(folders["llama"], LIMIT, LIMIT, TEMPLATE)
    (ids,) = whole(reader, "my bike", ["sold"])
    assert ids[0] == 0 and ids[-1] == 1 and ids.count(0) == ids.count(1) == 1


@pytest.mark.parametrize("family", ["bert", "neox"])
def test_a_post_is_cut_to_fit_and_a_candidate_never(folders, family, caplog):
    kinds = {"bert": PairReader, "neox": lambda *given: TemplateReader(*given, TEMPLATE)}
    long, short = " ".join(LINES), "Sold the bike."
    reader = kinds[family](folders[family], 1000, 40)
    texts = [short, short * 2]
    found = whole(reader, long, texts)
    assert [len(ids) <= 40 for ids in found] == [True, True] and max(map(len, found)) > 35
    for ids, text in zip(found, texts, strict=True):
        assert text.lower().replace(" ", "") in reader.tokenizer.decode(ids).lower().replace(
            " ", ""
        )
    assert "2 of 2 posts with a candidate truncated to the model's 40 tokens" in caplog.text
    assert whole(reader, long, texts[:1]) == found[:1]  # whatever the other candidates are
    with pytest.raises(ArtifactError, match="reads at most 40 tokens, and a candidate needs"):
        reader([long], [[long]])
    caplog.clear()
    cut = kinds[family](folders[family], 5, 1000)
    cut([long, "my"], [[short], [short]])
    assert "1 of 2 posts truncated to 5 tokens" in caplog.text


def test_readers_are_the_same_if_all_that_they_depend_on_is(folders):
    one, same, other = (
        TemplateReader(folders["neox"], LIMIT, LIMIT, template).identity
        for template in (TEMPLATE, TEMPLATE, "{post} {sample}")
    )
    assert one == same != other


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5))
def test_the_split_is_the_longest_that_leaves_something(rows):
    rows = [np.array(row) for row in rows]
    shared, rest = split(rows)
    assert all(len(ids) for ids in rest)
    for row, ids in zip(rows, rest, strict=True):
        np.testing.assert_array_equal(row, [*shared, *ids])
    beginnings = {(row[: len(shared) + 1]).tobytes() for row in rows}
    assert len(beginnings) > 1 or min(map(len, rest)) == 1
