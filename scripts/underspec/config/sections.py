"""The sections of the config, with the type of every key. Stages validate their options with the
same sections.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from underspec import architectures, recipe, strict_json
from underspec.analysis.ensembles import AGGREGATORS
from underspec.config.judge import Judge
from underspec.config.machine import Compute, Estimate
from underspec.config.matrix import Matrix, Words
from underspec.data.span_corruption import corrupted_spans, tokens_for
from underspec.data.special_tokens import SENTINELS
from underspec.data.templates import is_template
from underspec.grid import GRIDS
from underspec.schema import (
    NAME,
    Count,
    Flag,
    Name,
    NotNegative,
    RewardKind,
    Section,
    Seed,
    Size,
    Source,
    Text,
    integer,
    number,
    or_null,
    refuse_duplicates,
    section_of,
    some_of,
)

Share = number(gt=0, le=1)
Precision = Literal["fp32", "tf32", "bf16"]
RESERVED_NAMES = ("gold",)  # its log is in the same folder as those of scales


def _not_reserved(name: str) -> str:
    if name in RESERVED_NAMES:
        raise PydanticCustomError("reserved", "cannot name a scale; choose another name")
    return name


def _not_one(posts: int) -> int:
    if posts == 1:
        raise PydanticCustomError("one", "one post says nothing about others; give 0 or several")
    return posts


def _rising(best_of_n: list[int]) -> list[int]:
    if best_of_n != sorted(best_of_n) or best_of_n[0] != 1:
        raise PydanticCustomError("rising", "must rise and begin with 1, the policy itself")
    return best_of_n


def _grid(value: Any) -> Any:
    """A name, or a list of cells, which is text where it is an option of a command."""
    if isinstance(value, str) and value.startswith("["):
        value = strict_json.parse(value)
    if value in GRIDS:
        return value
    if isinstance(value, list) and len(value) > 1 and all(map(_is_cell, value)):
        refuse_duplicates(list(map(tuple, value)))
        return value
    raise PydanticCustomError(
        "grid",
        f"input should be {' or '.join(map(repr, GRIDS))}, or a list of at least 2 pairs "
        "[pretraining seed, finetuning seed]",
    )


def _is_cell(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(seed) is int for seed in value)


Distinct = AfterValidator(refuse_duplicates)
ScaleName = Annotated[Name, AfterValidator(_not_reserved)]
Scales = Annotated[list[Name], Field(min_length=1), Distinct]
Seeds = Annotated[list[Seed], Field(min_length=1), Distinct]
_CELL = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
_CELLS = {"type": "array", "items": _CELL, "minItems": 2}
Grid = Annotated[
    str | list, PlainValidator(_grid), WithJsonSchema({"anyOf": [{"enum": [*GRIDS]}, _CELLS]})
]
EnsembleSize = integer(ge=2, le=10**4)
Strength = number(ge=1e-3, le=1e3)  # of a selection rule; nearer to 0 it is best-of-n
BestOfN = Annotated[list[Count], Field(min_length=2), AfterValidator(_rising), Distinct]
Heads = integer(ge=1, le=10**4)
Members = integer(ge=2, le=10**3)  # of MC dropout
Centering = number(ge=0, le=1e3)
LengthBias = number(ge=0, le=1e3)  # claims say that it is kept, upwards
KlCoefficient = number(gt=0, le=1e3)
KlCoefficients = Annotated[list[KlCoefficient], Field(min_length=1), Distinct]
RlhfSamples = integer(ge=2, le=2**10)
Resamples = integer(ge=100, le=10**6)
TokenizerKind = Literal["word", "unigram", "t5"]
Vocabulary = integer(gt=SENTINELS + 10, le=10**6)


class Shape(Section):
    """The shape of a T5, in Hugging Face's names; encoder and decoder have num_layers each."""

    version: Literal["v1.0", "v1.1"]
    d_model: Size
    d_ff: Size
    d_kv: Size
    num_heads: Size
    num_layers: Size


