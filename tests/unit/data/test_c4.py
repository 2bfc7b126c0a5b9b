"""C4 as pretraining text: every document once, on one line, in one shard."""

import gzip
import json

import pytest
from published import write_c4

from pretraining_text import pretraining_text
from underspec.data.worlds import c4
from underspec.data.worlds.c4 import World
from underspec.errors import ArtifactError, ConfigError, UserError
from underspec.report.data_card import read_left_out

TEXTS = [[f"Page {i} of\nfile {file}.\r\n\u2028The  end." for i in range(4)] for file in range(3)]


@pytest.fixture
def raw(tmp_path):
    folder = write_c4(tmp_path / "published", TEXTS)
    World.fetch(tmp_path, source(folder), files=3)
    return tmp_path


def source(folder):
    return {"name": str(folder), "revision": "unused"}


def world(raw, files=3):
    return World({"source": source(raw / "published"), "files": files}, raw)


def test_a_document_is_one_line(raw):
    documents = list(world(raw).pretraining_text())
    assert documents == [
        f"Page {i} of file {file}. The end." for file in range(3) for i in range(4)
    ]


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_shards_hold_every_document_once_and_whole_files(raw, shards):
    parts = [list(world(raw).pretraining_shard(shard, shards)) for shard in range(shards)]
    assert sorted(sum(parts, [])) == sorted(world(raw).pretraining_text())
    files = [{line.split()[4] for line in part} for part in parts]
    assert sum(map(len, files)) == 3


def test_only_the_files_asked_for_are_read(raw):
    assert len(list(world(raw, files=2).pretraining_text())) == 8


def test_empty_documents_are_left_out_and_counted(tmp_path, caplog):
    write_c4(tmp_path / "published", [["one", " \n", "", "\u200b\ufeff", "two"]])
    World.fetch(tmp_path, source(tmp_path / "published"), files=1)
    with caplog.at_level("INFO", logger="underspec"):
        assert list(world(tmp_path, files=1).pretraining_text()) == ["one", "two"]
    assert "2 documents; left out 3 empty ones" in caplog.text


@pytest.mark.parametrize(
    ("line", "text", "mended"),
    [
        (b'{"text": "a \\ud800 b"}', "a \ufffd b", 1),
        (b'{"text": "a \\udc00\\ud800 b"}', "a \ufffd\ufffd b", 1),
        (b'{"text": "a \\ud83d\\ude00 b"}', "a \U0001f600 b", 0),
        (b'{"text": "a \xed\xa0\x80 b"}', "a \ufffd b", 1),  # as some programs write it in UTF-8
        (b'\xef\xbb\xbf{"text": "a b"}', "a b", 0),  # a byte order mark
    ],
)
def test_half_a_surrogate_pair_is_replaced_and_counted(raw, tmp_path, caplog, line, text, mended):
    first_file(raw).write_bytes(gzip.compress(line + b'\n{"text": "two"}\n'))
    read = world(raw, files=1)
    with caplog.at_level("INFO", logger="underspec"):
        documents = list(read.pretraining_text())
    assert documents == [text, "two"]
    (tmp_path / "text").write_text("\n".join(documents), encoding="utf-8")
    assert f"replaced lone surrogates in {mended}" in caplog.text
    assert read.left_out == {c4.EMPTY: 0, c4.REPAIRED: mended}


@pytest.mark.parametrize(
    "text", ["2019-04-25", "2019-04-25T12:57:54Z", "1.50", "null", "true", '"a"', '{"a": 1}']
)
def test_a_text_that_looks_like_another_type_stays_as_it_is(raw, text):
    """Readers that guess the types of columns would change it."""
    first_file(raw).write_bytes(gzip.compress(json.dumps({"text": text}).encode() + b"\n"))
    assert list(world(raw, files=1).pretraining_text()) == [text]


def test_what_is_left_out_reaches_a_file_for_the_data_card(raw, tmp_path):
    first_file(raw).write_bytes(
        gzip.compress(b'{"text": "\\udfff"}\n{"text": " "}\n{"text": ""}\n')
    )
    options = {"source": source(raw / "published"), "files": 1}
    files = {"text": tmp_path / "0.txt", "left_out": tmp_path / "0.json"}
    pretraining_text(world="c4", options=options, raw=raw, **files)
    assert read_left_out([files["left_out"]] * 2) == {c4.EMPTY: 4, c4.REPAIRED: 2}
    assert read_left_out([]) == {}


def test_reading_is_lazy(raw):
    """A damaged end does not keep the beginning from being read: nothing is read ahead."""
    cut(first_file(raw))
    documents = world(raw).pretraining_text()
    assert next(documents) == "Page 0 of file 0. The end."


def first_file(raw):
    return raw / "published/en/c4-train.00000-of-01024.json.gz"


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "not a whole gzip file .*; delete it"),
        (lambda path: path.write_bytes(b"text"), "not a whole gzip file"),
        (
            lambda path: path.write_bytes(gzip.compress(b'{"text": "a"}\n{"text')),
            "line 2 is not a JSON",
        ),
        (
            lambda path: path.write_bytes(gzip.compress(b'{"url": "a"}\n')),
            'line 1 .* with a "text"',
        ),
        (lambda path: path.write_bytes(gzip.compress(b'{"text": null}\n')), 'line 1 .* a "text"'),
        *(
            (lambda path, lines=lines: path.write_bytes(gzip.compress(lines)), said)
            for lines, said in (
                (b"[]\n", "line 1 is not a JSON object"),
                (b'{"text": "a"}\n{"text": 5}\n', 'line 2 .* a "text"'),
                (b'{"text": "a"}\n{"text": true}\n', 'line 2 .* a "text"'),
                (b'{"text": ["a"]}\n', 'line 1 .* a "text"'),
                (b'{"text": {"a": "b"}}\n', 'line 1 .* a "text"'),
                (b'[{"text": "a"}]\n', "line 1 is not a JSON object"),
                (b'{"text": "a"}{"text": "b"}\n', "line 1 is not a JSON object"),
                (b'{"text": "a"}\n\n{"text": "b"}\n', "line 2 is not a JSON object"),
            )
        ),
        (
            lambda path: path.write_bytes(gzip.compress(b'{"text": "\xff"}\n')),
            "line 1 is not UTF-8",
        ),
        (lambda path: path.unlink(), "no such file; was it moved since it was fetched"),
    ],
)
def test_a_damaged_file_is_named(raw, damage, message):
    damage(first_file(raw))
    with pytest.raises(
        ArtifactError, match=f"c4-train.00000-of-01024.json.gz: {message}"
    ) as caught:
        list(world(raw).pretraining_text())
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named_at_once(tmp_path):
    folder = write_c4(tmp_path / "published", [["one"]])
    with pytest.raises(UserError, match="no file en/c4-train.00001-of-01024.json.gz there"):
        World.fetch(tmp_path, source(folder), files=2)


@pytest.mark.parametrize("files", [0, 1025])
def test_there_are_1024_files(tmp_path, files):
    with pytest.raises(ConfigError, match=r"^worlds\.c4\.files: "):
        world(tmp_path, files)


def test_the_written_schema_is_the_published_one(raw):
    with gzip.open(first_file(raw), "rt") as lines:
        assert set(json.loads(next(lines))) == {"text", "timestamp", "url"}
