"""The reward matrix: score tables as arrays of shape (models, posts, samples)."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from underspec import strict_json
from underspec.artifacts import SAMPLES, SCORES, read_table
from underspec.errors import ArtifactError
from underspec.files import MAKE
from underspec.schema import one_line

Share = Annotated[float, Field(ge=0, le=1)]

KEYS = {"post_id": "str", "sample_index": "int64"}
REMAKE_FOLDER = "delete the folder it is in and run Snakemake again"


@dataclass(frozen=True)
class Layout:
    """Which sample each row of a table is: the same in the samples and in every score table.

    keys has columns post_id and sample_index; the rows of a post stand together, with
    sample_index 0..size-1; `path` is the table it was taken from, for error messages.
    """

    keys: pd.DataFrame
    size: int
    path: Path

    @cached_property
    def post_ids(self) -> np.ndarray:
        """(posts,) the post of each row of the reward matrix."""
        return self.keys["post_id"].to_numpy()[:: self.size]

    def matrix(self, column: pd.Series) -> np.ndarray:
        """A column of a table of this layout as (posts, samples)."""
        return column.to_numpy().reshape(-1, self.size)

    def check(self, table: pd.DataFrame, path: Path) -> None:
        """Raise ArtifactError, naming `path`, unless its rows are the samples of this layout."""
        keys = _keys(table)
        if len(keys) != len(self.keys):
            difference = f"it has {len(keys)} rows, not {len(self.keys)}"
        elif not keys.equals(self.keys):
            row = int(np.flatnonzero((keys != self.keys).any(axis=1))[0])
            difference = f"row {row} is {_describe(keys, row)}, not {_describe(self.keys, row)}"
        else:
            return
        raise ArtifactError(
            f"{path}: its samples are not those of {self.path}: {difference}; "
            "delete the older of the two files and run Snakemake again"
        )


def layout(table: pd.DataFrame, path: Path) -> Layout:
    """The layout of a table of samples or scores.

    Raises ArtifactError, naming the file, unless every post has the same number of samples,
    numbered from 0 and in this order.
    """
    keys = _keys(table)
    post = pd.factorize(keys["post_id"])[0]
    size = int((post == 0).sum())
    rows = np.arange(len(keys))
    wrong = size == 0 or len(keys) % size
    if not wrong:
        wrong = (post != rows // size) | (keys["sample_index"].to_numpy() != rows % size)
    if np.any(wrong):
        raise ArtifactError(
            f"{path}: every post must have the same number of samples, in rows that stand "
            "together, with sample_index 0, 1, 2, ...; delete the file and run Snakemake again"
        )
    return Layout(keys, size, path)


def read_samples(path: Path) -> tuple[Layout, np.ndarray]:
    """The layout of a samples table, and its texts as integers (posts, samples).

    Two samples of a post have the same integer exactly if they have the same text: duplicate
    texts are the same output. Raises ArtifactError, naming the file, if it is damaged.
    """
    table = read_table(path, SAMPLES)
    samples = layout(table, path)
    return samples, samples.matrix(pd.Series(pd.factorize(table["text"])[0]))


def read_rewards(paths: list[Path], samples: Layout | None = None) -> tuple[Layout, np.ndarray]:
    """Score tables as rewards (models, posts, samples), in single precision, with their layout.

    All must hold the samples of `samples` (left out: of the first table) in the same order.
    Raises ArtifactError, naming the file, if one is damaged or holds other samples.
    """
    rewards = []
    for path in paths:
        table = read_table(path, SCORES)
        samples = samples or layout(table, path)
        samples.check(table, path)
        rewards.append(samples.matrix(table["reward"]))
    return samples, np.stack(rewards)


class Metrics(BaseModel):
    """What training a reward model reported, among other things; a pointwise one has judgements in
    place of pairs, one of ratings has ratings.
    """

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)
    scale: str
    parameters: Annotated[int, Field(gt=0)]
    accuracy: Share
    pairs: Annotated[
        int, Field(gt=0, validation_alias=AliasChoices("pairs", "judgements", "ratings"))
    ]


class Bin(BaseModel):
    """Of a reliability diagram: how many predictions, their mean, and the share that came true."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    count: Annotated[int, Field(gt=0)]
    probability: Share
    share: Share


class PointwiseMetrics(Metrics):
    """What training a pointwise reward model reported."""

    ece: Share
    bins: Annotated[list[Bin], Field(min_length=1)]


class Domain(BaseModel):
    """How well a reward model agrees with people in one domain, and people with people."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    texts: Annotated[int, Field(gt=0)]
    correlation: Annotated[float, Field(ge=-1, le=1)]
    people: Share
    learned: bool


class RatingMetrics(Metrics):
    """What training a reward model of ratings reported."""

    domains: Annotated[dict[str, Domain], Field(min_length=1)]


class MetricsFromElsewhere(BaseModel):
    """What the maker of a reward matrix says of a reward model. parameters: 0 if unknown."""

    model_config = Metrics.model_config
    scale: str
    name: str
    group: str
    member: str
    parameters: Annotated[int, Field(ge=0)]
    accuracy: Share | None


class Provenance(BaseModel):
    """How a model was made, among other things."""

    model_config = ConfigDict(extra="allow", strict=True)
    parameters: Annotated[int, Field(gt=0)]


def read_metrics(path: Path, scale: str | None = None) -> dict:
    """What training a reward model reported, with the keys of Metrics, and those of
    PointwiseMetrics or RatingMetrics where it learned from judgements; or what others say of it,
    with those of MetricsFromElsewhere.

    Raises ArtifactError, naming the file, if it is missing, is no JSON object, lacks a key or has
    one that cannot be, or is of another scale than `scale`.
    """
    found = read_json(path, JsonObject)
    check_keys(found, metrics_of(found), path)
    if scale is not None and found["scale"] != scale:
        raise ArtifactError(f"{path}: of the scale {found['scale']}, not {scale}; {REMAKE_FOLDER}")
    return found


class JsonObject(BaseModel):
    pass


def metrics_of(found: dict) -> type[BaseModel]:
    """The keys that metrics have to have."""
    if found.get("from_elsewhere"):
        return MetricsFromElsewhere
    if "judgements" in found:
        return PointwiseMetrics
    return RatingMetrics if "ratings" in found else Metrics


def read_json(path: Path, wanted: type[BaseModel]) -> dict:
    """A JSON object that a training left in its folder, with at least what is `wanted`.

    Raises ArtifactError, naming the file, if it is missing, is no JSON object, lacks a key or has
    one that cannot be.
    """
    try:
        found = strict_json.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; {MAKE}") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not readable as JSON ({error}); {REMAKE_FOLDER}") from None
    check_keys(found, wanted, path)
    return found


def check_keys(found: Any, wanted: type[BaseModel], path: Path) -> None:
    """Raise ArtifactError, naming `path`, if `found` is no JSON object with what is `wanted`."""
    try:
        wanted.model_validate(found)
    except ValidationError as error:
        faults = error.errors()
        missing = sorted(str(fault["loc"][-1]) for fault in faults if fault["type"] == "missing")
        if not isinstance(found, dict):
            fault = "no JSON object"
        else:
            fault = f"{', '.join(missing)} is missing" if missing else one_line(error)
        raise ArtifactError(f"{path}: {fault}; {REMAKE_FOLDER}") from None


def _keys(table: pd.DataFrame) -> pd.DataFrame:
    return table[list(KEYS)].astype(KEYS).reset_index(drop=True)


def _describe(keys: pd.DataFrame, row: int) -> str:
    return f"sample {keys['sample_index'].iloc[row]} of post {keys['post_id'].iloc[row]}"
