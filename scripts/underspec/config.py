"""The strict schema of the config: every key there is, its type, and what contradicts what."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from underspec.downloads import Source
from underspec.errors import ConfigError
from underspec.grid import AGGREGATORS, GRIDS
from underspec.sources import checkpoint_of, pretrains
from underspec.worlds import names, world_class

Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Shape(Section):
    """Hugging Face's names; num_layers is that of the encoder, and of the decoder."""

    version: Literal["v1.0", "v1.1"]
    d_model: Count
    d_ff: Count
    d_kv: Count
    num_heads: Count
    num_layers: Count


def some_of(section: type[Section]) -> type[Section]:
    """A section with the keys of `section`, each of which may be left out."""
    keys = {name: (kind | None, None) for name, kind in section.__annotations__.items()}
    return create_model(f"Some{section.__name__}", __base__=Section, **keys)


Precision = Literal["fp32", "tf32", "bf16"]


class Recipe(Section):
    steps: Count
    batch: Count
    learning_rate: Positive
    warmup: Annotated[int, Field(ge=0)]
    dropout: Rate
    weight_decay: Annotated[float, Field(ge=0)]
    optimizer: Literal["adamw", "adafactor"]
    schedule: Literal["linear", "constant", "inverse_sqrt"]
    precision: Literal["fp32", "bf16"]


class Need(Section):
    """What a job asks for, and how a training is laid on its GPUs."""

    gpus: Annotated[int, Field(ge=0)]
    nodes: Count
    cpus: Count
    mem_mb: Count
    minutes: Count
    growth: Annotated[float, Field(ge=1)]
    micro_batch: Count | None
    sharded: bool
    activation_checkpointing: bool
    compiled: bool


SomeRecipe, SomeNeed = some_of(Recipe), some_of(Need)


STAGES = ("pretrain", "policy", "sample", "reward_model", "score")  # whose jobs may want GPUs


class Compute(Section):
    default: Need
    pretrain: dict[str, SomeNeed]
    policy: dict[str, SomeNeed]
    sample: dict[str, SomeNeed]
    reward_model: dict[str, SomeNeed]
    score: dict[str, SomeNeed]


class Estimate(Section):
    tflops: Positive
    training: Share
    sampling: Share
    scoring: Share


class Scale(Section):
    shape: Shape
    pretrain: SomeRecipe
    reward_model: SomeRecipe


class Labels(Section):
    seed: Seed
    temperature: Positive
    noise: Annotated[float, Field(ge=0, lt=0.5)]
    length_bias: float


class Pretraining(Section):
    world: str | None
    shards: Count


class Tokenizer(Section):
    kind: Literal["word", "unigram", "t5"]
    vocabulary: Annotated[int, Field(gt=110)]
    source: Source


class Lengths(Section):
    post: Count
    summary: Count


class Checkpoint(Section):
    path: Annotated[str, Field(min_length=1)]
    source: Literal["released", "hub"] | None = None
    revision: str | None = None


class Pretrain(Section):
    source: Literal["scratch", "released", "hub"]
    checkpoints: dict[Annotated[str, Field(pattern=r"^[^/]+(/\d+)?$")], Checkpoint]


class Corruption(Section):
    input_length: Annotated[int, Field(ge=8)]
    noise_density: Annotated[float, Field(gt=0, lt=1)]
    mean_span_length: Annotated[float, Field(ge=1)]


class Policy(Section):
    scale: str
    pretrain_seed: Seed
    seed: Seed
    recipe: SomeRecipe


class Samples(Section):
    preferences: Annotated[int, Field(ge=2, multiple_of=2)]
    validation: Annotated[int, Field(ge=2, multiple_of=2)]
    best_of_n: Count


class Sampling(Section):
    temperature: Positive
    top_k: Count | None
    top_p: Share
    seed: Seed
    precision: Precision
    samples: Samples


class Scoring(Section):
    precision: Precision


class Evaluator(Section):
    scale: str
    pretrain_seed: Seed
    finetune_seed: Seed


