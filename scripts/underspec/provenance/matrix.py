"""Reward matrices from elsewhere: a folder of tables becomes a bundle, and a bundle such a folder.

docs/own-matrix.md has the columns. Everything after the matrix then runs as from any bundle.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from underspec.artifacts import POSTS, SAMPLES
from underspec.errors import UserError
from underspec.files import atomic
from underspec.grid import evaluator, reward_models
from underspec.provenance import bundle
from underspec.provenance.archive import to_json, write_archive
from underspec.provenance.matrix_files import SUFFIXES, Table, find, first, read, write_csv
from underspec.provenance.matrix_models import (
    EVALUATOR,
    GOLD,
    Model,
    ensemble_size,
    grid_of,
    models,
)
from underspec.schema import NAME

KEYS = ["post_id", "sample_index"]
KNOWN = {
    "rewards": [*KEYS, "reward_model", "reward"],
    "reward_models": ["name", "group", "member", "scale", "accuracy", "parameters", "pairs"],
    "samples": [*KEYS, "text", "post", "reference", "log_prob"],
    EVALUATOR: [*KEYS, "reward"],
    GOLD: [*KEYS, "reward"],
}
SCORE_IT = "score the sample, or leave its post or this reward model out"
log = logging.getLogger("underspec.import_matrix")


@dataclass(frozen=True)
class Samples:
    """Which samples there are, by the table `path`: the same number for every post, from 0 on."""

    posts: list[str]
    size: int
    path: Path

    def cells(self, table: Table) -> np.ndarray:
        """(rows,) the index of each row's sample, the posts in order. A sample that is not there is
        a fault."""
        post_ids, index = table.texts("post_id"), table.whole("sample_index")
        post = pd.Index(self.posts).get_indexer(post_ids)
        if (odd := (post < 0) | (index < 0) | (index >= self.size)).any():
            row = first(odd)
            raise table.fault(
                row,
                f"sample {index[row]} of post {post_ids[row]} is not in {self.path}; add it there, "
                "or remove it here",
            )
        return post * self.size + index

    def named(self, cell: int) -> str:
        return f"sample {cell % self.size} of post {self.posts[cell // self.size]}"


def samples_of(table: Table) -> Samples:
    """The samples that a table has rows of. Posts with different numbers of samples are a fault."""
    post, posts = pd.factorize(table.texts("post_id"))
    index = table.whole("sample_index")
    if (negative := index < 0).any():
        raise table.fault(first(negative), "sample_index is below 0; count from 0")
    pairs = pd.DataFrame({"post": post, "index": index}).drop_duplicates()
    sizes = pairs.groupby("post").size()
    size = int(sizes.max())
    if (unequal := sizes < size).any():
        few, most = (posts[int(found)] for found in (unequal.idxmax(), sizes.idxmax()))
        raise UserError(
            f"{table.path}: post {few} has {sizes[unequal.idxmax()]} samples and post {most} "
            f"{size}; every post needs the same number: leave out samples or posts"
        )
    if (beyond := index >= size).any():
        row = first(beyond)
        raise table.fault(
            row,
            f"sample_index is {index[row]}, and post {posts[post[row]]} has {size} samples; number "
            "them 0, 1, 2, ... without gaps",
        )
    for number, least, what in ((len(posts), 2, "posts"), (size, 2, "samples a post")):
        if number < least:
            raise UserError(f"{table.path}: {number} {what}; at least {least} are needed")
    return Samples(list(posts), size, table.path)


def _distinct(table: Table, cells: np.ndarray, what: Sequence[str]) -> None:
    if (twice := pd.Series(cells).duplicated()).any():
        row = first(twice)
        named = ", ".join(f"{name} {table.columns[name][row]}" for name in what)
        raise table.fault(row, f"the second with {named}; keep one of them")


def rewards(table: Table, samples: Samples, names: list[str]) -> np.ndarray:
    """(names, samples) float32 of a table of rewards, long or wide, in the order of `samples`.

    Duplicates, gaps, and reward models that are not among `names` or not in the table are faults.
    """
    if "reward_model" in table.names:
        return _long(table, samples, names)
    columns = [name for name in table.names if name not in KEYS]
    if unknown := [name for name in columns if name not in names]:
        raise UserError(
            f"{table.path}: column {unknown[0]} is no reward model; add a row with this name to "
            "reward_models, or remove the column"
        )
    if missing := [name for name in names if name not in columns]:
        raise UserError(
            f"{table.path}: has no column {missing[0]}, which is in reward_models; add its "
            "rewards, or remove it there"
        )
    return _columns(table, samples, dict(zip(names, names, strict=True)))


def _columns(table: Table, samples: Samples, scored_by: dict[str, str]) -> np.ndarray:
    """(columns, samples) the rewards of some columns, in the order of `samples`; scored_by: who
    gave the rewards of each, for messages."""
    cells = samples.cells(table)
    _distinct(table, cells, KEYS)
    found = np.full((len(scored_by), len(samples.posts) * samples.size), np.nan, np.float32)
    for row, (column, name) in zip(found, scored_by.items(), strict=True):
        row[cells] = table.numbers(column, pa.float32(), SCORE_IT)
        _whole(table, samples, row, name)
    return found


def _long(table: Table, samples: Samples, names: list[str]) -> np.ndarray:
    scored = table.texts("reward_model")
    model = pd.Index(names).get_indexer(scored)
    if (unknown := model < 0).any():
        row = first(unknown)
        raise table.fault(row, f"{scored[row]} is not in reward_models; add it there, or remove it")
    number = len(samples.posts) * samples.size
    cells = model * number + samples.cells(table)
    _distinct(table, cells, [*KEYS, "reward_model"])
    found = np.full(len(names) * number, np.nan, np.float32)
    found[cells] = table.numbers("reward", pa.float32(), SCORE_IT)
    found = found.reshape(len(names), number)
    for name, each in zip(names, found, strict=True):
        _whole(table, samples, each, name)
    return found


def _whole(table: Table, samples: Samples, found: np.ndarray, name: str) -> None:
    gaps = np.flatnonzero(np.isnan(found))
    if len(gaps) == len(found):
        raise UserError(f"{table.path}: has no rewards by {name}; add them, or remove {name}")
    if len(gaps):
        more = f" (and {len(gaps) - 1} more)" if len(gaps) > 1 else ""
        raise UserError(
            f"{table.path}: {name} has no reward of {samples.named(gaps[0])}{more}; {SCORE_IT}"
        )


def best_of_n(size: int) -> list[int]:
    return [*(2**power for power in range(20) if 2**power < size), size]


def to_bundle(folder: Path, output: Path, change: Callable[[dict], dict] = dict) -> None:
    """Write the bundle of the matrix in `folder`; `change` makes its config of the one that follows
    from the tables. Raises UserError, naming file, row and cure, if a table is at fault."""
    if not re.fullmatch(NAME, folder.resolve().name):
        raise UserError(
            f"{folder}: cannot name an experiment; use letters, digits, '_', '-' and '.'"
        )
    read_tables = _tables(folder)
    found, judge = models(read_tables["reward_models"])
    of_rewards = read_tables["rewards"]
    samples = samples_of(read_tables.get("samples", of_rewards))
    names = [each.name for each in found]
    scores = dict(zip((e.score for e in found), rewards(of_rewards, samples, names), strict=True))
    judges = {EVALUATOR: judge.score, GOLD: GOLD}
    given = {name: score for name, score in judges.items() if name in read_tables}
    for name, score in given.items():
        (scores[score],) = _columns(read_tables[name], samples, {"reward": f"the {name}"})
    posts, drawn = _texts(read_tables.get("samples"), samples)
    described = [*found, *([judge] if EVALUATOR in given else [])]
    has = [*given, *(["texts"] if "samples" in read_tables else [])]
    has += ["accuracy"] if all(each.said["accuracy"] is not None for each in found) else []
    config = change(_config(folder.resolve().name, found, judge, samples, has))
    members = {bundle.CONFIG: to_json(config)}
    members |= bundle.tables(posts, drawn, pd.DataFrame(scores), bundle.FAST)
    for each in described:
        members[f"reward_models/{each.score}/metrics.json"] = to_json(each.metrics)
    write_archive(members, {"experiment": config["experiment"], "matrix": True}, output)
    log.info(
        "%s: %d posts, %d samples of each, %d reward models in %d groups; given are %s",
        *(output, len(samples.posts), samples.size, len(found)),
        *(len({(each.scale, each.group) for each in found}), ", ".join(has) or "rewards alone"),
    )


def _tables(folder: Path) -> dict[str, Table]:
    found = {name: path for name in KNOWN if (path := find(folder, name))}
    for name in ("rewards", "reward_models"):
        if name not in found:
            suffixes = ", ".join(f"{name}{suffix}" for suffix in SUFFIXES)
            raise UserError(f"{folder}: has none of {suffixes}; write one of them")
    tables = {name: read(path) for name, path in found.items()}
    for name, table in tables.items():
        if name != "reward_models":
            table.require(*KEYS)
        wide = name == "rewards" and "reward_model" not in table.names
        if not wide and (other := [each for each in table.names if each not in KNOWN[name]]):
            log.warning("%s: not read: %s", table.path, ", ".join(other))
    return tables


def _texts(table: Table | None, samples: Samples) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of posts and samples. Without texts, a sample is called by its number, so that no
    two samples of a post are the same output."""
    number = len(samples.posts) * samples.size
    keys = {
        "post_id": np.repeat(samples.posts, samples.size),
        "sample_index": np.tile(np.arange(samples.size), len(samples.posts)),
    }
    texts = [f"sample {i}" for i in keys["sample_index"]]
    of_post = {"post": "no text given", "reference": ""}
    log_prob = np.zeros(number)
    if table:
        cells = samples.cells(table)
        _distinct(table, cells, KEYS)
        if len(cells) < number:
            gap = first(np.bincount(cells, minlength=number) == 0)
            raise UserError(f"{table.path}: has no {samples.named(gap)}; add it")
        order = np.argsort(cells)
        texts = table.texts("text", blank=True).to_numpy()[order]
        for name in ("post", "reference"):
            if name in table.names:
                of_post[name] = _one_a_post(table, name, cells, samples)
        if "log_prob" in table.names:
            log_prob = table.numbers("log_prob", pa.float32(), "or leave the column out")[order]
    posts = pd.DataFrame({"post_id": samples.posts, "split": "best_of_n"} | of_post)
    drawn = pd.DataFrame(keys | {"text": texts, "log_prob": log_prob})
    return posts.astype(POSTS), drawn.astype(SAMPLES)