Recipe = section_of(recipe.Recipe)
SomeRecipe = some_of(Recipe)


DeviceLayout = some_of(section_of(recipe.DeviceLayout))


def _template(value: str) -> str:
    if not is_template(value):
        raise PydanticCustomError(
            "template", "must be chat, or a text with {post} and, after it, {sample}, each once"
        )
    return value


Template = Annotated[str, AfterValidator(_template)]


class Architecture(Section):
    """What a scale's reward models are: a name of `architectures`, and its settings."""

    name: Literal[tuple(architectures.names())]
    shape: Shape | None = None
    template: or_null(Template) = None


class Scale(Section):
    architecture: Literal[tuple(architectures.names())] = "t5"
    shape: or_null(Shape) = None
    template: or_null(Template) = None
    pretrain: or_null(SomeRecipe) = None
    reward_model: or_null(SomeRecipe) = None


class Labels(Section):
    seed: Seed
    temperature: number(ge=1e-3, le=1e3)
    noise: number(ge=0, lt=0.5)
    length_bias: LengthBias


class Judgements(Section):
    seed: Seed
    per_post: Count


class Styles(Section):
    posts: Annotated[NotNegative, AfterValidator(_not_one)]


class Pretraining(Section):
    world: or_null(Name)
    shards: Count


class Tokenizer(Section):
    kind: TokenizerKind
    vocabulary: Vocabulary
    source: Source


class Lengths(Section):
    post: integer(ge=2, le=2**17)
    summary: integer(ge=2, le=2**17)  # including eos


class Checkpoint(Section):
    path: Text
    source: or_null(Literal["released", "hub"]) = None
    revision: or_null(Text) = None
    trust_pickle: Flag = False


def _checkpoint_key(key: Any) -> Any:
    if isinstance(key, str) and not re.fullmatch(rf"{NAME}(/(0|[1-9][0-9]*))?", key):
        raise PydanticCustomError("checkpoint_key", "must be a scale or scale/seed (large/5)")
    return key


class Pretrain(Section):
    source: Literal["scratch", "released", "hub"]
    checkpoints: dict[Annotated[str, BeforeValidator(_checkpoint_key)], Checkpoint]


class Finished(Section):
    """The location of a finished reward model."""

    path: Text
    revision: Text
    trust_pickle: Flag


class SomeFinished(Section):
    """The same, in the config."""

    path: Text
    revision: or_null(Text) = None
    trust_pickle: Flag = False


def _finished_key(key: Any) -> Any:
    pattern = rf"{NAME}(/pretrain(0|[1-9][0-9]*)-finetune(0|[1-9][0-9]*))?"
    if isinstance(key, str) and not re.fullmatch(pattern, key):
        raise PydanticCustomError(
            "finished_key", "must be a scale or a reward model's name (own/pretrain0-finetune1)"
        )
    return key


FinishedKey = Annotated[str, BeforeValidator(_finished_key)]


class Corruption(Section):
    input_length: integer(ge=8, le=2**17)
    noise_density: number(ge=0.01, le=0.9)  # closer to 1, no text is long enough
    mean_span_length: number(ge=1)

    @model_validator(mode="after")
    def _enough_sentinels(self):
        noise = (self.noise_density, self.mean_span_length)
        spans = corrupted_spans(tokens_for(self.input_length, *noise), *noise)
        if spans > SENTINELS:
            raise PydanticCustomError(
                "spans",
                f"{spans} spans per chunk are more than the {SENTINELS} sentinels; lower "
                "input_length or noise_density, or raise mean_span_length",
            )
        return self


class Policy(Section):
    scale: Name
    pretrain_seed: Seed
    seed: Seed
    recipe: SomeRecipe


class Samples(Section):
    preferences: integer(ge=2, le=2**17, multiple_of=2)
    validation: integer(ge=2, le=2**17, multiple_of=2)
    best_of_n: Size