class Config(Section):
    extends: str | None
    bundle: str | None
    experiment: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    world: str
    worlds: dict[str, dict]
    pretraining: Pretraining
    labels: Labels
    tokenizer: Tokenizer
    lengths: Lengths
    scales: Annotated[list[str], Field(min_length=1)]
    models: dict[str, Scale]
    grid: Literal[GRIDS]
    pretrain_seeds: Annotated[list[Seed], Field(min_length=2)]
    finetune_seeds: Annotated[list[Seed], Field(min_length=2)]
    recipe: SomeRecipe
    pretrain: Pretrain
    corruption: Corruption
    policy: Policy
    sampling: Sampling
    scoring: Scoring
    centering: Annotated[float, Field(ge=0)]
    evaluator: Evaluator
    aggregators: Annotated[list[Literal[AGGREGATORS]], Field(min_length=1)]
    best_of_n: Annotated[list[Count], Field(min_length=2)]
    protect_pretrains: bool
    resamples: Annotated[int, Field(ge=100)]
    checkpoint_seconds: Count
    compute: Compute
    estimate: Estimate


def merged(base: dict, overlay: dict) -> dict:
    """`base` with `overlay` over it as Snakemake lays it: maps merge, anything else replaces."""
    both = dict(base)
    for key, value in overlay.items():
        nested = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if nested else value
    return both


def read_config(root: Path, overlay: Path | None = None) -> dict:
    """The config of the repository `root` with an overlay, and with what that one extends."""
    config = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))
    if overlay is None:
        return config
    own = yaml.safe_load(overlay.read_text(encoding="utf-8"))
    if own.get("extends"):
        config = merged(config, yaml.safe_load((root / own["extends"]).read_text(encoding="utf-8")))
    return merged(config, own)


def recipe(config: dict, *place: str) -> dict:
    """The recipe at `place` of the config (as "policy", "recipe"), with what all have in common."""
    own = config
    for key in place:
        own = own[key]
    return {**config["recipe"], **own}


def need(config: dict, stage: str, scale: str) -> dict:
    """What a job of `stage` asks for at `scale`, with the keys of Need."""
    return {**config["compute"]["default"], **config["compute"][stage].get(scale, {})}


def recipe_places(config: dict) -> list[tuple[str, ...]]:
    """Where the recipes of all trainings stand."""
    of_scales = [
        ("models", scale, stage)
        for scale in config["models"]
        for stage in ("pretrain", "reward_model")
    ]
    return [*of_scales, ("policy", "recipe")]


def text_world(config: dict) -> str:
    """The world that gives the pretraining text."""
    return config["pretraining"]["world"] or config["world"]


def validate(config: dict) -> None:
    """Raises ConfigError with one line that names the key and says what is allowed."""
    checked = _checked(Config, config)
    text = text_world(config)
    _require(checked.world, "world", "has_posts", "posts")
    _require(text, "pretraining.world", "has_pretraining_text", "pretraining text")
    for world in (checked.world, text):
        options = _checked(
            world_class(world).Options, config["worlds"].get(world, {}), "worlds", world
        )
    most, asked = options.most_shards, checked.pretraining.shards
    if most and asked > most:
        raise ConfigError(
            f"pretraining.shards: {asked} is more than the {most} files of the world {text} "
            f"(worlds.{text}.files)"
        )
    recipes = {
        place: _checked(Recipe, recipe(config, *place), *place) for place in recipe_places(config)
    }
    for key, broken, allowed in (*_contradictions(checked), *_impossible_shares(config, recipes)):
        if broken:
            raise ConfigError(f"{key}: {allowed}")


def _checked(schema: type[BaseModel], section: dict, *place: str) -> BaseModel:
    try:
        return schema(**section)
    except ValidationError as error:
        raise ConfigError(_one_line(error, place)) from None


def _require(world: str, key: str, flag: str, part: str) -> None:
    """Raises ConfigError if the world that `key` names lacks a part."""
    if not getattr(world_class(world, key), flag):
        able = ", ".join(name for name in names() if getattr(world_class(name), flag))
        raise ConfigError(f"{key}: {world} has no {part}; worlds that have are {able}")