def _one_a_post(table: Table, name: str, cells: np.ndarray, samples: Samples) -> np.ndarray:
    values = table.texts(name, blank=True).to_numpy()
    post = cells // samples.size
    first_row = np.unique(post, return_index=True)[1]  # of each post
    if (other := values != values[first_row[post]]).any():
        row = first(other)
        other_row = first_row[post[row]] + 1
        raise table.fault(row, f"another {name} than in row {other_row}; a post has one")
    return values[first_row]


def _config(name: str, found: list[Model], judge: Model, samples: Samples, has: list[str]) -> dict:
    cells = [each.cell for each in found if each.scale == found[0].scale]
    seeds = {"pretrain_seed": judge.cell.pretrain_seed, "finetune_seed": judge.cell.finetune_seed}
    config = {
        "experiment": name,
        "world": "elsewhere",
        "matrix": {"has": has},
        "scales": list(dict.fromkeys(each.scale for each in found)),
        **grid_of(cells),
        "ensemble_size": ensemble_size(cells),
        "sampling": {"samples": {"best_of_n": samples.size}},
        "best_of_n": best_of_n(samples.size),
        "evaluator": {"scale": judge.scale, **seeds},
    }
    return config if "texts" in has else config | {"newer_rankers": {"mbr": None}}


# Keys of the config that a folder gets from a bundle.
EXPORTED = (
    *("words", "reward", "centering", "ensemble_size", "best_of_n", "aggregators"),
    *("newer_rankers", "resamples"),
)


