"""Files of the paper's world: damaged, in another layout, in part, and read by jobs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published import COMPARISON, POST, post, write_parquet
from published_tldr import (
    comparisons,
    options,
    train_file,
    with_column,
    world,
    write_published,
)

from underspec.artifacts import POSTS, read_table
from underspec.data.published_tables import BATCH, read_rows
from underspec.data.worlds.tldr import POST_COLUMNS, World
from underspec.errors import ArtifactError, UserError


@pytest.fixture
def published(tmp_path):
    return write_published(tmp_path)


@pytest.mark.parametrize("column", ["id", "subreddit", "title", "post", "summary"])
def test_a_missing_column_of_posts(published, column):
    path = train_file(published)
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(ArtifactError, match=rf"train-.*: column {column} is missing; it has"):
        world(published).posts()


@pytest.mark.parametrize("column", ["info", "summaries", "choice", "batch"])
def test_a_missing_column_of_comparisons(published, column):
    path = published / "comparisons/comparisons/train/0000.parquet"
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(ArtifactError, match=rf"0000\.parquet: column .*{column}.* is missing"):
        world(published).posts()


@pytest.mark.parametrize(
    ("column", "field", "said"),
    [("info", "id", "is missing; it has"), ("summaries", "text", "is list.*, not lists of texts")],
)
def test_a_missing_field_of_comparisons(published, column, field, said):
    kind = COMPARISON.field(column).type
    inner = kind.value_type if pa.types.is_list(kind) else kind
    rest = pa.struct([one for one in inner if one.name != field])
    schema = COMPARISON.set(
        COMPARISON.get_field_index(column),
        pa.field(column, pa.list_(rest) if inner is not kind else rest),
    )
    rows = pq.read_table(comparisons(published)).to_pylist()
    write_parquet(comparisons(published), rows, schema)
    with pytest.raises(ArtifactError, match=rf"0000\.parquet: column {column}.* {said}"):
        world(published).posts()


def test_a_damaged_file(published):
    path = train_file(published)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match=r"train-.*: not a whole Parquet file .*; delete it"):
        world(published).posts()


def test_a_file_without_rows(published):
    write_parquet(comparisons(published), [], COMPARISON)
    with pytest.raises(ArtifactError, match=r"0000\.parquet: not a whole Parquet file with rows"):
        world(published).posts()


def split_in_two(path):
    """The two shards that a published file becomes."""
    table = pq.read_table(path)
    shards = [path.with_name(f"train-0000{i}-of-00002-{i}{i}.parquet") for i in (0, 1)]
    pq.write_table(table[:2], shards[0])
    pq.write_table(table[2:], shards[1])
    path.unlink()
    return shards


@pytest.mark.parametrize("damaged", [0, 1])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda table: table.drop_columns(["post"]), "column post is missing; it has"),
        (
            lambda table: table.set_column(3, "post", pa.array(range(len(table)))),
            "column post is int64, not text",
        ),
    ],
    ids=["missing", "numbers"],
)
def test_one_shard_that_differs_from_the_others(published, damaged, damage, said):
    """Read as one data set, it would be cast to the types of the first shard."""
    path = split_in_two(train_file(published))[damaged]
    pq.write_table(damage(pq.read_table(path)), path)
    with pytest.raises(ArtifactError, match=rf"train-0000{damaged}-of-.*: {said}"):
        world(published).posts()


def test_a_file_that_went_after_the_fetch(published):
    fetched = world(published)
    train_file(published).unlink()
    with pytest.raises(ArtifactError, match=r"train-\*\.parquet: no such file; was it moved"):
        fetched.posts()


def test_a_shard_that_is_missing(published):
    """Before the fetch and after it; it would be a smaller TL;DR."""
    shards = split_in_two(train_file(published))
    fetched = world(published)
    assert len(fetched.posts()) == 11
    shards[1].unlink()
    with pytest.raises(ArtifactError, match="train-00001-of-00002 missing; was it moved"):
        World(options(published), published / "raw").posts()
    with pytest.raises(UserError, match=r"posts: only a part .* train-00001-of-00002 missing"):
        world(published)


def test_a_folder_without_the_files(published):
    train_file(published).unlink()
    with pytest.raises(UserError, match=r"posts: no file data/train-\*\.parquet there"):
        world(published)


@pytest.mark.parametrize(
    ("choices", "kept"),
    [
        (pa.array([0.0, 1.0, 1.0]), 3),
        (pa.array([0.0, float("nan"), 1.0]), 2),  # as pandas writes a gap
        (pa.array([0.0, 0.5, 1.0]), 2),
        (pa.array([0, 1, 1], pa.uint8()), 3),
        (pa.array([0, 1, 1]).dictionary_encode(), 3),
    ],
)
def test_a_choice_in_another_layout(published, choices, kept):
    expected = world(published).preferences()
    with_column(comparisons(published), "choice", choices)
    found = world(published).preferences()
    assert (found.split == "preferences").sum() == kept
    assert set(found.chosen) <= set(expected.chosen)
    if kept == 3:
        assert found.chosen.tolist() == expected.chosen.tolist()
    else:
        reason = "with a choice that is neither 0 nor 1"
        assert found.attrs["dropped"]["preferences"] == {reason: 1}


@pytest.mark.parametrize("kind", ["fixed", "large"])
def test_summaries_in_another_layout(published, kind):
    expected = world(published).preferences()
    values = pq.read_table(comparisons(published))["summaries"].combine_chunks()
    if kind == "fixed":
        values = pa.FixedSizeListArray.from_arrays(values.flatten(), 2)
    else:
        values = values.cast(pa.large_list(values.type.value_type))
    with_column(comparisons(published), "summaries", values)
    assert world(published).preferences().equals(expected)


BYTES = pa.array([b"caf\xe9 %d" % i for i in range(5)], pa.binary())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (BYTES.view(pa.string()), "column post is damaged .*UTF8.*; delete it and fetch it again"),
        (BYTES, "column post is binary, not text"),
        (pa.array([["a"]] * 5), "column post is list.*, not text"),
        (pa.array(range(5)), "column post is int64, not text"),
        (pa.array([float("nan")] * 5), "column post is double, not text"),
    ],
)
def test_posts_of_another_kind(published, values, said):
    with_column(train_file(published), "post", values)
    with pytest.raises(ArtifactError, match=rf"train-.*parquet: {said}"):
        world(published).posts()


@pytest.mark.parametrize("values", [[True, False, True], ["0", "1", "1"], [[0], [1], [1]]])
def test_choices_of_another_kind(published, values):
    with_column(comparisons(published), "choice", pa.array(values))
    with pytest.raises(ArtifactError, match=r"0000\.parquet: column choice is .*, not numbers"):
        world(published).posts()


def test_a_column_of_structs_in_a_list_is_another_column(published):
    info = pq.read_table(comparisons(published))["info"].combine_chunks()
    listed = pa.ListArray.from_arrays(pa.array(range(4), pa.int32()), info)
    with_column(comparisons(published), "info", listed)
    with pytest.raises(ArtifactError, match=r"0000\.parquet: column info\.id.* is missing"):
        world(published).posts()


def test_two_columns_of_one_name(published):
    table = pq.read_table(train_file(published))
    twice = pa.Table.from_arrays([*table.columns, table["id"]], [*table.schema.names, "id"])
    pq.write_table(twice, train_file(published))
    with pytest.raises(ArtifactError, match=r"train-.*: .*Multiple matches .*\(id\)"):
        world(published).posts()


TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(*[TEXT] * 5), min_size=1, max_size=8), st.integers(1, BATCH))
def test_rows_are_read_as_they_were_written(tmp_path_factory, texts, rows_in_a_group):
    """Whatever they contain, in their order, and more of them than are in memory at a time."""
    folder = tmp_path_factory.mktemp("written")
    rows = [dict(zip(POST_COLUMNS, row, strict=True)) for row in texts] * (BATCH // 4)
    pq.write_table(
        pa.Table.from_pylist(rows, POST), folder / "a.parquet", row_group_size=rows_in_a_group
    )
    assert list(read_rows(folder, "*.parquet", POST_COLUMNS)) == rows


def test_a_file_that_another_replaced_unnoticed(published):
    """Its name, size and time stayed."""
    path = train_file(published)
    rows = pq.read_table(path).to_pylist()
    read, stats = [], []
    for text in ("one post", "another!"):
        table = pa.Table.from_pylist([*rows, post("new", post=text)], POST)
        pq.write_table(table, path, compression="none", use_dictionary=False)
        os.utime(path, ns=(0, 0))
        read.append(world(published).posts().post)
        stats.append((path.stat().st_size, path.stat().st_mtime_ns))
    assert stats[0] == stats[1]
    assert (read[0] != read[1]).sum() == 1


def test_features_that_a_file_claims_change_nothing(published):
    """As `datasets` writes them into the files that it publishes."""
    expected = world(published).preferences()
    claimed = {"choice": {"names": ["one", "two"], "_type": "ClassLabel"}}
    claimed |= {"batch": {"dtype": "int64", "_type": "Value"}}
    described = {"huggingface": json.dumps({"info": {"features": claimed}})}
    path = comparisons(published)
    pq.write_table(pq.read_table(path).replace_schema_metadata(described), path)
    assert world(published).preferences().equals(expected)


def test_a_folder_with_any_name(published, tmp_path):
    expected = world(published).posts()
    folder = tmp_path / "[a] *odd? {name}, 50% #1::b"
    folder.mkdir()
    (published / "posts").rename(folder / "posts")
    (published / "comparisons").rename(folder / "comparisons")
    assert world(folder).posts().equals(expected)


# Runs posts.py in an interpreter in which connecting to anything is an error.
ALONE = """
import runpy, sys
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        print("CONNECTED", arguments, file=sys.stderr)
        sys.exit(9)
