"""A small TL;DR as it is published, and the world that reads it."""

import pyarrow.parquet as pq
from published import comparison, post, write_comparisons, write_parquet, write_posts

from underspec.data.worlds.tldr import World

FOLDERS = {"posts": "posts", "comparisons": "comparisons"}


def options(folder, **changes):
    sources = {
        key: {"name": str(folder / name), "revision": "unused"} for key, name in FOLDERS.items()
    }
    return {"seed": 0, "best_of_n": None, **sources, **changes}


def write_published(folder):
    """Three policy posts, two with comparisons to train on, one to validate, four to rank."""
    write_posts(
        folder / "posts",
        train=[*(post(f"policy{i}") for i in range(3)), post("pref0"), post("pref1")],
        validation=[post("val0", summary=" its own words ")],
        test=[post(f"test{i}") for i in range(4)],
    )
    write_comparisons(
        folder / "comparisons",
        train=[comparison("pref0", 0), comparison("pref0", 1), comparison("pref1", 1)],
        validation=[comparison("val0", 0), comparison("unheard", 0)],
    )
    return folder


def world(folder, **changes):
    chosen = options(folder, **changes)
    raw = folder / "raw"
    raw.mkdir(exist_ok=True)
    World.fetch(raw, **{key: chosen[key] for key in World.fetch_options})
    return World(chosen, raw)


def append(path, *rows):
    """Add rows to a published file."""
    table = pq.read_table(path)
    write_parquet(path, [*table.to_pylist(), *rows], table.schema)


def train_file(folder):
    return next((folder / "posts/data").glob("train-*"))


def ids(table, split):
    return sorted(table.post_id[table.split == split])


def with_column(path, name, values):
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, values), path)


def comparisons(folder):
    return folder / "comparisons/comparisons/train/0000.parquet"