def to_folder(path: Path, folder: Path) -> None:
    """Write the reward matrix in the bundle `path` as such a folder: the grid's reward models, the
    evaluator and gold, without cheaper ensembles and aligned policies."""
    config = bundle.bundled_config(path)
    posts, samples, scores, metrics = bundle.contents(path)
    cells = reward_models(config["grid"], config["pretrain_seeds"], config["finetune_seeds"])
    of_grid = [f"{scale}/{cell.name}" for scale in config["scales"] for cell in cells]
    judge = evaluator(**config["evaluator"])
    models = [_described(score, score, metrics[score]) for score in of_grid]
    of_judge = [_described(EVALUATOR, judge, metrics[judge])] if judge in metrics else []
    keys = samples[KEYS]
    columns = {about["name"]: scores[score] for about, score in zip(models, of_grid, strict=True)}
    tables = {
        "rewards": pd.DataFrame({**keys, **columns}),
        "reward_models": pd.DataFrame(models + of_judge),
    }
    own = config.get("matrix") or {"has": ["texts"]}
    if "texts" in own["has"]:
        tables["samples"] = samples[[*KEYS, "text", "log_prob"]].merge(
            posts[["post_id", "post", "reference"]], on="post_id", how="left"
        )
    tables |= {
        name: keys.assign(reward=scores[score])
        for name, score in ((EVALUATOR, judge), (GOLD, GOLD))
        if score in scores
    }
    for name, table in tables.items():
        write_csv(table, folder / f"{name}.csv")
    kept = {key: config[key] for key in EXPORTED if key in config}
    with atomic(folder / "config.yaml") as unfinished:  # JSON is YAML
        unfinished.write_bytes(to_json(kept))


def _described(name: str, score: str, metrics: dict) -> dict:
    scale, cell = score.split("/")
    group, member = re.fullmatch(r"pretrain(\d+)-finetune(\d+)", cell).groups()
    about = {"name": name, "group": group, "member": member, "scale": scale} | metrics
    unknown = {"parameters": 0, "accuracy": None}
    return {
        key: about[key]
        for key in KNOWN["reward_models"]
        if key in about and about[key] != unknown.get(key, "")
    }
