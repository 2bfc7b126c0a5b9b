"""Bundles: one file with the reward matrix of an experiment and its provenance.

All later stages can be run from a bundle, without models and without torch. It is a zip file of

    manifest.json    experiment, commit, packages, hashes of weights; a SHA-256 of each member
    config.json      the experiment's merged config
    posts.parquet    the split best_of_n of data/posts.parquet
    samples.parquet  samples/best_of_n.parquet
    scores.parquet   the reward matrix: one column per reward model
    reward_models/{scale}/{name}/   metrics, provenance and training log; of a matrix from
                                    elsewhere (see `matrix`), metrics only
    data/styles.parquet, style_scores/{scale}/{name}.parquet   texts in several styles and their
                                    rewards, if it has any
    {samples,scores,diagnostics}/aligned/...   those of aligned policies, if it has any

Rewards are restored bit for bit. The same results, packed by the same commit with the same
packages, give the same bytes.
"""

import io
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from underspec import cheaper_ensembles
from underspec.analysis.reward_matrix import check_keys, layout, metrics_of, read_rewards
from underspec.artifacts import (
    ALIGNED_DIAGNOSTICS,
    ALIGNED_SAMPLES,
    POSTS,
    SAMPLES,
    SCORES,
    STYLES,
    Schema,
    aligned_scores,
    read_table,
    scores_by,
    table_in,
    write_table,
)
from underspec.checksums import sha256
from underspec.errors import ArtifactError, UserError
from underspec.provenance.archive import (
    CURE,
    MANIFEST,
    from_json,
    read_archive,
    to_json,
    write_archive,
)
from underspec.schema import NAME

CONFIG, MATRIX = "config.json", "scores.parquet"
POSTS_TABLE, SAMPLES_TABLE = "posts.parquet", "samples.parquet"
SMALLEST, FAST = 19, 3  # levels of compression, of what is published and of what passes through
LOG = "training.csv"
BESIDE_WEIGHTS = ("metrics.json", "provenance.json", LOG)
IMPORTED = "import"  # the stage, in the provenance of what was trained elsewhere
OF_ALIGNED = {
    "samples": ALIGNED_SAMPLES,
    "scores": aligned_scores([]),
    "diagnostics": ALIGNED_DIAGNOSTICS,
}
ALIGNED_TABLE = re.compile(rf"({'|'.join(OF_ALIGNED)})/aligned/{NAME}/{NAME}/{NAME}\.parquet")
STYLED = "data/styles.parquet"
STYLE_TABLE = re.compile(rf"style_scores/{NAME}/{NAME}\.parquet")
SCORE_NAME = re.compile(rf"gold|{NAME}/(pretrain\d+-finetune\d+|{cheaper_ensembles.TABLES})")


def pack(
    results: Path,
    scores: list[str],
    styles: list[str],
    aligned: list[str],
    config: dict,
    commit: str | None,
    packages: dict[str, str],
    bundle: Path,
) -> None:
    """Write the bundle of the experiment with artifacts in `results`, atomically.

    `scores` are the paths of the score tables below scores/, such as base/pretrain0-finetune0 or
    gold; `styles` are those below style_scores/; `aligned` are the names of aligned policies
    (`grid.Alignment.name`). Raises ArtifactError, naming the file, if an artifact is missing,
    damaged, or about other samples.
    """
    posts = read_table(results / "data/posts.parquet", POSTS)
    samples = read_table(results / "samples/best_of_n.parquet", SAMPLES)
    members = {
        CONFIG: to_json(config | {"extends": None, "bundle": None}),
        **tables(posts[posts["split"] == "best_of_n"], samples, _matrix(results, scores, samples)),
        **{
            name: _content(results / name)
            for name in _beside_weights(scores, lambda name: _content(results / name))
        },
        **{
            name: to_parquet(read_table(results / name, schema))
            for name, schema in _beside_the_matrix(styles, aligned).items()
        },
    }
    provenance = {
        "experiment": config["experiment"],
        "commit": commit,
        "packages": packages,
        "weights": _weights(results, ["policy", *model_folders(scores)]),
    }
    write_archive(members, provenance, bundle)


def tables(
    posts: pd.DataFrame, samples: pd.DataFrame, matrix: pd.DataFrame, level: int = SMALLEST
) -> dict[str, bytes]:
    """The members with posts, samples, and the reward matrix, which has a column per reward model
    and a row per sample (or per distinct text of a post); level: see `to_parquet`."""
    named = {POSTS_TABLE: posts, SAMPLES_TABLE: samples, MATRIX: matrix}
    return {name: to_parquet(table, level) for name, table in named.items()}


