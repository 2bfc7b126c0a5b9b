"""What is written can be read back; what is damaged is named and never written."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from underspec import files
from underspec.artifacts import POSTS, SCORES, of_split, read_posts, read_table, write_table
from underspec.csv_files import write_csv
from underspec.errors import ArtifactError
from underspec.files import read_lines, read_tokens, write_flat_array
from underspec.provenance.archive import write_archive


def scores(**columns):
    table = {"post_id": ["a", "a", "b"], "sample_index": [0, 1, 0], "reward": [0.5, -1.0, 2.0]}
    return pd.DataFrame(table | columns)


@given(
    st.lists(
        st.tuples(st.text(max_size=5), st.integers(0, 63), st.floats(-9, 9, width=32)),
        min_size=1,
        unique_by=lambda row: row[:2],
    )
)
def test_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tables") / "scores.parquet"
    table = pd.DataFrame(rows, columns=list(SCORES))
    write_table(table, path, SCORES)
    read = read_table(path, SCORES)
    assert list(read["post_id"]) == list(table["post_id"])
    assert_frame_equal(read[["sample_index", "reward"]], table.iloc[:, 1:], check_dtype=False)
    assert str(read["sample_index"].dtype) == "int32"
    assert str(read["reward"].dtype) == "float32"


def test_schema_columns_first_and_extra_ones_kept(tmp_path):
    path = tmp_path / "new" / "scores.parquet"
    write_table(scores(gold=[1, 2, 3])[["gold", "reward", "sample_index", "post_id"]], path, SCORES)
    assert list(read_table(path, SCORES).columns) == [*SCORES, "gold"]
    assert [file.name for file in path.parent.iterdir()] == ["scores.parquet"]


def write_scores(path):
    write_table(scores(), path, SCORES)


def write_tokens(path):
    write_flat_array([np.arange(3)], path, np.dtype("uint16"))


def write_tidy(path):
    write_csv(scores(), path)


def write_bundle(path):
    write_archive({"a": b"a"}, {}, path)


WRITERS = [write_scores, write_tokens, write_tidy, write_bundle]


@pytest.mark.parametrize("write", WRITERS)
def test_a_second_copy_of_a_job_that_was_faster_does_no_harm(tmp_path, monkeypatch, write):
    """It writes the same from beginning to end while the first one is about to finish."""
    path, replace = tmp_path / "written", files.os.replace
    seen = []

    def replace_after_the_other(unfinished, final):
        monkeypatch.setattr(files.os, "replace", replace)
        seen.append(unfinished.read_bytes())
        write(path)
        assert unfinished.read_bytes() == path.read_bytes() == seen[0]
        replace(unfinished, final)

    monkeypatch.setattr(files.os, "replace", replace_after_the_other)
    write(path)
    assert path.read_bytes() == seen[0]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", WRITERS)
def test_what_a_killed_job_left_goes_when_it_is_old_and_no_sooner(tmp_path, monkeypatch, write):
    path = tmp_path / "written"
    left = [tmp_path / f"{name}.0123.unfinished" for name in ("written", "other")]
    for each in left:
        each.write_bytes(b"half")
    write(path)
    assert sorted(tmp_path.iterdir()) == sorted([path, *left])
    later = files.time.time() + files.STALE_SECONDS + 1
    monkeypatch.setattr(files.time, "time", lambda: later)
    write(path)
    assert sorted(tmp_path.iterdir()) == sorted([path, left[1]])


def test_missing_file(tmp_path):
    with pytest.raises(ArtifactError, match=r"nowhere\.parquet: no such file"):
        read_table(tmp_path / "nowhere.parquet", SCORES)


@pytest.mark.parametrize("length", [0, 3, 100, -1])
def test_truncated_file(tmp_path, length):
    path = tmp_path / "scores.parquet"
    write_table(scores(), path, SCORES)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArtifactError, match=r"scores\.parquet: not a whole Parquet file"):
        read_table(path, SCORES)


def test_missing_column(tmp_path):
    path = tmp_path / "scores.parquet"
    scores().drop(columns="reward").to_parquet(path)
    with pytest.raises(ArtifactError, match=r"scores\.parquet: column reward is missing"):
        read_table(path, SCORES)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rewards_that_are_no_numbers(tmp_path, bad):
    path = tmp_path / "scores.parquet"
    scores(reward=[0.0, bad, 1.0]).to_parquet(path)
    with pytest.raises(ArtifactError, match=r"scores\.parquet: column reward .* row 1"):
        read_table(path, SCORES)


@pytest.mark.parametrize(
    "bad",
    [scores(reward=[0.0, np.nan, 1.0]), scores(post_id=["a", None, "b"]), scores()[["reward"]]],
)
def test_a_table_that_breaks_the_schema_overwrites_nothing(tmp_path, bad):
    path = tmp_path / "scores.parquet"
    write_table(scores(), path, SCORES)
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match=r"scores\.parquet"):
        write_table(bad, path, SCORES)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["scores.parquet"]


@pytest.mark.parametrize("lengths", [[], [0], [3], [1, 0, 5], [70_000] * 40])
@pytest.mark.parametrize("kind", ["uint16", "uint32"])
def test_an_array_written_in_pieces_is_one_array(tmp_path, lengths, kind):
    pieces = [np.random.default_rng(i).integers(0, 2**16, n) for i, n in enumerate(lengths)]
    path = tmp_path / "tokens.npy"
    write_flat_array(iter(pieces), path, np.dtype(kind))
    read = np.load(path, mmap_mode="r")
    assert read.dtype == kind
    np.testing.assert_array_equal(read, np.concatenate([[], *pieces]))
    assert list(tmp_path.iterdir()) == [path]


def test_an_array_that_was_not_finished_is_not_there(tmp_path):
    def pieces():
        yield np.zeros(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_flat_array(pieces(), tmp_path / "tokens.npy", np.dtype("uint16"))
    assert list(tmp_path.iterdir()) == []


def refused(path, schema, cause):
    with pytest.raises(ArtifactError, match=cause) as caught:
        read_table(path, schema)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


NOT_UTF_8 = pa.array([b"a", b"a\xff", b"b"], pa.binary()).view(pa.string())


@pytest.mark.parametrize(
    ("columns", "cause"),
    [
        ({"post_id": NOT_UTF_8}, "column post_id is damaged .*UTF8"),
        ({"post_id": NOT_UTF_8.dictionary_encode()}, "column post_id is damaged .*UTF8"),
        ({"post_id": pa.array([b"a", b"a", b"b"])}, "column post_id is binary, not text"),
        ({"post_id": pa.array([1, 2, 3])}, "column post_id is int64, not text"),
        ({"post_id": pa.array([["a"], ["a"], ["b"]])}, "column post_id is list.*, not text"),
        ({"post_id": pa.nulls(3)}, "column post_id has 3 missing"),
        ({"sample_index": pa.array(["0", "1", "0"])}, "column sample_index is string, not whole"),
        ({"sample_index": pa.array([0.0, 0.5, 0.0])}, "column sample_index does not hold whole"),
        ({"sample_index": pa.array([0, 2**31, 0])}, "column sample_index does not hold whole"),
        (
            {"sample_index": pa.array([0, 0, 0])},
            "row 1 is the second with post_id a, sample_index 0",
        ),
        ({"reward": pa.array(["0.5", "1", "2"])}, "column reward is string, not numbers"),
        ({"reward": pa.array([True, False, True])}, "column reward is bool, not numbers"),
        ({"reward": pa.array([0.0, 1e300, 0.0])}, "column reward has 1 .* non-finite"),
        ({"post_id": pa.array([], pa.string())}, "has no rows"),
    ],
)
def test_values_of_another_kind(tmp_path, columns, cause):
    table = {name: pa.array(values) for name, values in scores().items()} | columns
    rows = min(map(len, table.values()))
    table = {name: values[:rows] for name, values in table.items()}
    pq.write_table(pa.table(table), tmp_path / "scores.parquet")
    refused(tmp_path / "scores.parquet", SCORES, cause)


@pytest.mark.parametrize(
    "columns",
    [
        {"post_id": pa.array(["a", "a", "b"], pa.large_string())},
        {"post_id": pa.array(["a", "a", "b"]).dictionary_encode()},
        {"sample_index": pa.array([0.0, 1.0, 0.0])},
        {"sample_index": pa.array([0, 1, 0], pa.uint8())},
        {"reward": pa.array([1, 2, 3])},
    ],
)
def test_the_same_values_in_another_layout_are_read(tmp_path, columns):
    table = pa.table({name: pa.array(values) for name, values in scores().items()} | columns)
    pq.write_table(table, tmp_path / "scores.parquet")
    read = read_table(tmp_path / "scores.parquet", SCORES)
    assert list(read.post_id) == ["a", "a", "b"] and list(read.sample_index) == [0, 1, 0]
    assert (str(read.sample_index.dtype), str(read.reward.dtype)) == ("int32", "float32")


def test_a_column_that_is_there_twice(tmp_path):
    table = pa.table({name: pa.array(values) for name, values in scores().items()})
    table = pa.Table.from_arrays([*table.columns, table["reward"]], [*SCORES, "reward"])
    pq.write_table(table, tmp_path / "scores.parquet")
    refused(tmp_path / "scores.parquet", SCORES, "has two columns reward")


def test_what_pandas_or_others_add_to_a_file_changes_nothing(tmp_path):
    """An index, metadata of other programs, a folder that looks like a partition."""
    path = tmp_path / "post_id=7" / "scores.parquet"
    path.parent.mkdir()
    scores().set_index("post_id").to_parquet(path)
    assert list(read_table(path, SCORES).post_id) == ["a", "a", "b"]
    for odd in (b"{nonsense", b"[]", b'{"attributes": 7}'):
        table = pq.ParquetFile(path).read().replace_schema_metadata({b"pandas": odd})
        pq.write_table(table, path)
        assert len(read_table(path, SCORES)) == 3


def test_a_folder_is_no_table(tmp_path):
    write_scores(tmp_path / "scores.parquet" / "part-0.parquet")
    refused(tmp_path / "scores.parquet", SCORES, "not a whole Parquet file")


def test_a_key_that_is_there_twice_is_not_written(tmp_path):
    with pytest.raises(ArtifactError, match="row 2 is the second with post_id b, sample_index 0"):
        write_table(scores(post_id=["a", "b", "b"], sample_index=0), tmp_path / "s", SCORES)
    assert list(tmp_path.iterdir()) == []


def posts():
    table = {"post_id": ["a", "b"], "split": ["policy", "validation"], "post": "x"}
    return pd.DataFrame(table | {"reference": ""})


def test_posts_that_another_table_names_and_are_not_there(tmp_path):
    write_table(posts(), tmp_path / "posts.parquet", POSTS)
    names = pd.Series(["b", "a", "b"])
    assert len(read_posts(tmp_path / "posts.parquet", names, tmp_path / "samples.parquet")) == 2
    names = pd.Series(["b", "c", "c", "d"])
    cause = r"posts\.parquet: lacks posts that .*samples\.parquet has \(c, d\); delete the older"
    with pytest.raises(ArtifactError, match=cause):
        read_posts(tmp_path / "posts.parquet", names, tmp_path / "samples.parquet")


def test_a_split_without_posts(tmp_path):
    assert list(of_split(posts(), "policy", tmp_path).post_id) == ["a"]
    with pytest.raises(
        ArtifactError, match="has no rows of the split best_of_n, only of policy, v"
    ):
        of_split(posts(), "best_of_n", tmp_path)


def save(values):
    def write(path):
        with path.open("wb") as file:
            np.save(file, values, allow_pickle=True)

    return write


def cut(length):
    def write(path):
        save(np.arange(900, dtype="uint16"))(path)
        path.write_bytes(path.read_bytes()[:length])

    return write


@pytest.mark.parametrize(
    "write",
    [
        *map(cut, (0, 5, 20, 128, 1000, -1)),
        save(np.ones(900)),
        save(np.ones((30, 30), "uint16")),
        save(np.full(900, -1, "int16")),
        save(np.zeros(0, "uint16")),
        save(np.array([{}] * 900)),
        lambda path: np.savez(path.open("wb"), a=np.ones(3)),
        lambda path: path.write_text("no array"),
        lambda path: path.mkdir(),
        lambda path: None,
    ],
)
def test_tokens_that_are_not_whole(tmp_path, write):
    path = tmp_path / "0.npy"
    write(path)
    with pytest.raises(ArtifactError, match=r"0\.npy: (not|no such file)") as caught:
        read_tokens(path)
    assert "\n" not in str(caught.value)


def test_tokens_are_read_as_they_were_written(tmp_path):
    write_tokens(tmp_path / "0.npy")
    np.testing.assert_array_equal(read_tokens(tmp_path / "0.npy"), [0, 1, 2])


@given(st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"))))
def test_lines_come_back_as_they_are(tmp_path_factory, lines):
    """Also with a carriage return or a line separator in them."""
    path = tmp_path_factory.mktemp("text") / "0.txt"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="")
    assert list(read_lines(path)) == lines


def test_lines_that_are_not_utf_8(tmp_path):
    (tmp_path / "0.txt").write_bytes(b"one\ncaf\xe9\n")
    with pytest.raises(ArtifactError, match=r"0\.txt: after line . is text that is not UTF-8"):
        list(read_lines(tmp_path / "0.txt"))
    with pytest.raises(ArtifactError, match=r"1\.txt: no such file"):
        list(read_lines(tmp_path / "1.txt"))
