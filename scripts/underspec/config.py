"""The strict schema of the config: every key there is, its type, and what contradicts what."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from underspec.errors import ConfigError
from underspec.grid import AGGREGATORS, GRIDS
from underspec.worlds import names, world_class

Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Shape(Section):
    """Hugging Face's names; num_layers is that of the encoder, and of the decoder."""

    d_model: Count
    d_ff: Count
    d_kv: Count
    num_heads: Count
    num_layers: Count


class Recipe(Section):
    steps: Count
    batch: Count
    learning_rate: Positive
    warmup: Annotated[int, Field(ge=0)]
    dropout: Rate
    weight_decay: Annotated[float, Field(ge=0)]


class Scale(Section):
    shape: Shape
    pretrain: Recipe
    reward_model: Recipe


class Labels(Section):
    seed: Seed
    temperature: Positive
    noise: Annotated[float, Field(ge=0, lt=0.5)]
    length_bias: float


class Tokenizer(Section):
    kind: Literal["word", "unigram"]
    vocabulary: Annotated[int, Field(gt=110)]


class Lengths(Section):
    post: Count
    summary: Count


class Corruption(Section):
    input_length: Annotated[int, Field(ge=8)]
    noise_density: Annotated[float, Field(gt=0, lt=1)]
    mean_span_length: Annotated[float, Field(ge=1)]


class Policy(Section):
    scale: str
    pretrain_seed: Seed
    seed: Seed
    recipe: Recipe


class Samples(Section):
    preferences: Annotated[int, Field(ge=2, multiple_of=2)]
    validation: Annotated[int, Field(ge=2, multiple_of=2)]
    best_of_n: Count


class Sampling(Section):
    temperature: Positive
    seed: Seed
    samples: Samples


class Evaluator(Section):
    scale: str
    pretrain_seed: Seed
    finetune_seed: Seed


class Config(Section):
    experiment: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    world: str
    worlds: dict[str, dict]
    labels: Labels
    tokenizer: Tokenizer
    lengths: Lengths
    scales: Annotated[list[str], Field(min_length=1)]
    models: dict[str, Scale]
    grid: Literal[GRIDS]
    pretrain_seeds: Annotated[list[Seed], Field(min_length=2)]
    finetune_seeds: Annotated[list[Seed], Field(min_length=2)]
    corruption: Corruption
    policy: Policy
    sampling: Sampling
    centering: Annotated[float, Field(ge=0)]
    evaluator: Evaluator
    aggregators: Annotated[list[Literal[AGGREGATORS]], Field(min_length=1)]
    best_of_n: Annotated[list[Count], Field(min_length=2)]
    checkpoint_seconds: Count


def validate(config: dict) -> None:
    """Raises ConfigError with one line that names the key and says what is allowed."""
    try:
        checked = Config(**config)
        world_class(checked.world).Options(**config["worlds"].get(checked.world, {}))
    except ValidationError as error:
        raise ConfigError(_one_line(error, config)) from None
    for key, broken, allowed in _contradictions(checked):
        if broken:
            raise ConfigError(f"{key}: {allowed}")


def _contradictions(config: Config):
    """(key, whether it is broken, what is allowed), in the order a reader meets the keys."""
    scales = ", ".join(config.models)
    pretrains = {(scale, seed) for scale in config.scales for seed in config.pretrain_seeds}
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
        policy in pretrains,
        f"{policy[1]} is the pretrain of a reward model; the policy needs one that none shares",
    )
    yield (
        "evaluator.pretrain_seed",
        evaluator in pretrains,
        f"{evaluator[1]} is the pretrain of a ranker; the evaluator needs one that none shares",
    )
    yield (
        "evaluator.pretrain_seed",
        evaluator == policy,
        f"{evaluator[1]} is the policy's pretrain; the evaluator needs one that it does not share",
    )
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


def _one_line(error: ValidationError, config: dict) -> str:
    first = error.errors()[0]
    place = list(first["loc"])
    if error.title not in ("Config",):
        place = ["worlds", config["world"], *place]
    key = ".".join(str(part) for part in place)
    message = first["msg"]
    if first["type"] == "extra_forbidden":
        message = "no such key; see config.yaml for every key there is"
    elif first["type"] == "missing":
        message = "missing; see config.yaml for every key there is"
    elif not isinstance(first["input"], dict):
        message = f"{first['input']!r} is not allowed: {message[0].lower()}{message[1:]}"
    more = error.error_count() - 1
    return f"{key}: {message}" + (f" (and {more} more)" if more else "")