def unpack(
    bundle: Path, scores: list[str], styles: list[str], aligned: list[str], results: Path
) -> None:
    """Restore the artifacts in a bundle to the folder `results`.

    `scores`, `styles` and `aligned` are what is needed, named as in `pack`. Everything is verified
    before anything is written. Raises ArtifactError, naming the bundle and the member, if the
    bundle is damaged, tampered with, of another format, or lacks something that is needed. Raises
    UserError, and leaves no file behind, if `results` cannot be written.
    """
    members = read_archive(bundle)
    found = _verified(bundle, members)
    if missing := [name for name in scores if name not in found.matrix]:
        raise ArtifactError(
            f"{bundle / MATRIX}: has no rewards of {missing[0]}, which the config asks for; it has "
            f"{', '.join(found.matrix)}"
        )
    needed = _beside_the_matrix(styles, aligned)
    if missing := [name for name in needed if name not in found.beside]:
        raise ArtifactError(
            f"{bundle}: has no {missing[0]}, which the config asks for; for no RLHF, give each "
            "scale in rlhf.rankers an empty list, for no styles, styles.posts 0"
        )
    keys = found.samples[["post_id", "sample_index"]]
    restored = {
        "data/posts.parquet": (found.posts, POSTS),
        "samples/best_of_n.parquet": (found.samples, SAMPLES),
        **{
            f"scores/{name}.parquet": (keys.assign(reward=rewards), SCORES)
            for name, rewards in by_sample(found.samples, found.matrix).items()
        },
        **{name: found.beside[name] for name in needed},
    }
    files = {name: members[name] for name in (MANIFEST, CONFIG, *found.beside_weights)}
    try:
        _write_all(restored, files, results)
    except OSError as error:
        raise UserError(
            f"{results}: {bundle} cannot be unpacked there ({error}); check that the disk "
            "is not full, then run Snakemake again"
        ) from None


def contents(bundle: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, np.ndarray], dict]:
    """Posts, samples, the rewards (samples,) and the metrics of everything in a bundle, by the
    names of score tables. Raises ArtifactError as `unpack` does."""
    members = read_archive(bundle)
    found = _verified(bundle, members)
    metrics = {
        str(Path(name).parent.relative_to("reward_models")): from_json(members[name], bundle / name)
        for name in found.beside_weights
        if name.endswith("metrics.json")
    }
    return found.posts, found.samples, by_sample(found.samples, found.matrix), metrics


def bundled_config(bundle: Path) -> dict:
    """The merged config of the experiment in a bundle.

    Raises ArtifactError, naming the bundle and the member, if any member is damaged.
    """
    members = read_archive(bundle)
    _require(bundle, members, [CONFIG])
    return from_json(members[CONFIG], bundle / CONFIG)


def model_folders(scores: Iterable[str]) -> list[str]:
    """The folders of the models behind `scores`; the gold rater has none."""
    folders = (cheaper_ensembles.folder(name) for name in scores if name != "gold")
    return [f"reward_models/{folder}" for folder in dict.fromkeys(folders)]


def _beside_weights(scores: Iterable[str], read: Callable[[str], bytes | None]) -> list[str]:
    """The names of the files beside the weights that a bundle needs; read: the content of one, or
    None. What was not trained here has no log.
    """
    found = []
    for folder in model_folders(scores):
        provenance = from_json(read(f"{folder}/provenance.json") or b"{}", Path(folder))
        trained = cheaper_ensembles.has_log(folder) and provenance.get("stage") != IMPORTED
        found += [f"{folder}/{name}" for name in BESIDE_WEIGHTS if name != LOG or trained]
    return found


def _beside_the_matrix(styles: list[str], aligned: Iterable[str]) -> dict[str, Schema]:
    """The tables of texts in several styles, and of aligned policies, below a folder of results,
    and their schemas."""
    texts = {STYLED: STYLES} if styles else {}
    of_styles = texts | {f"style_scores/{name}.parquet": scores_by([]) for name in styles}
    return of_styles | {
        f"{kind}/aligned/{name}.parquet": schema
        for kind, schema in OF_ALIGNED.items()
        for name in aligned
    }


def _matrix(results: Path, scores: list[str], samples: pd.DataFrame) -> pd.DataFrame:
    """The reward matrix, with one column per score table.

    It has one row per distinct text of a post, in the order of the samples, if equal texts have
    equal rewards (bit for bit); otherwise one row per sample.
    """
    path = results / "samples/best_of_n.parquet"
    paths = [results / "scores" / f"{name}.parquet" for name in scores]
    _, rewards = read_rewards(paths, layout(samples, path))
    rewards = rewards.reshape(len(scores), -1).astype(np.float32)
    text = _distinct(samples)
    first = np.unique(text, return_index=True)[1]
    bits = rewards.view(np.uint32)
    if np.array_equal(bits[:, first][:, text], bits):
        rewards = rewards[:, first]
    return pd.DataFrame(dict(zip(scores, rewards, strict=True)))


def by_sample(samples: pd.DataFrame, matrix: pd.DataFrame) -> dict[str, np.ndarray]:
    """(samples,) the rewards of every sample, by the name of the column."""
    rows = _rows(samples, len(matrix))
    return {name: rewards.to_numpy()[rows] for name, rewards in matrix.items()}


def _rows(samples: pd.DataFrame, length: int) -> np.ndarray | None:
    """(samples,) each sample's row in a matrix of `length` rows; None if the length is wrong."""
    text = _distinct(samples)
    choices = (np.arange(len(samples)), text)
    return next((rows for rows in choices if length == rows.max() + 1), None)