class Distribution(Section):
    """The distribution of a sample's next token."""

    temperature: number(ge=0.01, le=100)  # beyond, logits overflow or are nearly uniform
    top_k: or_null(Count)
    top_p: Share


class Sampling(Distribution):
    seed: Seed
    precision: Precision
    samples: Samples


class Scoring(Section):
    precision: Precision


class Evaluator(Section):
    scale: Name
    pretrain_seed: Seed
    finetune_seed: Seed


class Uwo(Section):
    coefficient: number(ge=0, le=1e3)


class Soft(Section):
    temperature: Strength


class Poisson(Section):
    pass


class Pessimism(Section):
    beta: Strength


class Mbr(Section):
    beta: number(ge=0, le=1e3)


class NewerRankers(Section):
    """Selection rules and aggregators beside the paper's, with their parameters; null: left out."""

    uwo: or_null(Uwo)
    soft: or_null(Soft)
    poisson: or_null(Poisson)
    pessimism: or_null(Pessimism)
    mbr: or_null(Mbr)


# Those that have parameters are among the newer rankers.
Aggregators = Annotated[
    list[Literal[tuple(name for name in AGGREGATORS if name not in NewerRankers.model_fields)]],
    Field(min_length=1),
    Distinct,
]


class McDropout(Section):
    """Pretraining seeds, and how many members an ensemble has: one ensemble for each number."""

    pretrain_seeds: Annotated[list[Seed], Distinct]
    members: Annotated[list[Members], Field(min_length=1), Distinct]


class CheaperEnsembles(Section):
    """Pretraining seeds of each kind."""

    warm: Annotated[list[Seed], Distinct]
    multihead: Annotated[list[Seed], Distinct]
    mc_dropout: McDropout


def _without_dropout(recipe: Section) -> Section:
    if recipe.dropout:
        raise PydanticCustomError(
            "dropout", "has dropout, and samples and updates must be of one policy; set it to 0"
        )
    return recipe


class Alignments(Section):
    """The aligned policies: one for each ranker, coefficient and seed."""

    rankers: dict[Name, Annotated[list[Name], Distinct]]
    kl_coefficients: KlCoefficients
    seeds: Annotated[list[Seed], Field(min_length=1), Distinct]


class Rlhf(Alignments):
    """And how they are trained and judged."""

    samples: RlhfSamples
    bounded: Flag
    recipe: Annotated[SomeRecipe, AfterValidator(_without_dropout)]
    evaluation_samples: Size


class Config(Section):
    extends: or_null(Text)
    bundle: or_null(Text)
    matrix: or_null(Matrix)
    words: or_null(Words)
    experiment: Name
    world: Name
    worlds: dict[Name, dict]
    pretraining: Pretraining
    reward: RewardKind
    labels: Labels
    judgements: Judgements
    styles: Styles
    tokenizer: Tokenizer
    lengths: Lengths
    scales: Scales
    models: dict[ScaleName, Scale]
    grid: Grid
    pretrain_seeds: Seeds
    finetune_seeds: Seeds
    recipe: SomeRecipe
    pretrain: Pretrain
    reward_models: dict[FinishedKey, SomeFinished]
    corruption: Corruption
    policy: Policy
    sampling: Sampling
    scoring: Scoring
    centering: Centering
    evaluator: Evaluator
    aggregators: Aggregators
    ensemble_size: EnsembleSize
    best_of_n: BestOfN
    newer_rankers: NewerRankers
    cheaper_ensembles: CheaperEnsembles
    rlhf: Rlhf
    judge: Judge
    protect_pretrained: Flag
    resamples: Resamples
    checkpoint_seconds: Count
    compute: Compute
    estimate: Estimate


class Experiment(Section):
    """The settings that tables need: some keys of Config."""

    scales: Scales = None
    grid: Grid
    pretrain_seeds: Seeds
    finetune_seeds: Seeds
    aggregators: Aggregators
    ensemble_size: EnsembleSize
    best_of_n: BestOfN