def _impossible_shares(config: dict, recipes: dict[tuple[str, ...], Recipe]):
    """As _contradictions: trainings that their processes cannot share."""
    for stage in STAGES:
        for scale in config["compute"][stage]:
            yield (
                f"compute.{stage}",
                scale not in config["models"],
                f"{scale} is unknown; allowed are {', '.join(config['models'])}",
            )
    for place, its_recipe in recipes.items():
        stage, scale = place[::-1][:2] if place[0] == "models" else ("policy", None)
        asked = need(config, stage, scale or config["policy"]["scale"])
        processes = max(1, asked["gpus"]) * asked["nodes"]
        yield (
            f"{'.'.join(place)}.batch",
            its_recipe.batch % processes,
            f"{its_recipe.batch} rows cannot be shared by the {processes} GPUs of compute.{stage}",
        )
        yield (
            f"{'.'.join(place)}.optimizer",
            its_recipe.optimizer == "adafactor" and asked["sharded"],
            f"adafactor cannot be sharded (compute.{stage}); take adamw, or do not shard",
        )


def _contradictions(config: Config):
    """(key, whether it is broken, what is allowed), in the order a reader meets the keys."""
    scales = ", ".join(config.models)
    rankers = {(scale, seed) for scale in config.scales for seed in config.pretrain_seeds}
    policy = (config.policy.scale, config.policy.pretrain_seed)
    evaluator = (config.evaluator.scale, config.evaluator.pretrain_seed)
    unknown_worlds = set(config.worlds) - set(names())
    drawn = config.sampling.samples.best_of_n
    yield (
        "worlds",
        unknown_worlds,
        f"{', '.join(sorted(unknown_worlds))} is unknown; allowed are {', '.join(names())}",
    )
    for key, scale in [
        *(("scales", scale) for scale in config.scales),
        ("policy.scale", config.policy.scale),
        ("evaluator.scale", config.evaluator.scale),
    ]:
        yield key, scale not in config.models, f"{scale} is unknown; allowed are {scales}"
    for key in ("scales", "pretrain_seeds", "finetune_seeds", "aggregators", "best_of_n"):
        values = getattr(config, key)
        yield key, len(set(values)) < len(values), f"{values} names something twice"
    yield (
        "policy.pretrain_seed",
        policy in rankers,
        f"{policy[1]} is the pretrain of a reward model; the policy needs one that none shares",
    )
    yield (
        "evaluator.pretrain_seed",
        evaluator in rankers,
        f"{evaluator[1]} is the pretrain of a ranker; the evaluator needs one that none shares",
    )
    yield (
        "evaluator.pretrain_seed",
        evaluator == policy,
        f"{evaluator[1]} is the policy's pretrain; the evaluator needs one that it does not share",
    )
    yield from _imported_pretrains(config)
    yield (
        "best_of_n",
        max(config.best_of_n) > drawn,
        f"{max(config.best_of_n)} is more than the samples drawn "
        f"(sampling.samples.best_of_n: {drawn})",
    )
    yield (
        "best_of_n",
        config.best_of_n != sorted(config.best_of_n) or config.best_of_n[0] != 1,
        f"{config.best_of_n} must rise and begin with 1, the policy itself",
    )


def _imported_pretrains(config: Config):
    """As `_contradictions`, of where pretrains come from."""
    scales = ", ".join(config.models)
    for key in config.pretrain.checkpoints:
        scale = key.split("/")[0]
        unknown = f"{scale} is unknown; allowed are {scales}"
        yield f"pretrain.checkpoints.{key}", scale not in config.models, unknown
    first: dict[tuple, str] = {}
    plain = config.model_dump()
    for scale, seed in pretrains(plain):
        where = checkpoint_of(plain["pretrain"], scale, seed)
        if where is None:
            continue
        name, same = f"{scale}/{seed}", first.get(tuple(where.values()))
        first[tuple(where.values())] = name
        yield (
            "pretrain.checkpoints",
            same,
            f"{same} and {name} are both {where['path']}; each needs a pretrain of its own",
        )


def _one_line(error: ValidationError, place: tuple[str, ...]) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in (*place, *first["loc"]))
    message = first["msg"]
    if first["type"] == "extra_forbidden":
        message = "no such key; see config.yaml for every key there is"
    elif first["type"] == "missing":
        message = "missing; see config.yaml for every key there is"
    elif not isinstance(first["input"], dict):
        message = f"{first['input']!r} is not allowed: {message[0].lower()}{message[1:]}"
    more = error.error_count() - 1
    return f"{key}: {message}" + (f" (and {more} more)" if more else "")