sys.addaudithook(hook)
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
SCRIPTS = Path(__file__).parents[3] / "scripts"


def start(published, output, **environment):
    """The job `posts` as a process."""
    given = {"world": "tldr", "options": json.dumps(options(published)), "output": output}
    given |= {"raw": published / "raw", "log": output.with_suffix(".log")}
    named = [str(part) for name, value in given.items() for part in (f"--{name}", value)]
    return subprocess.Popen(
        [sys.executable, "-c", ALONE, SCRIPTS / "posts.py", *named],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_reading_needs_no_network_and_no_home_and_leaves_nothing_behind(published, tmp_path):
    """Two jobs at once, a read-only source, and `datasets` as it is without any setting."""
    expected = world(published).posts()
    for folder in ("home", "scratch"):
        (tmp_path / folder).mkdir()
    free = {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home"), "HOME": "/proc/nobody"}
    free |= {"TMPDIR": str(tmp_path / "scratch")}
    files = [path for path in (published / "posts").rglob("*")]
    for path in files:
        path.chmod(0o555 if path.is_dir() else 0o444)
    jobs = [start(published, tmp_path / f"{i}.parquet", **free) for i in (0, 1)]
    for i, job in enumerate(jobs):
        said = job.communicate()[1]
        assert job.returncode == 0, said
        assert read_table(tmp_path / f"{i}.parquet", POSTS).equals(expected)
    assert not [*(tmp_path / "home").iterdir(), *(tmp_path / "scratch").iterdir()]
    assert files == [path for path in (published / "posts").rglob("*")]


def test_a_damaged_file_is_one_line_on_the_log(published, tmp_path):
    world(published)
    path = train_file(published)
    path.write_bytes(path.read_bytes()[:-20])
    job = start(published, tmp_path / "posts.parquet")
    said = job.communicate()[1]
    log = (tmp_path / "posts.log").read_text()
    assert job.returncode == 1 and said.count("\n") == 1, said
    assert [line.count("train-") for line in log.splitlines() if " ERROR " in line] == [1]
