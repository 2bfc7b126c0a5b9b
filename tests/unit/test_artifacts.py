"""What is written can be read back; what is damaged is named and never written."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from underspec import artifacts
from underspec.archive import write_archive
from underspec.artifacts import SCORES, read_table, write_flat_array, write_table
from underspec.errors import ArtifactError
from underspec.tables import write_csv


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
    path, replace = tmp_path / "written", artifacts.os.replace
    seen = []

    def replace_after_the_other(unfinished, final):
        monkeypatch.setattr(artifacts.os, "replace", replace)
        seen.append(unfinished.read_bytes())
        write(path)
        assert unfinished.read_bytes() == path.read_bytes() == seen[0]
        replace(unfinished, final)

    monkeypatch.setattr(artifacts.os, "replace", replace_after_the_other)
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
    later = artifacts.time.time() + artifacts.STALE_SECONDS + 1
    monkeypatch.setattr(artifacts.time, "time", lambda: later)
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