def _distinct(samples: pd.DataFrame) -> np.ndarray:
    """(samples,) int: the index of each sample's text among the distinct texts of all posts."""
    return samples.groupby(["post_id", "text"], sort=False).ngroup().to_numpy()


def to_parquet(table: pd.DataFrame, level: int = SMALLEST) -> bytes:
    """`table` as Parquet: dictionary encoding for keys and texts, byte splitting for floats; level:
    of Zstandard's compression."""
    floats = [name for name in table.columns if pd.api.types.is_float_dtype(table[name])]
    file = io.BytesIO()
    pq.write_table(
        pa.Table.from_pandas(table, preserve_index=False),
        file,
        compression="zstd",
        compression_level=level,
        use_dictionary=[name for name in table.columns if name not in floats],
        column_encoding={name: "BYTE_STREAM_SPLIT" for name in floats},
        write_statistics=False,
    )
    return file.getvalue()


def _weights(results: Path, folders: Iterable[str]) -> dict[str, str]:
    hashes = {}
    for folder in folders:
        files = sorted((results / folder).glob("*.safetensors"))
        if not files:
            raise ArtifactError(f"{results / folder}: no weights there; let Snakemake train it")
        hashes |= {f"{folder}/{path.name}": sha256(path) for path in files}
    return hashes


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}; let Snakemake make it first") from None


@dataclass(frozen=True)
class _Contents:
    """What is in a bundle. matrix: as in `tables`; beside: the tables of `_beside_the_matrix` with
    their schemas; beside_weights: the names of the files that stood beside weights."""

    posts: pd.DataFrame
    samples: pd.DataFrame
    matrix: pd.DataFrame
    beside: dict[str, tuple[pd.DataFrame, Schema]]
    beside_weights: list[str]


def _verified(bundle: Path, members: dict[str, bytes]) -> _Contents:
    """The contents, after checking that all members are consistent."""
    _require(bundle, members, [CONFIG, POSTS_TABLE, SAMPLES_TABLE, MATRIX])
    posts = table_in(io.BytesIO(members[POSTS_TABLE]), bundle / POSTS_TABLE, POSTS, CURE)
    samples = table_in(io.BytesIO(members[SAMPLES_TABLE]), bundle / SAMPLES_TABLE, SAMPLES, CURE)
    matrix = table_in(io.BytesIO(members[MATRIX]), bundle / MATRIX, None, CURE)
    if odd := [name for name in matrix if not SCORE_NAME.fullmatch(name)]:
        raise ArtifactError(
            f"{bundle / MATRIX}: column {odd[0]} is not named as a reward model is, such as "
            f"base/pretrain0-finetune0; {CURE}"
        )
    layout(samples, bundle / SAMPLES_TABLE)
    if _rows(samples, len(matrix)) is None:
        raise ArtifactError(
            f"{bundle / MATRIX}: its {len(matrix)} rows do not fit the samples; {CURE}"
        )
    beside_weights = _beside_weights(matrix, members.get)
    if from_json(members[CONFIG], bundle / CONFIG).get("matrix"):
        beside_weights = [name for name in beside_weights if name.endswith("metrics.json")]
    _require(bundle, members, beside_weights)
    schemas = {name: scores_by([]) for name in members if STYLE_TABLE.fullmatch(name)}
    schemas |= {STYLED: STYLES} if STYLED in members else {}
    schemas |= {
        name: OF_ALIGNED[name.split("/")[0]] for name in members if ALIGNED_TABLE.fullmatch(name)
    }
    beside = {
        name: (table_in(io.BytesIO(members[name]), bundle / name, schema, CURE), schema)
        for name, schema in schemas.items()
    }
    known = {MANIFEST, CONFIG, POSTS_TABLE, SAMPLES_TABLE, MATRIX, *beside_weights, *beside}
    if foreign := sorted(members.keys() - known):
        raise ArtifactError(f"{bundle / foreign[0]}: unexpected member; {CURE}")
    for name in beside_weights:
        if name.endswith("metrics.json"):
            found = from_json(members[name], bundle / name)
            check_keys(found, metrics_of(found), bundle / name)
    return _Contents(posts, samples, matrix, beside, beside_weights)


def _require(bundle: Path, members: dict[str, bytes], names: list[str]) -> None:
    for name in names:
        if name not in members:
            raise ArtifactError(f"{bundle / name}: missing; {CURE}")


def _write_all(
    tables: dict[str, tuple[pd.DataFrame, Schema]],
    files: dict[str, bytes],
    results: Path,
) -> None:
    """Write all files to a temporary folder first, then move them to `results`."""
    aside, names = results / "unfinished", [*tables, *files]
    shutil.rmtree(aside, ignore_errors=True)  # left by a killed run
    try:
        for name in names:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            (results / name).parent.mkdir(parents=True, exist_ok=True)
        for name, (table, schema) in tables.items():
            write_table(table, aside / name, schema)
        for name, content in files.items():
            (aside / name).write_bytes(content)
        for name in names:
            os.replace(aside / name, results / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
